// Windowed operators. One of them is a small struct: what a window gives (`reduce`) and what an element of it gets back
// (`backward`). Everything else is here, once: ranks, layouts, views, types, vectors, threads, devices, the tape, keys,
// errors.
//
//   struct Foo {
//     static constexpr PoolText kText{...};                        name, formula, gradient, source, notes
//     static constexpr Keeps kKeeps = Keeps::input;                what the backward needs of the forward
//     static constexpr int kState = 2;                             numbers of a window that `backward` needs
//     struct Options { double b = 1; void keys(Keys& k); };        keys beside those of every window
//     Options options;
//     template <class V, class W> TP_HD Pooled<V, kState> reduce(const W& x) const;
//     template <class V> TP_HD V backward(V dy, V x_i, const auto& at, const Pooled<V, kState>& p) const;
//   };
//   TP_WINDOW_POOL(foo, Foo)
//
// V is f32, f64, or a vector of them (core/lanes.h), one window per lane. `at` says where x_i stands (WindowPosition),
// and at.window is its window, for an operator whose `backward` needs the other elements (x.rank, x.each). The backward
// gathers: each element sums what the windows that cover it give back, in the windows' order, without atomics;
// gradients are set, not added.
//
// What an operator may have beside these:
//
//     static constexpr bool kWinner = true;                        `backward` reads Pooled::winner (always set where
//                                                                  kKeeps is Keeps::winner)
//     template <class V, class W>                                  sets what only `backward` needs of a window
//     TP_HD void prepare_backward(const W& x, Pooled<V, kState>& p) const;
//     void begin(const PoolMode& mode);                            before a forward: training or not, one draw for all
//     static constexpr bool kRanks = true;                         asks windows for ranks (x.rank): many elements are
//                                                                  sorted once (ranked_window.h)
//     static constexpr bool kDraws = true;                         `reduce` draws: x.uniform(seed, step), one for each
//                                                                  window
//     static constexpr int kGathered = 2;                          `reduce` is `gather`, which sets that many states,
//                                                                  and `finish`: long arithmetic is faster in two
//     template <class V, class W> TP_HD Pooled<V, kState> gather(const W& x) const;
//     template <class V, class W> TP_HD void finish(const W& x, Pooled<V, kState>& p) const;
//     static constexpr int kNumbers = 1;                           numbers that can be learned (number.h):
//                                                                  declared by `numbers`, read as x.number(k[, j])
//     NumberSpecs<kNumbers> numbers(int rank, const std::array<WindowAxis, 3>& axes) const;
//     template <class V, class W, class Give>                      d y / d number: give(k, j, slope), once per window
//     TP_HD void backward_numbers(const W& x, const Pooled<V, kState>& p, Give&& give) const;
#pragma once
#include <algorithm>

#include "core/tape.h"
#include "layers/fused/normed_map.h"
#include "layers/pool/compiled_for.h"
#include "layers/pool/operator.h"
#include "layers/pool/window_kernels.h"

