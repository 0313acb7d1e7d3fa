#include "tests/layers/pool/reference.h"

#include <cmath>
#include <functional>
#include <numeric>

#include "core/philox.h"

#include "tests/layers/pool/reference_parts.h"

namespace tidepool::reference {
namespace {

// ---- windows

struct Axis {
  int64_t k, s, p, d, m;
};

struct Element {
  size_t at;        // of the map
  size_t w_offset;  // position in the kernel
};

struct Window {
  std::vector<Element> real;
  int64_t counted = 0;
};

std::array<Axis, 3> axes_of(const json& c, const Map& map) {
  std::array<Axis, 3> axes;
  for (int i = 0; i < 3; ++i) {
    Axis& a = axes[static_cast<size_t>(i)];
    const int64_t n = map.n[static_cast<size_t>(i)];
    const bool absent = i < 3 - map.rank;
    a.k = key<int64_t>(c, "kernel", i, map.rank, absent ? 1 : 2);
    a.s = key<int64_t>(c, "stride", i, map.rank, a.k);
    a.p = key<int64_t>(c, "padding", i, map.rank, 0);
    a.d = key<int64_t>(c, "dilation", i, map.rank, 1);
    const double room = static_cast<double>(n + 2 * a.p - a.d * (a.k - 1) - 1) / static_cast<double>(a.s);
    const bool ceil_mode = !absent && c.value("ceil_mode", false);
    a.m = static_cast<int64_t>(ceil_mode ? std::ceil(room) : std::floor(room)) + 1;
    if (ceil_mode && (a.m - 1) * a.s >= n + a.p) --a.m;
  }
  return axes;
}

Window window_at(const std::array<Axis, 3>& a, const Map& map, int64_t plane, std::array<int64_t, 3> o) {
  Window w;
  size_t index = 0;
  for (int64_t i = 0; i < a[0].k; ++i)
    for (int64_t j = 0; j < a[1].k; ++j)
      for (int64_t l = 0; l < a[2].k; ++l, ++index) {
        const std::array<int64_t, 3> k{i, j, l};
        bool real = true, counted = true;
        std::array<int64_t, 3> at;
        for (size_t x = 0; x < 3; ++x) {
          at[x] = o[x] * a[x].s - a[x].p + k[x] * a[x].d;
          real = real && at[x] >= 0 && at[x] < map.n[x];
          counted = counted && at[x] < map.n[x] + a[x].p;
        }
        if (real) w.real.push_back({map.at(plane, at[0], at[1], at[2]), index});
        if (counted) ++w.counted;
      }
  return w;
}

/// v and its weights' derivatives: f gets the elements' values and dy, and returns y; it sets the elements' gradients.
Result windowed(const json& c, const Dims& shape, const Values& x, const Values& dy,
                const std::function<double(const Window&, const Values&, double, Values&)>& f) {
  const Map map(shape);
  const auto axes = axes_of(c, map);
  Result r{.shape = out_shape(shape, {axes[0].m, axes[1].m, axes[2].m}),
           .y = {},
           .dx = Values(x.size(), 0.0),
           .parameters = {},
           .sizes = {}};
  const Map out(r.shape);
  out.each([&](int64_t p, int64_t d, int64_t h, int64_t w) {
    const Window window = window_at(axes, map, p, {d, h, w});
    Values v, gradient(window.real.size(), 0.0);
    for (const Element& e : window.real) v.push_back(x[e.at]);
    r.y.push_back(f(window, v, dy.empty() ? 0 : dy[out.at(p, d, h, w)], gradient));
    for (size_t i = 0; i < v.size(); ++i) r.dx[window.real[i].at] += gradient[i];
  });
  return r;
}

/// Softmax weights of beta v.
Values soft_weights(const Values& v, double beta) {
  const double m = v[first_largest(v)];
  Values w;
  double sum = 0;
  for (double e : v) w.push_back(std::exp(beta * (e - m))), sum += w.back();
  for (double& e : w) e /= sum;
  return w;
}

double soft_mean(const Values& v, const Values& w) {
  const double m = v[first_largest(v)];
  double y = 0;
  for (size_t i = 0; i < v.size(); ++i) y += w[i] * (v[i] - m);
  return m + y;
}

Result max(const json& c, const Dims& s, const Values& x, const Values& dy) {
  return windowed(c, s, x, dy, [](const Window&, const Values& v, double g, Values& gradient) {
    gradient[first_largest(v)] = g;
    return v[first_largest(v)];
  });
}

Result avg(const json& c, const Dims& s, const Values& x, const Values& dy) {
  return windowed(c, s, x, dy, [&](const Window& w, const Values& v, double g, Values& gradient) {
    const double n =
        static_cast<double>(c.value("count_include_pad", true) ? w.counted : static_cast<int64_t>(v.size()));
    double sum = 0;
    for (double e : v) sum += e;
    for (double& e : gradient) e = g / n;
    return sum / n;
  });
}

Result soft(const json& c, const Dims& s, const Values& x, const Values& dy) {
  const double beta = c.value("beta", 1.0);
  const bool frozen = c.value("grad", "full") == "frozen_weights";
  return windowed(c, s, x, dy, [&](const Window&, const Values& v, double g, Values& gradient) {
    const Values w = soft_weights(v, beta);
    const double y = soft_mean(v, w);
    for (size_t i = 0; i < v.size(); ++i) gradient[i] = g * w[i] * (frozen ? 1 : 1 + beta * (v[i] - y));
    return y;
  });
}

Result conv(const json& c, const Dims& shape, const Values& x, const std::vector<Values>& parameters,
            const Values& dy) {
  const Map map(shape);
  const auto axes = axes_of(c, map);
  const int64_t in = shape[1], out = c.value("channels", in), volume = axes[0].k * axes[1].k * axes[2].k;
  const Values& weight = parameters[0];
  Result r{.shape = out_shape(shape, {axes[0].m, axes[1].m, axes[2].m}),
           .y = {},
           .dx = Values(x.size(), 0.0),
           .parameters = {},
           .sizes = {}};
  r.shape[1] = out;
  r.parameters = {Values(weight.size(), 0.0), Values(static_cast<size_t>(out), 0.0)};
  r.sizes = r.parameters;
  Map(r.shape).each([&](int64_t plane, int64_t d, int64_t h, int64_t w) {
    const int64_t image = plane / out, o = plane % out;
    double y = parameters.size() > 1 ? parameters[1][static_cast<size_t>(o)] : 0;
    const double g = dy.empty() ? 0 : dy[r.y.size()];
    for (int64_t i = 0; i < in; ++i)
      for (const Element& e : window_at(axes, map, image * in + i, {d, h, w}).real) {
        const size_t at = static_cast<size_t>((o * in + i) * volume) + e.w_offset;
        y += weight[at] * x[e.at];
        r.dx[e.at] += weight[at] * g;
        r.parameters[0][at] += x[e.at] * g;
        r.sizes[0][at] += x[e.at] * g * x[e.at] * g;
      }
    r.parameters[1][static_cast<size_t>(o)] += g;
    r.sizes[1][static_cast<size_t>(o)] += g * g;
    r.y.push_back(y);
  });
  if (parameters.size() < 2) r.parameters.pop_back(), r.sizes.pop_back();
  return r;
}

// ---- dynopool

struct Query {
  int64_t low = 0, high = 0;
  double fraction = 0;
  int64_t up = 0, down = 0;  // the derivative is scale (x[up] - x[down])
  double scale = 0;
  double by_cell = 0, by_delta = 0;
};

Query query_at(const json& c, int64_t n, int64_t m, double delta, int64_t i, double sign) {
  Query q;
  const double cell = static_cast<double>(n) / static_cast<double>(m);
  double t = (static_cast<double>(i) + 0.5 + sign * delta) * cell - 0.5;  // in pixels, 0 at the first centre
  bool node = false;
  if (delta == 0.25) {
    const int64_t left = (4 * i + (sign < 0 ? 1 : 3)) * n - 2 * m;
    if (left % (4 * m) == 0) {
      node = true;
      t = static_cast<double>(left / (4 * m));
    }
  }
  const double end = static_cast<double>(n - 1);
  const bool outside = t < 0 || t > end;
  t = std::fmin(std::fmax(t, 0), end);
  q.low = static_cast<int64_t>(std::floor(t));
  q.fraction = t - std::floor(t);
  q.high = q.fraction > 0 ? q.low + 1 : q.low;
  if (!outside) {
    const bool central = node && c.value("node_derivative", "central") == "central";
    q.up = std::min(q.low + 1, n - 1);
    q.down = central ? std::max<int64_t>(q.low - 1, 0) : q.low;
    q.scale = central ? 0.5 : 1;
  }
  const double anchor = c.value("anchor", "center") == "center" ? static_cast<double>(m) / 2 : 0;
  q.by_cell = static_cast<double>(i) - anchor + 0.5 + sign * delta;
  q.by_delta = sign * cell;
  return q;
}

Query still() {
  return {};
}

Result dynopool(const json& c, const Dims& shape, const Values& x, const std::vector<Values>& parameters,
                const Values& dy) {
  const Map map(shape);
  const bool tied = c.value("tied", false), learned = c.value("offset", "fixed") == "learned";
  std::array<int64_t, 3> m{1, 1, 1};
  std::array<double, 3> a{1, 1, 1}, delta{0.25, 0.25, 0.25};
  for (int i = 3 - map.rank; i < 3; ++i) {
    const size_t axis = static_cast<size_t>(i), entry = static_cast<size_t>(i - (3 - map.rank));
    a[axis] = parameters[0][tied ? 0 : entry];
    if (learned) delta[axis] = parameters[1][entry];
    m[axis] = std::max<int64_t>(1, std::llrint(static_cast<double>(map.n[axis]) / a[axis]));
  }
  Result r{.shape = out_shape(shape, m), .y = {}, .dx = Values(x.size(), 0.0), .parameters = {}, .sizes = {}};
  for (const Values& p : parameters) r.parameters.push_back(Values(p.size(), 0.0));
  r.sizes = r.parameters;
  const std::string aggregate = c.value("aggregate", "max");

  Map(r.shape).each([&](int64_t plane, int64_t d, int64_t h, int64_t w) {
    const std::array<int64_t, 3> o{d, h, w};
    std::vector<std::array<Query, 3>> queries;
    for (int bits = 0; bits < 1 << map.rank; ++bits) {
      std::array<Query, 3> q{still(), still(), still()};
      for (int i = 3 - map.rank; i < 3; ++i) {
        const size_t axis = static_cast<size_t>(i);
        q[axis] = query_at(c, map.n[axis], m[axis], delta[axis], o[axis], bits >> (2 - i) & 1 ? 1 : -1);
      }
      queries.push_back(q);
    }
    // The map at a query, the axes before `axis` first; `tilt` is the axis whose derivative is taken, or 3.
    const std::function<double(const std::array<Query, 3>&, int, size_t, std::array<int64_t, 3>)> value =
        [&](const std::array<Query, 3>& q, int axis, size_t tilt, std::array<int64_t, 3> at) -> double {
      if (axis < 0) return x[map.at(plane, at[0], at[1], at[2])];
      const size_t i = static_cast<size_t>(axis);
      const auto there = [&](int64_t k) {
        auto next = at;
        next[i] = k;
        return value(q, axis - 1, tilt, next);
      };
      if (tilt == i) return q[i].scale == 0 ? 0 : q[i].scale * (there(q[i].up) - there(q[i].down));
      const double low = there(q[i].low);
      return q[i].fraction > 0 ? low + q[i].fraction * (there(q[i].high) - low) : low;
    };
    Values v, dv(queries.size(), 0.0);
    for (const auto& q : queries) v.push_back(value(q, 2, 3, {0, 0, 0}));
    const double g = dy.empty() ? 0 : dy[r.y.size()];
    if (aggregate == "max") {
      dv[first_largest(v)] = g;
      r.y.push_back(v[first_largest(v)]);
    } else if (aggregate == "avg") {
      double sum = 0;
      for (double e : v) sum += e;
      for (double& e : dv) e = g / static_cast<double>(v.size());
      r.y.push_back(sum / static_cast<double>(v.size()));
    } else {
      const Values weights = soft_weights(v, 1);
      const double y = soft_mean(v, weights);
      for (size_t i = 0; i < v.size(); ++i) dv[i] = g * weights[i] * (1 + v[i] - y);
      r.y.push_back(y);
    }
    if (dy.empty()) return;
    for (size_t j = 0; j < queries.size(); ++j) {
      const auto& q = queries[j];
      for (int corner = 0; corner < 8; ++corner) {
        double weight = dv[j];
        std::array<int64_t, 3> at;
        for (size_t i = 0; i < 3; ++i) {
          const bool high = corner >> i & 1;
          at[i] = high ? q[i].high : q[i].low;
          weight *= high ? q[i].fraction : 1 - q[i].fraction;
        }
        if (weight != 0) r.dx[map.at(plane, at[0], at[1], at[2])] += weight;
      }
      for (int i = 3 - map.rank; i < 3; ++i) {
        const size_t axis = static_cast<size_t>(i), entry = static_cast<size_t>(i - (3 - map.rank));
        const double slope = dv[j] * value(q, 2, axis, {0, 0, 0});
        const double n = static_cast<double>(map.n[axis]), mm = static_cast<double>(m[axis]);
        const double dm_da = -n / (a[axis] * a[axis]), dcell_da = -n / (mm * mm) * dm_da;
        const double term = slope * q[axis].by_cell * dcell_da;
        r.parameters[0][tied ? 0 : entry] += term;
        r.sizes[0][tied ? 0 : entry] += term * term;
        if (!learned) continue;
        r.parameters[1][entry] += slope * q[axis].by_delta;
        r.sizes[1][entry] += slope * q[axis].by_delta * slope * q[axis].by_delta;
      }
    }
  });
  return r;
}

// ---- shape_adaptor

Result shape_adaptor(const json& c, const Dims& shape, const Values& x, const Values& alpha, const Values& dy) {
  const double r1 = c.value("r1", 0.5), r2 = c.value("r2", 1.0), t = 1 / (1 + std::exp(-alpha[0]));
  const double s = r1 + (r2 - r1) * t;
  const Map map(shape);
  std::array<int64_t, 3> m{1, 1, 1}, half{1, 1, 1};
  for (size_t i = 1; i < 3; ++i) {
    m[i] = std::max<int64_t>(1, static_cast<int64_t>(std::floor(static_cast<double>(map.n[i]) * s)));
    half[i] = std::max<int64_t>(1, map.n[i] / 2);
  }
  Result r{.shape = out_shape(shape, m), .y = {}, .dx = Values(x.size(), 0.0), .parameters = {{0.0}}, .sizes = {{0.0}}};
  // Pixels and weights of output o on an axis of length n.
  const auto corners = [](int64_t o, int64_t n, int64_t length) {
    const double at = length > 1 ? static_cast<double>(o * (n - 1)) / static_cast<double>(length - 1) : 0;
    const int64_t low = std::min(static_cast<int64_t>(std::floor(at + 1e-12)), n - 1);
    const double f = std::max(0.0, at - static_cast<double>(low));
    std::vector<std::pair<int64_t, double>> list{{low, 1 - f}};
    if (f > 1e-12) list.push_back({low + 1, f});
    return list;
  };
  // The largest pixel of pooled position (h, w).
  const auto largest = [&](int64_t plane, int64_t h, int64_t w) {
    std::vector<size_t> at;
    Values v;
    for (int64_t i = 0; i < std::min<int64_t>(2, map.n[1]); ++i)
      for (int64_t j = 0; j < std::min<int64_t>(2, map.n[2]); ++j) {
        at.push_back(map.at(plane, 0, h * 2 + i, w * 2 + j));
        v.push_back(x[at.back()]);
      }
    return at[first_largest(v)];
  };
  Map(r.shape).each([&](int64_t plane, int64_t, int64_t h, int64_t w) {
    const double g = dy.empty() ? 0 : dy[r.y.size()];
    double whole = 0, pooled = 0;
    for (const auto& [i, wi] : corners(h, map.n[1], m[1]))
      for (const auto& [j, wj] : corners(w, map.n[2], m[2])) {
        whole += wi * wj * x[map.at(plane, 0, i, j)];
        r.dx[map.at(plane, 0, i, j)] += g * t * wi * wj;
      }
    for (const auto& [i, wi] : corners(h, half[1], m[1]))
      for (const auto& [j, wj] : corners(w, half[2], m[2])) {
        pooled += wi * wj * x[largest(plane, i, j)];
        r.dx[largest(plane, i, j)] += g * (1 - t) * wi * wj;
      }
    r.y.push_back((1 - t) * pooled + t * whole);
    const double term = g * (whole - pooled) * t * (1 - t);
    r.parameters[0][0] += term;
    // dy whole and dy pooled are two terms: on a flat map their difference is nothing but rounding
    r.sizes[0][0] += std::pow(g * t * (1 - t), 2) * (whole * whole + pooled * pooled);
  });
  return r;
}

}  // namespace

size_t SeenWindow::first_largest() const {
  return reference::first_largest(x);
}
double SeenWindow::largest() const {
  return x[first_largest()];
}
Values SeenWindow::beyond() const {
  Values u;
  for (double e : x) u.push_back(e - largest());
  return u;
}
double SeenWindow::mean_beyond() const {
  const Values u = beyond();
  return std::accumulate(u.begin(), u.end(), 0.0) / n();
}
double SeenWindow::uniform() const {
  const auto i = static_cast<uint64_t>((image * positions + position) * channels + channel);
  return static_cast<double>(uniform24(random_words(kSeed, (uint64_t{0x706F6F6C} << 32) ^ kStep, i / 4)[i % 4]));
}

size_t SeenNumbers::at(const SeenWindow& w, size_t k, size_t j) const {
  const std::string per = w.config.value("per", "layer");
  const int64_t units = per == "channel" ? w.channels : per == "place" ? w.positions : 1;
  const int64_t unit = per == "channel" ? w.channel : per == "place" ? w.position : 0;
  return static_cast<size_t>(unit) * (values_[k].size() / static_cast<size_t>(units)) + j;
}
void SeenNumbers::add(const SeenWindow& w, size_t k, size_t j, double term) {
  result_.parameters[k][at(w, k, j)] += term;
  result_.sizes[k][at(w, k, j)] += term * term;
}

Reference windowed(WindowRule rule) {
  return [rule](const json& config, const Dims& shape, const Values& x, const std::vector<Values>& parameters,
                const Values& dy) {
    const Map map(shape);
    const auto axes = axes_of(config, map);
    Result r{.shape = out_shape(shape, {axes[0].m, axes[1].m, axes[2].m}),
             .y = {},
             .dx = Values(x.size(), 0.0),
             .parameters = {},
             .sizes = {}};
    for (const Values& p : parameters) r.parameters.push_back(Values(p.size(), 0.0));
    r.sizes = r.parameters;
    SeenNumbers numbers(parameters, r);
    const Map out(r.shape);
    out.each([&](int64_t plane, int64_t d, int64_t h, int64_t w) {
      const Window window = window_at(axes, map, plane, {d, h, w});
      SeenWindow seen{.config = config,
                      .x = {},
                      .index = {},
                      .counted = window.counted,
                      .image = plane / shape[1],
                      .channel = plane % shape[1],
                      .position = static_cast<int64_t>(out.at(0, d, h, w)),
                      .channels = shape[1],
                      .positions = axes[0].m * axes[1].m * axes[2].m,
                      .differentiate = !dy.empty()};
      for (const Element& e : window.real) {
        seen.x.push_back(x[e.at]);
        seen.index.push_back(e.w_offset);
      }
      Values gradient(seen.x.size(), 0.0);
      r.y.push_back(rule(seen, numbers, dy.empty() ? 0 : dy[out.at(plane, d, h, w)], gradient));
      for (size_t i = 0; i < gradient.size(); ++i) r.dx[window.real[i].at] += gradient[i];
    });
    for (Values& sizes : r.sizes)
      for (double& s : sizes) s = std::sqrt(s);
    return r;
  };
}

Result pool(const json& c, const Dims& shape, const Values& x, const std::vector<Values>& parameters,
            const Values& dy) {
  const std::string type = c.at("type");
  Result r;
  if (type == "max") r = max(c, shape, x, dy);
  if (type == "avg") r = avg(c, shape, x, dy);
  if (type == "soft") r = soft(c, shape, x, dy);
  if (type == "conv") r = conv(c, shape, x, parameters, dy);
  if (type == "dynopool") r = dynopool(c, shape, x, parameters, dy);
  if (type == "shape_adaptor") r = shape_adaptor(c, shape, x, parameters[0], dy);
  if (r.shape.rank() == 0) r = maps(c, shape, x, parameters, dy);
  if (r.shape.rank() == 0) throw std::logic_error("no reference for " + type);
  for (Values& sizes : r.sizes)
    for (double& s : sizes) s = std::sqrt(s);
  return r;
}

}  // namespace tidepool::reference
