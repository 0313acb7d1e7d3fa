#include "train/shape_gradients.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/backend/copy.h"

namespace tidepool {

void ShapeGradients::Statistics::add(const std::vector<double>& gradient) {
  mean.resize(gradient.size());
  squares.resize(gradient.size());
  ++count;
  for (size_t i = 0; i < gradient.size(); ++i) {
    const double before = gradient[i] - mean[i];
    mean[i] += before / static_cast<double>(count);
    squares[i] += before * (gradient[i] - mean[i]);
  }
}

Json ShapeGradients::Statistics::json() const {
  Json list = Json::array();
  for (size_t i = 0; i < mean.size(); ++i) {
    const auto n = static_cast<double>(count);
    const double error = count > 1 ? std::sqrt(squares[i] / (n * (n - 1))) : 0;
    list.push_back({{"mean", mean[i]},
                    {"standard_error", error},
                    {"mean_over_standard_error", error > 0 ? Json(mean[i] / error) : Json(nullptr)}});
  }
  return list;
}

void ShapeGradients::gather(const Network& network) {
  std::vector<Tensor> gradients;
  for (const Parameter& p : network.parameters())
    if (p.kind == ParameterKind::shape && p.value.grad()) {
      waiting_.emplace_back(p.name, p.value.grad());
      gradients.push_back(p.value.grad());
    }
  expect_read(gradients);
  if (!gradients.empty() && !reads_wait(gradients[0])) read();
}

void ShapeGradients::read() {
  for (const auto& [name, gradient] : waiting_) statistics_[name].add(gradient.values());
  waiting_.clear();
}

Json ShapeGradients::json() const {
  Json json = Json::object();
  for (const auto& [name, statistics] : statistics_) json[name] = statistics.json();
  return json;
}

Json ShapeGradients::state() const {
  Json json = Json::object();
  for (const auto& [name, s] : statistics_) json[name] = {{"count", s.count}, {"mean", s.mean}, {"squares", s.squares}};
  return json;
}

void ShapeGradients::restore(const Json& state) {
  for (const auto& [name, s] : state.items())
    statistics_[name] = {.count = s.at("count").get<int64_t>(),
                         .mean = s.at("mean").get<std::vector<double>>(),
                         .squares = s.at("squares").get<std::vector<double>>()};
}

}  // namespace tidepool
