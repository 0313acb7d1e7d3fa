// Gradients are set, not added.
#include "layers/concat.h"

#include <vector>

#include "core/backend/elementwise.h"
#include "core/tape.h"

namespace tidepool {

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
    channels.push_back(x.size(1));
    shape[1] += x.size(1);
  }
  if (inputs.size() == 1) return first;

  const MemoryFormat format = first.format();
  const Tensor y = Tensor::empty(shape, {.dtype = first.dtype(), .format = format, .device = first.device()});
  std::vector<Tensor> dense;
  for (const Tensor& x : inputs) dense.push_back(x.contiguous(format));
  concat_channels(dense, y);
  const Tensor saved[] = {Tensor::from<int64_t>(channels, {static_cast<int64_t>(channels.size())})};
  Tape::record("concat", inputs, {&y, 1}, saved, [format](BackwardContext& ctx) {
    const Tensor dy = ctx.dy().contiguous(format);
    const std::span<const int64_t> counts(ctx.saved(0).data<int64_t>(), static_cast<size_t>(ctx.saved(0).numel()));
    std::vector<Tensor> parts(counts.size());
    for (size_t i = 0; i < counts.size(); ++i) {
      if (!ctx.needs(i)) continue;
      Dims part = dy.shape();
      part[1] = counts[i];
      parts[i] = ctx.dx(i) = Tensor::empty(part, dy.options());
    }
    split_channels(dy, counts, parts);
  });
  return y;
}

}  // namespace tidepool
