// The sizes that a network learns, in a training step: a learner (train/shape_learners/) says at which sizes the step
// trains and with which gradient their parameters move.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "data/loader.h"
#include "models/network.h"
#include "train/optimizer.h"
#include "train/shape_learners/learner.h"
#include "train/task.h"

namespace tidepool {

/// The value of a size's element at which its map has `rows` more rows (columns), before rounding; at least half a row
/// is left. Lengths that fall with a positive parameter are taken to go as 1 / value, which is exact for alpha of
/// dynopool and stride of diffstride, others as a straight line.
double moved_by_rows(const LearnedSize& size, double rows);
/// The rows from the length at one value of the size to that at another.
double rows_between(const LearnedSize& size, double from, double to);

/// Changes sizes of a network and brings the very same values back.
class SizeChange {
 public:
  explicit SizeChange(Network& network) : network_(network) { keep(); }
  ~SizeChange() { restore(); }
  SizeChange(const SizeChange&) = delete;
  SizeChange& operator=(const SizeChange&) = delete;

  /// Moves each of `sizes` by its rows from where it stood, and projects: a size that does not fit is enlarged, and one
  /// beyond its bounds brought back. Gives the rows by which they moved.
  std::vector<double> apply(std::span<const LearnedSize> sizes, std::span<const double> rows);
  void restore();
  /// What stands now is what restore() brings back from here on.
  void keep();

 private:
  Network& network_;
  std::vector<std::pair<Tensor, Tensor>> kept_;  // shape parameters with their values
};

/// The loss of a batch in training mode, with the batch's own statistics; running ones are as before. Nothing is
/// recorded.
double batch_loss(const Network& network, const Task& task, const TensorBatch& batch, uint64_t seed, int64_t step);

class ShapeLearning {
 public:
  /// Throws Error where the learner moves sizes by rows and a length has no slope in its parameter.
  ShapeLearning(Network& network, const Task& task, const Optimizer& optimizer, uint64_t seed);

  /// Brings the sizes to those with which the step trains.
  void begin(int64_t step);
  /// After the step's forward and backward: the mean sizes are back, and the parameters that move in this step have
  /// their gradients of the task's loss.
  void end(const TensorBatch& batch, int64_t step, double drawn_loss);

  /// Whether the gradient is that of the backward pass, and no losses are compared.
  bool uses_backward() const { return learner_->uses_backward(); }
  /// Whether the step moves a size.
  bool moves(int64_t step) const;
  /// Of the last step: whether the parameters have gradients, the forwards that these cost beside the step's own, and
  /// their time.
  bool estimated() const { return estimated_; }
  int64_t forwards() const { return forwards_; }
  double seconds() const { return seconds_; }

  std::vector<std::pair<std::string, Tensor>> state() const { return learner_->state(); }

 private:
  std::vector<LearnedSize> learning(int64_t step) const;

  Network& network_;
  const Task& task_;
  const Optimizer& optimizer_;
  uint64_t seed_;
  std::unique_ptr<ShapeLearner> learner_;
  std::vector<LearnedSize> sizes_;  // of the step under way
  std::vector<double> rows_;
  std::unique_ptr<SizeChange> drawn_;
  bool estimated_ = false;
  int64_t forwards_ = 0;
  double seconds_ = 0;
};

}  // namespace tidepool
