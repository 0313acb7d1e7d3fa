#include "tests/simulated_cuda/convolution.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace simulated {
namespace {

using tidepool::bf16;
using tidepool::DType;

/// The elements of a map as A, channels last: [n][d][h][w][c]. Weights [d][h][w][c][o] or, `turned`, [d][h][w][o][c].
template <class A>
struct Dense {
  std::vector<A> v;
  std::array<int64_t, 5> n;

  A* row(int64_t image, int64_t d, int64_t h, int64_t w) {
    return v.data() + (((image * n[2] + d) * n[3] + h) * n[4] + w) * n[1];
  }
};

template <class A>
Dense<A> gather(const Map& m, const void* data, bool tf32) {
  Dense<A> to{std::vector<A>(static_cast<size_t>(m.n[0] * m.n[1] * m.n[2] * m.n[3] * m.n[4])), m.n};
  A* at = to.v.data();
  for (int64_t i = 0; i < m.n[0]; ++i)
    for (int64_t d = 0; d < m.n[2]; ++d)
      for (int64_t h = 0; h < m.n[3]; ++h)
        for (int64_t w = 0; w < m.n[4]; ++w)
          for (int64_t c = 0; c < m.n[1]; ++c) {
            const double value = load(
                data, m.type, i * m.stride[0] + c * m.stride[1] + d * m.stride[2] + h * m.stride[3] + w * m.stride[4]);
            *at++ = tf32 ? static_cast<A>(rounded_to_tf32(static_cast<float>(value))) : static_cast<A>(value);
          }
  return to;
}
template <class A>
void scatter(const Map& m, void* data, const Dense<A>& from, double factor) {
  const A* at = from.v.data();
  for (int64_t i = 0; i < m.n[0]; ++i)
    for (int64_t d = 0; d < m.n[2]; ++d)
      for (int64_t h = 0; h < m.n[3]; ++h)
        for (int64_t w = 0; w < m.n[4]; ++w)
          for (int64_t c = 0; c < m.n[1]; ++c)
            store(data, m.type, i * m.stride[0] + c * m.stride[1] + d * m.stride[2] + h * m.stride[3] + w * m.stride[4],
                  static_cast<double>(*at++) * factor);
}

/// Calls f(tap, position of x, position of y) where both are inside; tap, positions as (d, h, w).
struct Geometry {
  const Convolution& c;

