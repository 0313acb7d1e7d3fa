#include "layers/pool/keys.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace tidepool {
namespace {

using json = nlohmann::json;

std::string brief(const json& v) {
  std::string text = v.dump(-1, ' ', false, json::error_handler_t::replace);
  return text.size() > 60 ? text.substr(0, 57) + "..." : text;
}

template <class T>
bool holds(const json& v) {
  if constexpr (std::is_same_v<T, int64_t>)
    // Limits are checked in double, which holds these digit for digit.
    return v.is_number_integer() && std::abs(v.get<double>()) <= 0x1p53;
  else
    return v.is_number() && std::isfinite(v.get<double>());
}

template <class T>
std::string as_text(const PerAxis<T>& v) {
  if (v.count == 0) return "null";
  if (v.count == 1) return fmt::format("{}", v[0]);
  std::string text;
  for (int i = 0; i < v.count; ++i) text += fmt::format("{}{}", i ? ", " : "", v[i]);
  return "[" + text + "]";
}

}  // namespace

Keys::Limits Keys::Limits::check(bool (*ok)(double, double), double bound, const char* words) const {
  PoolKey& key = keys_->described_.back();
  key.type += fmt::format("{} {} {}", key.type.find_first_of("<>") == std::string::npos ? "" : ",", words, bound);
  for (double v : values_)
    if (!ok(v, bound))
      throw Error("[{}] key '{}': expected {}, got {}", keys_->op_, key.name, key.type,
                  std::abs(v) >= 1e15 && std::abs(v) <= 0x1p53 ? fmt::format("{:.0f}", v) : fmt::format("{}", v));
  return *this;
}
Keys::Limits Keys::Limits::at_least(double low) const {
  return check([](double v, double b) { return v >= b; }, low, ">=");
}
Keys::Limits Keys::Limits::at_most(double high) const {
  return check([](double v, double b) { return v <= b; }, high, "<=");
}
Keys::Limits Keys::Limits::above(double low) const {
  return check([](double v, double b) { return v > b; }, low, ">");
}
Keys::Limits Keys::Limits::otherwise(const char* start) const {
  keys_->described_.back().default_value = start;
  return *this;
}

const json* Keys::find(const char* name, const char* type, std::string default_value, const char* help) {
  described_.push_back({.name = name, .type = type, .default_value = std::move(default_value), .help = help});
  if (!config_) return nullptr;
  const auto it = config_->find(name);
  return it == config_->end() ? nullptr : &*it;
}

template <class T>
void Keys::per_axis(const char* name, PerAxis<T>& v, bool lists, const char* type, const char* help) {
  const json* given = find(name, type, as_text(v), help);
  if (!given) return;
  const auto wrong = [&] { throw Error("[{}] key '{}': expected {}, got {}", op_, name, type, brief(*given)); };
  if (given->is_array() && lists) {
    if (given->empty() || given->size() > 3) wrong();
    v.count = 0;
    for (const json& one : *given) {
      if (!holds<T>(one)) wrong();
      v.values[static_cast<size_t>(v.count++)] = one.get<T>();
    }
    return;
  }
  if (!holds<T>(*given)) wrong();
  v = PerAxis<T>::all(given->get<T>());
}

