// What every command that runs a config needs of the command line.
#pragma once
#include "tools/command.h"
#include "train/config.h"
#include "train/run.h"
#include "train/setup.h"
#include "train/step.h"

namespace tidepool {

// What is short for a --set.
Option epochs_option();
Option lr_option();
Option batch_size_option();

/// Every --set of the call, and behind them those that the options above and --device are short for. Throws Error for a
/// device that is not there.
std::vector<std::string> config_sets(const Call& call);

/// The config named by argument `i` (or `otherwise` where that was left out) with --set, what is short for it, --seed
/// and --device applied. Throws Error for a device that is not there.
Config config_of(const Call& call, size_t i = 0, const std::string& otherwise = {});

/// The same with the config in `file`.
Config config_in(const Call& call, const std::filesystem::path& file);

/// A word as a shell reads it back.
std::string shell_word(const std::string& word);

/// The folder of the config's data set; see require_data.
std::filesystem::path data_root_of(const Call& call, const DataConfig& config);

/// Throws Error where a batch of n images alone is larger than this machine's memory.
void expect_images_fit(const Network& network, int64_t n);

/// A batch of made-up images (uniform noise) and labels, for commands that measure.
TensorBatch made_up_batch(const Config& config, const Network& network, const Task& task, int64_t n);
/// A step whose losses are known when it returns, and with them all of its work is done: for commands that measure.
StepLosses waited_step(Stepper& stepper, const TensorBatch& batch, int64_t step);

/// What stands behind the bar of a run: epoch, loss, the primary metric of the last evaluation where there is one.
std::vector<std::string> progress_notes(const RunProgress& progress);

/// What is saved with a run: command line, revision, versions of the libraries.
Json provenance(const std::vector<std::string>& command);

}  // namespace tidepool
