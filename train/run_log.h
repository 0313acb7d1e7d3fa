// What a run writes while it trains: log.jsonl, shapes.csv and, if asked for, TensorBoard's events, with the same
// numbers in all.
#pragma once
#include <cstdint>
#include <optional>

#include "core/json.h"
#include "models/network.h"
#include "train/run_directory.h"
#include "train/setup.h"
#include "train/tensorboard.h"

namespace tidepool {

class RunLog {
 public:
  /// The directory outlives it.
  explicit RunLog(RunDirectory& directory) : directory_(directory) {}

  /// Opens the files for what follows `step`; a run that is not `resumed` begins them, the events with its config and
  /// some training images. Throws Failure.
  void open(int64_t step, bool resumed, const Config& config, const RunData& data);
  /// Of the step that its key "step" says.
  void line(const Json& line);
  /// The shape parameters and map sizes of the network as it is.
  void shapes(int64_t step, int64_t epoch, const Network& network);
  /// Throws Failure when the disk refuses.
  void flush();

 private:
  void begin_events(const Config& config, const RunData& data);

  RunDirectory& directory_;
  std::optional<EventFile> events_;
};

}  // namespace tidepool