Keys::Limits Keys::integers(const char* name, PerAxis<int64_t>& v, const char* help) {
  per_axis(name, v, true, "integer or one per axis", help);
  return {this, {v.values.begin(), v.values.begin() + v.count}};
}
Keys::Limits Keys::integer(const char* name, int64_t& v, const char* help) {
  PerAxis<int64_t> one = PerAxis<int64_t>::all(v);
  per_axis(name, one, false, "integer", help);
  v = one[0];
  return {this, {static_cast<double>(v)}};
}
Keys::Limits Keys::list(const char* name, std::vector<int64_t>& v, const char* help) {
  const char* type = "a list of integers";
  const json* given = find(name, type, fmt::format("[{}]", fmt::join(v, ", ")), help);
  if (given) {
    const auto wrong = [&] { throw Error("[{}] key '{}': expected {}, got {}", op_, name, type, brief(*given)); };
    if (!given->is_array() || given->empty()) wrong();
    v.clear();
    for (const json& one : *given) {
      if (!holds<int64_t>(one)) wrong();
      v.push_back(one.get<int64_t>());
    }
  }
  return {this, {v.begin(), v.end()}};
}
Keys::Limits Keys::numbers(const char* name, PerAxis<double>& v, const char* help) {
  per_axis(name, v, true, "number or one per axis", help);
  return {this, {v.values.begin(), v.values.begin() + v.count}};
}
Keys::Limits Keys::number(const char* name, double& v, const char* help) {
  PerAxis<double> one = PerAxis<double>::all(v);
  per_axis(name, one, false, "number", help);
  v = one[0];
  return {this, {v}};
}

void Keys::flag(const char* name, bool& v, const char* help) {
  const json* given = find(name, "boolean", v ? "true" : "false", help);
  if (!given) return;
  if (!given->is_boolean()) throw Error("[{}] key '{}': expected true or false, got {}", op_, name, brief(*given));
  v = given->get<bool>();
}

int Keys::choose(const char* name, int v, std::initializer_list<const char*> words, const char* help) {
  const std::vector<std::string> list(words.begin(), words.end());
  const std::string type = fmt::format("\"{}\"", fmt::join(list, "\" or \""));
  const json* given = find(name, type.c_str(), "\"" + list[static_cast<size_t>(v)] + "\"", help);
  if (!given) return v;
  if (given->is_string())
    for (size_t i = 0; i < list.size(); ++i)
      if (given->get<std::string>() == list[i]) return static_cast<int>(i);
  throw Error("[{}] key '{}': expected {}, got {}{}", op_, name, type, brief(*given),
              given->is_string() ? did_you_mean(given->get<std::string>(), list) : "");
}

void Keys::finish() const {
  if (!config_->is_object())
    throw Error("[{}] expected an object with the operator's keys, got {}", op_, brief(*config_));
  std::vector<std::string> names;
  for (const PoolKey& k : described_) names.push_back(k.name);
  for (const auto& [key, value] : config_->items()) {
    if (key == "type" || std::find(names.begin(), names.end(), key) != names.end()) continue;
    throw Error("[{}] unknown key '{}'{}; known: {}", op_, key, did_you_mean(key, names), fmt::join(names, ", "));
  }
}

std::string join_ranks(std::span<const int> ranks) {
  std::string text;
  for (size_t i = 0; i < ranks.size(); ++i)
    text += fmt::format("{}{}", i == 0 ? "" : i + 1 == ranks.size() ? " and " : ", ", ranks[i]);
  return text;
}

int expect_rank(const char* op, const Dims& x, std::initializer_list<int> ranks) {
  const int rank = x.rank() - 2;
  if (std::find(ranks.begin(), ranks.end(), rank) == ranks.end())
    throw Error("[{}] expected a map of {} spatial {} (N, C, spatial), got the shape {}", op,
                join_ranks(std::span(ranks.begin(), ranks.size())),
                ranks.size() == 1 && *ranks.begin() == 1 ? "axis" : "axes", x.str());
  return rank;
}

void expect_parameters(const char* op, std::span<const ParameterSpec> specs, std::span<const Tensor> parameters) {
  if (specs.size() != parameters.size()) {
    std::vector<std::string> names;
    for (const ParameterSpec& s : specs) names.push_back(s.name);
    throw Error("[{}] expected {} parameters ({}), got {}", op, specs.size(), fmt::join(names, ", "),
                parameters.size());
  }
  for (size_t i = 0; i < specs.size(); ++i) {
    expect_shape(op, specs[i].name.c_str(), parameters[i], specs[i].shape);
    if (!is_floating(parameters[i].dtype()))
      throw Error("[{}] {}: expected a tensor of f32, f64 or bf16, got {}", op, specs[i].name,
                  name_of(parameters[i].dtype()));
  }
}

}  // namespace tidepool
