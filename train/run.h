// One training run, from a config to a run directory: what `tidepool train` does, and what a table does row by row.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "core/communicator.h"
#include "core/json.h"
#include "train/config.h"
#include "train/run_result.h"
#include "train/task.h"

namespace tidepool {

/// Where a run stands, for a progress bar.
struct RunProgress {
  int64_t step = 0, steps = 0;  ///< done, in all
  int64_t epoch = 0, epochs = 0;
  double images_per_second = 0;       ///< of the last steps; 0 before the first
  std::optional<double> loss = {};    ///< of the last step whose loss has been read (on a GPU: every log_every steps)
  std::optional<MetricValue> metric;  ///< the task's primary one, of the last evaluation
};

/// One epoch that has ended, as far as this process trained it (a resumed run began within it).
struct EpochSummary {
  int64_t epoch = 0, epochs = 0;      ///< from 1; in all
  double loss = 0;                    ///< mean over the epoch's steps
  bool validation = false;            ///< what follows is of the validation part, else of the test images
  std::optional<double> other_loss;   ///< none where the epoch was not evaluated
  std::optional<MetricValue> metric;  ///< likewise: the task's primary one
  double images_per_second = 0;       ///< of the training steps
  double seconds = 0;                 ///< of the training steps
};

struct RunOptions {
  std::filesystem::path out;        ///< the run directory
  std::filesystem::path data_root;  ///< of the data set's files; unused by one that is made up
  bool resume = false;  ///< resume the run in `out`, which must hold one; from the start where it has no checkpoint
  /// Where the run is a rank of several, which have the same config and each an `out` of its own: a step takes a batch
  /// of train.batch images, of which each rank computes a part (see Stepper). Outlives the run.
  Communicator* ranks = nullptr;
  /// Revision, command and library versions, saved beside the config.
  Json provenance = Json::object();
  /// Called when all is checked and loaded, before anything is written: until then an interrupted process has lost
  /// nothing.
  std::function<void()> begin = {};
  /// Called after every step.
  std::function<void(const RunProgress&)> progress;
  /// Called after every epoch and its evaluation; also after the part of an epoch with which max_steps ends the run.
  std::function<void(const EpochSummary&)> epoch_ended = {};
  /// Asked after every step; true: the run saves a checkpoint and returns. With ranks asked at the steps of
  /// train.log_every, and all return where one is to.
  std::function<bool()> stop;
};

/// Trains. Throws Error for a wrong request (config, data, a directory that holds another run, or to be
/// resumed none), Failure when the loss is not finite or the disk refuses. A run killed at any moment and resumed ends
/// with the same weights, bit for bit.
RunResult train_run(const Config& config, const RunOptions& options);

}  // namespace tidepool
