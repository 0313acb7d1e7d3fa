#include "train/same_run.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/key_values.h"

namespace tidepool {
namespace {

namespace fs = std::filesystem;

// `one` with the word that its numbers of data.normalize came from, where `other` says a word, and without that word
// where both have numbers.
Json comparable(const Json& one, const Json& other) {
  Json config = one;
  Json& normalize = config["data"]["normalize"];
  if (!normalize.is_object() || !normalize.contains("from")) return config;
  if (other["data"]["normalize"].is_string())
    normalize = Json(normalize["from"]);
  else
    normalize.erase("from");
  return config;
}

}  // namespace

std::string config_difference(const Json& saved, const Json& now, std::string_view origin,
                              std::span<const std::string_view> ignored) {
  static const std::vector<KeyRow> rows = key_rows(config_keys());
  const auto free = [&](const std::string& key) {
    return std::any_of(rows.begin(), rows.end(),
                       [&](const KeyRow& row) { return row.path == key && !row.key->decides_weights; }) ||
           std::find(ignored.begin(), ignored.end(), key) != ignored.end();
  };
  const Json filled = load_config_text(completed_config(saved).dump(), origin).resolved;
  const Json a = comparable(filled, now).flatten(), b = comparable(now, filled).flatten();
  const auto shown = [](const Json& flat, const std::string& pointer) {
    return flat.contains(pointer) ? brief_json(flat.at(pointer)) : std::string("absent");
  };
  for (const Json* one : {&a, &b})
    for (const auto& [pointer, value] : one->items()) {
      std::string key = pointer.substr(1);
      std::replace(key.begin(), key.end(), '/', '.');
      const Json& other = one == &a ? b : a;
      if (free(key) || (other.contains(pointer) && other.at(pointer) == value)) continue;
      return fmt::format("{} was {}, is {}", key, shown(a, pointer), shown(b, pointer));
    }
  return "";
}

Config resumed_config(const Config& asked, const fs::path& folder) {
  const fs::path file = folder / "config.json";
  if (!fs::exists(file))
    throw Error("{}: expected a run directory to resume, it holds no config.json", folder.string());
  const Json saved = read_json(file);
  static constexpr std::string_view kMaxSteps[] = {"train.max_steps"};
  if (const std::string differs = config_difference(saved, asked.resolved, file.string(), kMaxSteps); !differs.empty())
    throw Error("{}: --resume with another config: {}", folder.string(), differs);
  Config config = asked;
  const Json none = Json::object(), &data = saved.contains("data") ? saved["data"] : none;
  if (data.contains("normalize") && data["normalize"].is_object())
    config.resolved["data"]["normalize"] = config.data.normalize = data["normalize"];
  if (config.data.root.empty() && data.contains("root") && data["root"].is_string()) {
    config.data.root = data["root"].get<std::string>();
    config.resolved["data"]["root"] = config.data.root;
  }
  return config;
}

}  // namespace tidepool
