// Gradients are set, not added.
#include "layers/concat.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/parallel.h"
#include "core/tape.h"

namespace tidepool {
namespace {

// Dense memory seen as rows of neighbouring parts, one per input: a row is a position (channels-last) or an image.
struct RowParts {
  int64_t rows = 1;
  std::vector<int64_t> starts{0};  // in bytes; the last is the length of a row

  RowParts(const Tensor& y, MemoryFormat format, std::span<const int64_t> channels) {
    int64_t positions = 1;
    for (int i = 2; i < y.rank(); ++i) positions *= y.size(i);
    const bool last = format == MemoryFormat::channels_last;
    rows = last ? y.size(0) * positions : y.size(0);
    const int64_t bytes = static_cast<int64_t>(size_of(y.dtype())) * (last ? 1 : positions);
    for (int64_t c : channels) starts.push_back(starts.back() + c * bytes);
  }

  // Copies between y and the parts; the data of a part may be null: it is left out.
  template <bool kJoin>
  void copy(char* y, std::span<char* const> parts) const {
    const int64_t length = starts.back();
    parallel_chunks(rows * length, 65536, [&](int64_t begin, int64_t end) {
      int64_t row = begin / length, at = begin % length;
      for (; begin < end; ++row, at = 0) {
        for (size_t i = 0; i < parts.size() && begin < end; ++i) {
          if (at >= starts[i + 1]) continue;
          const int64_t size = starts[i + 1] - starts[i], count = std::min(starts[i + 1] - at, end - begin);
          if (parts[i]) {
            char *part = parts[i] + row * size + (at - starts[i]), *joined = y + begin;
            std::memcpy(kJoin ? joined : part, kJoin ? part : joined, static_cast<size_t>(count));
          }
          at += count;
          begin += count;
        }
      }
    });
  }
};

}  // namespace

Tensor concat(std::span<const Tensor> inputs) {
  if (inputs.empty()) throw Error("[concat] expected at least one input");
  const Tensor& first = inputs[0];
  if (!is_floating(first.dtype()))
    throw Error("[concat] expected inputs of f32, f64 or bf16, got {}", name_of(first.dtype()));
  if (first.rank() < 2) throw Error("[concat] expected inputs N x C x spatial, got the shape {}", first.shape().str());
  std::vector<int64_t> channels;
  Dims shape = first.shape();
  shape[1] = 0;
  for (const Tensor& x : inputs) {
    Dims expected = first.shape();
    if (x.rank() == first.rank()) expected[1] = x.size(1);
    if (x.shape() != expected)
      throw Error("[concat] expected inputs that differ in their channels alone, got the shapes {} and {}",
                  first.shape().str(), x.shape().str());
    if (x.dtype() != first.dtype())
      throw Error("[concat] expected inputs of one type, got {} and {}", name_of(first.dtype()), name_of(x.dtype()));
    if (x.device() != kCpu) throw Failure("concat on cuda is not supported");
    channels.push_back(x.size(1));
    shape[1] += x.size(1);
  }
  if (inputs.size() == 1) return first;

  const MemoryFormat format = first.format();
  const Tensor y = Tensor::empty(shape, {.dtype = first.dtype(), .format = format});
  std::vector<Tensor> dense;
  std::vector<char*> parts;
  for (const Tensor& x : inputs) {
    dense.push_back(x.contiguous(format));
    parts.push_back(const_cast<char*>(static_cast<const char*>(dense.back().raw())));  // copy<true> reads them
  }
  RowParts(y, format, channels).copy<true>(static_cast<char*>(y.mutable_raw()), parts);
  const Tensor saved[] = {Tensor::from<int64_t>(channels, {static_cast<int64_t>(channels.size())})};
  Tape::record("concat", inputs, {&y, 1}, saved, [format](BackwardContext& ctx) {
    const Tensor dy = ctx.dy().contiguous(format);
    const std::span<const int64_t> counts(ctx.saved(0).data<int64_t>(), static_cast<size_t>(ctx.saved(0).numel()));
    std::vector<char*> gradients;
    for (size_t i = 0; i < counts.size(); ++i) {
      if (ctx.needs(i)) {
        Dims part = dy.shape();
        part[1] = counts[i];
        ctx.dx(i) = Tensor::empty(part, {.dtype = dy.dtype(), .format = format});
      }
      gradients.push_back(ctx.needs(i) ? static_cast<char*>(ctx.dx(i).mutable_raw()) : nullptr);
    }
    RowParts(dy, format, counts).copy<false>(const_cast<char*>(static_cast<const char*>(dy.raw())), gradients);
  });
  return y;
}

}  // namespace tidepool
