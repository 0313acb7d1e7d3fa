// Launches the kernels of windowed operators, each in the form that its shapes take. Gradients are set, not added.
#pragma once
#include "layers/pool/window_backward.h"
#include "layers/pool/window_forward.h"
#include "layers/pool/window_number_backward.h"
#include "layers/pool/window_runs.h"

namespace tidepool {

namespace window {

/// Calls f with the kernels' Form and direction of lanes as constants; `in_runs`: the lanes fall into runs. f64 is for
/// comparing, not for speed: one form.
template <class T, class F>
void dispatch_form(const WindowGeometry& g, [[maybe_unused]] bool in_runs, F&& f) {
  const auto along = [&](auto kLanesAlongWidth) {
    bool two = g.axis[0].k == 1 && g.axis[1].k == 2 && g.axis[2].k == 2 && g.axis[1].d == 1 && g.axis[2].d == 1 &&
               (g.axis[2].s == 2 || g.map.inner > 1) && g.all(&WindowAxis::full);
    if constexpr (takes_runs<Form::two, kLanesAlongWidth>()) two = two && in_runs;
    if constexpr (!std::is_same_v<T, double>)
      if (two) return f(std::integral_constant<Form, Form::two>{}, kLanesAlongWidth);
    f(std::integral_constant<Form, Form::any>{}, kLanesAlongWidth);
  };
  if (g.map.inner == 1)
    along(std::true_type{});
  else
    along(std::false_type{});
}

template <class Op>
using NumbersOf = Numbers<number_count<Op>()>;

/// Whether a kernel has its way in window_bits.h.
template <class Op, class T, Form kForm, bool kLanesAlongWidth>
constexpr bool in_bits() {
  return is_first_of_largest<Op>() && std::is_same_v<T, bf16> && kForm == Form::two && !kLanesAlongWidth;
}

/// An empty tensor for the winners of windows, one per output.
inline Tensor empty_winners(const WindowGeometry& g, const Dims& shape, MemoryFormat format, Device device) {
  const DType type = g.volume() > 256 ? DType::f32 : DType::u8;  // f32: 4 bytes that hold an i32
  return Tensor::empty(shape, {type, format, device});
}
inline Tensor empty_winners(const WindowGeometry& g, const Tensor& y) {
  return empty_winners(g, y.shape(), y.format(), y.device());
}

/// Calls run(as(kernel)); the kernel reads x behind its norm where it has one.
template <class T, class Kernel, class As, class Run>
void with_norm(const Kernel& kernel, const Unwritten& norm, const As& as, const Run& run) {
#if !defined(TP_DEVICE_PASS)
  if constexpr (!std::is_same_v<T, double>)
    if (norm.constants) return run(BehindNorm<Kernel, T, As>(kernel, kernel.g, norm, as));
#endif
  run(as(kernel));
}

/// Launches Forward: y, and where they are given (x's type decides theirs) winners and state. x may lie behind a norm
/// where reads_behind_norm(g).
template <class Op>
void reduce(const Op& op, const NumbersOf<Op>& numbers, const WindowGeometry& g, const Tensor& x, const Tensor& y,
            const Tensor& winners, const Tensor& state, const Unwritten& norm = {}) {
  dispatch_floating(x.dtype(), Op::kText.name, [&]<class T>(T) {
    const bool in_runs =
        !state && falls_into_runs<T>(g, {x.raw(), y ? y.raw() : nullptr, winners ? winners.raw() : nullptr});
    dispatch_form<T>(g, in_runs, [&]<class F, class L>(F, L) {
      const auto launch = [&]<class I>(I) {
        const Forward<Op, T, I, F::value, L::value> kernel{op,
                                                           numbers,
                                                           g,
                                                           x.data<T>(),
                                                           y ? y.mutable_data<T>() : nullptr,
                                                           winners ? static_cast<I*>(winners.mutable_raw()) : nullptr,
                                                           state ? static_cast<Acc<T>*>(state.mutable_raw()) : nullptr,
                                                           g.map.outer * g.positions_out() * g.map.inner};
        const int64_t rows = g.map.outer * g.axis[0].m * g.axis[1].m, lanes = g.axis[2].m * g.map.inner;
        const auto run = [&](const auto& one) { parallel_rows(x.device(), rows, lanes, g.volume(), one); };
#if !defined(TP_DEVICE_PASS)
        if constexpr (in_bits<Op, T, F::value, L::value>()) {
          const auto bits = [](const auto& one) { return LargestBits<std::decay_t<decltype(one)>>{one}; };
          return with_norm<T>(kernel, norm, bits, run);
        }
#endif
        if constexpr (takes_runs<F::value, L::value>())
          parallel_rows(x.device(), rows, lanes / kRun<T>, g.volume(), ForwardRuns<Op, T, I>{kernel});
        else
          with_norm<T>(kernel, norm, Plainly{}, run);
      };
      if constexpr (has_winner<Op>() && F::value == Form::any)
        if (g.volume() > 256) return launch(int32_t{});
      launch(uint8_t{});
    });
  });
}

/// dx (set), from dy and what Keeps names. x may lie behind a norm, whose reductions are then taken.
template <class Op>
void backward(const Op& op, const NumbersOf<Op>& numbers, const WindowGeometry& g, const Tensor& x, const Tensor& kept,
              const Tensor& dy, const Tensor& dx, const Unwritten& norm = {}) {
  const bool own = g.all(&WindowAxis::disjoint);
  Tensor state, winners = kept;
  const int64_t outputs = g.map.outer * g.positions_out() * g.map.inner;
#if !defined(TP_DEVICE_PASS)
  if constexpr (asks_for_ranks<Op>())
    if (!own && g.volume() > kMostCounted)
      return dispatch_floating(dy.dtype(), Op::kText.name, [&]<class T>(T) {
        const RankedOverlapBackward<Op, T> kernel{op, numbers, g, x.data<T>(), dy.data<T>(), dx.mutable_data<T>()};
        parallel_rows(dy.device(), g.map.outer * g.map.inner, 1, g.positions_out() * g.volume(), kernel);
      });
#endif
  if (own) {
    if (!g.all(&WindowAxis::tiled)) dx.fill(0);
  } else if constexpr (Op::kKeeps == Keeps::input && (Op::kState > 0 || has_winner<Op>())) {
    const DType type = dy.dtype() == DType::f64 ? DType::f64 : DType::f32;
    state = Tensor::empty({Op::kState, outputs}, {.dtype = type, .device = dy.device()});
    if (has_winner<Op>()) winners = empty_winners(g, {outputs}, MemoryFormat::plain, dy.device());
    reduce(op, numbers, g, x, {}, winners, state);
  }
  dispatch_floating(dy.dtype(), Op::kText.name, [&]<class T>(T) {
    const T* elements = x ? x.data<T>() : nullptr;
    const auto launch = [&]<class I>(I) {
      const I* indices = winners ? static_cast<const I*>(winners.raw()) : nullptr;
      if (own) {
        const bool in_runs = falls_into_runs<T>(g, {elements, dy.raw(), indices, dx.raw()});
        dispatch_form<T>(g, in_runs, [&]<class F, class L>(F, L) {
          // Four elements need no index of 4 bytes.
          if constexpr (F::value == Form::any || std::is_same_v<I, uint8_t>) {
            const DisjointBackward<Op, T, I, F::value, L::value> kernel{
                op, numbers, g, elements, dy.data<T>(), indices, dx.mutable_data<T>()};
            const int64_t rows = g.map.outer * g.axis[0].m * g.axis[1].m, lanes = g.axis[2].m * g.map.inner;
            const auto run = [&](const auto& one) {
#if !defined(TP_DEVICE_PASS)
              if constexpr (!std::is_same_v<T, double>)
                if (norm.sums && g.all(&WindowAxis::tiled)) {
                  const int64_t grain = rows_per_chunk(lanes, g.volume());
                  const Tensor parts =
                      Tensor::empty({(rows + grain - 1) / grain, 2, g.map.inner}, {.dtype = DType::f64});
                  parallel_rows(dy.device(), rows, lanes, g.volume(),
                                WithSums<std::decay_t<decltype(one)>, T>{one, g, elements, dx.mutable_data<T>(),
                                                                         norm.constants.data<float>(), norm.act,
                                                                         parts.mutable_data<double>(), grain});
                  *norm.sums = norm::joined_sums(parts);
                  return;
                }
#endif
              parallel_rows(dy.device(), rows, lanes, g.volume(), one);
            };
#if !defined(TP_DEVICE_PASS)
            if constexpr (in_bits<Op, T, F::value, L::value>()) return run(WinnersBits<decltype(kernel)>{kernel});
#endif
            if constexpr (takes_runs<F::value, L::value>())
              parallel_rows(dy.device(), rows, lanes / kRun<T>, g.volume(), BackwardRuns<Op, T, I>{kernel});
            else if constexpr (Op::kKeeps == Keeps::input)
              with_norm<T>(kernel, norm, Plainly{}, run);
            else
              run(kernel);
          }
        });
      } else {
        const Acc<T>* values = state ? static_cast<const Acc<T>*>(state.raw()) : nullptr;
        const OverlapBackward<Op, T, I> kernel{
            op, numbers, g, elements, dy.data<T>(), indices, values, outputs, dx.mutable_data<T>()};
        parallel_rows(dy.device(), g.map.outer * g.axis[0].n * g.axis[1].n, g.axis[2].n * g.map.inner, g.volume(),
                      kernel);
      }
    };
    if constexpr (has_winner<Op>())
      if (g.volume() > 256) return launch(int32_t{});
    launch(uint8_t{});
  });
}

/// Gradients (set) of the learned parameters whose tensor in `gradients` is there, of the parameters' shapes and types.
template <class Op>
void backward_numbers(const Op& op, const NumbersOf<Op>& numbers, const NumberSpecs<number_count<Op>()>& specs,
                      const WindowGeometry& g, const Tensor& x, const Tensor& dy, std::span<const Tensor> gradients) {
  constexpr int kNumbers = number_count<Op>();
  constexpr int64_t kMostSums = 1 << 20;
  const bool along = g.map.inner == 1;
  const int64_t rows = g.map.outer * g.axis[0].m * g.axis[1].m;
  NumberSums sums[kNumbers];
  int64_t all = 1;
  for (int k = 0; k < kNumbers; ++k) {
    const Number& n = numbers.all[k];
    if (!gradients[static_cast<size_t>(k)]) continue;
    sums[k].count = specs[static_cast<size_t>(k)].count();
    const bool spread = n.per != Per::layer && (n.per == Per::position) == along;
    sums[k].slots = n.units * (spread ? 1 : NumberSums::kSlots);
    all += sums[k].count * sums[k].slots;
  }
  const int64_t most = std::clamp<int64_t>(kMostSums / all, 1, std::max<int64_t>(1, rows));
  const int64_t rows_per_chunk = std::max<int64_t>(1, (rows + most - 1) / most);
  const int64_t chunks = (rows + rows_per_chunk - 1) / rows_per_chunk;
  std::vector<Tensor> memory;
  for (int k = 0; k < kNumbers; ++k)
    if (gradients[static_cast<size_t>(k)]) {
      const Dims shape{chunks, sums[k].count, sums[k].slots};
      memory.push_back(Tensor::empty(shape, {.dtype = DType::f64, .device = dy.device()}));
      sums[k].sums = memory.back().template mutable_data<double>();
    }
  dispatch_floating(dy.dtype(), Op::kText.name, [&]<class T>(T) {
    const auto launch = [&]<class L>(L) {
      NumberBackward<Op, T, L::value> kernel{op, numbers, g, x.data<T>(), dy.data<T>(), rows, rows_per_chunk, {}};
      for (int k = 0; k < kNumbers; ++k) kernel.wanted[k] = sums[k];
      parallel_rows(dy.device(), chunks, 1, rows_per_chunk * g.axis[2].m * g.map.inner * g.volume(), kernel);
    };
    if (along)
      launch(std::true_type{});
    else
      launch(std::false_type{});
  });
  for (int k = 0; k < kNumbers; ++k)
    if (gradients[static_cast<size_t>(k)])  // batch 0 has no sums
      finish_gradient(specs[static_cast<size_t>(k)], numbers.all[k], chunks, sums[k].slots, sums[k].sums,
                      gradients[static_cast<size_t>(k)]);
}

}  // namespace window

}  // namespace tidepool
