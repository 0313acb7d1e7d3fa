// Sums, products and random masks of maps. Random numbers are the CPU's: functions of (seed, step, position).
#include "core/backend/elementwise.h"

#include "core/cuda/kernels/columns.h"
#include "core/cuda/tables.h"
#include "core/philox.h"

namespace tidepool::cuda {
namespace {

template <class T, int n>
struct Add {
  const T *a, *b;
  T* y;

  TP_HD void operator()(uint32_t i) const {
    Pack<T, n> v = load_pack<n>(a, i * n);
    const Pack<T, n> w = load_pack<n>(b, i * n);
    TP_UNROLL
    for (int k = 0; k < n; ++k) v.v[k] = rounded<T>(value_of(v.v[k]) + value_of(w.v[k]));
    store_pack<n>(y, i * n, v);
  }
};

bool add(const Tensor& a, const Tensor& b, const Tensor& y) {
  dispatch_floating(y.dtype(), "add", [&]<class T>(T) {
    dispatch_pack<T>(y.numel(), {a.raw(), b.raw(), y.raw()}, [&](auto n) {
      launch_each(narrow(y.numel()) / n, Add<T, n>{a.data<T>(), b.data<T>(), y.mutable_data<T>()});
    });
  });
  return true;
}

template <class T, int n>
struct Gate {
  const T *x, *s;
  T* y;
  Map map;

  TP_HD void operator()(uint32_t i) const {
    Pack<T, n> v = load_pack<n>(x, i * n);
    const uint32_t row = map.row(i * n);
    TP_UNROLL
    for (int k = 0; k < n; ++k)
      v.v[k] = rounded<T>(value_of(v.v[k]) * value_of(s[map.last ? row + static_cast<uint32_t>(k) : row]));
    store_pack<n>(y, i * n, v);
  }
};

// What a pack must not cross: channels-last the channels, else the positions.
int64_t run_of(const Map& map) {
  return map.last ? map.channels : map.positions;
}

bool gate(const Tensor& x, const Tensor& s, const Tensor& y) {
  const Map map(x);
  dispatch_floating(x.dtype(), "gate", [&]<class T>(T) {
    dispatch_pack<T>(run_of(map), {x.raw(), y.raw()}, [&](auto n) {
      launch_each(x.numel() / n, Gate<T, n>{x.data<T>(), s.data<T>(), y.mutable_data<T>(), map});
    });
  });
  return true;
}

template <class T>
struct Products {
  const T *x, *dy;

  template <int n>
  TP_HD void operator()(uint32_t at, uint32_t /*channel*/, double (&sum)[n], double (&/*unused*/)[n]) const {
    const Pack<T, n> v = load_pack<n>(x, at), g = load_pack<n>(dy, at);
    TP_UNROLL
    for (int k = 0; k < n; ++k) sum[k] += static_cast<double>(value_of(v.v[k]) * value_of(g.v[k]));
  }
};
template <class T>
struct SetRow {
  T* to;
  uint32_t channels;

  TP_HD void operator()(uint32_t outer, uint32_t channel, double sum, double /*unused*/) const {
    to[outer * channels + channel] = rounded<T>(sum);
  }
};

template <class From, class To>
struct Divide {
  const From* x;
  double by;
  To* y;

  TP_HD void operator()(uint32_t i) const { y[i] = rounded<To>(static_cast<double>(value_of(x[i])) / by); }
};

bool divide(const Tensor& x, double by, const Tensor& y) {
  dispatch_floating(x.dtype(), "divide", [&]<class From>(From) {
    dispatch_floating(y.dtype(), "divide", [&]<class To>(To) {
      launch_each(x.numel(), Divide<From, To>{x.data<From>(), by, y.mutable_data<To>()});
    });
  });
  return true;
}

bool gate_backward(const Tensor& x, const Tensor& s, const Tensor& dy, const Tensor& dx, const Tensor& ds) {
  if (dx) gate(dy, s, dx);
  dispatch_floating(x.dtype(), "gate", [&]<class T>(T) {
    const Columns columns = Columns::of_images(x);
    sum_columns<T>(columns, {x.raw(), dy.raw()}, Products<T>{x.data<T>(), dy.data<T>()},
                   SetRow<T>{ds.mutable_data<T>(), columns.channels});
  });
  return true;
}

// Channels of a part, of a whole from channel `first` on; `parts` to or from the whole.
template <class T, int n>
struct MoveChannels {
  const T* from;
  T* to;
  Map part;
  uint32_t first, channels;  // in the whole
  bool into_whole;

