#include "core/cpu/onednn_bench.h"

#include <algorithm>
#include <chrono>
#include <memory>

#include "core/cpu/onednn.h"
#include "core/philox.h"

namespace tidepool {
namespace {

// Fills the whole storage with numbers from -1/2 to 1/2.
Tensor filled(const Tensor& t) {
  const auto count = static_cast<int64_t>(t.storage().bytes / size_of(t.dtype()));
  const auto fill = [&]<class T>(T* to) {
    for (int64_t i = 0; i < count; ++i)
      to[i] = static_cast<T>(uniform24(static_cast<uint32_t>(i * 0x9E3779B1u)) - 0.5f);
  };
  t.dtype() == DType::bf16 ? fill(t.mutable_data<bf16>()) : fill(t.mutable_data<float>());
  return t;
}

Tensor filled_bytes(size_t bytes, DType t) {
  return filled(Tensor::empty({static_cast<int64_t>((bytes + size_of(t) - 1) / size_of(t))}, {.dtype = t}));
}

template <class F>
double seconds_of(const F& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

Dims ConvCase::y() const {
  Dims result = x;
  result[1] = weight[0];
  for (int i = 2; i < x.rank(); ++i) {
    const auto a = static_cast<size_t>(i - 2);
    result[i] = (x[i] + 2 * options.padding[a] - options.dilation[a] * (weight[i] - 1) - 1) / options.stride[a] + 1;
  }
  return result;
}

std::optional<std::vector<ConvKernels>> onednn_convolutions(std::span<const ConvCase> cases, DType dtype,
                                                            MemoryFormat format) {
  using onednn::Direction;
  std::vector<ConvKernels> kernels;
  for (const ConvCase& c : cases) {
    const auto primitive = [&](Direction direction) {
      return onednn::direct_conv(direction, c.x, c.weight, c.y(), c.options, dtype, format);
    };
    const auto found = primitive(Direction::forward), found_data = primitive(Direction::backward_data),
               found_weights = primitive(Direction::backward_weights);
    if (!found || !found_data || !found_weights) return std::nullopt;
    const auto &forward = *found, &data = *found_data, &weights = *found_weights;
    const TensorOptions map{.dtype = dtype, .format = format};
    const Tensor x = filled(Tensor::empty(c.x, map)), y = Tensor::empty(c.y(), map),
                 dy = filled(Tensor::empty(c.y(), map)), w = filled_bytes(forward.weight_bytes, dtype),
                 wt = filled_bytes(data.weight_bytes, dtype), dw = filled_bytes(weights.weight_bytes, DType::f32);
    ConvKernels k;
    k.forward = [=] { forward.run(x, w, y); };
    k.backward_weights = [=] { weights.run(x, dy, dw); };
    if (c.needs_dx) k.backward_data = [=, dx = Tensor::empty(c.x, map)] { data.run(dy, wt, dx); };
    kernels.push_back(std::move(k));
  }
  return kernels;
}

std::optional<PoolSeconds> time_onednn_pooling(bool max, const Dims& x, DType dtype, MemoryFormat format, int repeats) {
  if (dtype == DType::f64) return std::nullopt;
  Dims half = x;
  for (int i = 2; i < x.rank(); ++i) half[i] = x[i] / 2;
  const auto pool = onednn::pool_of_two(max, x, half, dtype, format);
  if (!pool) return std::nullopt;
  const TensorOptions map{.dtype = dtype, .format = format};
  const Tensor source = filled(Tensor::empty(x, map)), dx = Tensor::empty(x, map), y = Tensor::empty(half, map),
               dy = filled(Tensor::empty(half, map));
  const Tensor winners = Tensor::empty({static_cast<int64_t>(pool->workspace_bytes)}, {.dtype = DType::u8});
  std::vector<double> alone, both;
  for (int repeat = 0; repeat <= repeats; ++repeat) {
    const double one = seconds_of([&] { pool->inference(source, y); });
    const double two = seconds_of([&] {
      pool->training(source, y, winners);
      pool->backward(dy, dx, winners);
    });
    if (repeat == 0) continue;
    alone.push_back(one);
    both.push_back(two);
  }
  std::sort(alone.begin(), alone.end());
  std::sort(both.begin(), both.end());
  return PoolSeconds{alone[alone.size() / 2], both[both.size() / 2]};
}

}  // namespace tidepool
