// Operators that are convolutions of their own weights.
#include "layers/pool/onnx/form.h"

namespace tidepool::pool_onnx {
namespace {

using onnx::Value;

std::vector<Value> bias_of(const Call& c, const std::string& name) {
  return c.tensor(name) ? std::vector<Value>{c.constant(name)} : std::vector<Value>{};
}

Value strided(const Call& c) {
  return conv(c.x, c.constant("weight"), bias_of(c, "bias"), c.windows());
}

// Channel (c b + i) b + j of the blocks is position (i, j) of channel c: a convolution whose kernel is the block.
Value space_to_depth(const Call& c) {
  const auto block = static_cast<int32_t>(c.config.at("block").get<int64_t>());
  const Tensor weight = c.tensor("weight").contiguous(MemoryFormat::plain);
  std::vector<WindowAxis> axes;
  for (int i = 2; i < 4; ++i) axes.push_back({.n = c.shape[i], .m = c.output[i], .k = block, .s = block});
  return conv(c.x, c.graph.constant(weight.reshape({weight.size(0), c.shape[1], block, block}), "weight"), {}, axes);
}

// A gate from the means of rows and columns.
Value strip(const Call& c) {
  const int64_t channels = c.shape[1];
  const auto line = [&](const std::string& name, int axis) {  // what is left along the axis, convolved
    std::vector<WindowAxis> axes;
    Dims shape{channels, channels, 1, 1};
    for (int i = 2; i < 4; ++i) {
      const bool here = i == axis;
      const int64_t n = here ? c.shape[i] : 1;
      axes.push_back({.n = n, .m = n, .k = here ? 3 : 1, .s = 1, .p = here ? 1 : 0});
    }
    shape[axis] = 3;
    const Tensor weight = c.tensor(name + ".weight").contiguous(MemoryFormat::plain).reshape(shape);
    return conv(onnx::reduce("ReduceMean", c.x, {5 - axis}), c.graph.constant(weight, name + ".weight"),
                bias_of(c, name + ".bias"), axes);
  };
  const Value crossed = onnx::relu(line("row", 2) + line("col", 3));
  std::vector<WindowAxis> points;
  for (int i = 2; i < 4; ++i) points.push_back({.n = c.shape[i], .m = c.shape[i]});
  return c.x * onnx::sigmoid(conv(crossed, c.constant("fuse.weight"), bias_of(c, "fuse.bias"), points));
}

constexpr NamedForm kForms[] = {{"conv", strided}, {"space_to_depth", space_to_depth}, {"strip", strip}};

}  // namespace

std::span<const NamedForm> convolution_forms() {
  return kForms;
}

}  // namespace tidepool::pool_onnx
