// What writes rows goes in the order of memory, from which it may read; what sums over rows in cache takes a run of
// channels at a time, whose sums stay in registers.
#include "core/cpu/norm_rows.h"

#include "core/cpu/norm_blocks.h"

namespace tidepool::norm {
namespace {

template <class V>
struct Constants {
  V mean, scale, shift;

  Constants() = default;
  Constants(const float* rows, int64_t channels, int64_t c)
      : mean(load<V>(rows + c)), scale(load<V>(rows + channels + c)), shift(load<V>(rows + 2 * channels + c)) {}
};

template <class V>
struct GradientConstants : Constants<V> {
  V slope, offset;

  GradientConstants() = default;
  GradientConstants(const float* rows, const float* line, int64_t channels, int64_t c)
      : Constants<V>(rows, channels, c), slope(load<V>(line + c)), offset(load<V>(line + channels + c)) {}
};

// Calls body.operator()<V, B>(c) for runs of channels.
template <class Body>
TP_INLINE void each_run(int64_t channels, const Body& body) {
  each_block<float, 4>(channels, body);
}

template <class V>
TP_INLINE double lane_of(const V& v, int l) {
  if constexpr (kLanes<V> == 1)
    return static_cast<double>(v);
  else
    return static_cast<double>(v[l]);
}

}  // namespace

template <class T, class O>
void apply_rows(Rows<const T> x, int64_t rows, int64_t channels, const float* constants, Act act, Rows<O> y) {
  with_activation(act, [&]<class F>(F) {
    each_in_order<float>(
        0, rows, channels, [&]<class V>(int64_t c) { return Constants<V>(constants, channels, c); },
        [&]<class V>(const Constants<V>& k, int64_t r, int64_t c) {
          const V centred = load<V>(x.first + r * x.step + c) - k.mean;
          store(y.first + r * y.step + c, F::template apply<V>(normed<V>(centred, k.scale, k.shift)));
        });
  });
}
template void apply_rows(Rows<const float>, int64_t, int64_t, const float*, Act, Rows<float>);
template void apply_rows(Rows<const bf16>, int64_t, int64_t, const float*, Act, Rows<bf16>);
template void apply_rows(Rows<const bf16>, int64_t, int64_t, const float*, Act, Rows<float>);

template <class T>
void gradient_rows(Rows<const T> x, Rows<const T> dz, int64_t rows, int64_t channels, const float* constants,
                   const float* line, Act act, Rows<float> dx) {
  with_activation(act, [&]<class F>(F) {
    each_in_order<float>(
        0, rows, channels, [&]<class V>(int64_t c) { return GradientConstants<V>(constants, line, channels, c); },
        [&]<class V>(const GradientConstants<V>& k, int64_t r, int64_t c) {
          const V centred = load<V>(x.first + r * x.step + c) - k.mean;
          const V g =
              F::template gradient<T, V>(load<V>(dz.first + r * dz.step + c), normed<V>(centred, k.scale, k.shift));
          store(dx.first + r * dx.step + c, gradient<V>(g, centred, k.scale, k.slope, k.offset));
        });
  });
}
template void gradient_rows(Rows<const float>, Rows<const float>, int64_t, int64_t, const float*, const float*, Act,
                            Rows<float>);
template void gradient_rows(Rows<const bf16>, Rows<const bf16>, int64_t, int64_t, const float*, const float*, Act,
                            Rows<float>);

template <class T, class D>
void add_gradient_sums(Rows<const T> x, Rows<const D> dz, int64_t rows, int64_t channels, const float* constants,
                       Act act, double* sums) {
  with_activation(act, [&]<class F>(F) {
    for (int64_t begin = 0; begin < rows; begin += sum_run(channels)) {
      const int64_t end = std::min(rows, begin + sum_run(channels));
      each_run(channels, [&]<class V, int B>(int64_t c) {
        Constants<V> k[B];
        V s0[B] = {}, s1[B] = {};
        for (int b = 0; b < B; ++b) k[b] = {constants, channels, c + b * kLanes<V>};
        for (int64_t r = begin; r < end; ++r)
          for (int b = 0; b < B; ++b) {
            const int64_t at = c + b * kLanes<V>;
            const V centred = load<V>(x.first + r * x.step + at) - k[b].mean;
            const V g = F::template gradient<T, V>(load<V>(dz.first + r * dz.step + at),
                                                   normed<V>(centred, k[b].scale, k[b].shift));
            s0[b] = s0[b] + g;
            s1[b] = s1[b] + g * centred;
          }
        for (int b = 0; b < B; ++b) {
          add_widened(sums + c + b * kLanes<V>, s0[b]);
          add_widened(sums + channels + c + b * kLanes<V>, s1[b]);
        }
      });
    }
  });
}
template void add_gradient_sums(Rows<const float>, Rows<const float>, int64_t, int64_t, const float*, Act, double*);
template void add_gradient_sums(Rows<const bf16>, Rows<const bf16>, int64_t, int64_t, const float*, Act, double*);
template void add_gradient_sums(Rows<const bf16>, Rows<const float>, int64_t, int64_t, const float*, Act, double*);

template <class T>
void moments_of_rows(Rows<const T> x, int64_t rows, int64_t channels, double* moments) {
  each_run(channels, [&]<class V, int B>(int64_t c) {
    V pivot[B] = {}, s0[B] = {}, s1[B] = {};  // about the mean of the first rows, which is near the mean
    const int64_t some = std::min<int64_t>(rows, 8);
    for (int b = 0; b < B; ++b) {
      for (int64_t r = 0; r < some; ++r) pivot[b] = pivot[b] + load<V>(x.first + r * x.step + c + b * kLanes<V>);
      pivot[b] = pivot[b] * splat<V>(1 / static_cast<float>(some));
    }
    for (int64_t r = 0; r < rows; ++r)
      for (int b = 0; b < B; ++b) {
        const V d = load<V>(x.first + r * x.step + c + b * kLanes<V>) - pivot[b];
        s0[b] = s0[b] + d;
        s1[b] = s1[b] + d * d;
      }
    const double count = static_cast<double>(rows);
    for (int b = 0; b < B; ++b)
      for (int l = 0; l < kLanes<V>; ++l) {
        const int64_t at = c + b * kLanes<V> + l;
        const double sum = lane_of(s0[b], l), squares = lane_of(s1[b], l);
        moments[at] = lane_of(pivot[b], l) + sum / count;
        moments[channels + at] = std::max(0.0, squares - sum * (sum / count)) + (sum - sum);  // NaN stays
      }
  });
}
template void moments_of_rows(Rows<const float>, int64_t, int64_t, double*);
template void moments_of_rows(Rows<const bf16>, int64_t, int64_t, double*);

}  // namespace tidepool::norm