namespace tidepool {

/// The declaration of an operator's numbers.
template <class Op>
NumberSpecs<number_count<Op>()> number_specs(const Op& op, const Dims& x, const std::array<WindowAxis, 3>& axes) {
  if constexpr (number_count<Op>() > 0)
    return op.numbers(x.rank() - 2, axes);
  else
    return {};
}

/// The same as kernels see it; `memory` holds what it points to.
template <class Op>
window::NumbersOf<Op> prepare_numbers(const NumberSpecs<number_count<Op>()>& specs, const Dims& x,
                                      const std::array<WindowAxis, 3>& axes, std::span<const Tensor> parameters,
                                      std::vector<Tensor>& memory) {
  window::NumbersOf<Op> numbers{};
  size_t learned = 0;
  for (size_t k = 0; k < specs.size(); ++k) {
    numbers.all[k].fix(specs[k].value);
    numbers.all[k].per = specs[k].per;
    if (!specs[k].learned) continue;
    numbers.all[k].units = specs[k].units(x, axes);
    numbers.all[k].single =
        specs[k].per == Per::layer && specs[k].count() == 1 && specs[k].through != Through::log_softmax;
    memory.push_back(window::prepare_number(specs[k], numbers.all[k].units, parameters[learned++]));
    numbers.all[k].learned = memory.back().template data<double>();
  }
  return numbers;
}

/// A whole windowed operator: y of x and of its learned parameters, recorded on the tape under Op's name. A map whose
/// norm is not written is read through it: without learned parameters, where window::reads_behind_norm.
template <class Op>
Tensor window_pool(const Op& op, const std::array<WindowAxis, 3>& axes, const NormedMap& map,
                   std::span<const Tensor> parameters = {}) {
  const Tensor& x = map.raw();
  const MemoryFormat format = x.format();
  const bool behind = !map.written();
  const Tensor dense = x.contiguous(format);
  const WindowGeometry g{axes, MapLayout::of(x.shape(), format)};
  const Tensor y = Tensor::empty(pooled_shape(x.shape(), x.size(1), axes), {x.dtype(), format, x.device()});
  bool learns = false;
  for (const Tensor& p : parameters) learns = learns || Tape::wants({p});
  Tensor kept;
  if constexpr (Op::kKeeps == Keeps::winner)
    if (Tape::wants({x})) kept = window::empty_winners(g, y);
  std::vector<Tensor> memory;
  const auto specs = number_specs(op, x.shape(), axes);
  window::reduce(op, prepare_numbers<Op>(specs, x.shape(), axes, parameters, memory), g, dense, y, kept, {},
                 {map.constants(), map.act()});
  std::vector<Tensor> inputs{x, map.sums()},
      saved{Op::kKeeps == Keeps::input || learns || behind ? dense : Tensor{}, kept, map.constants()};
  inputs.insert(inputs.end(), parameters.begin(), parameters.end());
  saved.insert(saved.end(), parameters.begin(), parameters.end());
  const Dims shape = x.shape();
  const size_t learned = parameters.size();
  const Act act = map.act();
  Tape::record(
      Op::kText.name, inputs, std::span(&y, 1), saved, [op, g, shape, format, act, learned](BackwardContext& ctx) {
        const Tensor dy = ctx.dy().contiguous(format), &elements = ctx.saved(0);
        std::vector<Tensor> tensors, here;
        for (size_t i = 0; i < learned; ++i) tensors.push_back(ctx.saved(3 + i));
        const auto numbers_of = number_specs(op, shape, g.axis);
        const auto numbers = prepare_numbers<Op>(numbers_of, shape, g.axis, tensors, here);
        if (ctx.needs(0)) {
          ctx.dx(0) = Tensor::empty(shape, {dy.dtype(), format, dy.device()});
          window::backward(op, numbers, g, elements, ctx.saved(1), dy, ctx.dx(0),
                           {ctx.saved(2), act, ctx.saved(2) ? &ctx.dx(1) : nullptr});
        }
        if constexpr (number_count<Op>() > 0) {
          std::array<Tensor, number_count<Op>()> gradients;
          size_t i = 0;
          bool any = false;
          for (size_t k = 0; k < gradients.size(); ++k) {
            if (!numbers_of[k].learned) continue;
            if (ctx.needs(2 + i)) {
              const Tensor& p = tensors[i];
              gradients[k] = ctx.dx(2 + i) = Tensor::empty(p.shape(), {.dtype = p.dtype(), .device = p.device()});
              any = true;
            }
            ++i;
          }
          if (any) window::backward_numbers(op, numbers, numbers_of, g, elements, dy, gradients);
        }
      });
  return y;
}

/// The operator that a config makes.
template <class Op>
class WindowPool final : public PoolOperator, public ReadsNorm {
 public:
  struct Options : WindowOptions, Op::Options {
    void keys(Keys& k) {
      WindowOptions::keys(k);
      Op::Options::keys(k);
    }
  };
  explicit WindowPool(const Options& options) : options_(options) {}

