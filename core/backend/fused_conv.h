// Convolutions with the batch norm and ReLU before or behind them in one pass over memory: a capability that a backend
// may have for a case and that layers/fused/ asks for. Without it the passes run one after the other.
#pragma once
#include "core/backend/conv.h"

namespace tidepool {

/// A batch norm and ReLU that a convolution applies on its way: f32 [3, C], rows mean, scale, shift of
/// max(0, (v - mean) scale + shift). Undefined: none.
using NormConstants = Tensor;

/// Moments of a result, gathered while it is stored, by chunk: parts f64 [chunks, 2, C], mean and sum of squares about
/// it; counts f64 [chunks].
struct ResultMoments {
  Tensor parts, counts;
};

/// How the forward reads x and what it does with y.
struct ForwardFusion {
  NormConstants read{};              ///< of x
  NormConstants write{};             ///< of y
  ResultMoments* moments = nullptr;  ///< of y as it is stored
};

/// The gradient dy of a result y that a batch norm and ReLU follow, formed from dz behind the ReLU where it is read:
/// dy = scale g + (y - mean) slope + offset, g = dz where the norm is over 0. Undefined y: dz is dy itself.
struct GradientFusion {
  Tensor y;
  NormConstants constants;
  Tensor line;  ///< f32 [2, C]: slope, offset
};

/// Arguments as in ConvTable; `choice` is what choose() gave for the case.
struct FusedConvTable {
  const char* name;
  /// The algorithm that does all three directions of this case, or 0: none.
  int (*choose)(const Tensor& x, const Tensor& w, const ConvOptions& o);
  void (*forward)(int choice, const Tensor& x, const Tensor& w, const Tensor& bias, const ConvOptions& o,
                  const Tensor& y, const ForwardFusion& fusion);
  /// dz: of y or, with fusion, behind its norm and ReLU.
  void (*backward_data)(int choice, const Tensor& dz, const Tensor& w, const ConvOptions& o, const Tensor& dx,
                        const GradientFusion& fusion);
  /// `read`: of x. dbias (or undefined) is the sum of dz: without fusion only.
  void (*backward_weights)(int choice, const Tensor& x, const Tensor& dz, const ConvOptions& o, const Tensor& dw,
                           const Tensor& dbias, const NormConstants& read, const GradientFusion& fusion);
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
