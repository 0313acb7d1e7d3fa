// The table of windowed operators: of each its cases, what it must refuse, and its reference, a rule for one window in
// f64, written from docs/operators.md and apart from the operator.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/layers/pool/cases.h"

namespace tidepool::testing {
namespace {

using reference::SeenNumbers;
using reference::SeenWindow;
using reference::Values;

/// Every windowed operator's cases with `base` ({"learned": true}) among the keys and parameters that vary.
std::vector<PoolCase> varied(std::vector<PoolCase> cases, double vary) {
  for (PoolCase& c : cases)
    if (c.parameters.empty() && c.vary == 0) c.vary = vary;
  return cases;
}

double softplus(double a) {
  return std::log1p(std::exp(a));
}
double sigmoid(double a) {
  return 1 / (1 + std::exp(-a));
}
double sum_of(const Values& v) {
  return std::accumulate(v.begin(), v.end(), 0.0);
}
double sign_of(double v) {
  return v > 0 ? 1 : v < 0 ? -1 : 0;
}

/// sum w_i u_i over weights that need not sum to 1, and the weights normalised.
double weighted_mean(Values& w, const Values& u) {
  const double all = sum_of(w);
  double y = 0;
  for (size_t i = 0; i < w.size(); ++i) {
    w[i] /= all;
    y += w[i] * u[i];
  }
  return y;
}

double lse(const SeenWindow& w, SeenNumbers& numbers, double dy, Values& dx) {
  const bool learned = w.config.value("learned", false);
  const double b = learned ? numbers(w, 0) : w.config.value("b", 1.0);
  // long double: d y / d b is a small difference over b
  const Values u = w.beyond();
  long double sum = 0, weighted = 0;
  for (long double v : u) {
    sum += std::exp(b * v);
    weighted += std::exp(b * v) * v;
  }
  const long double beyond = std::log(sum / static_cast<long double>(u.size())) / b;
  for (size_t i = 0; i < dx.size(); ++i)
    dx[i] = dy * static_cast<double>(std::exp(static_cast<long double>(b * u[i])) / sum);
  if (learned) numbers.add(w, 0, 0, dy * static_cast<double>((weighted / sum - beyond) / b));
  return w.largest() + static_cast<double>(beyond);
}

/// (sum or mean of c^p)^(1/p); de: d y / d c_i; slope: d y / d p.
double power_mean(const Values& c, double p, bool mean, Values& de, double& slope) {
  const double largest = *std::max_element(c.begin(), c.end()), n = mean ? static_cast<double>(c.size()) : 1;
  for (double v : c)
    if (std::isnan(v)) return NAN;
  slope = 0;
  if (largest == 0) return 0;
  long double sum = 0, logs = 0;  // long double: slope is a small difference over p
  for (long double v : c) sum += std::pow(v / largest, p);
  for (long double v : c)
    if (v > 0) logs += std::pow(v / largest, p) / sum * std::log(v / largest);
  const long double over = std::pow(sum / n, 1 / static_cast<long double>(p));
  for (size_t i = 0; i < c.size(); ++i) de[i] = static_cast<double>(std::pow(c[i] / largest / over, p - 1) / n);
  slope = static_cast<double>(largest * over * (logs - std::log(sum / n) / p) / p);
  return static_cast<double>(largest * over);
}

double lp(const SeenWindow& w, SeenNumbers& numbers, double dy, Values& dx) {
  const bool learned = w.config.value("learned", false);
  const double p = learned ? numbers(w, 0) : w.config.value("p", 2.0);
  Values c;
  for (double v : w.x) c.push_back(std::abs(v));
  double slope;
  const double y = power_mean(c, p, false, dx, slope);
  for (size_t i = 0; i < dx.size(); ++i) dx[i] = y == 0 ? 0 : dx[i] * dy * sign_of(w.x[i]);
  if (learned) numbers.add(w, 0, 0, dy * slope);
  return y;
}

double gem(const SeenWindow& w, SeenNumbers& numbers, double dy, Values& dx) {
  const bool learned = w.config.value("learned", false);
  const double p = learned ? numbers(w, 0) : w.config.value("p", 3.0), eps = w.config.value("eps", 1e-6);
  Values c;
  for (double v : w.x) c.push_back(v < eps ? eps : v);
  double slope;
  const double y = power_mean(c, p, true, dx, slope);
  for (size_t i = 0; i < dx.size(); ++i) dx[i] = w.x[i] < eps ? 0 : dx[i] * dy;
  if (learned) numbers.add(w, 0, 0, dy * slope);
  return y;
}

/// t max + (1-t) mean; returns max - mean.
double mixture(const SeenWindow& w, double t, double dy, Values& dx, double& y) {
  for (double& e : dx) e = dy * (1 - t) / w.n();
  dx[w.first_largest()] += dy * t;
  y = w.largest() + (1 - t) * w.mean_beyond();
  return -w.mean_beyond();
}

double mixed(const SeenWindow& w, SeenNumbers& numbers, double dy, Values& dx) {
  const bool learned = w.config.value("learned", false);
  double t = learned ? sigmoid(numbers(w, 0)) : w.config.value("t", 0.5), y;
  // seed 11, step 3: the one draw of the forward is 0 (PoolMixed.Draws counts them)
  if (w.config.value("random", false) && w.config.value("training", false)) t = 0;
  const double apart = mixture(w, t, dy, dx, y);
  if (learned) numbers.add(w, 0, 0, dy * apart * t * (1 - t));
  return y;
}

double gated(const SeenWindow& w, SeenNumbers& numbers, double dy, Values& dx) {
  double sum = 0, y;
  for (size_t i = 0; i < w.x.size(); ++i) sum += numbers(w, 0, w.index[i]) * w.x[i];
  const double g = sigmoid(sum), slope = dy * mixture(w, g, dy, dx, y) * g * (1 - g);
  for (size_t i = 0; i < w.x.size(); ++i) {
    dx[i] += slope * numbers(w, 0, w.index[i]);
    numbers.add(w, 0, w.index[i], slope * w.x[i]);
  }
  return y;
}

double stochastic(const SeenWindow& w, SeenNumbers&, double dy, Values& dx) {
  if (std::isnan(w.largest())) return NAN;
  double sum = 0;
  for (double v : w.x) sum += std::max(v, 0.0);
  if (sum == 0) {
    for (double& e : dx) e = dy / w.n();
    return w.largest() + w.mean_beyond();
  }
  if (w.config.value("training", false)) {
    const double target = w.uniform() * sum;
    double running = 0;
    for (size_t i = 0; i < w.x.size(); ++i) {
      running += std::max(w.x[i], 0.0);
      if (running <= target) continue;
      dx[i] = dy;
      return w.x[i];
    }
    throw std::logic_error("no element was drawn");
  }
  double y = 0;
  for (double v : w.x)
    if (v > 0) y += v * (v / sum);
  for (size_t i = 0; i < dx.size(); ++i) dx[i] = w.x[i] > 0 ? dy * (2 * w.x[i] - y) / sum : 0;
  return y;
}

double dpp(const SeenWindow& w, SeenNumbers& numbers, double dy, Values& dx) {
  const double a = softplus(numbers(w, 0)), exponent = softplus(numbers(w, 1)), mean = w.mean_beyond();
  const bool asymmetric = w.config.value("asymmetric", false);
  Values u = w.beyond(), weights, rhos, slopes;
  for (double& v : u) {
    v -= mean;
    const double side = asymmetric ? std::max(v, 0.0) : v, rho = std::sqrt(side * side + 1e-6);
    rhos.push_back(rho);
    weights.push_back(a + std::pow(rho, exponent));
    slopes.push_back(exponent * std::pow(rho, exponent - 1) * side / rho);
  }
  const double all = sum_of(weights);
  const double y = weighted_mean(weights, u);
  double through_mean = 0, by_a = 0, by_exponent = 0;
  for (size_t i = 0; i < u.size(); ++i) {
    through_mean += (u[i] - y) * slopes[i] / all;
    by_a += (u[i] - y) / all;
    by_exponent += (u[i] - y) * std::pow(rhos[i], exponent) * std::log(rhos[i]) / all;
  }
  for (size_t i = 0; i < u.size(); ++i) dx[i] = dy * (weights[i] + (u[i] - y) * slopes[i] / all - through_mean / w.n());
  numbers.add(w, 0, 0, dy * by_a * sigmoid(numbers(w, 0)));
  numbers.add(w, 1, 0, dy * by_exponent * sigmoid(numbers(w, 1)));
  return w.largest() + mean + y;
}

/// y - largest of em and edscw, and d y / d x_i.
double em_of(const SeenWindow& w, Values& dx) {
  const Values u = w.beyond();
  Values e;
  for (double v : u) e.push_back(std::exp(v));
  const double y = weighted_mean(e, u);
  for (size_t i = 0; i < dx.size(); ++i) dx[i] = e[i] * (1 + u[i] - y);
  return y;
}
double edscw_of(const SeenWindow& w, Values& dx) {
  const Values u = w.beyond();
  const double a = w.largest() + w.mean_beyond();
  Values e, by_x, by_a;
  for (double v : w.x) {
    const double bottom = v * v + a * a;
    e.push_back(std::exp(bottom == 0 ? 1 : 2 * std::abs(v * a) / bottom));
    by_x.push_back(bottom == 0 ? 0 : 2 * std::abs(a) * sign_of(v) * (a * a - v * v) / (bottom * bottom));
    by_a.push_back(bottom == 0 ? 0 : 2 * std::abs(v) * sign_of(a) * (v * v - a * a) / (bottom * bottom));
  }
  const double y = weighted_mean(e, u);
  double through_mean = 0;
  for (size_t i = 0; i < u.size(); ++i) through_mean += e[i] * (u[i] - y) * by_a[i] / w.n();
  for (size_t i = 0; i < u.size(); ++i) dx[i] = e[i] * (1 + (u[i] - y) * by_x[i]) + through_mean;
  return y;
}
double em(const SeenWindow& w, SeenNumbers&, double dy, Values& dx) {
  const double y = em_of(w, dx);
  for (double& e : dx) e *= dy;
  return w.largest() + y;
}
double edscw(const SeenWindow& w, SeenNumbers&, double dy, Values& dx) {
  const double y = edscw_of(w, dx);
  for (double& e : dx) e *= dy;
  return w.largest() + y;
}
double ada(const SeenWindow& w, SeenNumbers& numbers, double dy, Values& dx) {
  Values by_em(dx.size()), by_edscw(dx.size());
  const double b = sigmoid(numbers(w, 0)), y_em = em_of(w, by_em), y_edscw = edscw_of(w, by_edscw);
  for (size_t i = 0; i < dx.size(); ++i) dx[i] = dy * (b * by_edscw[i] + (1 - b) * by_em[i]);
  numbers.add(w, 0, 0, dy * (y_edscw - y_em) * b * (1 - b));
  return w.largest() + b * y_edscw + (1 - b) * y_em;
}

/// Positions of the elements from the largest to the smallest, equals in window order.
std::vector<size_t> descending(const Values& v) {
  std::vector<size_t> order(v.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t i, size_t j) { return v[i] > v[j]; });
  return order;
}

double ordinal(const SeenWindow& w, SeenNumbers& numbers, double dy, Values& dx) {
  if (std::isnan(w.largest())) return NAN;
  const std::vector<size_t> order = descending(w.x);
  Values weights, sorted;
  double most = -INFINITY;
  for (size_t j = 0; j < order.size(); ++j) most = std::max(most, numbers(w, 0, j));
  for (size_t j = 0; j < order.size(); ++j) {
    weights.push_back(std::exp(numbers(w, 0, j) - most));
    sorted.push_back(w.x[order[j]] - w.largest());
  }
  const double y = weighted_mean(weights, sorted);
  for (size_t j = 0; j < order.size(); ++j) {
    dx[order[j]] = dy * weights[j];
    numbers.add(w, 0, j, dy * weights[j] * (sorted[j] - y));
  }
  return w.largest() + y;
}

double quantile(const SeenWindow& w, SeenNumbers& numbers, double dy, Values& dx) {
  if (std::isnan(w.largest())) return NAN;
  const bool learned = w.config.value("learned", false);
  const double q = learned ? sigmoid(numbers(w, 0)) : w.config.value("q", 0.5);
  std::vector<size_t> order = descending(w.x);
  std::reverse(order.begin(), order.end());
  const double h = q * (w.n() - 1), f = h - std::floor(h);
  const auto j = static_cast<size_t>(h);
  const size_t above = order[std::min(j + 1, order.size() - 1)], below = order[j > 0 ? j - 1 : 0];
  dx[order[j]] += dy * (1 - f);
  if (f > 0) dx[above] += dy * f;
  const double slope = f > 0 ? w.x[above] - w.x[order[j]] : (w.x[above] - w.x[below]) / 2;
  if (learned) numbers.add(w, 0, 0, dy * (w.n() - 1) * slope * q * (1 - q));
  return w.x[order[j]] + f * (w.x[above] - w.x[order[j]]);
}

/// The logits of lip, written out: maps are [n][c][h][w], convolutions of odd size keep the size.
struct Lip {
  int64_t n, h, w;

