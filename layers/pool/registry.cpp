#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/find_named.h"
#include "core/lane_math.h"
#include "core/parallel.h"
#include "core/tape.h"
#include "layers/fused/normed_map.h"
#include "layers/pool/on_cuda.h"
#include "layers/pool/operator.h"

namespace tidepool {

// The list is a table and not a matter of static constructors, which a linker may leave out of a static library.
#define TP_POOL_OPERATOR(name, file) const PoolDescription& pool_##name();
inline namespace on_cpu {
#include "layers/pool/operators.inc"
}
#undef TP_POOL_OPERATOR

namespace {

/// An operator as both compilers made it; a map on a GPU goes to nvcc's.
class OnBoth final : public PoolOperator, public ReadsNorm {
 public:
  OnBoth(std::unique_ptr<PoolOperator> cpu, std::unique_ptr<PoolOperator> cuda)
      : cpu_(std::move(cpu)), cuda_(std::move(cuda)) {}
  std::vector<ParameterSpec> parameters(const Dims& x) const override { return cpu_->parameters(x); }
  std::vector<ParameterSpec> optional_inputs(const Dims& x) const override { return cpu_->optional_inputs(x); }
  Dims output_shape(const Dims& x, std::span<const Tensor> p) const override { return cpu_->output_shape(x, p); }
  Tensor run(const Tensor& x, std::span<const Tensor> p, const PoolMode& mode) const override {
    return (x.device() == kCuda ? cuda_ : cpu_)->forward(x, p, mode);
  }
  Tensor forward_through_norm(const NormedMap& x, std::span<const Tensor> p, const PoolMode& mode) const override {
    if (x.raw().device() == kCuda) return {};  // its kernels read what is written
    const auto* reader = dynamic_cast<const ReadsNorm*>(cpu_.get());
    return reader ? reader->forward_through_norm(x, p, mode) : Tensor{};
  }
  void project(std::span<const Tensor> p, const Dims& x) const override { cpu_->project(p, x); }
  TracedShape trace(const TracedShape& x, std::span<const Tensor> p, const std::string& name,
                    Trace& trace) const override {
    return cpu_->trace(x, p, name, trace);
  }

