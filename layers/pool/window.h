// Windowed operators. One of them is a small struct: what a window gives (`reduce`) and what an element of it gets back
// (`pull`). Everything else is here, once: ranks, layouts, views, types, vectors, threads, devices, the tape, keys,
// errors.
//
//   struct Foo {
//     static constexpr PoolText kText{...};                        name, formula, gradient, source
//     static constexpr Keeps kKeeps = Keeps::input;                what the backward needs of the forward
//     static constexpr int kState = 2;                             numbers of a window that `pull` needs
//     struct Options { double b = 1; void keys(Keys& k); };        keys beside those of every window
//     Options options;
//     template <class V, class W> TP_HD Pooled<V, kState> reduce(const W& x) const;
//     template <class V> TP_HD V pull(V dy, V x_i, const WindowPlace& at, const Pooled<V, kState>& p) const;
//   };
//   TP_WINDOW_POOL(foo, Foo)
//
// V is f32, f64, or a vector of them (core/lanes.h), one window a lane. The backward gathers: each element sums what
// the windows that cover it give back, in the windows' order, without atomics; gradients are set, not added.
#pragma once
#include "core/tape.h"
#include "layers/pool/operator.h"
#include "layers/pool/pass.h"
#include "layers/pool/window_kernels.h"

namespace tidepool {

/// A whole windowed operator: y of x, recorded on the tape under Op's name.
template <class Op>
Tensor window_pool(const Op& op, const std::array<WindowAxis, 3>& axes, const Tensor& x) {
  const MemoryFormat format = x.format();
  const Tensor dense = x.contiguous(format);
  const WindowGeometry g{axes, MapLayout::of(x.shape(), format)};
  const Tensor y = Tensor::empty(pooled_shape(x.shape(), x.size(1), axes), {x.dtype(), format, x.device()});
  const bool wanted = Tape::wants({x});
  Tensor kept;
  if constexpr (Op::kKeeps == Keeps::winner)
    if (wanted) kept = window::empty_winners(g, y);
  window::reduce(op, g, dense, y, kept, {});
  if constexpr (Op::kKeeps == Keeps::input) kept = dense;
  const Dims shape = x.shape();
  Tape::record(Op::kText.name, {x}, {y}, {kept}, [op, g, shape, format](Pull& pull) {
    if (!pull.needs(0)) return;
    const Tensor dy = pull.dy().contiguous(format);
    Tensor& dx = pull.dx(0);
    dx = Tensor::empty(shape, {dy.dtype(), format, dy.device()});
    const bool input = Op::kKeeps == Keeps::input, winner = Op::kKeeps == Keeps::winner;
    window::pull(op, g, input ? pull.saved(0) : Tensor{}, winner ? pull.saved(0) : Tensor{}, dy, dx);
  });
  return y;
}

/// The operator that a config makes.
template <class Op>
class WindowPool final : public PoolOperator {
 public:
  struct Options : WindowOptions, Op::Options {
    void keys(Keys& k) {
      WindowOptions::keys(k);
      Op::Options::keys(k);
    }
  };
  explicit WindowPool(const Options& options) : options_(options) {}

  Dims output_shape(const Dims& x, std::span<const Tensor> parameters) const override {
    expect_parameters(Op::kText.name, {}, parameters);
    return pooled_shape(x, x[1], options_.axes(Op::kText.name, x));
  }
  Tensor forward(const Tensor& x, std::span<const Tensor> parameters, const PoolMode& /*mode*/) const override {
    expect_parameters(Op::kText.name, {}, parameters);
    return window_pool(Op{options_}, options_.axes(Op::kText.name, x.shape()), x);
  }
  /// Straight through the rounding of n / stride.
  TracedShape trace(const TracedShape& x, std::span<const Tensor> /*parameters*/, const std::string& /*name*/,
                    Trace& /*trace*/) const override {
    TracedShape y{.n = x.n, .c = x.c, .lengths = {}};
    const auto axes = options_.axes(Op::kText.name, x.dims());
    for (size_t i = 0; i < x.lengths.size(); ++i) {
      const WindowAxis& a = axes[3 - x.lengths.size() + i];
      y.lengths.push_back(x.lengths[i].then(a.m, 1.0 / a.s));
    }
    return y;
  }

  static PoolDescription describe() {
    const PoolText& t = Op::kText;
    return {.name = t.name,
            .ranks = {1, 2, 3},
            .keys = describe_keys<Options>(t.name),
            .parameters = {},
            .formula = t.formula,
            .gradient = t.gradient,
            .source = t.source,
            .keeps = Op::kKeeps == Keeps::nothing ? "nothing"
                     : Op::kKeeps == Keeps::winner
                         ? "the winner's index, 1 byte an output (4 when a window has over 256 elements)"
                         : "x",
            .make = [](const nlohmann::json& config) -> std::unique_ptr<PoolOperator> {
              return std::make_unique<WindowPool>(parse_keys<Options>(Op::kText.name, config));
            }};
  }

 private:
  Options options_;
};

/// Registers Op under the name that operators.inc has.
#define TP_WINDOW_POOL(name, Op)                                           \
  inline namespace TP_PASS {                                               \
  const PoolDescription& pool_##name() {                                   \
    static const PoolDescription description = WindowPool<Op>::describe(); \
    return description;                                                    \
  }                                                                        \
  }

}  // namespace tidepool