  /// Where tap k of output o reads on an axis; -1: outside.
  int64_t input(size_t axis, int64_t o, int64_t k) const {
    const int64_t i = o * c.step[axis] - c.padding[axis] + k * c.dilation[axis];
    return i < c.x.n[axis + 2] && i >= 0 ? i : -1;
  }
  /// Which output reads position i by tap k; -1: none.
  int64_t output(size_t axis, int64_t i, int64_t k) const {
    const int64_t o = i + c.padding[axis] - k * c.dilation[axis];
    if (o < 0 || o % c.step[axis] != 0 || o / c.step[axis] >= c.y.n[axis + 2]) return -1;
    return o / c.step[axis];
  }
  int64_t tap(size_t axis, int64_t k) const { return c.flipped ? c.w.n[axis + 2] - 1 - k : k; }
};

template <class A>
void run_as(const Convolution& c, const void* px, const void* pw, const void* py) {
  const Geometry g{c};
  const int64_t images = c.x.n[0], in = c.x.n[1], out = c.y.n[1], group_in = c.w.n[1], groups = in / group_in,
                group_out = out / groups, taps = c.w.n[2] * c.w.n[3] * c.w.n[4];
  const bool forward = c.direction == Convolution::kForward, data = c.direction == Convolution::kBackwardData;
  Dense<A> x{{}, c.x.n}, y{{}, c.y.n};
  if (data)
    x.v.assign(static_cast<size_t>(images * in * c.x.n[2] * c.x.n[3] * c.x.n[4]), A{});
  else
    x = gather<A>(c.x, px, c.tf32);
  if (forward)
    y.v.assign(static_cast<size_t>(images * out * c.y.n[2] * c.y.n[3] * c.y.n[4]), A{});
  else
    y = gather<A>(c.y, py, c.tf32);
  // Weights by tap: [tap][group][c][o], for the input's gradient [tap][group][o][c].
  std::vector<A> weights(static_cast<size_t>(taps * out * group_in), A{});
  const auto weight_at = [&](int64_t tap, int64_t o, int64_t i) -> A& {
    const int64_t group = o / group_out, inner = data ? (o % group_out) * group_in + i : i * group_out + o % group_out;
    return weights[static_cast<size_t>((tap * groups + group) * group_in * group_out + inner)];
  };
  const auto each_weight = [&](const auto& f) {
    for (int64_t o = 0; o < out; ++o)
      for (int64_t i = 0; i < group_in; ++i)
        for (int64_t kd = 0; kd < c.w.n[2]; ++kd)
          for (int64_t kh = 0; kh < c.w.n[3]; ++kh)
            for (int64_t kw = 0; kw < c.w.n[4]; ++kw)
              f(weight_at((g.tap(0, kd) * c.w.n[3] + g.tap(1, kh)) * c.w.n[4] + g.tap(2, kw), o, i),
                o * c.w.stride[0] + i * c.w.stride[1] + kd * c.w.stride[2] + kh * c.w.stride[3] + kw * c.w.stride[4]);
  };
  if (c.direction != Convolution::kBackwardWeights)
    each_weight([&](A& to, int64_t at) {
      const double value = load(pw, c.w.type, at);
      to = c.tf32 ? static_cast<A>(rounded_to_tf32(static_cast<float>(value))) : static_cast<A>(value);
    });

  if (c.direction == Convolution::kBackwardWeights) {
    const int64_t block = group_in * group_out;
#pragma omp parallel for schedule(dynamic)
    for (int64_t tap = 0; tap < taps; ++tap) {
      const int64_t kd = tap / (c.w.n[3] * c.w.n[4]), kh = tap / c.w.n[4] % c.w.n[3], kw = tap % c.w.n[4];
      std::vector<A> part(static_cast<size_t>(block * groups));  // of an image: short sums lose few digits
      A* const total = weights.data() + tap * block * groups;
      for (int64_t image = 0; image < images; ++image) {
        std::fill(part.begin(), part.end(), A{});
        for (int64_t d = 0; d < c.y.n[2]; ++d)
          for (int64_t h = 0; h < c.y.n[3]; ++h)
            for (int64_t w = 0; w < c.y.n[4]; ++w) {
              const int64_t id = g.input(0, d, kd), ih = g.input(1, h, kh), iw = g.input(2, w, kw);
              if (id < 0 || ih < 0 || iw < 0) continue;
              const A *const from = x.row(image, id, ih, iw), *const dy = y.row(image, d, h, w);
              for (int64_t group = 0; group < groups; ++group)
                for (int64_t i = 0; i < group_in; ++i) {
                  A* const sums = part.data() + group * block + i * group_out;
                  const A factor = from[group * group_in + i];
                  const A* const gradient = dy + group * group_out;
                  for (int64_t o = 0; o < group_out; ++o) sums[o] += factor * gradient[o];
                }
            }
        for (int64_t i = 0; i < block * groups; ++i) total[i] += part[static_cast<size_t>(i)];
      }
    }
    const double factor = 1.0 + static_cast<double>(c.wobble);
    each_weight([&](const A& from, int64_t at) {
      store(const_cast<void*>(pw), c.w.type, at, static_cast<double>(from) * factor);
    });
    return;
  }

  // Forward and the input's gradient: each position of the result gathers its taps.
  const Map& result = forward ? c.y : c.x;
  const int64_t from_group = forward ? group_in : group_out, to_group = forward ? group_out : group_in;
#pragma omp parallel for collapse(2) schedule(dynamic)
  for (int64_t image = 0; image < images; ++image)
    for (int64_t d = 0; d < result.n[2]; ++d)
      for (int64_t h = 0; h < result.n[3]; ++h)
        for (int64_t w = 0; w < result.n[4]; ++w) {
          A* const sums = forward ? y.row(image, d, h, w) : x.row(image, d, h, w);
          for (int64_t tap = 0; tap < taps; ++tap) {
            const int64_t kd = tap / (c.w.n[3] * c.w.n[4]), kh = tap / c.w.n[4] % c.w.n[3], kw = tap % c.w.n[4];
            const int64_t od = forward ? g.input(0, d, kd) : g.output(0, d, kd),
                          oh = forward ? g.input(1, h, kh) : g.output(1, h, kh),
                          ow = forward ? g.input(2, w, kw) : g.output(2, w, kw);
            if (od < 0 || oh < 0 || ow < 0) continue;
            const A* const from = forward ? x.row(image, od, oh, ow) : y.row(image, od, oh, ow);
            for (int64_t group = 0; group < groups; ++group)
              for (int64_t i = 0; i < from_group; ++i) {
                const A factor = from[group * from_group + i];
                const A* const row = weights.data() + ((tap * groups + group) * from_group + i) * to_group;
                A* const to = sums + group * to_group;
                for (int64_t o = 0; o < to_group; ++o) to[o] += factor * row[o];
              }
          }
        }
  const double factor = 1.0 + static_cast<double>(c.wobble);
  if (forward)
    scatter(c.y, const_cast<void*>(py), y, factor);
  else
    scatter(c.x, const_cast<void*>(px), x, factor);
}

}  // namespace

int64_t Map::span() const {
  int64_t last = 0;
  for (size_t i = 0; i < 5; ++i) last += (n[i] - 1) * stride[i];
  return last + 1;
}

double load(const void* data, tidepool::DType type, int64_t i) {
  switch (type) {
    case DType::f64:
      return static_cast<const double*>(data)[i];
    case DType::bf16:
      return static_cast<double>(static_cast<float>(static_cast<const bf16*>(data)[i]));
    default:
      return static_cast<double>(static_cast<const float*>(data)[i]);
  }
}
void store(void* data, DType type, int64_t i, double value) {
  switch (type) {
    case DType::f64:
      static_cast<double*>(data)[i] = value;
      break;
    case DType::bf16:
      static_cast<bf16*>(data)[i] = bf16(static_cast<float>(value));
      break;
    default:
      static_cast<float*>(data)[i] = static_cast<float>(value);
  }
}
float rounded_to_tf32(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  bits = (bits + 0xfffu + (bits >> 13 & 1u)) & ~0x1fffu;
  std::memcpy(&value, &bits, 4);
  return value;
}

void Convolution::run(const void* px, const void* pw, const void* py) const {
  if (x.type == DType::f64)
    run_as<double>(*this, px, pw, py);
  else
    run_as<float>(*this, px, pw, py);
}

}  // namespace simulated