  TP_HD void operator()(uint32_t i) const {
    const uint32_t at = i * n;
    uint32_t whole;
    if (part.last)
      whole = at / part.channels * channels + first + at % part.channels;
    else
      whole = (part.image(at) * channels + first) * part.positions + at % (part.channels * part.positions);
    if (into_whole)
      store_pack<n>(to, whole, load_pack<n>(from, at));
    else
      store_pack<n>(to, at, load_pack<n>(from, whole));
  }
};

bool move_channels(const Tensor& part, const Tensor& whole, int64_t first, bool into_whole) {
  if (part.numel() == 0) return true;
  const Map map(part);
  dispatch_floating(part.dtype(), "concat", [&]<class T>(T) {
    const T* from = into_whole ? part.data<T>() : whole.data<T>();
    T* to = into_whole ? whole.mutable_data<T>() : part.mutable_data<T>();
    const bool fits =
        (map.last ? first : 0) % kPack<T> == 0 && (map.last ? whole.size(1) : int64_t{map.positions}) % kPack<T> == 0;
    dispatch_pack<T>(fits ? run_of(map) : 1, {from, to}, [&](auto n) {
      launch_each(part.numel() / n,
                  MoveChannels<T, n>{from, to, map, narrow(first), narrow(whole.size(1)), into_whole});
    });
  });
  return true;
}

bool concat(std::span<const Tensor> inputs, const Tensor& y) {
  int64_t first = 0;
  for (const Tensor& x : inputs) {
    move_channels(x, y, first, true);
    first += x.size(1);
  }
  return true;
}

bool split(const Tensor& y, std::span<const int64_t> channels, std::span<const Tensor> parts) {
  int64_t first = 0;
  for (size_t k = 0; k < parts.size(); first += channels[k++])
    if (parts[k]) move_channels(parts[k], y, first, false);
  return true;
}

template <class T, bool kOfImages>
struct Mask {
  const T* x;
  T* y;
  Map map;
  uint64_t seed, stream, step;
  const int64_t* counter;  // null: the step is `step`
  double p;

  TP_HD void operator()(uint32_t i) const {
    uint32_t number = i;  // in the order n, position, channel
    if (kOfImages)
      number = map.image(i);
    else if (!map.last)
      number = (map.image(i) * map.positions + i % map.positions) * map.channels + map.channel(i);
    const uint64_t now = counter ? static_cast<uint64_t>(*counter) : step;
    const auto words = random_words(seed, stream ^ now, number / 4);
    const bool kept = static_cast<double>(uniform24(words[number % 4])) >= p;
    y[i] = rounded<T>(static_cast<double>(value_of(x[i])) * (kept ? 1 / (1 - p) : 0));
  }
};

template <bool kOfImages>
bool mask(const Tensor& x, const MaskDraw& draw, const Tensor& y) {
  dispatch_floating(x.dtype(), "dropout", [&]<class T>(T) {
    launch_each(x.numel(), Mask<T, kOfImages>{x.data<T>(), y.mutable_data<T>(), Map(x), draw.seed,
                                              kOfImages ? kStochasticDepthStream : kDropoutStream, draw.step,
                                              draw.counter ? draw.counter.data<int64_t>() : nullptr, draw.p});
  });
  return true;
}

}  // namespace

const ElementwiseTable kElementwise{.name = "kernels",
                                    .add = add,
                                    .divide = divide,
                                    .gate = gate,
                                    .gate_backward = gate_backward,
                                    .concat = concat,
                                    .split = split,
                                    .dropout = mask<false>,
                                    .stochastic_depth = mask<true>};

}  // namespace tidepool::cuda