 private:
  std::unique_ptr<PoolOperator> cpu_, cuda_;
};

template <const PoolDescription& (*cpu)()>
const PoolDescription& described() {
  static const PoolDescription description = [] {
    PoolDescription d = cpu();
    if (!pool_operator_on_cuda(d.name)) return d;
    d.make = [](const nlohmann::json& config) -> std::unique_ptr<PoolOperator> {
      return std::make_unique<OnBoth>(cpu().make(config), pool_operator_on_cuda(cpu().name)->make(config));
    };
    return d;
  }();
  return description;
}

}  // namespace

std::vector<ParameterSpec> PoolOperator::parameters(const Dims& /*x*/) const {
  return {};
}

std::vector<ParameterSpec> PoolOperator::optional_inputs(const Dims& /*x*/) const {
  return {};
}

namespace {

/// The same map in another format, where the two differ; recorded.
Tensor in_format(const Tensor& x, MemoryFormat format) {
  if (x.is_contiguous(format)) return x;
  const Tensor y = x.contiguous(format);
  Tape::record("layout", {x}, {y}, {},
               [from = x.format()](BackwardContext& ctx) { ctx.dx(0) = ctx.dy().contiguous(from); });
  return y;
}

/// The same values in another type; recorded.
Tensor in_type(const Tensor& x, DType type) {
  if (x.dtype() == type) return x;
  const Tensor y = x.to(type);
  Tape::record("type", {x}, {y}, {}, [from = x.dtype()](BackwardContext& ctx) { ctx.dx(0) = ctx.dy().to(from); });
  return y;
}

/// What an operator makes of a map without elements: a table of its positions would be longer than the map.
Tensor of_nothing(const Tensor& x, const Dims& shape, std::span<const Tensor> parameters) {
  const TensorOptions options{x.dtype(), x.format(), x.device()};
  const Tensor y = Tensor::empty(shape, options);
  std::vector<Tensor> inputs{x};
  inputs.insert(inputs.end(), parameters.begin(), parameters.end());
  Tape::record("nothing", inputs, std::span(&y, 1), inputs, [count = inputs.size()](BackwardContext& ctx) {
    for (size_t i = 0; i < count; ++i)
      if (ctx.needs(i)) ctx.dx(i) = Tensor::zeros(ctx.saved(i).shape(), ctx.saved(i).options());
  });
  return y;
}

}  // namespace

Tensor PoolOperator::forward(const Tensor& x, std::span<const Tensor> parameters, const PoolMode& mode) const {
  if (x.numel() == 0 && is_floating(x.dtype()))
    if (const Dims shape = output_shape(x.shape(), parameters); shape.product() == 0)
      return of_nothing(x, shape, parameters);
  if (wants_room(x.shape(), parameters) && near_the_ends(x)) return forward_in_f64(x, parameters, mode);
  constexpr int64_t kEnough = kLanes<detail::WideOf<float>::type>;  // a whole vector
  const bool plain = x.rank() > 2 && x.format() == MemoryFormat::plain && x.device() == kCpu;
  if (!plain || x.size(1) < kEnough || !by_channels(x.shape(), parameters)) return run(x, parameters, mode);
  return in_format(run(in_format(x, MemoryFormat::channels_last), parameters, mode), MemoryFormat::plain);
}

bool PoolOperator::near_the_ends(const Tensor& x) {
  if (x.device() != kCpu || (x.dtype() != DType::f32 && x.dtype() != DType::bf16)) return false;
  const Tensor dense = x.contiguous(x.format());
  constexpr int64_t kChunk = 16384;
  std::vector<float> most(static_cast<size_t>((x.numel() + kChunk - 1) / kChunk));
  dispatch_floating(x.dtype(), "pool", [&]<class T>(T) {
    if constexpr (!std::is_same_v<T, double>) {
      const T* const p = dense.data<T>();
      parallel_chunks(x.numel(), kChunk, [&](int64_t begin, int64_t end) {
        float all = 0;
        using V = detail::WideOf<float>::type;
        V lanes = splat<V>(0);
        each_lane<float>(begin, end - begin, [&]<class W>(int64_t i) {
          if constexpr (kLanes<W> == 1)
            all = larger_magnitude(all, load<W>(p + i));
          else
            lanes = larger_magnitude(lanes, load<W>(p + i));
        });
        for (int l = 0; l < kLanes<V>; ++l) all = larger_magnitude(all, lanes[l]);
        most[static_cast<size_t>(begin / kChunk)] = all;
      });
    }
  });
  float all = 0;
  for (const float m : most) all = larger_magnitude(all, m);
  return all > 0 && all < INFINITY && (all > 0x1p100f || all < 0x1p-100f);
}

Tensor PoolOperator::forward_in_f64(const Tensor& x, std::span<const Tensor> parameters, const PoolMode& mode) const {
  std::vector<Tensor> wide;
  for (const Tensor& p : parameters) wide.push_back(in_type(p, DType::f64));
  return in_type(forward(in_type(x, DType::f64), wide, mode), x.dtype());
}

bool PoolOperator::by_channels(const Dims& /*x*/, std::span<const Tensor> /*parameters*/) const {
  return false;
}

bool PoolOperator::wants_room(const Dims& /*x*/, std::span<const Tensor> /*parameters*/) const {
  return false;
}

void PoolOperator::project(std::span<const Tensor> /*parameters*/, const Dims& /*x*/) const {}

TracedShape PoolOperator::trace(const TracedShape& x, std::span<const Tensor> parameters, const std::string& /*name*/,
                                Trace& /*trace*/) const {
  const Dims from = x.dims(), to = output_shape(from, parameters);
  TracedShape y{.n = to[0], .c = to[1], .lengths = {}};
  for (int i = 2; i < to.rank(); ++i)
    y.lengths.push_back(
        x.lengths[static_cast<size_t>(i - 2)].then(to[i], static_cast<double>(to[i]) / static_cast<double>(from[i])));
  return y;
}

std::vector<const PoolDescription*> pool_operators() {
  static const std::vector<const PoolDescription*> all = [] {
    std::vector<const PoolDescription*> list = {
#define TP_POOL_OPERATOR(name, file) &described<on_cpu::pool_##name>(),
#include "layers/pool/operators.inc"
#undef TP_POOL_OPERATOR
    };
    std::sort(list.begin(), list.end(), [](auto* a, auto* b) { return a->name < b->name; });
    return list;
  }();
  return all;
}

const PoolDescription& find_pool_operator(const std::string& name) {
  return find_named(pool_operators(), name, "pooling: unknown operator");
}

std::unique_ptr<PoolOperator> make_pool_operator(const nlohmann::json& config) {
  if (!config.is_object() || !config.contains("type") || !config["type"].is_string())
    throw Error("pooling: expected an object with a \"type\", for example {\"type\": \"max\"}");
  return find_pool_operator(config["type"].get<std::string>()).make(config);
}

}  // namespace tidepool
