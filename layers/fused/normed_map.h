// A map behind a batch norm and an activation that may not be written yet: what the operators of layers/fused/ give and
// read. Everything else sees the written map.
#pragma once
#include <optional>
#include <span>

#include "core/tensor.h"
#include "layers/activation.h"

namespace tidepool {

struct PoolMode;

/// Any map is one that is written.
class NormedMap {
 public:
  NormedMap() = default;
  NormedMap(const Tensor& written) : map_(written) {}  // NOLINT: implicit, as said
  /// act(norm(raw)). `sums`: a second output of the node that made `raw`, see below.
  NormedMap(const Tensor& raw, const Tensor& constants, Act act, const Tensor& sums)
      : map_(raw), constants_(constants), sums_(sums), act_(act) {}

  explicit operator bool() const { return static_cast<bool>(map_); }
  const Dims& shape() const { return map_.shape(); }
  bool written() const { return !constants_; }
  /// The map itself; written now, and recorded, when it was not.
  Tensor tensor() const;
  /// The same without history.
  Tensor values() const;

  // For an operator that applies the norm where it reads. It records raw() and sums() as inputs.
  /// What stands in memory. Its tape edge carries the gradient of the map, after norm and activation.
  const Tensor& raw() const { return map_; }
  /// `constants` (core/backend/norm.h) of what is still to be done; undefined: nothing.
  const Tensor& constants() const { return constants_; }
  Act act() const { return act_; }
  /// Its gradient is the batch-norm reductions of the map's gradient, f64 [2, C] as norm::gradient_sums_of_rows has
  /// them, where the operator takes them while that gradient is in cache; without it the norm computes them. Only the
  /// map's one reader may do so: with two they would be of a part of the gradient.
  const Tensor& sums() const { return sums_; }

 private:
  Tensor map_, constants_, sums_;
  Act act_ = Act::none;
};

/// An operator on maps that can apply the norm of its input where it reads; a pooling operator's file offers it by
/// deriving from this beside PoolOperator.
class ReadsNorm {
 public:
  virtual ~ReadsNorm() = default;
  /// Its forward of the map that x stands for, recorded; undefined when it does not do these shapes. Throws as its
  /// forward does.
  virtual Tensor forward_through_norm(const NormedMap& x, std::span<const Tensor> parameters,
                                      const PoolMode& mode) const = 0;
};

}  // namespace tidepool
