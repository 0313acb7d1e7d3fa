// The gradient of learned sizes against the truth: what a network's loss really does when one map gets a row or a
// column more or less.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "models/network.h"
#include "train/config.h"
#include "train/setup.h"
#include "train/task.h"

namespace tidepool {

/// Over batches: mean, and its standard error.
struct MeanOverBatches {
  double mean = 0, standard_error = 0;
};

/// The network with one size changed by a row (column).
struct NeighbouringSize {
  int64_t length = 0;      ///< of that map, on that axis
  double value = 0;        ///< of the parameter's element
  double gmacs = 0;        ///< of the whole network, in 1e9
  MeanOverBatches change;  ///< of the loss, batch by batch: its loss less that of the network as it is
  std::optional<MeanOverBatches> change_after;  ///< the same, when both have been trained on
  std::vector<std::pair<std::string, Dims>> shapes;
};

struct SizeEffect {
  std::string parameter;  ///< "pool1.alpha"
  int64_t element = 0;
  std::vector<int> axes;  ///< of the map that it decides
  int64_t length = 0;
  double value = 0;
  MeanOverBatches gradient;                         ///< d loss / d element, by the backward pass
  std::optional<MeanOverBatches> gradient_per_row;  ///< the same per row of the map; none where its length has no slope
  std::optional<NeighbouringSize> more, fewer;      ///< none where the operator's bounds allow no such size
  /// (loss with a row more - loss with a row fewer) / 2, or the one-sided difference where there is one neighbour.
  std::optional<MeanOverBatches> difference_per_row;
};

struct SizeEffects {
  double loss = 0, gmacs = 0;             ///< of the network as it is
  std::optional<double> loss_after = {};  ///< after the steps
  int64_t batches = 0, steps = 0;
  double rate = 0;
  std::vector<SizeEffect> sizes;
};

struct SizeEffectsOptions {
  int64_t batches = 20;    ///< of the training images, augmented as in training, at least 2
  int64_t steps = 0;       ///< of training, with the sizes held, after which the losses are compared again
  double rate = 0;         ///< of these steps; groups of parameters keep their ratio to it
  int64_t first_step = 0;  ///< steps behind the optimizer's state: AdamW's correction of its means counts on from there
  bool hold_sizes = true;  ///< the maps of all other sizes keep their lengths; false: the parameters their values
  int64_t epoch = 0;       ///< whose batches are read: the first ones for the losses, those that follow for the steps
  std::function<void(int64_t done, int64_t sizes)> progress = {};  ///< called after each size
};

/// Weights, optimizer state and sizes of `network` are as before when it returns. Every loss is of training mode: the
/// batch's own statistics, the same random draws for every size. `optimizer_state`: tensors by name as a checkpoint has
/// them, without "state/optimizer/"; where there are none, the steps begin without momentum. Throws Error where the
/// network learns no size, or the epoch has too few batches.
SizeEffects measure_size_effects(const Config& config, Network& network, const Task& task, const RunData& data,
                                 const std::vector<std::pair<std::string, Tensor>>& optimizer_state,
                                 const SizeEffectsOptions& options);

}  // namespace tidepool
