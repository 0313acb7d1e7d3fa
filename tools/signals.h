// Ctrl-C and SIGTERM: the first one asks the command to stop after the step that runs, a second one ends it at once.
#pragma once

namespace tidepool {

/// From here on the first SIGINT or SIGTERM sets a flag; the next one has the system's own effect.
void catch_stop_signals();
/// Whether one came. Cheap; to be asked once per step.
bool stop_requested();
/// The exit status that tells of it: 130 (SIGINT) or 143 (SIGTERM); 0 when none came.
int stop_status();

}  // namespace tidepool
