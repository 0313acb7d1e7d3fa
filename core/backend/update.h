// Updates of parameters by an optimizer, and moving averages. The optimizers' keys and states are in train/optimizers/.
#pragma once
#include <array>
#include <cmath>
#include <cstdint>

#include "core/backend/table.h"

namespace tidepool {

/// One parameter's share of an update: tensors of one shape, layout and type (f32 or f64; the gradient may be of bf16).
struct ParameterUpdate {
  Tensor value, grad;
  std::span<const Tensor> state;  ///< in the order that the optimizer's entry says
  double weight_decay = 0;

  template <class F>
  void each_tensor(const F& f) const {
    f(value);
    f(grad);
    for (const Tensor& t : state) f(t);
  }
};

/// What all parameters of an update share.
struct UpdateStep {
  double rate = 0;
  /// Clipping: where the root of `squares`, f64 [1], the sum of squares of all gradients, is over `clip`, gradients are
  /// multiplied by clip / (root + kClipEpsilon) first. Undefined: no clipping.
  Tensor squares{};
  double clip = 0;
  Tensor go{};          ///< i32 [1]: 0: nothing is updated. Undefined: all is
  int64_t updates = 0;  ///< that these parameters have had

  template <class F>
  void each_tensor(const F& f) const {
    f(squares);
    f(go);
  }
};
inline constexpr double kClipEpsilon = 1e-6;  ///< as torch's clip_grad_norm_ has it

// What these say to entries that run on the host.
inline bool stopped(const Tensor& go) {
  return go && go.item() == 0;
}
inline double grad_scale(const UpdateStep& step) {
  if (!step.squares) return 1;
  const double norm = std::sqrt(step.squares.item());
  return norm > step.clip ? step.clip / (norm + kClipEpsilon) : 1;
}

/// Constants of the optimizers, with torch.optim's defaults.
struct SgdConstants {
  double momentum = 0.9;
  bool nesterov = true;
};
struct AdamWConstants {
  std::array<double, 2> betas{0.9, 0.999};
  double eps = 1e-8;
};
struct RmspropConstants {
  double alpha = 0.99;
  double eps = 1e-8;
  double momentum = 0;
  bool centered = false;
};

/// Entries write the parameters and their state. All parameters of a call are of one type.
struct UpdateTable {
  const char* name;
  /// g += decay w; v = momentum v + g, at first g; w -= rate v (Nesterov: rate (g + momentum v)). State: v.
  bool (*sgd)(std::span<const ParameterUpdate> parameters, const UpdateStep& step, const SgdConstants& constants);
  /// w -= rate decay w; m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2;
  /// w -= rate m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps). State: m, v.
  bool (*adamw)(std::span<const ParameterUpdate> parameters, const UpdateStep& step, const AdamWConstants& constants);
  /// g += decay w; s = alpha s + (1 - alpha) g^2; u = g / (sqrt(s) + eps); b = momentum b + u; w -= rate b.
  /// Centered: a = alpha a + (1 - alpha) g, and s - a^2 instead of s under the root. State: s, b with momentum, a when
  /// centered.
  bool (*rmsprop)(std::span<const ParameterUpdate> parameters, const UpdateStep& step,
                  const RmspropConstants& constants);
  /// average = decay average + (1 - decay) current of each pair, dense and of one floating type; `go` as in UpdateStep.
  bool (*moving_average)(std::span<const Tensor> current, double decay, std::span<const Tensor> average,
                         const Tensor& go);
};

namespace backend {
template <>
std::span<const UpdateTable* const> tables<UpdateTable>(Device device);
}

inline void sgd_update(std::span<const ParameterUpdate> p, const UpdateStep& step, const SgdConstants& constants) {
  backend::run("sgd", &UpdateTable::sgd, p, step, constants);
}
inline void adamw_update(std::span<const ParameterUpdate> p, const UpdateStep& step, const AdamWConstants& constants) {
  backend::run("adamw", &UpdateTable::adamw, p, step, constants);
}
inline void rmsprop_update(std::span<const ParameterUpdate> p, const UpdateStep& step,
                           const RmspropConstants& constants) {
  backend::run("rmsprop", &UpdateTable::rmsprop, p, step, constants);
}
inline void moving_average_update(std::span<const Tensor> current, double decay, std::span<const Tensor> average,
                                  const Tensor& go = {}) {
  backend::run("moving average", &UpdateTable::moving_average, current, decay, average, go);
}

}  // namespace tidepool
