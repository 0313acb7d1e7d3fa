// Gradients are set, not added.
#include "layers/global_avg.h"

#include "core/lanes.h"
#include "core/parallel.h"
#include "core/tape.h"

namespace tidepool {
namespace {

constexpr int64_t kRun = 32;  // places summed before they join the total: an f32 sum of 50,000 keeps its digits

// Sum of `count` vectors, `step` elements apart.
template <class V, class T>
TP_INLINE V two_level_sum(const T* p, int64_t count, int64_t step) {
  V total = {};
  for (int64_t run = 0; run < count; run += kRun) {
    V sum = {};
    for (int64_t i = run; i < std::min(count, run + kRun); ++i) sum = sum + load<V>(p + i * step);
    total = total + sum;
  }
  return total;
}

}  // namespace

Tensor global_avg(const Tensor& x) {
  if (x.rank() < 3) throw Error("[global_avg] expected an input N x C x spatial, got the shape {}", x.shape().str());
  if (!is_floating(x.dtype()))
    throw Error("[global_avg] expected an input of f32, f64 or bf16, got {}", name_of(x.dtype()));
  if (x.device() != kCpu) throw Failure("global_avg on cuda is not supported");
  const int64_t channels = x.size(1);
  int64_t places = 1;
  for (int i = 2; i < x.rank(); ++i) places *= x.size(i);
  if (places == 0) throw Error("[global_avg] an input of shape {} has no places", x.shape().str());
  const Tensor in = x.contiguous();
  const bool last = in.format() == MemoryFormat::channels_last;
  const Tensor y = Tensor::empty({x.size(0), channels}, {.dtype = x.dtype()});
  dispatch_floating(x.dtype(), "global_avg", [&]<class T>(T) {
    using A = Acc<T>;
    const T* from = in.data<T>();
    T* to = y.data<T>();
    const A count = static_cast<A>(places);
    parallel_rows(kCpu, x.size(0), channels, places, [=](int64_t n, int64_t first, int64_t lanes) {
      const T* map = from + n * channels * places;
      if (last) {
        each_lane<A>(first, lanes, [&]<class V>(int64_t c) {
          store(to + n * channels + c, two_level_sum<V>(map + c, places, channels) / splat<V>(count));
        });
      } else {
        for (int64_t c = first; c < first + lanes; ++c)
          to[n * channels + c] = static_cast<T>(two_level_sum<A>(map + c * places, places, 1) / count);
      }
    });
  });
  const Dims shape = x.shape();
  Tape::record("global_avg", {x}, {y}, {}, [shape, last, places](Pull& p) {
    const Tensor dy = p.dy().contiguous(MemoryFormat::plain);
    p.dx(0) =
        Tensor::empty(shape, {.dtype = dy.dtype(), .format = last ? MemoryFormat::channels_last : MemoryFormat::plain});
    dispatch_floating(dy.dtype(), "global_avg", [&]<class T>(T) {
      using A = Acc<T>;
      const T* from = dy.data<T>();
      T* to = p.dx(0).data<T>();
      const int64_t lanes = shape[1];
      const A count = static_cast<A>(places);
      parallel_rows(kCpu, shape[0], lanes, places, [=](int64_t n, int64_t first, int64_t some) {
        T* map = to + n * lanes * places;
        for (int64_t c = first; c < first + some; ++c) {
          const T g = static_cast<T>(static_cast<A>(from[n * lanes + c]) / count);
          if (!last)
            for (int64_t i = 0; i < places; ++i) map[c * places + i] = g;
          else
            map[c] = g;
        }
        if (last)
          for (int64_t i = 1; i < places; ++i)
            memcpy(map + i * lanes + first, map + first, sizeof(T) * static_cast<size_t>(some));
      });
    });
  });
  return y;
}

}  // namespace tidepool
