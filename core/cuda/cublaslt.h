// Matrix products by cublasLt, without the library's types.
#pragma once
#include <string>

#include "core/backend/caches.h"
#include "core/tensor.h"

namespace tidepool::cublaslt {

/// "" when matrix products run by cublasLt here, or what is missing.
std::string problem();
/// Of the library at run time, "13.0.2"; "" without it.
std::string version();

/// As MatmulTable::matmul; false for types and sizes that are not its. A bias of another type than y is rounded to y's
/// before it is added. The algorithm is the library's first proposal, kept by shapes; partial sums are f32 and added in
/// one order, so that the bits repeat.
bool matmul(const Tensor& a, const Tensor& b, const Tensor& bias, const Tensor& y);

void forget_plans();
void add_to(CacheStats& stats);

}  // namespace tidepool::cublaslt
