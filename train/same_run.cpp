#include "train/same_run.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/key_values.h"
#include "data/dataset.h"
#include "train/setup.h"

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

// The same file, or its name where tools/keep_runs left that alone.
bool same_init(const Json& a, const Json& b) {
  if (!a.is_string() || !b.is_string()) return a == b;
  const auto path = [](const Json& text) {
    const fs::path given = text.get<std::string>();
    return given.has_filename() ? given : given.parent_path();  // of "run/"
  };
  const fs::path x = path(a), y = path(b);
  return x == y || (x.has_parent_path() != y.has_parent_path() && x.filename() == y.filename());
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
  const Config filled = load_config_text(completed_config(saved).dump(), origin);
  Json a = comparable(filled.resolved, now), b = comparable(now, filled.resolved);
  // The number of classes that only the files say is written down by the run.
  if (b["model"]["classes"].is_null() && dataset_format(filled.data.name, dataset_options(filled.data)).classes == 0)
    a["model"]["classes"] = nullptr;
  a = a.flatten();
  b = b.flatten();
  const auto shown = [](const Json& flat, const std::string& pointer) {
    return flat.contains(pointer) ? brief_json(flat.at(pointer)) : std::string("absent");
  };
  for (const Json* one : {&a, &b})
    for (const auto& [pointer, value] : one->items()) {
      std::string key = pointer.substr(1);
      std::replace(key.begin(), key.end(), '/', '.');
      const Json& other = one == &a ? b : a;
      if (free(key) || (other.contains(pointer) && other.at(pointer) == value)) continue;
      if (key == "model.init" && other.contains(pointer) && same_init(value, other.at(pointer))) continue;
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
