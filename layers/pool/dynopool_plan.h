// dynopool's keys, and the tables that follow from its lengths: where samples lie, how the map tilts there.
#pragma once
#include <algorithm>
#include <cmath>

#include "layers/pool/sampling.h"

namespace tidepool {
namespace {  // of one source file, in each compiler's pass

constexpr const char* kName = "dynopool";
enum class Aggregate : uint8_t { max, avg, soft };
enum class Anchor : uint8_t { center, origin };
enum class NodeDerivative : uint8_t { central, right };
enum class Offset : uint8_t { fixed, learned };

struct Options {
  PerAxis<double> r = PerAxis<double>::all(0.5);
  double r_min = 1.0 / 16, r_max = 2;
  bool tied = false;
  Aggregate aggregate = Aggregate::max;
  Anchor anchor = Anchor::center;
  NodeDerivative node_derivative = NodeDerivative::central;
  Offset offset = Offset::fixed;

  void keys(Keys& k) {
    k.numbers("r", r, "Initial scale factor 1/a.").above(0).at_most(1e6);
    k.number("r_min", r_min, "Least scale factor after an optimizer step.").above(0);
    k.number("r_max", r_max, "Largest scale factor after an optimizer step; over 1 enlarges the map.").above(0);
    k.flag("tied", tied, "One parameter for all axes.");
    k.choice("aggregate", aggregate, {"max", "avg", "soft"}, "What an output makes of its samples.");
    k.choice("anchor", anchor, {"center", "origin"}, "What stays put, for the gradient, when the cell grows.");
    k.choice("node_derivative", node_derivative, {"central", "right"},
             "The derivative of the map at a pixel's centre.");
    k.choice("offset", offset, {"fixed", "learned"}, "Whether the samples' offset in the cell is learned.");
  }
};

/// What one forward was, for its backward: all that tables follow from.
struct DynoPoolPlan {
  Options options;
  int rank = 0;
  std::array<int64_t, 3> n{1, 1, 1}, m{1, 1, 1};  // axes D, H, W
  std::array<double, 3> a{1, 1, 1}, delta{0.25, 0.25, 0.25};
  MapLayout map{};
  DType alpha_type = DType::f32, delta_type = DType::f32;
  Device alpha_device{}, delta_device{};

  int first_axis() const { return 3 - rank; }
  int32_t queries() const { return 1 << rank; }
  int64_t outputs() const { return map.outer * m[0] * m[1] * m[2] * map.inner; }
  /// Samples lie on all pixels, each on one: 2x2 windows, which are max's (the plain loop serves every
  /// case; a tuned one stands beside it).
  bool windows() const {
    if (options.aggregate != Aggregate::max) return false;
    for (size_t i = static_cast<size_t>(first_axis()); i < 3; ++i)
      if (n[i] != 2 * m[i] || delta[i] != 0.25) return false;
    return true;
  }
  WindowGeometry geometry() const {
    WindowGeometry g{{}, map};
    for (size_t i = static_cast<size_t>(first_axis()); i < 3; ++i) g.axis[i] = {n[i], m[i], 2, 2, 0, 1};
    return g;
  }
};

/// Derivative of the map in q at a sample: scale (x[up] - x[down]); and of q in the cell and in delta.
struct Tilt {
  int64_t up = 0, down = 0;
  double scale = 0, by_cell = 0, by_delta = 0;
};

struct Query {
  Sample sample;
  Tilt tilt;
};

Query query(const DynoPoolPlan& p, size_t axis, int64_t i, int side) {
  const int64_t n = p.n[axis], m = p.m[axis];
  const double cell = static_cast<double>(n) / static_cast<double>(m), sign = side == 0 ? -1 : 1;
  Query q;
  bool outside, node = false;
  if (p.delta[axis] == 0.25) {  // in integers: q - 1/2 = ((4 i + 1 or 3) n - 2 m) / (4 m)
    const int64_t at = (4 * i + (side == 0 ? 1 : 3)) * n - 2 * m, unit = 4 * m, last = (n - 1) * unit;
    const int64_t clamped = std::min(std::max<int64_t>(at, 0), last);
    outside = at != clamped;
    q.sample.low = clamped / unit;
    q.sample.fraction = static_cast<double>(clamped % unit) / static_cast<double>(unit);
    node = !outside && clamped % unit == 0;
  } else {
    const double at = (static_cast<double>(i) + 0.5 + sign * p.delta[axis]) * cell - 0.5;
    const double clamped = std::min(std::max(at, 0.0), static_cast<double>(n - 1));
    outside = at != clamped;
    q.sample.low = static_cast<int64_t>(clamped);
    q.sample.fraction = clamped - static_cast<double>(q.sample.low);
  }
  q.sample.high = q.sample.fraction == 0 ? q.sample.low : q.sample.low + 1;
  const int64_t k = q.sample.low;
  q.tilt.up = std::min(k + 1, n - 1);
  q.tilt.down = k;
  q.tilt.scale = outside ? 0 : 1;
  if (node && p.options.node_derivative == NodeDerivative::central) {
    q.tilt.down = std::max<int64_t>(k - 1, 0);
    q.tilt.scale = 0.5;
  }
  const double from = p.options.anchor == Anchor::origin ? 0 : static_cast<double>(m) / 2;
  q.tilt.by_cell = static_cast<double>(i) - from + 0.5 + sign * p.delta[axis];
  q.tilt.by_delta = sign * cell;
  return q;
}

struct Tables {
  SampledAxes sampled;
  std::array<const Tilt*, 3> tilts{};  // [m][sides]

  Tables(const DynoPoolPlan& p, Device device, bool with_tilts) {
    HostArrays arrays;
    for (size_t axis = 0; axis < 3; ++axis) {
      const bool real = static_cast<int>(axis) >= p.first_axis();
      std::vector<Sample> samples;
      std::vector<Tilt> tilt;
      for (int64_t i = 0; i < p.m[axis]; ++i)
        for (int side = 0; side < (real ? 2 : 1); ++side) {
          const Query q = real ? query(p, axis, i, side) : Query{};
          samples.push_back(q.sample);
          tilt.push_back(q.tilt);
        }
      sampled.set(static_cast<int>(axis), p.n[axis], real ? 2 : 1, samples, arrays);
      if (with_tilts) arrays.add(tilt, tilts[axis]);
    }
    sampled.memory = arrays.send(device);
  }
  Tables(const Tables&) = delete;
  Tables& operator=(const Tables&) = delete;
};

}  // namespace
}  // namespace tidepool
