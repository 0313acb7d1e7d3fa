// Gradients are set, not added.
#include "layers/global_avg.h"

#include "core/lanes.h"
#include "core/parallel.h"
#include "core/sums.h"
#include "core/tape.h"

namespace tidepool {
namespace {

// Mean of `count` vectors, `step` elements apart: runs are summed in f32, and joined in f64.
template <class V, class T>
TP_INLINE V mean(const T* p, int64_t count, int64_t step) {
  Doubles<V> total{};
  bool finite = true;
  for (int64_t run = 0; run < count; run += kSumRun) {
    V sum = {};
    for (int64_t i = run; i < std::min(count, run + kSumRun); ++i) sum = sum + load<V>(p + i * step);
    finite = finite && all_finite(sum);
    total = total + widen(sum);
  }
  if (!finite) {  // f32 may lack the range
    total = Doubles<V>{};
    for (int64_t i = 0; i < count; ++i) total = total + widen(load<V>(p + i * step));
  }
  return narrow<V>(total / static_cast<double>(count));
}

}  // namespace

Tensor global_avg(const Tensor& x) {
  if (x.rank() < 3) throw Error("[global_avg] expected an input N x C x spatial, got the shape {}", x.shape().str());
  if (!is_floating(x.dtype()))
    throw Error("[global_avg] expected an input of f32, f64 or bf16, got {}", name_of(x.dtype()));
  if (x.device() != kCpu) throw Failure("global_avg on cuda is not supported");
  const int64_t channels = x.size(1);
  int64_t positions = 1;
  for (int i = 2; i < x.rank(); ++i) positions *= x.size(i);
  if (positions == 0) throw Error("[global_avg] an input of shape {} has no positions", x.shape().str());
  const Tensor in = x.contiguous();
  const bool last = in.format() == MemoryFormat::channels_last;
  const Tensor y = Tensor::empty({x.size(0), channels}, {.dtype = x.dtype()});
  dispatch_floating(x.dtype(), "global_avg", [&]<class T>(T) {
    using A = Acc<T>;
    const T* from = in.data<T>();
    T* to = y.mutable_data<T>();
    parallel_rows(kCpu, x.size(0), channels, positions, [=](int64_t n, int64_t first, int64_t lanes) {
      const T* map = from + n * channels * positions;
      if (last) {
        each_lane<A>(first, lanes,
                     [&]<class V>(int64_t c) { store(to + n * channels + c, mean<V>(map + c, positions, channels)); });
      } else {
        for (int64_t c = first; c < first + lanes; ++c)
          to[n * channels + c] = static_cast<T>(mean<A>(map + c * positions, positions, 1));
      }
    });
  });
  const Dims shape = x.shape();
  Tape::record("global_avg", {x}, {y}, {}, [shape, last, positions](BackwardContext& ctx) {
    const Tensor dy = ctx.dy().contiguous(MemoryFormat::plain);
    ctx.dx(0) =
        Tensor::empty(shape, {.dtype = dy.dtype(), .format = last ? MemoryFormat::channels_last : MemoryFormat::plain});
    dispatch_floating(dy.dtype(), "global_avg", [&]<class T>(T) {
      using A = Acc<T>;
      const T* from = dy.data<T>();
      T* to = ctx.dx(0).mutable_data<T>();
      const int64_t lanes = shape[1];
      const A count = static_cast<A>(positions);
      parallel_rows(kCpu, shape[0], lanes, positions, [=](int64_t n, int64_t first, int64_t some) {
        T* map = to + n * lanes * positions;
        for (int64_t c = first; c < first + some; ++c) {
          const T g = static_cast<T>(static_cast<A>(from[n * lanes + c]) / count);
          if (!last)
            for (int64_t i = 0; i < positions; ++i) map[c * positions + i] = g;
          else
            map[c] = g;
        }
        if (last)
          for (int64_t i = 1; i < positions; ++i)
            memcpy(map + i * lanes + first, map + first, sizeof(T) * static_cast<size_t>(some));
      });
    });
  });
  return y;
}

}  // namespace tidepool
