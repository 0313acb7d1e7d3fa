// Forward and backward of a network on a GPU, recorded for a shape of the images and replayed for every later batch of
// it. Loss, update and what else a step does stand outside and run as ever.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "core/backend/recording.h"
#include "models/network.h"

namespace tidepool {

class ReplayedStep {
 public:
  /// Records, for images of this shape. The network outlives it, and its shapes do not change. Throws what the network
  /// throws, and Failure where its work cannot be recorded.
  ReplayedStep(const Network& network, ForwardMode mode, const Tensor& images, const MemoryPool& pool);

  /// What network.forward() in training gives: a leaf that wants a gradient.
  Tensor forward(const Tensor& images, uint64_t step) const;
  /// Leaves the gradients of the parameters for that of the last forward's output.
  void backward(const Tensor& dy) const;

 private:
  Tensor images_, counter_, output_, dy_;
  std::vector<Tensor> buffers_;                       // that a forward writes
  std::vector<std::pair<Tensor, Tensor>> gradients_;  // parameters, and where theirs are
  std::optional<Recording> forward_, backward_;
};

/// Replayed steps by the shape of the images. The first steps of a shape run as they are: so does every step of a
/// network whose forward depends on numbers that the host reads (learned sizes), or draws by a step that it is told.
class ReplayedSteps {
 public:
  /// Where can_record() says no, there are none.
  explicit ReplayedSteps(const Network& network);

  /// nullptr: the step is to run as it is. What cannot be recorded is said in the log, once, and runs so from then on.
  const ReplayedStep* find(const Tensor& images, const ForwardMode& mode);

 private:
  static constexpr int kBefore = 2;   // steps of a shape, in which plans are made
  static constexpr size_t kMost = 4;  // shapes: an epoch has one, and one of its last batch

  struct Shape {
    int steps = 0;
    std::unique_ptr<ReplayedStep> replayed;
  };
  const Network& network_;
  std::unique_ptr<MemoryPool> pool_;
  std::map<std::vector<int64_t>, Shape> shapes_;
};

}  // namespace tidepool
