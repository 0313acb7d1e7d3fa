// The program. Commands register themselves: see tools/command.h.
#include "tools/command.h"
#include "tools/spinning.h"

int main(int argc, char** argv) {
  const tidepool::SpinLimiter limiter;
  return tidepool::run_command_line(argc, argv);
}
