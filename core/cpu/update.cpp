#include <algorithm>
#include <cmath>
#include <vector>

#include "core/cpu/tables.h"
#include "core/lanes.h"
#include "core/parallel.h"

namespace tidepool {
namespace {

bool is_of_one_type(std::span<const ParameterUpdate> parameters) {
  return std::all_of(parameters.begin(), parameters.end(),
                     [](const ParameterUpdate& p) { return p.grad.dtype() == p.value.dtype(); });
}

template <class T, class Make>
void update_elements_of(std::span<const ParameterUpdate> parameters, const Make& make) {
  constexpr int64_t kGrain = 4096;  // elements: small parameters too are for all threads
  constexpr int64_t kVector = 16;   // a multiple of every vector's lanes
  using Body = decltype(make.template operator()<T>(parameters.front()));
  struct Piece {
    Body body;
    int64_t begin, numel;
  };
  // The parameters lie end to end, each from a multiple of kVector on, so that only its own last elements are scalars:
  // the bits of an element do not depend on what else is updated.
  std::vector<Piece> pieces;
  pieces.reserve(parameters.size());
  int64_t all = 0;
  for (const ParameterUpdate& p : parameters) {
    pieces.push_back({make.template operator()<T>(p), all, p.value.numel()});
    all += (p.value.numel() + kVector - 1) / kVector * kVector;
  }
  parallel_chunks(all, kGrain, [&](int64_t begin, int64_t end) {
    auto piece =
        std::upper_bound(pieces.begin(), pieces.end(), begin, [](int64_t at, const Piece& p) { return at < p.begin; });
    for (--piece; piece != pieces.end() && piece->begin < end; ++piece) {
      const Body body = piece->body;  // a copy, whose pointers no store can change
      const int64_t first = std::max<int64_t>(begin - piece->begin, 0);
      const int64_t last = std::min(end - piece->begin, piece->numel);
      if (first < last) each_lane<T>(first, last - first, body);
    }
  });
}

// One parallel loop over the elements of all parameters. `make.template operator()<T>(parameter)` gives what is done
// to an element of one: a function of each_lane's kind.
template <class Make>
void update_elements(std::span<const ParameterUpdate> parameters, const Make& make) {
  if (parameters.empty()) return;
  if (parameters.front().value.dtype() == DType::f64)
    update_elements_of<double>(parameters, make);
  else
    update_elements_of<float>(parameters, make);
}

// The square root of each lane.
template <class V>
TP_INLINE V roots(V v) {
  if constexpr (kLanes<V> == 1)
    return std::sqrt(v);
  else
    for (int i = 0; i < kLanes<V>; ++i) v[i] = std::sqrt(v[i]);
  return v;
}

template <bool kNesterov>
void sgd_as(std::span<const ParameterUpdate> parameters, const UpdateStep& step, const SgdConstants& constants) {
  update_elements(parameters, [&]<class T>(const ParameterUpdate& p) {
    const T rate = static_cast<T>(step.rate), decay = static_cast<T>(p.weight_decay),
            momentum = static_cast<T>(constants.momentum), scale = static_cast<T>(grad_scale(step)),
            keep = step.updates == 0 ? T{0} : momentum;
    T* w = p.value.mutable_data<T>();
    const T* grad = p.grad.data<T>();
    T* velocity = p.state[0].mutable_data<T>();
    return [=]<class V>(int64_t i) {
      const V before = load<V>(w + i), g = load<V>(grad + i) * scale + before * decay;
      const V v = load<V>(velocity + i) * keep + g;
      store(velocity + i, v);
      store(w + i, before - (kNesterov ? g + v * momentum : v) * rate);
    };
  });
}

bool sgd(std::span<const ParameterUpdate> parameters, const UpdateStep& step, const SgdConstants& constants) {
  if (!is_of_one_type(parameters)) return false;
  if (stopped(step.go)) return true;
  if (constants.nesterov)
    sgd_as<true>(parameters, step, constants);
  else
    sgd_as<false>(parameters, step, constants);
  return true;
}

bool adamw(std::span<const ParameterUpdate> parameters, const UpdateStep& step, const AdamWConstants& constants) {
  if (!is_of_one_type(parameters)) return false;
  if (stopped(step.go)) return true;
  const auto t = static_cast<double>(step.updates + 1);
  const double beta1 = constants.betas[0], beta2 = constants.betas[1];
  const double correction1 = 1 - std::pow(beta1, t), correction2 = 1 - std::pow(beta2, t);
  update_elements(parameters, [&]<class T>(const ParameterUpdate& p) {
    const T shrink = static_cast<T>(1 - step.rate * p.weight_decay), b1 = static_cast<T>(beta1),
            b2 = static_cast<T>(beta2);
    const T size = static_cast<T>(step.rate / correction1), root = static_cast<T>(1 / std::sqrt(correction2));
    const T eps = static_cast<T>(constants.eps), scale = static_cast<T>(grad_scale(step));
    T* w = p.value.mutable_data<T>();
    const T* grad = p.grad.data<T>();
    T* m = p.state[0].mutable_data<T>();
    T* v = p.state[1].mutable_data<T>();
    return [=]<class V>(int64_t i) {
      const V g = load<V>(grad + i) * scale;
      const V first = load<V>(m + i) * b1 + g * (1 - b1), second = load<V>(v + i) * b2 + g * g * (1 - b2);
      store(m + i, first);
      store(v + i, second);
      store(w + i, load<V>(w + i) * shrink - first * size / (roots(second) * root + eps));
    };
  });
  return true;
}

template <bool kMomentum, bool kCentered>
void rmsprop_as(std::span<const ParameterUpdate> parameters, const UpdateStep& step,
                const RmspropConstants& constants) {
  update_elements(parameters, [&]<class T>(const ParameterUpdate& p) {
    const T rate = static_cast<T>(step.rate), decay = static_cast<T>(p.weight_decay),
            scale = static_cast<T>(grad_scale(step));
    const T alpha = static_cast<T>(constants.alpha), rest = static_cast<T>(1 - constants.alpha),
            eps = static_cast<T>(constants.eps), momentum = static_cast<T>(constants.momentum);
    T* w = p.value.mutable_data<T>();
    const T* grad = p.grad.data<T>();
    T* square = p.state[0].mutable_data<T>();
    T* buffer = kMomentum ? p.state[1].mutable_data<T>() : nullptr;
    T* average = kCentered ? p.state[kMomentum ? 2 : 1].mutable_data<T>() : nullptr;
    return [=]<class V>(int64_t i) {
      const V before = load<V>(w + i), g = load<V>(grad + i) * scale + before * decay;
      const V s = load<V>(square + i) * alpha + g * g * rest;
      store(square + i, s);
      V spread = s;
      if constexpr (kCentered) {
        const V a = load<V>(average + i) * alpha + g * rest;
        store(average + i, a);
        spread = max_number(s - a * a, V{});  // rounding can make it negative, and the root NaN
      }
      V u = g / (roots(spread) + eps);
      if constexpr (kMomentum) {
        u = load<V>(buffer + i) * momentum + u;
        store(buffer + i, u);
      }
      store(w + i, before - u * rate);
    };
  });
}

bool rmsprop(std::span<const ParameterUpdate> parameters, const UpdateStep& step, const RmspropConstants& constants) {
  if (!is_of_one_type(parameters)) return false;
  if (stopped(step.go)) return true;
  if (constants.momentum > 0)
    constants.centered ? rmsprop_as<true, true>(parameters, step, constants)
                       : rmsprop_as<true, false>(parameters, step, constants);
  else
    constants.centered ? rmsprop_as<false, true>(parameters, step, constants)
                       : rmsprop_as<false, false>(parameters, step, constants);
  return true;
}

bool moving_average(std::span<const Tensor> current, double decay, std::span<const Tensor> average, const Tensor& go) {
  if (stopped(go)) return true;
  for (size_t k = 0; k < average.size(); ++k)
    dispatch_floating(current[k].dtype(), "moving average", [&]<class T>(T) {
      using A = Acc<T>;
      const T* from = current[k].data<T>();
      T* to = average[k].mutable_data<T>();
      const A keep = static_cast<A>(decay), take = static_cast<A>(1 - decay);
      parallel_chunks(current[k].numel(), 16384, [&](int64_t begin, int64_t end) {
        for (int64_t j = begin; j < end; ++j)
          to[j] = static_cast<T>(keep * static_cast<A>(to[j]) + take * static_cast<A>(from[j]));
      });
    });
  return true;
}

}  // namespace

const UpdateTable cpu::kUpdate{
    .name = "vector loops", .sgd = sgd, .adamw = adamw, .rmsprop = rmsprop, .moving_average = moving_average};

}  // namespace tidepool
