// The passes of core/backend/norm.h over a few rows in cache, for kernels that read through a norm.
#pragma once
#include "core/backend/norm.h"

namespace tidepool::norm {

/// y = act(norm(x)) of `rows` rows of C channels, on this thread: x and y [rows, C] of f32 or bf16, constants f32
/// [3, C].
template <class T>
void apply_rows(const T* x, int64_t rows, int64_t channels, const float* constants, Act act, T* y);
extern template void apply_rows(const float*, int64_t, int64_t, const float*, Act, float*);
extern template void apply_rows(const bf16*, int64_t, int64_t, const float*, Act, bf16*);

/// Of `rows` rows, on this thread: sums f64 [2, C] (set) of g and of g (x - mean), g the gradient of the norm, dz that
/// of the activation.
template <class T>
void gradient_sums_of_rows(const T* x, const T* dz, int64_t rows, int64_t channels, const float* constants, Act act,
                           double* sums);
extern template void gradient_sums_of_rows(const float*, const float*, int64_t, int64_t, const float*, Act, double*);
extern template void gradient_sums_of_rows(const bf16*, const bf16*, int64_t, int64_t, const float*, Act, double*);

}  // namespace tidepool::norm
