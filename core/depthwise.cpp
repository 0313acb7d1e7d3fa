// A run of channels at a time with its 25 sums in registers. Results are set, not added.
#include "core/depthwise.h"

#include <algorithm>

#include "core/lanes.h"
#include "core/parallel.h"

namespace tidepool::depthwise {
namespace {

struct Shape {
  int64_t images, channels, height, width, out_height, out_width, pad_h, pad_w;

  Shape(const Tensor& x, const Tensor& y, const ConvOptions& o)
      : images(x.size(0)),
        channels(x.size(1)),
        height(x.size(2)),
        width(x.size(3)),
        out_height(y.size(2)),
        out_width(y.size(3)),
        pad_h(o.padding[0]),
        pad_w(o.padding[1]) {}
};

constexpr int kKernel = 5;

// Sums of a chunk of result rows: parts[chunk][k k + 1][C], the last row that of dy.
template <int s, class T>
void weight_gradient(const T* x, const T* dy, const Shape& p, float* dw, float* dbias) {
  constexpr int64_t k = kKernel, taps = k * k;
  const int64_t grain = std::max<int64_t>(32768 / std::max<int64_t>(1, p.out_width * p.channels), 8),
                rows = p.images * p.out_height;
  const int64_t chunks = (rows + grain - 1) / grain;
  const Tensor parts = Tensor::empty({chunks, taps + 1, p.channels});
  float* const all = parts.data<float>();
  parallel_chunks(rows, grain, [&](int64_t begin, int64_t end) {
    float* const mine = all + begin / grain * (taps + 1) * p.channels;
    each_lane<float>(0, p.channels, [&]<class V>(int64_t c) {
      V sums[taps + 1];
#pragma GCC unroll 26
      for (int64_t i = 0; i <= taps; ++i) sums[i] = splat<V>(0);
      for (int64_t r = begin; r < end; ++r) {
        const int64_t image = r / p.out_height, top = r % p.out_height * s - p.pad_h;
        const T* const g = dy + r * p.out_width * p.channels + c;
        for (int64_t j = 0; j < p.out_width; ++j) {
          const V v = load<V>(g + j * p.channels);
          sums[taps] = sums[taps] + v;
          const int64_t left = j * s - p.pad_w;
#pragma GCC unroll 5
          for (int a = 0; a < k; ++a) {
            if (top + a < 0 || top + a >= p.height) continue;
            const T* const in = x + ((image * p.height + top + a) * p.width + left) * p.channels + c;
#pragma GCC unroll 5
            for (int b = 0; b < k; ++b)
              if (left + b >= 0 && left + b < p.width)
                sums[a * k + b] = sums[a * k + b] + v * load<V>(in + b * p.channels);
          }
        }
      }
#pragma GCC unroll 26
      for (int64_t i = 0; i <= taps; ++i) store(mine + i * p.channels + c, sums[i]);
    });
  });
  parallel_chunks(p.channels, 16, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c)
      for (int64_t i = 0; i <= taps; ++i) {
        double sum = 0;
        for (int64_t chunk = 0; chunk < chunks; ++chunk)
          sum += static_cast<double>(all[(chunk * (taps + 1) + i) * p.channels + c]);
        if (i < taps)
          dw[c * taps + i] = static_cast<float>(sum);
        else if (dbias)
          dbias[c] = static_cast<float>(sum);
      }
  });
}

}  // namespace

bool serves(const Tensor& map, const Tensor& w, const ConvOptions& o) {
  if (map.device() != kCpu || map.rank() != 4 || (map.dtype() != DType::f32 && map.dtype() != DType::bf16))
    return false;
  if (w.dtype() != DType::f32 || w.size(1) != 1 || o.groups != w.size(0)) return false;
  if (w.size(2) != kKernel || w.size(3) != kKernel) return false;
  if (o.stride[0] != o.stride[1] || (o.stride[0] != 1 && o.stride[0] != 2)) return false;
  for (size_t a = 0; a < 2; ++a)
    if (o.dilation[a] != 1 || o.padding[a] < 0 || o.padding[a] >= kKernel) return false;
  return map.is_contiguous(MemoryFormat::channels_last);
}

void conv_backward_weights(const Tensor& x, const Tensor& dy, const ConvOptions& o, const Tensor& dw,
                           const Tensor& dbias) {
  const auto typed = [&]<class T>(T) {
    const auto run = [&]<int s> {
      weight_gradient<s>(x.data<T>(), dy.data<T>(), Shape(x, dy, o), dw.data<float>(),
                         dbias ? dbias.data<float>() : nullptr);
    };
    o.stride[0] == 1 ? run.template operator()<1>() : run.template operator()<2>();
  };
  x.dtype() == DType::bf16 ? typed(bf16{}) : typed(float{});
}

}  // namespace tidepool::depthwise
