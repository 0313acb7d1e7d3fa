// A learner of sizes: where the gradient that moves the shape parameters comes from (optim.shape.learner), and the
// registry that knows learners by name. What a learner needs of the network is train/shape_learning.h's; rates,
// momentum and when the parameters move are the optimizer's.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/json.h"
#include "core/keys.h"
#include "core/philox.h"
#include "core/tensor.h"

namespace tidepool {

/// One step as a learner sees it. Sizes are the elements of shape parameters that learn in this step; a size is changed
/// by rows: that many more rows (columns) of its map, fractions too, before the length is rounded.
class ShapeProbe {
 public:
  virtual ~ShapeProbe() = default;
  /// How many sizes there are.
  virtual size_t sizes() const = 0;
  /// What draw() gave for this step.
  virtual std::span<const double> drawn() const = 0;
  /// The task's loss of the step's own forward, at those sizes.
  virtual double drawn_loss() const = 0;
  /// The same batch's loss with every size changed by `rows`, which are set to what the sizes' bounds left of them:
  /// same weights, same random draws, statistics of the batch. A forward; nothing of the network changes.
  virtual double loss(std::span<double> rows) = 0;
};

class ShapeLearner {
 public:
  virtual ~ShapeLearner() = default;
  /// Whether it is the gradient that the backward pass gives: estimate() is then not called.
  virtual bool uses_backward() const { return false; }
  /// By how many rows the sizes of a training step lie from their means; `rows` holds zeros.
  virtual void draw(Random& /*random*/, std::span<double> /*rows*/) const {}
  /// d loss / d length of every size, in loss per row.
  virtual std::vector<double> estimate(ShapeProbe& /*probe*/, Random& /*random*/) const { return {}; }
  /// What it remembers from step to step, by name, for a checkpoint; writing into the tensors restores it.
  virtual std::vector<std::pair<std::string, Tensor>> state() const { return {}; }
};

struct ShapeLearnerDescription {
  std::string name;
  std::string help;  ///< one sentence with its cost and source
  std::vector<Key> keys;
  /// Calls `fail` for the first of these values that is wrong, or that contradicts another.
  void (*check)(const Json& options, const KeyFail& fail) = nullptr;
  /// From values that are of the right types; those that are absent have their defaults.
  std::unique_ptr<ShapeLearner> (*make)(const Json& options) = nullptr;
};

/// All learners by name, sorted.
std::vector<const ShapeLearnerDescription*> shape_learners();
/// Throws Error with the nearest right name.
const ShapeLearnerDescription& find_shape_learner(const std::string& name);

/// From an options struct, which lists its keys, and a learner that is made of it.
template <class Options, class Learner>
ShapeLearnerDescription describe_shape_learner(const char* name, const char* help) {
  return {.name = name,
          .help = help,
          .keys = list_keys<Options>().keys,
          .check = [](const Json& options, const KeyFail& fail) { read_keys<Options>(options, fail); },
          .make = [](const Json& values) -> std::unique_ptr<ShapeLearner> {
            Options options;
            Keys keys(values);
            options.keys(keys);
            return std::make_unique<Learner>(options);
          }};
}

}  // namespace tidepool
