// Matrix products. Nothing is recorded here.
#pragma once
#include "core/backend/table.h"

namespace tidepool {

struct MatmulTable {
  const char* name;
  /// y = a b + bias: a [M, K], b [K, N], y [M, N] dense; a and b may be transposed views. a and b of one type, y of
  /// that type or f32 (bf16 products); bias [N] f32 or y's type, or undefined.
  bool (*matmul)(const Tensor& a, const Tensor& b, const Tensor& bias, const Tensor& y);
};

/// Empty results and empty sums are done here; the log says once where the reference does another type than f64.
void matmul(const Tensor& a, const Tensor& b, const Tensor& bias, const Tensor& y);

namespace backend {
template <>
std::span<const MatmulTable* const> tables<MatmulTable>(Device device);
}

}  // namespace tidepool
