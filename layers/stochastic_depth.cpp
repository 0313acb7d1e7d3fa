// Gradients are set, not added.
#include "layers/stochastic_depth.h"

#include "core/lanes.h"
#include "core/parallel.h"
#include "core/philox.h"
#include "core/tape.h"

namespace tidepool {
namespace {

struct Draw {
  double p;
  uint64_t seed, step;

  // Of image n: whether its branch is kept.
  bool keeps(int64_t n) const {
    constexpr uint64_t kPurpose = uint64_t{0x73746465} << 32;  // "stde", the high half of the stream
    const auto number = static_cast<uint64_t>(n);
    return static_cast<double>(uniform24(random_words(seed, kPurpose ^ step, number / 4)[number % 4])) >= p;
  }
};

// x is dense; in either format an image is a run of memory.
Tensor scaled_images(const Tensor& x, const Draw& draw) {
  const Tensor y = Tensor::empty(x.shape(), x.options());
  if (x.numel() == 0) return y;
  const int64_t size = x.numel() / x.size(0);
  dispatch_floating(x.dtype(), "stochastic_depth", [&]<class T>(T) {
    using A = Acc<T>;
    const T* from = x.data<T>();
    T* to = y.mutable_data<T>();
    const A scale = static_cast<A>(1.0 / (1.0 - draw.p));
    parallel_chunks(x.numel(), 16384, [=](int64_t begin, int64_t end) {
      while (begin < end) {
        const int64_t image = begin / size, count = std::min(end, (image + 1) * size) - begin;
        const A factor = draw.keeps(image) ? scale : A{0};
        each_lane<A>(begin, count, [=]<class V>(int64_t i) { store(to + i, load<V>(from + i) * splat<V>(factor)); });
        begin += count;
      }
    });
  });
  return y;
}

}  // namespace

Tensor stochastic_depth(const Tensor& x, double p, uint64_t seed, uint64_t step) {
  if (!(p >= 0.0 && p < 1.0)) throw Error("[stochastic_depth] expected p in [0, 1), got {}", p);
  if (!is_floating(x.dtype()))
    throw Error("[stochastic_depth] expected an input of f32, f64 or bf16, got {}", name_of(x.dtype()));
  if (x.rank() < 1) throw Error("[stochastic_depth] expected an input N x ..., got a scalar");
  if (x.device() != kCpu) throw Failure("stochastic_depth on cuda is not supported");
  const Draw draw{p, seed, step};
  const Tensor in = x.contiguous();
  const Tensor y = scaled_images(in, draw);
  const MemoryFormat format = in.format();
  Tape::record("stochastic_depth", {x}, {y}, {},
               [draw, format](BackwardContext& ctx) { ctx.dx(0) = scaled_images(ctx.dy().contiguous(format), draw); });
  return y;
}

}  // namespace tidepool
