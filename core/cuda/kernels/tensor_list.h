// One launch over many tensors: a block takes a run of one tensor's elements.
#pragma once
#include <span>
#include <vector>

#include "core/cuda/block.h"

namespace tidepool::cuda {

inline constexpr uint32_t kListed = 56, kListRun = 4096;  // tensors of a launch, elements of a block

/// Tensors of one launch, P: what the kernel needs of each; with the first of each one's blocks.
template <class P>
struct TensorList {
  P tensors[kListed];
  uint32_t elements[kListed], first_block[kListed + 1];
  uint32_t count;

  uint32_t blocks() const { return first_block[count]; }

#if defined(TP_DEVICE_PASS)
  /// f(tensor, i) for the elements that this thread of a block takes.
  template <class F>
  __device__ void each_of_block(const F& f) const {
    uint32_t t = 0;
    while (blockIdx.x >= first_block[t + 1]) ++t;
    const uint32_t begin = (blockIdx.x - first_block[t]) * kListRun;
    const uint32_t end = elements[t] - begin < kListRun ? elements[t] : begin + kListRun;
    for (uint32_t i = begin + threadIdx.x; i < end; i += blockDim.x) f(tensors[t], i);
  }
#endif
};

/// put(list) for lists that together hold `tensor(k)`, k < n, of `elements(k)` elements each.
template <class P, class Tensors, class Elements, class Put>
void each_list(size_t n, const Tensors& tensor, const Elements& elements, const Put& put) {
  for (size_t k = 0; k < n;) {
    TensorList<P> list{};
    while (k < n && list.count < kListed) {
      const uint32_t size = narrow(elements(k));
      if (size > 0) {
        list.tensors[list.count] = tensor(k);
        list.elements[list.count] = size;
        list.first_block[list.count + 1] = list.first_block[list.count] + (size + kListRun - 1) / kListRun;
        ++list.count;
      }
      ++k;
    }
    put(list);
  }
}

/// f(T{}, places) for each type that some of the tensors have, with their places.
template <class F>
void each_type(std::span<const Tensor> tensors, const F& f) {
  for (const DType type : {DType::f32, DType::f64, DType::bf16}) {
    std::vector<size_t> places;
    for (size_t k = 0; k < tensors.size(); ++k)
      if (tensors[k].dtype() == type) places.push_back(k);
    if (!places.empty())
      dispatch_floating(type, "tensors", [&]<class T>(T) { f(T{}, std::span<const size_t>(places)); });
  }
}

}  // namespace tidepool::cuda