  size_t at(int64_t image, int64_t channels, int64_t c, int64_t i, int64_t j) const {
    return static_cast<size_t>(((image * channels + c) * h + i) * w + j);
  }
  /// Calls f(index of y, index of x, index of the weight) for each product of a convolution.
  template <class F>
  void products(int64_t in, int64_t out, int64_t k, const F& f) const {
    for (int64_t image = 0; image < n; ++image)
      for (int64_t o = 0; o < out; ++o)
        for (int64_t i = 0; i < h; ++i)
          for (int64_t j = 0; j < w; ++j)
            for (int64_t c = 0; c < in; ++c)
              for (int64_t a = 0; a < k; ++a)
                for (int64_t b = 0; b < k; ++b) {
                  const int64_t y = i + a - k / 2, z = j + b - k / 2;
                  if (y >= 0 && y < h && z >= 0 && z < w)
                    f(at(image, out, o, i, j), at(image, in, c, y, z),
                      static_cast<size_t>(((o * in + c) * k + a) * k + b));
                }
  }
  /// Calls f(channel, indices) for each channel of each image.
  template <class F>
  void channels(int64_t c, const F& f) const {
    for (int64_t image = 0; image < n; ++image)
      for (int64_t o = 0; o < c; ++o) {
        std::vector<size_t> all;
        for (int64_t i = 0; i < h * w; ++i) all.push_back(at(image, c, o, 0, 0) + static_cast<size_t>(i));
        f(static_cast<size_t>(o), all);
      }
  }
  struct Moments {
    double mean = 0, deviation = 0;
  };
  static Moments moments(const Values& v, const std::vector<size_t>& all) {
    Moments m;
    for (size_t i : all) m.mean += v[i] / static_cast<double>(all.size());
    double variance = 0;
    for (size_t i : all) variance += (v[i] - m.mean) * (v[i] - m.mean) / static_cast<double>(all.size());
    m.deviation = std::sqrt(variance + 1e-5);
    return m;
  }
};

reference::Result lip(const reference::json& config, const Dims& shape, const Values& x,
                      const std::vector<Values>& parameters, const Values& dy) {
  const std::string kind = config.value("logit", "identity");
  struct Layer {
    int64_t in, out, k;
  };
  const int64_t c = shape[1], hidden = config.value("hidden", std::max<int64_t>(1, c / 4));
  std::vector<Layer> network;
  if (kind == "simplified") network.push_back({c, c, 3});
  if (kind == "bottleneck")
    for (const Layer& layer : {Layer{c, hidden, 1}, Layer{hidden, hidden, 3}, Layer{hidden, c, 1}})
      network.push_back(layer);
  const Lip map{shape[0], shape.rank() > 3 ? shape[2] : 1, shape.rank() > 3 ? shape[3] : 1};
  std::vector<Values> inputs{x}, raw;
  for (size_t l = 0; l < network.size(); ++l) {
    const Layer& layer = network[l];
    Values y(static_cast<size_t>(map.n * layer.out * map.h * map.w), 0.0), z = y;
    map.products(layer.in, layer.out, layer.k,
                 [&](size_t o, size_t i, size_t k) { y[o] += inputs.back()[i] * parameters[3 * l][k]; });
    map.channels(layer.out, [&](size_t o, const std::vector<size_t>& all) {
      const Lip::Moments m = Lip::moments(y, all);
      for (size_t i : all) {
        const double v = (y[i] - m.mean) / m.deviation * parameters[3 * l + 1][o] + parameters[3 * l + 2][o];
        z[i] = l + 1 == network.size() ? 12 * sigmoid(v) : v < 0 ? 0 : v;
      }
    });
    raw.push_back(y);
    inputs.push_back(z);
  }
  // y and the gradients of x and g where they meet; a window's offsets in the map come from a map of its own positions.
  Values positions(x.size()), dg(x.size(), 0.0), direct(x.size(), 0.0);
  std::iota(positions.begin(), positions.end(), 0.0);
  const Values& g = inputs.back();
  const reference::WindowRule meet = [&](const SeenWindow& w, SeenNumbers&, double d, Values&) {
    Values e, v;
    double top = -INFINITY;
    for (double p : w.x) top = std::fmax(top, g[static_cast<size_t>(p)]);
    for (double p : w.x) {
      e.push_back(std::exp(g[static_cast<size_t>(p)] - top));
      v.push_back(x[static_cast<size_t>(p)] - x[static_cast<size_t>(w.x[0])]);
    }
    const double y = weighted_mean(e, v);
    for (size_t i = 0; i < v.size(); ++i) {
      direct[static_cast<size_t>(w.x[i])] += d * e[i];
      dg[static_cast<size_t>(w.x[i])] += d * e[i] * (v[i] - y);
    }
    return x[static_cast<size_t>(w.x[0])] + y;
  };
  reference::Result r = reference::windowed(meet)(config, shape, positions, {}, dy);
  r.dx = direct;
  for (const Values& p : parameters) r.parameters.push_back(Values(p.size(), 0.0));
  r.sizes = r.parameters;
  const auto add = [&](size_t k, size_t j, double term) {
    r.parameters[k][j] += term;
    r.sizes[k][j] += term * term;
  };
  for (size_t l = network.size(); l-- > 0;) {
    const Layer& layer = network[l];
    Values dz(raw[l].size()), di(inputs[l].size(), 0.0);
    map.channels(layer.out, [&](size_t o, const std::vector<size_t>& all) {
      const Lip::Moments m = Lip::moments(raw[l], all);
      double sum = 0, along = 0;
      for (size_t i : all) {
        const double normal = (raw[l][i] - m.mean) / m.deviation, z = inputs[l + 1][i];
        const double slope = l + 1 == network.size() ? z * (1 - z / 12) : z > 0 ? 1 : 0;
        dz[i] = dg[i] * slope;
        add(3 * l + 1, o, dz[i] * normal);
        add(3 * l + 2, o, dz[i]);
        sum += dz[i], along += dz[i] * normal;
      }
      const auto count = static_cast<double>(all.size());
      for (size_t i : all) {
        const double normal = (raw[l][i] - m.mean) / m.deviation;
        dz[i] = parameters[3 * l + 1][o] / m.deviation * (dz[i] - (sum + normal * along) / count);
      }
    });
    map.products(layer.in, layer.out, layer.k, [&](size_t o, size_t i, size_t k) {
      di[i] += dz[o] * parameters[3 * l][k];
      add(3 * l, k, dz[o] * inputs[l][i]);
    });
    dg = di;
  }
  for (size_t i = 0; i < x.size(); ++i) r.dx[i] += dg[i];
  for (Values& sizes : r.sizes)
    for (double& s : sizes) s = std::sqrt(s);
  return r;
}

const char* const kLearnedWindow = R"({"kernel": 3, "stride": 2, "padding": 1, "learned": true})";
const char* const kLearnedPair = R"({"kernel": 2, "learned": true})";
const char* const kLearnedChannels = R"({"kernel": 3, "stride": 2, "padding": 1, "learned": true, "per": "channel"})";
const char* const kLearnedPairs = R"({"kernel": 2, "learned": true, "per": "channel"})";
const char* const kPerChannel = R"({"kernel": 3, "stride": 2, "padding": 1, "per": "channel"})";
const char* const kPairPerChannel = R"({"kernel": 2, "per": "channel"})";
const char* const kManyElements = R"({"kernel": [17, 16], "stride": [1, 5], "padding": [1, 3]})";  // ranks are sorted

/// What a learned number is tried with: one per layer, one per channel, every rank, and data without variety.
std::vector<PoolCase> learned(std::vector<PoolCase> own) {
  std::vector<PoolCase> all = {
      {kLearnedWindow, {2, 17, 11, 8}},
      {kLearnedPair, {2, 3, 8, 34}},
      {kLearnedChannels, {2, 19, 7, 9}},
      {kLearnedPairs, {3, 3, 4, 37}},
      {kLearnedPairs, {2, 18, 6}},
      {kLearnedChannels, {1, 3, 5, 6, 7}},
      {kLearnedWindow, {1, 3, 8, 9}, Data::ties},
      {kLearnedWindow, {1, 3, 8, 9}, Data::equal},
      {kLearnedPairs, {1, 17, 4, 6}, Data::zero},
      {kLearnedPair, {1, 3, 8, 6}, Data::large},
      {kLearnedWindow, {1, 17, 8, 6}, Data::wide},
  };
  all.insert(all.end(), own.begin(), own.end());
  return all;
}

std::vector<PoolCase> joined(std::vector<PoolCase> a, const std::vector<PoolCase>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

std::vector<BadRequest> bad_learned(const char* tensor, std::vector<BadRequest> own) {
  own.push_back({R"({"learned": 1})", {"key 'learned'", "expected true or false", "1"}});
  own.push_back({R"({"learned": true, "per": "place"})", {"key 'per'", "layer, channel", "place"}});
  own.push_back({R"({"learned": true})", {tensor, "expected the shape 1", "got 2"}, tensor, {1, 1}});
  own.push_back({R"({"learned": true, "per": "channel"})", {tensor, "expected the shape 2", "got 1"}, tensor, {1}});
  own.push_back({R"({"learned": true})", {tensor, "expected finite numbers", "nan"}, tensor, {NAN}});
  own.push_back({R"({})", {"does not know the tensor", tensor}, tensor, {1}});
  return own;
}

}  // namespace

std::vector<PoolRow> window_rows() {
  using reference::windowed;
  return {
      {.name = "lp",
       .cases = joined(windows({{R"({"kernel": 3, "stride": 2, "padding": 1, "p": 1})", {2, 3, 8, 7}},
                                {R"({"kernel": 2, "p": 1})", {1, 3, 4, 6}, Data::zero},
                                {R"({"kernel": 2, "p": 3.5})", {2, 17, 8, 7}},
                                {R"({"kernel": 3, "stride": 2, "p": 7})", {1, 3, 8, 34}, Data::wide},
                                {R"({"kernel": 2, "p": 1.25})", {1, 3, 6, 34}, Data::large}}),
                       learned({{R"({"kernel": 2, "learned": true, "p": 1.25})", {2, 3, 8, 7}},
                                {kLearnedChannels, {2, 3, 8, 7}, Data::normal, {{1.5, 4.5, 2}}}})),
       .reference = windowed(lp),
       .window = true,
       .bad = bad_learned("p", {{R"({"p": 0.5})", {"[lp] key 'p'", ">= 1", "0.5"}},
                                {R"({"p": "two"})", {"[lp] key 'p'", "two"}},
                                {R"({"learned": true})", {"[lp] p", ">= 1", "0.5"}, "p", {0.5}}})},
      {.name = "gem",
       .cases = joined(windows({{R"({"kernel": 3, "stride": 2, "padding": 1, "p": 1})", {2, 3, 8, 7}},
                                {R"({"kernel": 2, "p": 0.5, "eps": 0.25})", {2, 17, 8, 7}},
                                {R"({"kernel": 3, "stride": 2, "p": 7})", {1, 3, 8, 34}, Data::wide},
                                {R"({"kernel": 2, "p": 0.001, "eps": 0.1})", {1, 3, 8, 34}}}),
                       varied(learned({{R"({"kernel": 2, "learned": true, "p": 0.03125, "eps": 0.125})",
                                        {2, 3, 8, 7},
                                        Data::normal,
                                        {{0.03125}}},
                                       {kLearnedChannels, {2, 3, 8, 7}, Data::normal, {{1, 4.5, 2}}}}),
                              0.5)),
       .reference = windowed(gem),
       .window = true,
       .bad = bad_learned("p", {{R"({"p": 0})", {"[gem] key 'p'", "> 0", "got 0"}},
                                {R"({"eps": 0})", {"[gem] key 'eps'", ">=", "got 0"}},
                                {R"({"learned": true})", {"[gem] p", "> 0", "got -1"}, "p", {-1}}})},
      {.name = "lse",
       .cases = joined(windows({{R"({"kernel": 3, "stride": 2, "padding": 1, "b": 4})", {2, 3, 8, 7}},
                                {R"({"kernel": 2, "b": 0.001})", {2, 17, 8, 7}},
                                {R"({"kernel": 2, "b": 0.0001})", {2, 17, 8, 7}, Data::large},
                                {R"({"kernel": 2, "b": 50})", {1, 3, 8, 34}, Data::wide}}),
                       varied(learned({{kLearnedPair, {2, 3, 8, 7}, Data::normal, {{0.0009765625}}},
                                       {kLearnedChannels, {2, 3, 8, 7}, Data::normal, {{1, 4.5, 0.0625}}}}),
                              0.125)),
       .reference = windowed(lse),
       .window = true,
       .bad = bad_learned("b", {{R"({"b": 0})", {"[lse] key 'b'", "> 0", "got 0"}},
                                {R"({"b": -1})", {"[lse] key 'b'", "> 0", "got -1"}},
                                {R"({"learned": true})", {"[lse] b", "> 0", "got 0"}, "b", {0}}})},
      {.name = "mixed",
       .cases = joined(windows({{R"({"kernel": 3, "stride": 2, "padding": 1, "t": 0.25})", {2, 3, 8, 7}},
                                {R"({"kernel": 2, "t": 1})", {2, 17, 8, 7}},
                                {R"({"kernel": 2, "t": 0})", {1, 3, 8, 34}, Data::wide},
                                {R"({"kernel": 3, "stride": 2, "padding": 1, "random": true})", {2, 3, 8, 7}},
                                {R"({"kernel": 2, "random": true, "training": true})", {2, 3, 8, 7}}}),
                       varied(learned({{R"({"kernel": 2, "learned": true, "t": 0.125})", {2, 3, 8, 7}}}), 1)),
       .reference = windowed(mixed),
       .window = true,
       .bad = bad_learned("a", {{R"({"t": 1.5})", {"[mixed] key 't'", "<= 1", "1.5"}},
                                {R"({"t": -0.5})", {"[mixed] key 't'", ">= 0", "-0.5"}},
                                {R"({"random": true, "learned": true})", {"[mixed]", "random", "learned"}},
                                {R"({"random": true, "t": 0.25})", {"[mixed]", "'t' means nothing"}},
                                {R"({"learned": true, "t": 1})", {"[mixed] key 't'", "between 0 and 1"}}})},
      {.name = "gated",
       .cases = varied(windows({{kPerChannel, {2, 19, 7, 9}},
                                {kPairPerChannel, {3, 3, 4, 37}},
                                {kPairPerChannel, {2, 18, 6}},
                                {kPerChannel, {1, 3, 5, 6, 7}},
                                {R"({"kernel": [3, 2], "stride": [2, 3]})", {2, 3, 9, 34}},
                                {kPairPerChannel, {1, 17, 8, 6}, Data::large},
                                {R"({"kernel": 2})", {1, 3, 8, 6}, Data::wide}}),
                       0.5),
       .reference = windowed(gated),
       .window = true,
       .bad = {{R"({"per": "place"})", {"[gated] key 'per'", "place"}},
               {R"({})", {"[gated]", "'w'", "expected the shape 2x2", "got 4"}, "w", {1, 2, 3, 4}},
               {R"({"per": "channel"})", {"[gated]", "'w'", "expected the shape 2x2x2", "got 3"}, "w", {1, 2, 3}},
               {R"({"learned": true})", {"[gated] unknown key 'learned'"}}}},
      {.name = "stochastic",
       .cases = windows({{R"({"kernel": 2, "training": true})", {2, 3, 8, 34}},
                         {R"({"kernel": 2, "training": true})", {2, 19, 7, 9}},
                         {R"({"kernel": 3, "stride": 2, "padding": 1, "training": true})", {2, 17, 11, 8}},
                         {R"({"kernel": 3, "stride": 2, "padding": 1, "training": true})", {1, 2, 5, 41}},
                         {R"({"kernel": 2, "training": true})", {2, 16, 70}},
                         {R"({"kernel": 2, "training": true})", {1, 16, 4, 5, 6}},
                         {R"({"kernel": 2, "training": true})", {1, 3, 4, 6}, Data::zero},
                         {R"({"kernel": 2, "training": true})", {1, 17, 8, 6}, Data::large},
                         {R"({"kernel": 3, "stride": 1, "padding": 1, "training": true})", {2, 3, 8, 9}, Data::ties}}),
       .reference = windowed(stochastic),
       .window = true,
       .bad = {{R"({"seed": 1})", {"[stochastic] unknown key 'seed'"}},
               {R"({"training": 1})", {"training", "expected true or false", "1"}},
               {R"({"learned": true})", {"[stochastic] unknown key 'learned'"}},
               {R"({})", {"does not know the tensor 'p'"}, "p", {1}}}},
      {.name = "dpp",
       .cases = varied(windows({{R"({"kernel": 3, "stride": 2, "padding": 1, "asymmetric": true})", {2, 3, 8, 34}},
                                {R"({"kernel": 2, "asymmetric": true, "per": "channel"})", {2, 17, 8, 7}},
                                {kPerChannel, {2, 19, 7, 9}},
                                {kPairPerChannel, {3, 3, 4, 37}},
                                {kPerChannel, {1, 3, 5, 6, 7}},
                                {R"({"kernel": 2})", {1, 3, 8, 34}, Data::wide, {{-2}, {9}}},
                                {R"({"kernel": 2, "asymmetric": true})", {1, 3, 8, 34}, Data::wide, {{1.5}, {12}}}}),
                       0.5),
       .reference = windowed(dpp),
       .window = true,
       .bad = {{R"({"asymmetric": "yes"})", {"[dpp] key 'asymmetric'", "yes"}},
               {R"({"per": "place"})", {"[dpp] key 'per'", "place"}},
               {R"({})", {"[dpp]", "alpha", "expected the shape 1", "got 2"}, "alpha", {1, 2}},
               {R"({})", {"[dpp]", "lambda", "expected finite numbers", "inf"}, "lambda", {INFINITY}},
               {R"({})", {"does not know the tensor 'lamda'", "did you mean 'lambda'"}, "lamda", {1}}}},
      {.name = "em",
       .cases = windows({}),
       .reference = windowed(em),
       .window = true,
       .bad = {{R"({"beta": 2})", {"[em] unknown key 'beta'"}},
               {R"({"grad": "full"})", {"[em] unknown key 'grad'"}},
               {R"({"ceil_mode": 1})", {"[em] key 'ceil_mode'", "1"}},
               {R"({})", {"does not know the tensor 'beta'"}, "beta", {1}}}},
      {.name = "edscw",
       .cases = windows({{R"({"kernel": 2})", {1, 3, 8, 34}, Data::wide}}),
       .reference = windowed(edscw),
       .window = true,
       .bad = {{R"({"beta": 2})", {"[edscw] unknown key 'beta'"}},
               {R"({"per": "layer"})", {"[edscw] unknown key 'per'"}},
               {R"({"stride": 0})", {"[edscw] key 'stride'", "got 0"}},
               {R"({})", {"does not know the tensor 'logit'"}, "logit", {1}}}},
      {.name = "ada",
       .cases = varied(windows({{kPerChannel, {2, 19, 7, 9}},
                                {kPairPerChannel, {3, 3, 4, 37}},
                                {kPerChannel, {1, 3, 5, 6, 7}},
                                {R"({"kernel": 2, "per": "place"})", {2, 17, 8, 6}},
                                {R"({"kernel": 2, "per": "place"})", {3, 3, 4, 70}},
                                {R"({"kernel": 3, "stride": 2, "padding": 1, "per": "place"})", {3, 3, 7, 9}},
                                {R"({"kernel": 3, "stride": 2, "padding": 1, "per": "place"})", {3, 4, 13}},
                                {R"({"kernel": 2, "per": "place"})", {2, 3, 4, 5, 6}},
                                {R"({"kernel": 2})", {1, 3, 8, 34}, Data::wide}}),
                       1),
       .reference = windowed(ada),
       .window = true,
       .bad = {{R"({"per": "row"})", {"[ada] key 'per'", "layer, channel, place", "row"}},
               {R"({"per": "place"})", {"[ada]", "'logit'", "expected the shape 2x2", "got 4"}, "logit", {1, 2, 3, 4}},
               {R"({"per": "channel"})", {"[ada]", "'logit'", "expected the shape 2", "got 1"}, "logit", {1}},
               {R"({})", {"[ada] logit", "expected finite numbers", "nan"}, "logit", {NAN}},
               {R"({"learned": true})", {"[ada] unknown key 'learned'"}}}},
      {.name = "ordinal",
       .cases = varied(windows({{kPerChannel, {2, 19, 7, 9}},
                                {kPairPerChannel, {3, 3, 4, 37}},
                                {kPairPerChannel, {2, 18, 6}},
                                {kPerChannel, {1, 3, 5, 6, 7}},
                                {kPairPerChannel, {1, 17, 8, 6}, Data::wide},
                                {kManyElements, {1, 17, 19, 22}},
                                {kManyElements, {2, 2, 19, 22}, Data::ties},
                                {R"({"kernel": 257, "per": "channel"})", {1, 2, 4400}}}),
                       1),
       .reference = windowed(ordinal),
       .window = true,
       .bad = {{R"({"per": "place"})", {"[ordinal] key 'per'", "place"}},
               {R"({})", {"[ordinal]", "'logits'", "expected the shape 4", "got 2"}, "logits", {1, 2}},
               {R"({"per": "channel"})",
                {"[ordinal]", "'logits'", "expected the shape 2x4", "got 4"},
                "logits",
                {1, 2, 3, 4}},
               {R"({})", {"[ordinal] logits", "expected finite numbers", "inf"}, "logits", {1, 2, INFINITY, 4}}}},
      {.name = "lip",
       .cases =
           windows({{R"({"kernel": 2, "logit": "simplified"})", {2, 3, 8, 6}},
                    {R"({"kernel": 3, "stride": 2, "padding": 1, "logit": "simplified"})", {2, 17, 7, 9}},
                    {R"({"kernel": 2, "logit": "bottleneck"})", {2, 16, 8, 6}},
                    {R"({"kernel": 3, "stride": 2, "padding": 1, "logit": "bottleneck", "hidden": 3})", {1, 5, 9, 8}},
                    {R"({"kernel": 2, "logit": "bottleneck"})", {2, 2, 4, 6}},
                    {R"({"kernel": 2, "logit": "simplified"})", {1, 3, 6, 6}, Data::wide}}),
       .reference = lip,
       .window = true,
       .bad = {{R"({"logit": "full"})", {"[lip] key 'logit'", "bottleneck", "full"}},
               {R"({"hidden": 3})", {"[lip]", "'hidden' means nothing"}},
               {R"({"logit": "bottleneck", "hidden": -1})", {"[lip] key 'hidden'", ">= 0", "-1"}},
               {R"({"logit": "simplified"})",
                {"'logit.norm.bias'", "expected the shape 2", "got 3"},
                "logit.norm.bias",
                {1, 2, 3}},
               {R"({"logit": "simplified"})",
                {"does not know the tensor 'logit.norm1.bias'", "did you mean 'logit.norm.bias'"},
                "logit.norm1.bias",
                {1, 2}},
               {R"({})", {"does not know the tensor 'logit'"}, "logit", {1}}}},
      {.name = "quantile",
       .cases = joined(windows({{R"({"kernel": 3, "stride": 2, "padding": 1, "q": 0.25})", {2, 3, 8, 34}},
                                {R"({"kernel": 2, "q": 0})", {2, 17, 8, 7}},
                                {R"({"kernel": 2, "q": 1})", {2, 3, 8, 34}},
                                {R"({"kernel": 3, "q": 0.875})", {1, 17, 9, 8}, Data::wide},
                                {R"({"kernel": 3, "q": 0.3})", {1, 3, 9, 8}, Data::ties},
                                {kManyElements, {1, 17, 19, 22}},
                                {kManyElements, {2, 2, 19, 22}, Data::ties},
                                {R"({"kernel": 257, "q": 0.3})", {1, 2, 4400}}}),
                       varied(learned({{kLearnedWindow, {2, 3, 8, 34}, Data::normal, {{0}}},
                                       {kLearnedPairs, {2, 2, 8, 34}, Data::normal, {{-1.25, 40}}},
                                       {R"({"kernel": 257, "learned": true, "q": 0.3})", {1, 2, 4400}}}),
                              1)),
       .reference = windowed(quantile),
       .window = true,
       .bad = bad_learned("a", {{R"({"q": 1.5})", {"[quantile] key 'q'", "<= 1", "1.5"}},
                                {R"({"q": -0.5})", {"[quantile] key 'q'", ">= 0", "-0.5"}},
                                {R"({"q": "median"})", {"[quantile] key 'q'", "median"}},
                                {R"({"learned": true, "q": 0})", {"[quantile] key 'q'", "between 0 and 1"}}})},
  };
}

}  // namespace tidepool::testing
