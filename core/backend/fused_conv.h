// Convolutions with the batch norm and activation before or behind them in one pass over memory: a capability that a
// backend may have for a case and that layers/fused/ asks for. Without it the passes run one after the other.
#pragma once
#include "core/backend/activation.h"
#include "core/backend/conv.h"

namespace tidepool {

/// A batch norm and activation that a convolution applies on its way: constants f32 [3, C], rows mean, scale, shift of
/// act((v - mean) scale + shift). Undefined constants: none.
struct NormAct {
  Tensor constants;
  Act act = Act::none;

  explicit operator bool() const { return static_cast<bool>(constants); }
};

/// Moments of a result, gathered while it is stored, by chunk: parts f64 [chunks, 2, C], mean and sum of squares about
/// it; counts f64 [chunks].
struct ResultMoments {
  Tensor parts, counts;
};

/// How the forward reads x and what it does with y.
struct ForwardFusion {
  NormAct read{};                    ///< of x
  NormAct write{};                   ///< of y
  ResultMoments* moments = nullptr;  ///< of y as it is stored
};

/// The gradient dy of a result y that a batch norm and activation follow, formed from dz behind the activation where it
/// is read: dy = scale g + (y - mean) slope + offset, g the gradient of the norm. Undefined y: dz is dy itself.
struct GradientFusion {
  Tensor y;
  NormAct norm;
  Tensor line;  ///< f32 [2, C]: slope, offset
};

/// The results of a backward, all set.
struct ConvGradients {
  Tensor dx{};  ///< behind x's own norm and activation; undefined: not wanted
  Tensor dw{};
  /// f64 [2, C] as norm::gradient_sums has them, of x's own norm; undefined: not wanted.
  Tensor sums{};
};

/// Arguments as in ConvTable; `choice` is what choose() gave for the case.
struct FusedConvTable {
  const char* name;
  /// The algorithm that does all three directions of this case, or 0: none.
  int (*choose)(const Tensor& x, const Tensor& w, const ConvOptions& o);
  /// Whether it applies a norm with this activation on its way.
  bool (*applies)(Act act);
  bool gives_sums;  ///< whether backward sets ConvGradients::sums
  void (*forward)(int choice, const Tensor& x, const Tensor& w, const Tensor& bias, const ConvOptions& o,
                  const Tensor& y, const ForwardFusion& fusion);
  /// `read`: of x. dz: of y or, with fusion, behind its norm and activation.
  void (*backward)(int choice, const Tensor& x, const NormAct& read, const Tensor& dz, const GradientFusion& fusion,
                   const Tensor& w, const ConvOptions& o, const ConvGradients& gradients);
};

namespace backend {
template <>
std::span<const FusedConvTable* const> tables<FusedConvTable>(Device device);
}

/// The table and algorithm that do a case; false: none does.
struct FusedConv {
  const FusedConvTable* table = nullptr;
  int choice = 0;

  explicit operator bool() const { return choice != 0; }
};
inline FusedConv fused_conv(const Tensor& x, const Tensor& w, const ConvOptions& o) {
  for (const FusedConvTable* table : backend::tables<FusedConvTable>(x.device()))
    if (const int choice = table->choose(x, w, o)) return {table, choice};
  return {};
}

}  // namespace tidepool
