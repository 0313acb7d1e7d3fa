#include "train/size_effects.h"

#include <algorithm>
#include <cmath>

#include "train/shape_learning.h"
#include "train/step.h"

namespace tidepool {
namespace {

MeanOverBatches over_batches(const std::vector<double>& values) {
  const auto n = static_cast<double>(values.size());
  double mean = 0, squares = 0;
  for (const double v : values) mean += v / n;
  for (const double v : values) squares += (v - mean) * (v - mean);
  return {mean, std::sqrt(squares / (n * (n - 1)))};
}

std::vector<double> less(std::vector<double> a, const std::vector<double>& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] -= b[i];
  return a;
}

std::vector<double> times(std::vector<double> a, double factor) {
  for (double& v : a) v *= factor;
  return a;
}

ScheduleConfig constant_rate() {
  ScheduleConfig schedule;
  schedule.type = ScheduleType::kConstant;
  return schedule;
}

// The task's loss alone.
LossConfig without_cost(LossConfig loss) {
  loss.gmacs_lambda = 0;
  loss.gmacs_target.reset();
  return loss;
}

// The optimizer of the run, at one rate for all steps and with the sizes held, whatever group they are in. An epoch of
// it is a step.
OptimConfig held(OptimConfig optim, const Network& network, int64_t steps_per_epoch,
                 const SizeEffectsOptions& options) {
  for (ParamGroupConfig& group : optim.groups) {
    const bool moves = group.first_epoch * steps_per_epoch <= options.first_step &&
                       (!group.last_epoch || options.first_step < *group.last_epoch * steps_per_epoch);
    group.lr *= moves && optim.lr > 0 ? options.rate / optim.lr : 0;
    group.schedule = constant_rate();
    group.first_epoch = std::min(group.first_epoch * steps_per_epoch, options.first_step);  // where its updates began
    group.last_epoch.reset();
  }
  optim.shape = ShapeSettings{};
  std::vector<ParamGroupConfig> sizes;
  for (const Parameter& p : network.parameters()) {
    if (p.kind != ParameterKind::shape) continue;
    sizes.emplace_back().match = p.name;
    sizes.back().lr = 0;
    sizes.back().schedule = constant_rate();
  }
  optim.groups.insert(optim.groups.begin(), sizes.begin(), sizes.end());
  optim.lr = options.rate;
  optim.schedule = constant_rate();
  return optim;
}

class Measurement {
 public:
  Measurement(const Config& config, Network& network, const Task& task, const RunData& data,
              const std::vector<std::pair<std::string, Tensor>>& optimizer_state, const SizeEffectsOptions& options)
      : network_(network),
        task_(task),
        options_(options),
        seed_(config.train.seed),
        loader_(data.train, data.normalisation, loader_options(config, true)),
        optimizer_(held(config.optim, network, loader_.batches(), options), network.parameters(), 1, 1),
        stepper_(network, task, optimizer_, without_cost(config.loss), config.train.seed) {
    const int64_t wanted = options.batches + options.steps;
    if (wanted > loader_.batches())
      throw Error("--batches and --steps: an epoch has {} batches of {}; expected at most so many together, got {}",
                  loader_.batches(), config.train.batch, wanted);
    loader_.start_epoch(options.epoch);
    batches_.resize(static_cast<size_t>(wanted));
    for (TensorBatch& batch : batches_) {
      loader_.next(batch);
      batch.images = batch.images.to(network.options().device);
      batch.labels = batch.labels.to(network.options().device);
    }
    for (const auto& [name, value] : network.state()) kept_.emplace_back(value, value.clone());
    for (const auto& [name, value] : optimizer_.state()) {
      for (const auto& [saved, tensor] : optimizer_state)
        if (saved == name && tensor.shape() == value.shape()) value.copy_from(tensor.to(value.dtype()));
      kept_.emplace_back(value, value.clone());
    }
  }
  ~Measurement() { restore(); }
  Measurement(const Measurement&) = delete;
  Measurement& operator=(const Measurement&) = delete;

  SizeEffects run() {
    const std::vector<LearnedSize> sizes = network_.learned_sizes();
    if (sizes.empty()) throw Error("the network has no size that is learned");
    SizeEffects all{.gmacs = network_.trace().gmacs(),
                    .batches = options_.batches,
                    .steps = options_.steps,
                    .rate = options_.rate,
                    .sizes = {}};
    const std::vector<std::vector<double>> gradients = element_gradients(sizes);
    base_ = losses();
    all.loss = over_batches(base_).mean;
    if (options_.steps > 0) {
      train();
      base_after_ = losses();
      all.loss_after = over_batches(base_after_).mean;
      restore();
    }
    for (size_t i = 0; i < sizes.size(); ++i) {
      const LearnedSize& size = sizes[i];
      SizeEffect effect{.parameter = size.parameter,
                        .element = size.element,
                        .axes = size.axes,
                        .length = size.length,
                        .value = size.at(),
                        .gradient = over_batches(gradients[i]),
                        .gradient_per_row = {},
                        .more = {},
                        .fewer = {},
                        .difference_per_row = {}};
      if (size.slope != 0) effect.gradient_per_row = over_batches(times(gradients[i], 1 / size.slope));
      std::vector<double> up, down;
      effect.more = neighbour(sizes, i, 1, up);
      effect.fewer = neighbour(sizes, i, -1, down);
      if (effect.more && effect.fewer)
        effect.difference_per_row = over_batches(times(less(up, down), 0.5));
      else if (effect.more)
        effect.difference_per_row = effect.more->change;
      else if (effect.fewer)
        effect.difference_per_row = over_batches(times(down, -1));
      all.sizes.push_back(std::move(effect));
      if (options_.progress) options_.progress(static_cast<int64_t>(i) + 1, static_cast<int64_t>(sizes.size()));
    }
    return all;
  }

