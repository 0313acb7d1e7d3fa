// The norm kernels of core/backend/norm.h over a few rows in cache, on the calling thread, for kernels that read
// through a norm or gather what a norm needs as they write. Rows are of C channels, of f32 or bf16; constants: f32
// [3, C].
#pragma once
#include <algorithm>

#include "core/backend/norm.h"

namespace tidepool::norm {

/// Rows `step` elements apart.
template <class T>
struct Rows {
  T* first;
  int64_t step;
};

/// y = act(norm(x)).
template <class T, class O>
void apply_rows(Rows<const T> x, int64_t rows, int64_t channels, const float* constants, Act act, Rows<O> y);

/// dx = scale g + (x - mean) slope + offset, g the gradient of the norm, dz that of the activation; line f32 [2, C]:
/// slope, offset.
template <class T>
void gradient_rows(Rows<const T> x, Rows<const T> dz, int64_t rows, int64_t channels, const float* constants,
                   const float* line, Act act, Rows<float> dx);

/// sums f64 [2, C] (added to) of g and of g (x - mean).
template <class T, class D>
void add_gradient_sums(Rows<const T> x, Rows<const D> dz, int64_t rows, int64_t channels, const float* constants,
                       Act act, double* sums);

/// moments f64 [2, C] (set): mean and sum of squares about it, of at least one row.
template <class T>
void moments_of_rows(Rows<const T> x, int64_t rows, int64_t channels, double* moments);

/// Dense rows.
template <class T>
void apply_rows(const T* x, int64_t rows, int64_t channels, const float* constants, Act act, T* y) {
  apply_rows<T, T>({x, channels}, rows, channels, constants, act, {y, channels});
}
/// The same, sums set.
template <class T>
void gradient_sums_of_rows(const T* x, const T* dz, int64_t rows, int64_t channels, const float* constants, Act act,
                           double* sums) {
  std::fill_n(sums, 2 * channels, 0.0);
  add_gradient_sums<T, T>({x, channels}, {dz, channels}, rows, channels, constants, act, sums);
}

}  // namespace tidepool::norm