  std::vector<ParameterSpec> parameters(const Dims& x) const override {
    const auto axes = options_.axes(Op::kText.name, x);
    return parameters_of(number_specs(Op{options_}, x, axes), x, axes);
  }
  Dims output_shape(const Dims& x, std::span<const Tensor> tensors) const override {
    const auto axes = options_.axes(Op::kText.name, x);
    expect(x, axes, tensors);
    return pooled_shape(x, x[1], axes);
  }
  Tensor run(const Tensor& x, std::span<const Tensor> tensors, const PoolMode& mode) const override {
    return pooled(x, options_.axes(Op::kText.name, x.shape()), tensors, mode);
  }
  Tensor forward_through_norm(const NormedMap& x, std::span<const Tensor> tensors,
                              const PoolMode& mode) const override {
    const auto axes = options_.axes(Op::kText.name, x.shape());
    const WindowGeometry g{axes, MapLayout::of(x.shape(), x.raw().format())};
    if (!tensors.empty() || !window::reads_behind_norm(g)) return {};
    return pooled(x, axes, tensors, mode);
  }
  /// Neighbouring windows make good vectors where they do not overlap; four channels share a block of drawn numbers.
  bool by_channels(const Dims& x, std::span<const Tensor> /*tensors*/) const override {
    const auto axes = options_.axes(Op::kText.name, x);
    constexpr bool kDraws = requires {
      Op::kDraws;
    };
    return kDraws || !std::all_of(axes.begin(), axes.end(), [](const WindowAxis& a) { return a.disjoint(); });
  }
  void project(std::span<const Tensor> tensors, const Dims& x) const override {
    project_numbers(number_specs(Op{options_}, x, options_.axes(Op::kText.name, x)), tensors);
  }
  TracedShape trace(const TracedShape& x, std::span<const Tensor> /*parameters*/, const std::string& /*name*/,
                    Trace& /*trace*/) const override {
    return options_.trace(Op::kText.name, x);
  }

  static PoolDescription describe() {
    const PoolText& t = Op::kText;
    return describe_pool<WindowPool, Options>({.name = t.name,
                                               .ranks = {1, 2, 3},
                                               .parameters = names(),
                                               .formula = t.formula,
                                               .gradient = t.gradient,
                                               .source = t.source,
                                               .notes = t.notes,
                                               .keeps = keeps()});
  }

 private:
  Tensor pooled(const NormedMap& x, const std::array<WindowAxis, 3>& axes, std::span<const Tensor> tensors,
                const PoolMode& mode) const {
    expect(x.shape(), axes, tensors);
    Op op{options_};
    if constexpr (requires { op.begin(mode); }) op.begin(mode);
    return window_pool(op, axes, x, tensors);
  }
  void expect(const Dims& x, const std::array<WindowAxis, 3>& axes, std::span<const Tensor> tensors) const {
    const auto specs = number_specs(Op{options_}, x, axes);
    expect_parameters(Op::kText.name, parameters_of(specs, x, axes), tensors);
    expect_numbers(Op::kText.name, specs, tensors);
  }
  static std::vector<std::string> names() {
    std::vector<std::string> list;
    for (const NumberSpec& s : number_specs(Op{}, Dims{1, 1, 1}, {})) list.push_back(s.name);
    return list;
  }
  static std::string keeps() {
    if (Op::kKeeps == Keeps::input) return "x";
    std::string text = Op::kKeeps == Keeps::winner
                           ? "the winner's index, 1 byte per output (4 when a window has over 256 elements)"
                           : "nothing";
    return number_count<Op>() > 0 ? text + "; x when a number is learned" : text;
  }

  Options options_;
};

/// Registers Op under the name that operators.inc has.
#define TP_WINDOW_POOL(name, Op)                                           \
  inline namespace TP_COMPILED_FOR {                                       \
  const PoolDescription& pool_##name() {                                   \
    static const PoolDescription description = WindowPool<Op>::describe(); \
    return description;                                                    \
  }                                                                        \
  }

}  // namespace tidepool
