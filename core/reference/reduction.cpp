#include "core/backend/reduction.h"

#include <cmath>

#include "core/reference/elements.h"
#include "core/reference/tables.h"
#include "core/sums.h"

namespace tidepool::reference {
namespace {

bool global_mean(const Tensor& x, const Tensor& y) {
  const MapShape m(x);
  const Elements in(x);
  const Results out(y);
  for (int64_t row = 0; row < out.size(); ++row) {
    double sum = 0;
    for (int64_t p = 0; p < m.positions; ++p) sum += in[row * m.positions + p];
    out.set(row, sum / static_cast<double>(m.positions));
  }
  return true;
}

bool global_mean_backward(const Tensor& dy, const Tensor& dx) {
  const MapShape m(dx);
  const Elements g(dy);
  const Results out(dx);
  for (int64_t i = 0; i < out.size(); ++i) out.set(i, g[i / m.positions] / static_cast<double>(m.positions));
  return true;
}

bool column_sums(const Tensor& x, const Tensor& sums) {
  const Elements in(x);
  const Results out(sums);
  for (int64_t j = 0; j < out.size(); ++j) {
    double sum = 0;
    for (int64_t i = 0; i < x.size(0); ++i) sum += in[i * x.size(1) + j];
    out.set(j, sum);
  }
  return true;
}

bool sum_of_squares(std::span<const Tensor> tensors, const Tensor& sum) {
  double squares = 0;
  for (const Tensor& t : tensors)
    dispatch_floating(t.dtype(), "sum_of_squares", [&]<class T>(T) {
      const T* p = t.data<T>();
      for (int64_t i = 0; i < t.numel(); ++i) {
        const double v = load_exact(p + i);
        squares += v * v;
      }
    });
  sum.mutable_data<double>()[0] = squares;
  return true;
}

bool all_finite(const Tensor& x, bool* finite) {
  const Elements in(x);
  *finite = true;
  for (int64_t i = 0; i < in.size(); ++i) *finite = *finite && std::isfinite(in[i]);
  return true;
}

bool clear_flag(const Tensor& x, const Tensor& flag) {
  bool finite = true;
  all_finite(x, &finite);
  if (!finite) Results(flag).set(0, 0);
  return true;
}

}  // namespace

const ReductionTable kReduction{.name = "reference",
                                .global_mean = global_mean,
                                .global_mean_backward = global_mean_backward,
                                .column_sums = column_sums,
                                .sum_of_squares = sum_of_squares,
                                .clear_unless_finite = clear_flag,
                                .all_finite = all_finite};

}  // namespace tidepool::reference
