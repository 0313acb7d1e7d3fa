// Where a figure goes: a file whose ending says how it is written.
#pragma once
#include <filesystem>

#include "tools/command.h"
#include "train/figures/drawing.h"

namespace tidepool {

/// --out of `plot` and `figure`. Throws Error, before anything is read, for an ending that is neither .svg nor .png,
/// for .png where this build has none, and for a folder that is not there.
std::filesystem::path figure_path(const Call& call);

/// Writes it, whole or not at all, and says so on stdout; with --json as {"file", "width", "height"} and `more`.
void write_figure(const Call& call, const std::filesystem::path& path, const figures::Drawing& drawing,
                  const Json& more);

}  // namespace tidepool
