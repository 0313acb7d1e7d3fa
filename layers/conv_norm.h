// Convolution, batch norm and ReLU as one operator: the statistics are gathered while the convolution stores its
// result, the norm is applied where the next operator reads, and its gradient where the convolution's gradients read.
// So the map between norm and next convolution is never written, and not kept. The same numbers as `convolution` and
// `batch_norm` one after the other, to rounding; those two stay as its test.
#pragma once
#include "layers/conv.h"
#include "layers/norm.h"
#include "layers/norm_passes.h"

namespace tidepool {

/// Tensors of the operator, as convolution() and batch_norm() have them; bias may be undefined.
struct ConvNorm {
  Tensor weight, bias, gamma, beta, running_mean, running_var;
};

/// A map behind a batch norm and ReLU that may not be written yet. Any map is one that is.
class NormedMap {
 public:
  NormedMap(const Tensor& written) : map_(written) {}  // NOLINT: implicit, as said
  const Dims& shape() const { return map_.shape(); }
  /// The map itself; written now, and recorded, when it was not.
  Tensor tensor() const;

  // For an operator that applies the norm where it reads. What it records comes from raw(), whose history is that of
  // the map behind the norm; its gradient is that map's.
  /// What stands in memory.
  const Tensor& raw() const { return map_; }
  /// norm::constants of what is still to be done; undefined: nothing.
  const Tensor& constants() const { return constants_; }
  /// Where that gradient's sums may be left.
  const norm::KnownSums& sums() const { return sums_; }

 private:
  friend NormedMap conv_norm_relu(const NormedMap&, const ConvNorm&, const ConvOptions&, const BatchNormOptions&);
  friend bool conv_norm_fuses(const NormedMap&, const ConvNorm&);
  NormedMap(const Tensor& raw, const Tensor& constants, const norm::KnownSums& sums)
      : map_(raw), constants_(constants), sums_(sums) {}

  Tensor written() const;

  Tensor map_, constants_;
  norm::KnownSums sums_;
};

/// Whether the operator does the case: 2-D maps of f32 or bf16 on the CPU, channels-last, weights of f32, and at least
/// one image. Otherwise take the two operators one after the other.
bool conv_norm_fuses(const NormedMap& x, const ConvNorm& p);

/// relu(batch_norm(convolution(x))). options.relu is taken as true. Without a tape and with running statistics the norm
/// is applied as the convolution stores its result. Keeps x (before its own norm), the convolution's result and 2 C
/// numbers. Throws Error("[conv] ...") and Error("[batch_norm] ...").
NormedMap conv_norm_relu(const NormedMap& x, const ConvNorm& p, const ConvOptions& conv, const BatchNormOptions& norm);

}  // namespace tidepool
