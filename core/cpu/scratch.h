// Scratch memory for each thread of a parallel loop.
#pragma once
#include <omp.h>

#include <cstdint>

#include "core/tensor.h"

namespace tidepool {

class Scratch {
 public:
  /// `floats` for each thread, neighbours' apart from each other.
  explicit Scratch(int64_t floats)
      : floats_((floats + 31) / 16 * 16),
        all_(Tensor::empty({omp_get_max_threads() * floats_})),
        data_(all_.mutable_data<float>()) {}

  /// The calling thread's.
  float* own() const { return data_ + omp_get_thread_num() * floats_; }

 private:
  int64_t floats_;
  Tensor all_;
  float* data_;
};

}  // namespace tidepool