 private:
  void restore() {
    for (const auto& [value, was] : kept_) value.copy_from(was);
  }

  // Of each size, batch by batch.
  std::vector<std::vector<double>> element_gradients(const std::vector<LearnedSize>& sizes) {
    std::vector<std::vector<double>> gradients(sizes.size());
    for (int64_t b = 0; b < options_.batches; ++b) {
      stepper_.gradients(batches_[static_cast<size_t>(b)], b);
      for (size_t i = 0; i < sizes.size(); ++i)
        gradients[i].push_back(sizes[i].value.grad().values()[static_cast<size_t>(sizes[i].element)]);
      for (const Parameter& p : network_.parameters()) p.value.set_grad({});
    }
    restore();  // running statistics
    return gradients;
  }

  std::vector<double> losses() {
    std::vector<double> all;
    for (int64_t b = 0; b < options_.batches; ++b)
      all.push_back(batch_loss(network_, task_, batches_[static_cast<size_t>(b)], seed_, b));
    return all;
  }

  void train() {
    for (int64_t i = 0; i < options_.steps; ++i)
      stepper_.step(batches_[static_cast<size_t>(options_.batches + i)], options_.first_step + i);
  }

  // Changes size i by `rows`, or so that it has the wanted length: one that lies where it is rounded to the other side
  // needs a little more or less.
  void change_length(SizeChange& change, const LearnedSize& size, double rows, size_t i, int64_t wanted) const {
    for (const double share : {1.0, 1.25, 0.75}) {
      const double by = share * rows;
      change.apply(std::span(&size, 1), std::span(&by, 1));
      if (network_.learned_sizes()[i].length == wanted) break;
    }
  }

  // Sizes behind a changed one follow it by their parameters; this gives them their lengths again.
  void hold_lengths(const std::vector<LearnedSize>& sizes, size_t changed) {
    for (size_t j = 0; j < sizes.size(); ++j) {
      if (j == changed) continue;
      const LearnedSize now = network_.learned_sizes()[j];
      if (now.length == sizes[j].length || now.slope == 0) continue;
      SizeChange change(network_);
      change_length(change, now, static_cast<double>(sizes[j].length - now.length), j, sizes[j].length);
      change.keep();
    }
  }

  // `changes` gets those of the loss, batch by batch. None where the size does not change.
  std::optional<NeighbouringSize> neighbour(const std::vector<LearnedSize>& sizes, size_t i, double rows,
                                            std::vector<double>& changes) {
    if (sizes[i].slope == 0) return std::nullopt;
    const int64_t wanted = sizes[i].length + static_cast<int64_t>(rows);
    SizeChange change(network_);
    change_length(change, sizes[i], rows, i, wanted);
    const LearnedSize now = network_.learned_sizes()[i];
    if (now.length != wanted) return std::nullopt;
    if (options_.hold_sizes) hold_lengths(sizes, i);
    NeighbouringSize near{.length = now.length,
                          .value = now.at(),
                          .gmacs = network_.trace().gmacs(),
                          .change = {},
                          .change_after = {},
                          .shapes = network_.slot_shapes()};
    changes = less(losses(), base_);
    near.change = over_batches(changes);
    if (options_.steps > 0) {
      train();
      near.change_after = over_batches(less(losses(), base_after_));
      restore();
    }
    return near;
  }

  Network& network_;
  const Task& task_;
  const SizeEffectsOptions& options_;
  uint64_t seed_;
  Loader loader_;
  Optimizer optimizer_;
  Stepper stepper_;
  std::vector<TensorBatch> batches_;
  std::vector<std::pair<Tensor, Tensor>> kept_;  // what training changes, with its values
  std::vector<double> base_, base_after_;
};

}  // namespace

SizeEffects measure_size_effects(const Config& config, Network& network, const Task& task, const RunData& data,
                                 const std::vector<std::pair<std::string, Tensor>>& optimizer_state,
                                 const SizeEffectsOptions& options) {
  return Measurement(config, network, task, data, optimizer_state, options).run();
}

}  // namespace tidepool
