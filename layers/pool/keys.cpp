#include "layers/pool/keys.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace tidepool {

void read_pool_keys(const char* op, const KeyList& list, const nlohmann::json& config,
                    const std::function<void(Keys&)>& read) {
  const KeyFail fail = [op](const std::string& path, const std::string& message) {
    if (path.empty()) throw Error("[{}] {}", op, message);
    constexpr std::string_view kUnknown = "unknown key";
    if (message.starts_with(kUnknown))
      throw Error("[{}] {} '{}'{}", op, kUnknown, path, message.substr(kUnknown.size()));
    throw Error("[{}] key '{}': {}", op, path, message);
  };
  Json object = config;
  if (object.is_object()) object.erase("type");
  check_keys(list, object, fail);
  Keys keys(object, fail);
  read(keys);
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
