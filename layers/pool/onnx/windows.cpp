// Windowed operators, by the formulas that their files state. Elements are taken less their window's maximum m, as
// there, so that nothing overflows and large elements keep their digits.
#include <algorithm>
#include <cmath>
#include <limits>

#include "layers/pool/onnx/form.h"

namespace tidepool::pool_onnx {
namespace {

using onnx::Value;

constexpr double kLeast = std::numeric_limits<float>::min();  // under every divisor that is not 0

// m + sum w_i u_i / sum w_i, u_i = x_i - m
Value weighted_mean(const Windows& w, const Value& m, const Value& u, const Value& weights) {
  return m + w.sum(weights * u) / w.sum(weights);
}

Value soft_mean(const Windows& w, double beta = 1) {
  const Value m = w.max(), u = w.x() - m;
  return weighted_mean(w, m, u, onnx::exp(beta == 1 ? u : u * beta));
}

Value soft(const Call& c) {
  const Windows w(c);
  return w.result(soft_mean(w, c.config.value("beta", 1.0)));
}

// The Dice-Soerensen weights of edscw.
Value similarity_mean(const Windows& w) {
  const Value x = onnx::abs(w.x()), a = onnx::abs(w.exact_mean()), scale = onnx::larger(onnx::larger(x, a), kLeast),
              p = x / scale, q = a / scale, squares = p * p + q * q;
  const Value none = x.graph->node("Equal", {squares, x.graph->number(0)});  // two zeros, which are alike
  const Value similarity = onnx::where(none, x.graph->number(1), p * q * 2 / onnx::larger(squares, kLeast));
  const Value m = w.max();
  return weighted_mean(w, m, w.x() - m, onnx::exp(similarity - 1));
}

Value edscw(const Call& c) {
  const Windows w(c);
  return w.result(similarity_mean(w));
}

Value ada(const Call& c) {
  const Windows w(c);
  const Value b = c.constant(c.numbers("", "logit", Through::sigmoid)), em = soft_mean(w);
  return w.result(em + b * (similarity_mean(w) - em));
}

Value max(const Call& c) {
  return max_pool(c.x, c.windows());
}

Value avg(const Call& c) {
  return avg_pool(c.x, c.windows(), c.config.at("count_include_pad").get<bool>());
}

Value lp(const Call& c) {
  const Windows w(c);
  const Numbers p = c.numbers("p", "p");
  const Value x = onnx::abs(w.x()), m = w.max(x), r = x / onnx::larger(m, kLeast);
  if (p.units.empty() && p.values[0] == 2) return w.result(m * onnx::sqrt(w.sum(r * r)));
  return w.result(m *
                  onnx::pow(w.sum(onnx::pow(r, c.constant(p))), c.constant(p.through([](double v) { return 1 / v; }))));
}

// (mean c_i^p)^(1/p), by e^t - 1 and log(1 + t), which keep the digits of a small p.
Value gem(const Call& c) {
  const Windows w(c);
  const Value clamped = onnx::larger(w.x(), c.config.at("eps").get<double>()), m = w.max(clamped),
              p = c.constant(c.numbers("p", "p")), mean = w.mean(onnx::expm1(p * onnx::log(clamped / m)));
  return w.result(m * onnx::exp(onnx::log1p(mean) / p));
}

Value lse(const Call& c) {
  const Windows w(c);
  const Value m = w.max(), b = c.constant(c.numbers("b", "b"));
  return w.result(m + onnx::log1p(w.mean(onnx::expm1(b * (w.x() - m)))) / b);
}

// m + share mean(x_i - m)
Value between(const Windows& w, const Value& m, const Value& share) {
  return w.result(m + share * w.mean(w.x() - m));
}

Value mixed(const Call& c) {
  const Windows w(c);
  const Numbers t = c.numbers("t", "a", Through::sigmoid);
  return between(w, w.max(), c.constant(t.through([](double v) { return 1 - v; })));
}

Value gated(const Call& c) {
  const Windows w(c);
  Numbers gate = {c.tensor("w").values(), {}};
  if (c.config.at("per") == "channel") {
    gate.units.assign(static_cast<size_t>(c.rank()) + 1, 1);
    gate.units[0] = c.shape[1];
  }
  gate.units.push_back(std::ssize(gate.values) / (gate.units.empty() ? 1 : gate.units[0]));
  return between(w, w.max(), onnx::sigmoid(0 - w.sum(w.x() * c.constant(gate))));
}

// In evaluation: the mean weighted by the positive elements, where there are any.
Value stochastic(const Call& c) {
  const Windows w(c);
  const Value m = w.max(), zero = m.graph->number(0), positive = m.graph->node("Greater", {m, zero});
  const Value r = onnx::relu(w.x()) / onnx::where(positive, m, m.graph->number(1)), all = w.sum(r);
  const Value chosen = w.sum(r * (w.x() - m)) / onnx::where(positive, all, m.graph->number(1));
  return w.result(m + onnx::where(positive, chosen, w.mean(w.x() - m)));
}

Value dpp(const Call& c) {
  constexpr double kEdge = 1e-3;
  const Windows w(c);
  const Value a = c.constant(c.numbers("", "alpha", Through::softplus)),
              exponent = c.constant(c.numbers("", "lambda", Through::softplus));
  const Value m = w.max(), below = w.x() - m, mean = w.mean(below), u = below - mean,
              detail = c.config.at("asymmetric").get<bool>() ? onnx::relu(u) : u;
  const Value log_rho = onnx::log(detail * detail + kEdge * kEdge) * 0.5,
              log_s = onnx::larger(w.max(log_rho), 0.0);  // weights over s^L
  const Value weights = a * onnx::exp(exponent * (0 - log_s)) + onnx::exp(exponent * (log_rho - log_s));
  return w.result(m + (mean + w.sum(weights * u) / w.sum(weights)));
}

Value ordinal(const Call& c) {
  const Windows w(c);
  const std::vector<double> logits = c.tensor("logits").values();
  const auto channels = static_cast<size_t>(c.config.at("per") == "channel" ? c.shape[1] : 1),
             volume = logits.size() / channels;
  const auto weight = [&](size_t unit, int64_t count, int64_t rank) {
    const double* const own = logits.data() + unit * volume;
    const double top = *std::max_element(own, own + count);
    double sum = 0;
    for (int64_t j = 0; j < count; ++j) sum += std::exp(own[j] - top);
    return std::exp(own[rank] - top) / sum;
  };
  const Value m = w.max();
  return w.result(m + w.ranked_sum(m, {static_cast<int64_t>(channels)}, weight));
}

Value quantile(const Call& c) {
  const Windows w(c);
  const Numbers q = c.numbers("q", "a", Through::sigmoid);
  const auto weight = [&](size_t unit, int64_t count, int64_t rank) {
    const double h = q.values[unit] * static_cast<double>(count - 1), j = std::floor(h), f = h - j;
    const int64_t low = count - 1 - static_cast<int64_t>(j);  // ranks count from the largest
    return rank == low ? 1 - f : rank == low - 1 ? f : 0.0;
  };
  const Value m = w.max();
  return w.result(m + w.ranked_sum(m, q.units, weight));
}

// The logits are a network's, of convolutions and instance norms.
Value lip(const Call& c) {
  const Windows w(c);
  if (c.config.at("logit") == "identity") return w.result(soft_mean(w));
  constexpr double kHighest = 12, kEps = 1e-5;
  Value map = c.x;
  const std::vector<std::string> layers =
      c.config.at("logit") == "simplified" ? std::vector<std::string>{""} : std::vector<std::string>{"1", "2", "3"};
  for (size_t i = 0; i < layers.size(); ++i) {
    const std::string weight = "logit.conv" + layers[i] + ".weight", norm = "logit.norm" + layers[i];
    std::vector<WindowAxis> axes;
    for (int axis = 2; axis < 4; ++axis) {
      const int64_t n = c.shape[axis];
      const auto k = static_cast<int32_t>(c.tensor(weight).size(axis));
      axes.push_back({.n = n, .m = n, .k = k, .s = 1, .p = k / 2, .d = 1});
    }
    map = conv(map, c.constant(weight), {}, axes);
    map = map.graph->node("InstanceNormalization", {map, c.constant(norm + ".weight"), c.constant(norm + ".bias")},
                          {{"epsilon", kEps}});
    map = i + 1 < layers.size() ? onnx::relu(map) : onnx::sigmoid(map);
  }
  const Value g = w.elements(map), m = w.max();
  return w.result(weighted_mean(w, m, w.x() - m, onnx::exp((g - w.max(g)) * kHighest)));
}

constexpr NamedForm kForms[] = {
    {"ada", ada},         {"avg", avg},           {"dpp", dpp},   {"edscw", edscw},
    {"em", soft},         {"gated", gated},       {"gem", gem},   {"lip", lip},
    {"lp", lp},           {"lse", lse},           {"max", max},   {"mixed", mixed},
    {"ordinal", ordinal}, {"quantile", quantile}, {"soft", soft}, {"stochastic", stochastic},
};

}  // namespace

std::span<const NamedForm> window_forms() {
  return kForms;
}

}  // namespace tidepool::pool_onnx
