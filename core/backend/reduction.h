// Sums over a tensor or over some of its axes. Nothing is recorded here. Tensors are dense.
#pragma once
#include "core/backend/table.h"

namespace tidepool {

struct ReductionTable {
  const char* name;
  /// y [N, C] = the mean over the positions of x [N, C, spatial], in x's type.
  bool (*global_mean)(const Tensor& x, const Tensor& y);
  /// dx [N, C, spatial] = dy [N, C] over the number of positions, at each.
  bool (*global_mean_backward)(const Tensor& dy, const Tensor& dx);
  /// sums [N] of the columns of x [M, N] plain, over f64 in the order of the rows; the types may differ.
  bool (*column_sums)(const Tensor& x, const Tensor& sums);
  /// sum f64 [1] of the squares of all elements of all tensors, in f64 and in order.
  bool (*sum_of_squares)(std::span<const Tensor> tensors, const Tensor& sum);
  /// flag i32 [1] = 0 where an element is not finite; else it stays. x of a floating type, not empty.
  bool (*clear_unless_finite)(const Tensor& x, const Tensor& flag);
  /// *finite: whether every element is. x of a floating type.
  bool (*all_finite)(const Tensor& x, bool* finite);
};

namespace backend {
template <>
std::span<const ReductionTable* const> tables<ReductionTable>(Device device);
}

inline void global_mean(const Tensor& x, const Tensor& y) {
  backend::run("global_avg", &ReductionTable::global_mean, x, y);
}
inline void global_mean_backward(const Tensor& dy, const Tensor& dx) {
  backend::run("global_avg", &ReductionTable::global_mean_backward, dy, dx);
}
inline void column_sums(const Tensor& x, const Tensor& sums) {
  backend::run("column_sums", &ReductionTable::column_sums, x, sums);
}
/// f64 [1], on the device of the tensors; there is at least one.
inline Tensor sum_of_squares(std::span<const Tensor> tensors) {
  const Tensor sum = Tensor::empty({1}, {.dtype = DType::f64, .device = tensors[0].device()});
  backend::run("sum_of_squares", &ReductionTable::sum_of_squares, tensors, sum);
  return sum;
}
inline void clear_unless_finite(const Tensor& x, const Tensor& flag) {
  backend::run("all_finite", &ReductionTable::clear_unless_finite, x, flag);
}
/// Whether every element is finite; true of whole numbers.
inline bool all_finite(const Tensor& x) {
  if (!is_floating(x.dtype())) return true;
  bool finite = true;
  backend::run("all_finite", &ReductionTable::all_finite, x.contiguous(), &finite);
  return finite;
}

}  // namespace tidepool
