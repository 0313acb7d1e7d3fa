// What every command that runs a config needs of the command line.
#pragma once
#include "tools/command.h"
#include "train/config.h"
#include "train/setup.h"

namespace tidepool {

/// The config named by argument `i` (or `otherwise` where that was left out) with --set, --seed and --device applied.
/// Throws Error for a device that networks do not run on.
Config config_of(const Call& call, size_t i = 0, const std::string& otherwise = {});

/// The same with the config in `file`.
Config config_in(const Call& call, const std::filesystem::path& file);

/// A word as a shell reads it back.
std::string shell_word(const std::string& word);

/// The folder of the config's data set; see require_data.
std::filesystem::path data_root_of(const Call& call, const DataConfig& config);

/// A batch of made-up images (uniform noise) and labels, for commands that measure.
TensorBatch made_up_batch(const Config& config, const Network& network, int64_t n);

/// What is saved with a run: command line, revision, versions of the libraries.
Json provenance(const std::vector<std::string>& command);

}  // namespace tidepool
