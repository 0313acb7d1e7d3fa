// A bias per channel, added to a map in place: cuDNN's plain convolutions have none.
#include "core/cuda/channel_bias.h"
#include "core/cuda/block.h"

namespace tidepool::cuda {
namespace {

// y [rows][channels], n channels per thread: neighbours along x take neighbouring channels.
template <class T, class U, int n>
__global__ void add_to_rows(T* y, const U* bias, uint32_t rows, uint32_t packs) {
  const uint32_t pack = blockIdx.y * blockDim.x + threadIdx.x;
  if (pack >= packs) return;
  Acc<T> b[n];
  TP_UNROLL
  for (int k = 0; k < n; ++k) b[k] = static_cast<Acc<T>>(value_of(bias[pack * n + static_cast<uint32_t>(k)]));
  auto* const to = reinterpret_cast<Pack<T, n>*>(y) + pack;
  for (uint32_t row = blockIdx.x * blockDim.y + threadIdx.y; row < rows; row += gridDim.x * blockDim.y) {
    Pack<T, n> v = to[size_t{row} * packs];
    TP_UNROLL
    for (int k = 0; k < n; ++k) v.v[k] = rounded<T>(value_of(v.v[k]) + b[k]);
    to[size_t{row} * packs] = v;
  }
}

// y [images][channels][positions], a block per channel of an image.
template <class T, class U>
__global__ void add_to_planes(T* y, const U* bias, uint32_t channels, uint32_t positions) {
  const Acc<T> b = static_cast<Acc<T>>(value_of(bias[blockIdx.x % channels]));
  T* const plane = y + size_t{blockIdx.x} * positions;
  for (uint32_t i = threadIdx.x; i < positions; i += blockDim.x) plane[i] = rounded<T>(value_of(plane[i]) + b);
}

template <class T, class U>
void add(const Tensor& y, const Tensor& bias) {
  const int64_t channels = y.size(1), others = y.numel() / channels;
  T* const to = y.mutable_data<T>();
  const U* const from = bias.data<U>();
  if (!y.is_contiguous(MemoryFormat::channels_last)) {
    const int64_t positions = others / y.size(0);
    return launch(add_to_planes<T, U>, Grid(dim3(narrow(y.size(0) * channels)), dim3(positions < 128 ? 32 : 256)), to,
                  from, narrow(channels), narrow(positions));
  }
  dispatch_pack<T>(channels, {to}, [&](auto n) {
    const uint32_t packs = narrow(channels / n);
    dim3 threads(1, 256);
    while (threads.x < packs && threads.x < 32) threads.x *= 2, threads.y /= 2;
    const int64_t blocks = std::min<int64_t>((others + 4 * threads.y - 1) / (4 * threads.y), 4096);
    launch(add_to_rows<T, U, n()>, Grid(dim3(narrow(blocks), (packs + threads.x - 1) / threads.x), threads), to, from,
           narrow(others), packs);
  });
}

}  // namespace

void add_channel_bias(const Tensor& y, const Tensor& bias) {
  dispatch_floating(y.dtype(), "conv", [&]<class T>(T) {
    if (bias.dtype() == y.dtype()) return add<T, T>(y, bias);
    if constexpr (std::is_same_v<T, bf16>)
      if (bias.dtype() == DType::f32) return add<bf16, float>(y, bias);
    throw Error("[conv] expected a bias of {}, got {}", name_of(y.dtype()), name_of(bias.dtype()));
  });
}

}  // namespace tidepool::cuda
