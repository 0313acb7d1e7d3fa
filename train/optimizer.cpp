#include "train/optimizer.h"

#include <spdlog/spdlog.h>

#include <cmath>

#include "core/lanes.h"
#include "core/parallel.h"
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
  std::vector<bool> used(config.groups.size());
  for (const Parameter& p : parameters) {
    Slot slot{.parameter = p, .group = -1, .weight_decay = 0, .first = {}, .second = {}};
    for (size_t g = 0; g < config.groups.size() && slot.group < 0; ++g)
      if (glob_match(config.groups[g].match, p.name)) slot.group = static_cast<int>(g);
    const double own = p.kind == ParameterKind::weight ? config.weight_decay : 0;
    slot.weight_decay = own;
    if (slot.group >= 0) {
      used[static_cast<size_t>(slot.group)] = true;
      slot.weight_decay = config.groups[static_cast<size_t>(slot.group)].weight_decay.value_or(own);
    }
    slot.first = Tensor::zeros(p.value.shape(), p.value.options());
    if (config.name == "adamw") slot.second = Tensor::zeros(p.value.shape(), p.value.options());
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

double Optimizer::group_rate(const Slot& slot, int64_t step) const {
  if (slot.group < 0) return learning_rate(step);
  const ParamGroupConfig& g = config_.groups[static_cast<size_t>(slot.group)];
  return tidepool::learning_rate(g.schedule, g.lr, step, steps_per_epoch_, total_steps_,
                                 g.first_epoch * steps_per_epoch_);
}

bool Optimizer::due(const Slot& slot, int64_t step) const {
  if (slot.group < 0) return true;
  const ParamGroupConfig& g = config_.groups[static_cast<size_t>(slot.group)];
  const int64_t since = step - g.first_epoch * steps_per_epoch_;
  return since >= 0 && (since + 1) % g.every == 0;
}

double Optimizer::clip_scale() const {
  if (!config_.grad_clip) return 1;
  double squares = 0;
  for (const Slot& slot : slots_) {
    const Tensor& grad = slot.parameter.value.grad();
    if (!grad) continue;
    const Tensor g = grad.contiguous();
    dispatch_floating(g.dtype(), "grad_clip", [&]<class T>(T) {
      const T* p = g.data<T>();
      for (int64_t i = 0; i < g.numel(); ++i) {
        const double v = static_cast<Acc<T>>(p[i]);
        squares += v * v;
      }
    });
  }
  const double norm = std::sqrt(squares);
  return norm > *config_.grad_clip ? *config_.grad_clip / (norm + 1e-6) : 1;  // the 1e-6 of torch's clip_grad_norm_
}

namespace {

constexpr int64_t kGrain = 4096;  // elements: small layers too are for all threads

struct Update {
  double rate, decay, momentum, scale;
  bool first;
};

// torch.optim.SGD: the first step sets the momentum to the gradient. Gradients are scaled by the clipping first.
template <bool kNesterov, class T>
void sgd(int64_t n, T* w, const T* grad, T* velocity, const Update& u) {
  const T rate = static_cast<T>(u.rate), decay = static_cast<T>(u.decay), momentum = static_cast<T>(u.momentum),
          scale = static_cast<T>(u.scale), keep = u.first ? T{0} : momentum;
  parallel_chunks(n, kGrain, [=](int64_t begin, int64_t end) {
    each_lane<T>(begin, end - begin, [=]<class V>(int64_t i) {
      const V before = load<V>(w + i), g = load<V>(grad + i) * scale + before * decay;
      const V v = load<V>(velocity + i) * keep + g;
      store(velocity + i, v);
      store(w + i, before - (kNesterov ? g + v * momentum : v) * rate);
    });
  });
}

struct AdamUpdate {
  double rate, decay, beta1, beta2, eps, scale;
  double correction1, correction2;
};

template <class V>
TP_INLINE V roots(V v) {
  if constexpr (kLanes<V> == 1)
    return std::sqrt(v);
  else
    for (int i = 0; i < kLanes<V>; ++i) v[i] = std::sqrt(v[i]);
  return v;
}

template <class T>
void adamw(int64_t n, T* w, const T* grad, T* m, T* v, const AdamUpdate& u) {
  const T shrink = static_cast<T>(1 - u.rate * u.decay), b1 = static_cast<T>(u.beta1), b2 = static_cast<T>(u.beta2);
  const T size = static_cast<T>(u.rate / u.correction1), root = static_cast<T>(1 / std::sqrt(u.correction2));
  const T eps = static_cast<T>(u.eps), scale = static_cast<T>(u.scale);
  parallel_chunks(n, kGrain, [=](int64_t begin, int64_t end) {
    each_lane<T>(begin, end - begin, [=]<class V>(int64_t i) {
      const V g = load<V>(grad + i) * scale;
      const V first = load<V>(m + i) * b1 + g * (1 - b1), second = load<V>(v + i) * b2 + g * g * (1 - b2);
      store(m + i, first);
      store(v + i, second);
      store(w + i, load<V>(w + i) * shrink - first * size / (roots(second) * root + eps));
    });
  });
}

}  // namespace

void Optimizer::step(int64_t step) {
  const double scale = clip_scale();
  for (Slot& slot : slots_) {
    const Tensor& value = slot.parameter.value;
    if (!value.grad()) continue;
    const Tensor grad = value.grad().to(value.dtype()).contiguous(value.format());
    value.set_grad({});
    if (!due(slot, step)) continue;
    const ParamGroupConfig* group = slot.group < 0 ? nullptr : &config_.groups[static_cast<size_t>(slot.group)];
    // How many updates this parameter has had: AdamW's bias correction and SGD's first step count its own.
    const int64_t updates = group ? (step - group->first_epoch * steps_per_epoch_) / group->every : step;
    const double rate = group_rate(slot, step);
    const auto run = [&]<class T>(T) {
      if (config_.name == "adamw") {
        const auto t = static_cast<double>(updates + 1);
        adamw<T>(value.numel(), value.data<T>(), grad.data<T>(), slot.first.data<T>(), slot.second.data<T>(),
                 {.rate = rate,
                  .decay = slot.weight_decay,
                  .beta1 = config_.beta1,
                  .beta2 = config_.beta2,
                  .eps = config_.eps,
                  .scale = scale,
                  .correction1 = 1 - std::pow(config_.beta1, t),
                  .correction2 = 1 - std::pow(config_.beta2, t)});
      } else {
        const Update update{.rate = rate,
                            .decay = slot.weight_decay,
                            .momentum = group ? group->momentum : config_.momentum,
                            .scale = scale,
                            .first = updates == 0};
        const auto kernel = config_.nesterov ? sgd<true, T> : sgd<false, T>;
        kernel(value.numel(), value.data<T>(), grad.data<T>(), slot.first.data<T>(), update);
      }
    };
    if (value.dtype() == DType::f64)
      run(double{});
    else
      run(float{});
    value.mark_written();
  }
}

std::vector<std::pair<std::string, Tensor>> Optimizer::state() const {
  std::vector<std::pair<std::string, Tensor>> state;
  const bool adam = config_.name == "adamw";
  for (const Slot& slot : slots_) {
    state.emplace_back(slot.parameter.name + (adam ? "/moment1" : "/momentum"), slot.first);
    if (adam) state.emplace_back(slot.parameter.name + "/moment2", slot.second);
  }
  return state;
}

}  // namespace tidepool
