#include "train/optimizer.h"

#include <spdlog/spdlog.h>

#include "core/backend/reduction.h"
#include "train/lr_schedule.h"

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
  const OptimizerDescription& optimizer = find_optimizer(config.name);
  rules_.push_back(optimizer.make(config.options));
  const auto add_rule = [&](const GroupSettings& group) {
    Json options = config.options;
    options.update(group.options);
    rules_.push_back(optimizer.make(options));
  };
  for (const ParamGroupConfig& group : config.groups) add_rule(group);
  if (config.shape) add_rule(*config.shape);
  std::vector<bool> used(config.groups.size());
  for (const Parameter& p : parameters) {
    Slot slot{.parameter = p, .group = 0, .weight_decay = 0, .state = {}};
    for (size_t g = 0; g < config.groups.size() && slot.group == 0; ++g)
      if (glob_match(config.groups[g].match, p.name)) {
        slot.group = g + 1;
        used[g] = true;
      }
    if (slot.group == 0 && p.kind == ParameterKind::shape && config.shape) slot.group = config.groups.size() + 1;
    const double own = p.kind == ParameterKind::weight ? config.weight_decay : 0;
    const GroupSettings* group = config_of(slot.group);
    slot.weight_decay = group ? group->weight_decay.value_or(own) : own;
    for (size_t i = 0; i < rules_[slot.group]->state().size(); ++i)
      slot.state.push_back(Tensor::zeros(p.value.shape(), p.value.options()));
    slots_.push_back(std::move(slot));
  }
  // No error: the same config serves networks with and without shape parameters. A group of a base config is meant for
  // any of them.
  for (size_t g = 0; g < used.size(); ++g)
    if (!used[g] && !config.groups[g].inherited)
      spdlog::warn("optim.groups.{}.match: '{}' matches no parameter of the network", g, config.groups[g].match);
}

double Optimizer::learning_rate(int64_t step) const {
  return tidepool::learning_rate(config_.schedule, config_.lr, step, steps_per_epoch_, total_steps_);
}

double Optimizer::group_rate(size_t group, int64_t step) const {
  const GroupSettings* g = config_of(group);
  if (!g) return learning_rate(step);
  return tidepool::learning_rate(g->schedule, g->lr, step, steps_per_epoch_, total_steps_,
                                 g->first_epoch * steps_per_epoch_);
}

bool Optimizer::due(size_t group, int64_t step) const {
  const GroupSettings* g = config_of(group);
  if (!g) return true;
  const int64_t since = step - g->first_epoch * steps_per_epoch_;
  return since >= 0 && (since + 1) % g->every == 0;
}

Tensor Optimizer::squares() const {
  if (!config_.grad_clip) return {};
  std::vector<Tensor> gradients;
  for (const Slot& slot : slots_)
    if (const Tensor& grad = slot.parameter.value.grad()) gradients.push_back(grad.contiguous());
  return gradients.empty() ? Tensor() : sum_of_squares(gradients);
}

void Optimizer::step(int64_t step, const Tensor& go) {
  const Tensor all_squares = squares();
  struct Updates {
    std::vector<ParameterUpdate> f32, f64;
  };
  std::vector<Updates> groups(rules_.size());
  for (const Slot& slot : slots_) {
    const Tensor& value = slot.parameter.value;
    if (!value.grad()) continue;
    if (due(slot.group, step)) {
      Updates& updates = groups[slot.group];
      (value.dtype() == DType::f64 ? updates.f64 : updates.f32)
          .push_back({.value = value,
                      .grad = value.grad().to(value.dtype()).contiguous(value.format()),
                      .state = slot.state,
                      .weight_decay = slot.weight_decay});
    }
    value.set_grad({});
  }
  for (size_t g = 0; g < groups.size(); ++g) {
    const GroupSettings* group = config_of(g);
    // How many updates these parameters have had: AdamW's bias correction and SGD's first step count their own.
    const int64_t had = group ? (step - group->first_epoch * steps_per_epoch_) / group->every : step;
    const UpdateStep update{.rate = group_rate(g, step),
                            .squares = all_squares,
                            .clip = config_.grad_clip.value_or(0),
                            .go = go,
                            .updates = had};
    for (const auto* parameters : {&groups[g].f32, &groups[g].f64}) {
      if (!parameters->empty()) rules_[g]->update(*parameters, update);
    }
  }
}

std::vector<std::pair<std::string, Tensor>> Optimizer::state() const {
  std::vector<std::pair<std::string, Tensor>> state;
  for (const Slot& slot : slots_) {
    const std::vector<std::string> names = rules_[slot.group]->state();
    for (size_t i = 0; i < names.size(); ++i) state.emplace_back(slot.parameter.name + "/" + names[i], slot.state[i]);
  }
  return state;
}

}  // namespace tidepool
