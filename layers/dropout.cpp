// Gradients are set, not added.
#include "layers/dropout.h"

#include "core/parallel.h"
#include "core/philox.h"
#include "core/tape.h"

namespace tidepool {
namespace {

struct Draw {
  double p;
  uint64_t seed, step;
};

constexpr uint64_t kPurpose = uint64_t{0x64726F70} << 32;  // "drop", the high half of the stream, as in data/streams.h

// Numbers in the order n, position, channel: four neighbours share a Philox block.
Tensor dropped(const Tensor& x, const Draw& draw) {
  const Tensor y = Tensor::empty(x.shape(), x.options());
  const int64_t channels = x.rank() > 1 ? x.size(1) : 1;
  int64_t positions = 1;
  for (int i = 2; i < x.rank(); ++i) positions *= x.size(i);
  const bool last = x.format() == MemoryFormat::channels_last || positions == 1;
  dispatch_floating(x.dtype(), "dropout", [&]<class T>(T) {
    using A = Acc<T>;
    const T* from = x.data<T>();
    T* to = y.mutable_data<T>();
    const A scale = static_cast<A>(1.0 / (1.0 - draw.p));
    const uint64_t stream = kPurpose ^ draw.step;
    parallel_chunks(x.numel(), 4096, [=](int64_t begin, int64_t end) {
      std::array<uint32_t, 4> words{};
      for (int64_t i = begin; i < end; ++i) {
        const auto index = static_cast<uint64_t>(i);
        if (index % 4 == 0 || i == begin) words = random_words(draw.seed, stream, index / 4);
        const A factor = static_cast<double>(uniform24(words[index % 4])) >= draw.p ? scale : A{0};
        int64_t at = i;
        if (!last) {
          const int64_t row = i / channels, image = row / positions;
          at = (image * channels + i % channels) * positions + row % positions;
        }
        to[at] = static_cast<T>(static_cast<A>(from[at]) * factor);
      }
    });
  });
  return y;
}

}  // namespace

Tensor dropout(const Tensor& x, double p, uint64_t seed, uint64_t step) {
  if (!(p >= 0.0 && p < 1.0)) throw Error("[dropout] expected p in [0, 1), got {}", p);
  if (!is_floating(x.dtype()))
    throw Error("[dropout] expected an input of f32, f64 or bf16, got {}", name_of(x.dtype()));
  if (x.rank() < 1) throw Error("[dropout] expected an input N x ..., got a scalar");
  if (x.device() != kCpu) throw Failure("dropout on cuda is not supported");
  const Draw draw{p, seed, step};
  const Tensor in = x.contiguous();
  const Tensor y = dropped(in, draw);
  const MemoryFormat format = in.format();
  Tape::record("dropout", {x}, {y}, {},
               [draw, format](BackwardContext& ctx) { ctx.dx(0) = dropped(ctx.dy().contiguous(format), draw); });
  return y;
}

}  // namespace tidepool
