#include "train/optimizer.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/backend/reduction.h"
#include "train/lr_schedule.h"
#include "train/shape_rule.h"

namespace tidepool {

bool glob_match(const std::string& pattern, const std::string& name) {
  size_t p = 0, n = 0, star = std::string::npos, resume = 0;
  while (n < name.size()) {
    if (p < pattern.size() && (pattern[p] == '?' || (pattern[p] != '*' && pattern[p] == name[n]))) {
      ++p;
      ++n;
    } else if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = n;
    } else if (star != std::string::npos) {
      p = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

Optimizer::Optimizer(const OptimConfig& config, const std::vector<Parameter>& parameters, int64_t steps_per_epoch,
                     int64_t total_steps)
    : config_(config), steps_per_epoch_(steps_per_epoch), total_steps_(total_steps) {
  if (config.shape && config.shape->retrain_after) second_stage_ = *config.shape->retrain_after * steps_per_epoch;
  if (second_stage_ && std::none_of(parameters.begin(), parameters.end(),
                                    [](const Parameter& p) { return p.kind == ParameterKind::shape; }))
    throw Error("optim.shape.retrain_after: the network has no size that is learned, for which to train again");
  const OptimizerDescription& optimizer = find_optimizer(config.name);
  const size_t groups = 1 + config.groups.size() + (config.shape ? 1 : 0);
  const auto make_rule = [&](size_t group) {
    Json options = config.options;
    if (const GroupSettings* settings = config_of(group)) options.update(settings->options);
    return optimizer.make(options);
  };
  for (size_t g = 0; g < groups; ++g) rules_.push_back(make_rule(g));
  const ShapeSettings shapes = config.shape.value_or(ShapeSettings());
  for (size_t g = 0; g < groups; ++g)
    rules_.push_back(std::make_unique<ShapeRule>(make_rule(g), shapes.log, shapes.normalize));
  std::vector<bool> used(config.groups.size());
  for (const Parameter& p : parameters) {
    Slot slot{.parameter = p, .group = 0, .rule = 0, .weight_decay = 0, .state = {}};
    for (size_t g = 0; g < config.groups.size() && slot.group == 0; ++g)
      if (glob_match(config.groups[g].match, p.name)) {
        slot.group = g + 1;
        used[g] = true;
      }
    const bool shape = p.kind == ParameterKind::shape;
    if (slot.group == 0 && shape && config.shape) slot.group = config.groups.size() + 1;
    slot.rule = slot.group + (shape ? groups : 0);
    if (shape && shapes.log)
      for (const double value : p.value.values())
        if (!(value > 0))
          throw Error(
              "optim.shape.log: {} is {}, and has no logarithm; expected parameters above 0, as alpha of "
              "dynopool and stride of diffstride",
              p.name, value);
    const double own = p.kind == ParameterKind::weight ? config.weight_decay : 0;
    const GroupSettings* group = config_of(slot.group);
    slot.weight_decay = group ? group->weight_decay.value_or(own) : own;
    for (size_t i = 0; i < rules_[slot.rule]->state().size(); ++i)
      slot.state.push_back(Tensor::zeros(p.value.shape(), p.value.options()));
    slots_.push_back(std::move(slot));
  }
  // No error: the same config serves networks with and without shape parameters. A group of a base config is meant for
  // any of them.
  for (size_t g = 0; g < used.size(); ++g)
    if (!used[g] && !config.groups[g].inherited)
      spdlog::warn("optim.groups.{}.match: '{}' matches no parameter of the network", g, config.groups[g].match);
}

void Optimizer::warn_of_schedules() const {
  for (const Slot& slot : slots_) {
    const GroupSettings* group = config_of(slot.group);
    const auto [first, end] = span_of(slot.group, stage(0));
    if (!group || slot.parameter.kind != ParameterKind::shape || group->lr == 0 || first < end) continue;
    spdlog::warn("{}: first_epoch {} is not before the end, epoch {}: sizes that never move", slot.parameter.name,
                 group->first_epoch, end / steps_per_epoch_);
    break;
  }
  std::set<size_t> told;  // groups
  for (const Slot& slot : slots_)
    for (const int64_t begin : {int64_t{0}, second_stage_.value_or(0)}) {
      if (slot.parameter.kind == ParameterKind::shape && begin > 0) continue;  // sizes stay in the second stage
      const GroupSettings* group = config_of(slot.group);
      const double epochs = (group ? group->schedule : config_.schedule).warmup_epochs;
      const auto [first, end] = span_of(slot.group, stage(begin));
      if ((group && group->lr == 0) || first >= end) continue;
      if (epochs * static_cast<double>(steps_per_epoch_) <= static_cast<double>(end - first)) continue;
      if (told.insert(slot.group).second)
        spdlog::warn("{}: a warm-up of {:g} epochs is longer than the {} in which it moves: its rate is never reached",
                     slot.parameter.name, epochs, (end - first) / steps_per_epoch_);
    }
}

Optimizer::Stage Optimizer::stage(int64_t step) const {
  if (!second_stage_) return {0, total_steps_};
  return step < *second_stage_ ? Stage{0, *second_stage_} : Stage{*second_stage_, total_steps_};
}

double Optimizer::learning_rate(int64_t step) const {
  const auto [begin, end] = stage(step);
  return tidepool::learning_rate(config_.schedule, config_.lr, step - begin, steps_per_epoch_, end - begin);
}

std::pair<int64_t, int64_t> Optimizer::span_of(size_t group, const Stage& stage) const {
  const GroupSettings* g = config_of(group);
  int64_t end = stage.end;
  if (g && g->last_epoch) end = std::min(end, stage.begin + *g->last_epoch * steps_per_epoch_);
  return {stage.begin + (g ? g->first_epoch * steps_per_epoch_ : 0), end};
}

double Optimizer::group_rate(size_t group, int64_t step) const {
  const GroupSettings* g = config_of(group);
  if (!g) return learning_rate(step);
  const Stage now = stage(step);
  const auto [first, end] = span_of(group, now);
  return tidepool::learning_rate(g->schedule, g->lr, step - now.begin, steps_per_epoch_, end - now.begin,
                                 first - now.begin);
}

Turn Optimizer::turn(const Slot& slot, int64_t step) const {
  const GroupSettings* g = config_of(slot.group);
  const auto [first, end] = span_of(slot.group, stage(step));
  const bool fixed = slot.parameter.kind == ParameterKind::shape && second_stage_ && step >= *second_stage_;
  // A step beyond the last of the run is one more of a benchmark.
  if (fixed || step < first || (step >= end && g && g->last_epoch)) return Turn::still;
  return !g || (step - first + 1) % g->every == 0 ? Turn::moves : Turn::waits;
}

Turn Optimizer::turn(const Tensor& parameter, int64_t step) const {
  for (const Slot& slot : slots_)
    if (slot.parameter.value.shares_storage(parameter))
      return group_rate(slot.group, step) == 0 ? Turn::still : turn(slot, step);
  throw Failure("the optimizer does not know a parameter of shape {}", parameter.shape().str());
}

bool Optimizer::moves(const Slot& slot, int64_t step) const {
  // At rate 0 a size stays as it is: through its logarithm and back it would not, to the last bit.
  const bool still = slot.parameter.kind == ParameterKind::shape && group_rate(slot.group, step) == 0;
  return !still && turn(slot, step) == Turn::moves;
}

Tensor Optimizer::squares(int64_t step) const {
  if (!config_.grad_clip) return {};
  std::vector<Tensor> gradients;
  for (const Slot& slot : slots_)
    if (const Tensor& grad = slot.parameter.value.grad(); grad && moves(slot, step))
      gradients.push_back(grad.contiguous());
  return gradients.empty() ? Tensor() : sum_of_squares(gradients);
}

void Optimizer::step(int64_t step, const Tensor& go) {
  const Tensor all_squares = squares(step);
  struct Updates {
    size_t group = 0;
    std::vector<ParameterUpdate> f32, f64;
  };
  std::vector<Updates> rules(rules_.size());
  for (const Slot& slot : slots_) {
    const Tensor& value = slot.parameter.value;
    if (!value.grad()) continue;
    if (moves(slot, step)) {
      Updates& updates = rules[slot.rule];
      updates.group = slot.group;
      (value.dtype() == DType::f64 ? updates.f64 : updates.f32)
          .push_back({.value = value,
                      .grad = value.grad().contiguous(value.format()),
                      .state = slot.state,
                      .weight_decay = slot.weight_decay});
    }
    value.set_grad({});
  }
  for (size_t r = 0; r < rules.size(); ++r) {
    const GroupSettings* group = config_of(rules[r].group);
    // How many updates these parameters have had: AdamW's bias correction and SGD's first step count their own.
    const int64_t since = step - span_of(rules[r].group, stage(step)).first;
    const UpdateStep update{.rate = group_rate(rules[r].group, step),
                            .squares = all_squares,
                            .clip = config_.grad_clip.value_or(0),
                            .go = go,
                            .updates = group ? since / group->every : since};
    for (const auto* parameters : {&rules[r].f32, &rules[r].f64}) {
      if (!parameters->empty()) rules_[r]->update(*parameters, update);
    }
  }
}

void Optimizer::reset() {
  for (const Slot& slot : slots_)
    for (const Tensor& t : slot.state) t.fill(0);
}

std::vector<std::pair<std::string, Tensor>> Optimizer::state() const {
  std::vector<std::pair<std::string, Tensor>> state;
  for (const Slot& slot : slots_) {
    const std::vector<std::string> names = rules_[slot.rule]->state();
    for (size_t i = 0; i < names.size(); ++i) state.emplace_back(slot.parameter.name + "/" + names[i], slot.state[i]);
  }
  return state;
}

}  // namespace tidepool
