#include "train/config.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "core/key_values.h"
#include "core/text.h"
#include "data/dataset.h"
#include "data/named_normalisation.h"
#include "layers/pool/operator.h"
#include "models/registry.h"
#include "train/embedded.h"
#include "train/optimizers/rule.h"
#include "train/origins.h"
#include "train/shape_learners/learner.h"
#include "train/task.h"

namespace tidepool {

extern const EmbeddedFile kEmbeddedConfigs[];
extern const size_t kEmbeddedConfigs_count;

std::vector<KeyOption> network_options() {
  std::vector<KeyOption> options;
  for (const NetworkRegistration& each : network_registrations())
    options.push_back({.name = each.name, .help = each.help, .keys = {}});
  return options;
}

std::vector<KeyOption> data_set_options() {
  std::vector<KeyOption> options;
  for (const DatasetDescription* each : datasets())
    options.push_back({.name = std::string(each->name), .help = std::string(each->help), .keys = own_keys(*each)});
  return options;
}

std::vector<KeyOption> task_options() {
  std::vector<KeyOption> options;
  for (const TaskDescription* each : tasks()) options.push_back({.name = each->name, .help = each->help, .keys = {}});
  return options;
}

std::vector<KeyOption> pool_options() {
  std::vector<KeyOption> options;
  for (const PoolDescription* each : pool_operators())
    options.push_back({.name = each->name, .help = each->formula, .keys = each->keys});
  return options;
}

std::vector<KeyOption> optimizer_options(bool with_defaults) {
  std::vector<KeyOption> options;
  for (const OptimizerDescription* each : optimizers()) {
    options.push_back({.name = each->name, .help = each->help, .keys = each->keys});
    for (Key& key : options.back().keys)
      if (!with_defaults) {
        key.default_value.clear();
        key.default_words = "as in optim";
      }
  }
  return options;
}

std::vector<KeyOption> shape_learner_options() {
  std::vector<KeyOption> options;
  for (const ShapeLearnerDescription* each : shape_learners())
    options.push_back({.name = each->name, .help = each->help, .keys = each->keys});
  return options;
}

std::vector<std::string> normalize_words() {
  std::vector<std::string> words = {"measure"};
  for (const NamedNormalisation& known : kNamedNormalisations) words.emplace_back(known.name);
  return words;
}

const KeyList& config_keys() {
  // On the heap: of a temporary GCC 12 takes members to be uninitialised.
  static const KeyList list = [] {
    KeyList keys;
    Keys described(keys);
    std::make_unique<Config>()->keys(described);
    expect_each_once(keys);
    return keys;
  }();
  return list;
}

namespace fs = std::filesystem;

namespace {

bool is_file(const fs::path& path) {
  std::error_code code;
  return fs::is_regular_file(path, code);
}

}  // namespace

std::vector<fs::path> config_folders() {
  std::vector<fs::path> folders{"configs"};
  std::error_code code;
  const fs::path program = fs::read_symlink("/proc/self/exe", code);
  if (code) return folders;
  const fs::path source = (program.parent_path() / TIDEPOOL_SOURCE_FROM_BUILD / "configs").lexically_normal();
  if (is_file(source / "schema.json")) folders.push_back(source);  // not where the program was copied elsewhere
  return folders;
}

namespace {

struct ConfigSource {
  Json value;
  Origins origins;
  std::vector<std::string> files;  // as Config::files
  bool shipped = false;            // one of ours, or a saved run: nobody wrote its groups for this network
  std::set<std::string> settings;  // origins of the settings laid over it together
};

// What lies beside the configs for editors.
bool is_schema(std::string_view name) {
  return name.ends_with("schema.json");
}

std::optional<std::string> embedded_name(const std::string& name) {
  for (const std::string& each : {name, name + ".json"}) {
    if (embedded_config(each)) return each;
  }
  return std::nullopt;
}

// The name of a config near to a file's, whose ending may have been left out.
std::string config_hint(const fs::path& file) {
  std::string name = file.filename().string();
  if (!name.ends_with(".json")) name += ".json";
  return did_you_mean(name, embedded_configs());
}

std::optional<fs::path> file_in_config_folders(const std::string& name) {
  if (name.empty() || fs::path(name).has_parent_path() || is_schema(name)) return std::nullopt;
  for (const fs::path& folder : config_folders())
    for (const std::string& each : {name, name + ".json"})
      if (is_file(folder / each)) return folder / each;
  return std::nullopt;
}

bool is_saved_run(const fs::path& file) {
  std::error_code code;
  const fs::path real = fs::weakly_canonical(file, code);
  return real.filename() == "config.json" && is_file(real.parent_path() / "provenance.json");
}

bool is_shipped(const fs::path& file) {
  std::error_code code;
  const fs::path real = fs::weakly_canonical(file, code);
  const std::string name = real.filename().string();
  if (is_saved_run(file)) return true;
  return real.parent_path().filename() == "configs" && embedded_config(name).has_value();
}

// `chain` holds the configs that are being read, from the one asked for to this one.
ConfigSource with_bases(ConfigSource source, const std::string& origin, const std::optional<fs::path>& folder,
                        std::vector<std::string> chain);

ConfigSource read_source(const std::string& name, const std::optional<fs::path>& folder, const std::string& said_by,
                         std::vector<std::string> chain) {
  if (name.empty()) throw Error("{}expected the name of a config, got \"\"", said_by);
  std::error_code code;
  fs::path file = folder ? *folder / name : fs::path(name);
  bool on_disk = folder && fs::exists(file, code);
  std::optional<std::string> embedded;
  if (!on_disk || fs::is_directory(file, code)) {  // a folder may have a shipped config's name
    if (const auto found = file_in_config_folders(name)) {
      file = *found;
      on_disk = true;
    } else if ((embedded = embedded_name(name))) {
      on_disk = false;
    }
  }
  if (!on_disk && !embedded) {
    throw Error("{}{}: no such file, and no config of that name in the program{}", said_by,
                folder ? file.lexically_normal().string() : name, config_hint(name));
  }
  const std::string id = on_disk ? fs::weakly_canonical(file, code).string() : "(program)/" + *embedded;
  if (std::find(chain.begin(), chain.end(), id) != chain.end()) {
    std::string circle;
    for (const std::string& each : chain) circle += fs::path(each).filename().string() + " -> ";
    throw Error("{}a config extends itself: {}{}", said_by, circle, fs::path(id).filename().string());
  }
  chain.push_back(id);
  ConfigSource source;
  const std::string origin = on_disk ? file.lexically_normal().string() : id;
  source.files.push_back(on_disk ? origin : *embedded + " (compiled in)");
  source.shipped = !on_disk || is_shipped(file);
  if (on_disk) {
    source.value = read_json(file.lexically_normal(), &source.origins);
    if (is_saved_run(file)) erase_unused_options(config_keys(), source.value);
  } else {
    source.value = parse_json(*embedded_config(*embedded), origin, &source.origins);
  }
  return with_bases(std::move(source), origin, on_disk ? std::optional(file.parent_path()) : std::nullopt,
                    std::move(chain));
}

ConfigSource with_bases(ConfigSource source, const std::string& origin, const std::optional<fs::path>& folder,
                        std::vector<std::string> chain) {
  source.origins.emplace("", origin);
  if (!source.value.is_object()) throw Error("{}: expected an object, got {}", origin, brief_json(source.value));
  if (!source.value.contains("extends")) return source;
  const Json extends = source.value["extends"];
  const std::string said_by = origin_of(source.origins, "extends") + "extends: ";
  if (!extends.is_string()) throw Error("{}expected the name of a config, got {}", said_by, brief_json(extends));
  ConfigSource base = read_source(extends.get<std::string>(), folder, said_by, std::move(chain));
  source.value.erase("extends");
  source.value.erase("$schema");
  base.value.erase("$schema");
  merge(config_keys(), base.value, source.value);
  for (auto& [path, place] : source.origins) base.origins[path] = place;
  base.files.insert(base.files.begin(), source.files.begin(), source.files.end());
  base.shipped = source.shipped;
  return base;
}

bool is_index(const std::string& text) {
  return !text.empty() && text.size() < 9 && text.find_first_not_of("0123456789") == std::string::npos;
}

constexpr std::string_view kSet = "--set ";

// Whether the value at a dotted path is a string and nothing else, so that `--set name=5` means "5".
bool wants_text(const std::string& path, Json at) {
  KeyCursor cursor(config_keys());
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('.', begin), path.size());
    const std::string key = path.substr(begin, end - begin);
    begin = end + 1;
    cursor.enter(key, at);
    at = at.is_object() && at.contains(key) ? Json(at[key]) : Json(nullptr);
  }
  return cursor.wants_text();
}

void apply_setting(ConfigSource& source, const Setting& setting) {
  const std::string &path = setting.key, &origin = setting.origin;
  source.settings.insert(origin);
  Json* at = &source.value;
  KeyCursor cursor(config_keys());
  std::string parent;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('.', begin), path.size());
    const std::string key = path.substr(begin, end - begin);
    const bool last = end == path.size();
    begin = end + 1;
    if (key.empty()) throw Error("{}: '{}' has an empty part", origin, path);
    const std::string here = join_path(parent, key);
    const Json& whole = *at;
    if (at->is_array()) {
      if (!is_index(key)) throw Error("{}: {} is a list: expected an index, got '{}'", origin, parent, key);
      const size_t index = std::stoul(key);
      if (index > at->size()) throw Error("{}: {} has {} elements, no index {}", origin, parent, at->size(), index);
      if (index == at->size()) {
        at->push_back(last ? Json() : Json::object());
        source.origins[here] = origin;
      }
      at = &(*at)[index];
    } else if (at->is_object()) {
      // Another option: the keys of the old one go, but not those that an earlier setting gave.
      const KeyList* list = cursor.list();
      if (last && list && key == list->selector && option_in_use(*list, *at, "") != setting.value)
        each_option_key(*list, *at, parent, [&](Json& object, const std::string& other, const std::string& where) {
          const auto said = source.origins.find(where);
          if (said == source.origins.end() || !source.settings.contains(said->second)) object.erase(other);
        });
      if (!at->contains(key) || (!last && (*at)[key].is_null())) {
        (*at)[key] = last ? Json() : Json::object();
        source.origins[here] = origin;
      }
      at = &(*at)[key];
    } else {
      throw Error("{}: {} is {}, which has no key '{}'", origin, parent, brief_json(*at), key);
    }
    cursor.enter(key, whole);
    parent = here;
  }
  *at = setting.value;
  // Children of a replaced value came from here too.
  for (auto& [each, place] : source.origins) {
    if (each.starts_with(path + ".")) place = origin;
  }
  source.origins[path] = origin;
}

void apply_set(ConfigSource& source, const std::string& set) {
  const std::string origin = std::string(kSet) + set;
  const size_t equals = set.find('=');
  expect_text(set, std::string(kSet) + printable(set.substr(0, equals)));
  if (equals == std::string::npos || equals == 0) throw Error("{}: expected KEY=VALUE", origin);
  const std::string path = set.substr(0, equals);
  const std::string text = set.substr(equals + 1);
  if (path == "extends") throw Error("{}: a config file says what it extends; --set cannot", origin);

  Json value = text;
  if (!wants_text(path, source.value) || text.starts_with('"')) {
    try {
      value = parse_json(text, origin);
    } catch (const Error&) {
      // What looks like a list or an object was meant as one; anything else is a string, as `--set data.root=/data`.
      if (text.starts_with('{') || text.starts_with('[') || text.starts_with('"')) throw;
    }
  }

  apply_setting(source, {.key = path, .value = std::move(value), .origin = origin});
}

// What no list of keys can say: how keys of several objects go together.
void check_together(const Config& config, const Origins& origins) {
  const auto fail = [&](const std::string& path, const std::string& message) {
    throw Error("{}{}: {}", origin_of(origins, path), path, message);
  };
  const bool odd_name = std::any_of(config.name.begin(), config.name.end(),
                                    [](char c) { return c == '/' || static_cast<unsigned char>(c) < 0x20; });
  if (config.name.empty() || config.name == "." || config.name == ".." || odd_name) {
    fail("name", fmt::format("expected a name that a folder can have, got {}", brief_json(config.name)));
  }
  constexpr size_t kLongestName = 255;  // bytes, of a file on Linux
  if (config.name.size() > kLongestName) {
    fail("name",
         fmt::format("expected at most {} bytes, as a folder's name has, got {}", kLongestName, config.name.size()));
  }
  const OptimConfig& optim = config.optim;
  find_optimizer(optim.name).check(optim.options, [&](const std::string& path, const std::string& message) {
    fail(join_path("optim", path), message);
  });
  const auto check_schedule = [&](const ScheduleConfig& schedule, const std::string& path,
                                  const std::string& warmup_path) {
    if (config.train.epochs > 0 && schedule.warmup_epochs > static_cast<double>(config.train.epochs)) {
      fail(warmup_path, fmt::format("a warm-up of {} epochs is longer than the run: train.epochs is {}",
                                    schedule.warmup_epochs, config.train.epochs));
    }
    for (size_t i = 1; i < schedule.milestones.size(); ++i) {
      if (schedule.milestones[i] <= schedule.milestones[i - 1]) {
        fail(path + ".milestones", fmt::format("expected epochs in ascending order, got {} after {}",
                                               schedule.milestones[i], schedule.milestones[i - 1]));
      }
    }
  };
  check_schedule(optim.schedule, "optim.schedule", "optim.schedule.warmup_epochs");
  const auto check_group = [&](const GroupSettings& group, const Json& said, const std::string& path) {
    if (said.contains("schedule") || said.contains("warmup_epochs"))
      check_schedule(group.schedule, path + ".schedule",
                     path + (said.contains("warmup_epochs") ? ".warmup_epochs" : ".schedule.warmup_epochs"));
    if (group.last_epoch && *group.last_epoch <= group.first_epoch)
      fail(path + ".last_epoch",
           fmt::format("expected more than first_epoch, {}, got {}", group.first_epoch, *group.last_epoch));
  };
  check_group(*optim.shape, config.resolved["optim"]["shape"], "optim.shape");
  find_shape_learner(optim.shape->learner.type)
      .check(optim.shape->learner.options, [&](const std::string& path, const std::string& message) {
        fail(join_path("optim.shape.learner", path), message);
      });
  if (const auto& after = optim.shape->retrain_after; after && *after >= config.train.epochs)
    fail("optim.shape.retrain_after",
         fmt::format("expected fewer epochs than train.epochs, {}, so that some are left to "
                     "train the weights anew; got {}",
                     config.train.epochs, *after));
  if (config.loss.gmacs_target && config.loss.gmacs_lambda != 0)
    fail("loss.gmacs_target",
         fmt::format("a budget takes the place of the penalty; expected loss.gmacs_lambda 0, got {}",
                     config.loss.gmacs_lambda));
  std::set<std::string> globs;
  for (size_t i = 0; i < optim.groups.size(); ++i) {
    const std::string path = fmt::format("optim.groups.{}", i);
    const Json& said = config.resolved["optim"]["groups"][i];
    if (optim.groups[i].match.empty()) fail(path + ".match", "expected a pattern of parameter names, got \"\"");
    if (!globs.insert(optim.groups[i].match).second) {
      fail(path + ".match", fmt::format("{} has a group already, and the first one wins", said["match"].dump()));
    }
    check_group(optim.groups[i], said, path);
  }
}

// Whether neither the config asked for, unless it is one of ours, nor a --set says the value.
bool inherited(const ConfigSource& source, const std::string& path) {
  const std::string said = origin_of(source.origins, path);
  if (said.starts_with(kSet)) return false;
  return source.shipped || !said.starts_with(source.origins.at("") + ":");
}

Config finish(ConfigSource source, const std::string& name, std::span<const std::string> sets,
              std::span<const Setting> settings = {}) {
  source.value.erase("$schema");
  source.value.erase("extends");
  const KeyList& list = config_keys();
  // Defaults before the sets, so that a set can change a part of one, as optim.betas.0; and again for what they add.
  fill_defaults(list, source.value);
  for (const Setting& setting : settings) {
    apply_setting(source, setting);
    const bool adds = setting.value.is_structured() || setting.value.is_string();  // an object, or another option
    if (adds) fill_defaults(list, source.value);
  }
  source.settings.clear();
  for (const std::string& set : sets) {
    apply_set(source, set);
    fill_defaults(list, source.value);
  }
  if (!source.value.contains("name")) source.value["name"] = name;
  fill_defaults(list, source.value);
  const KeyFail fail = [&](const std::string& path, const std::string& message) {
    throw Error("{}{}: {}", origin_of(source.origins, path), path.empty() ? "the config" : path, message);
  };
  check_keys(list, source.value, fail);

  Config config;
  Keys keys(source.value, fail);
  config.keys(keys);
  for (size_t i = 0; i < config.optim.groups.size(); ++i)
    config.optim.groups[i].inherited = inherited(source, fmt::format("optim.groups.{}.match", i));
  config.files = std::move(source.files);
  config.resolved = std::move(source.value);
  check_together(config, source.origins);
  return config;
}

}  // namespace

Config load_config(const fs::path& file, std::span<const std::string> sets) {
  // A name alone may be a shipped config's; a path is a file's.
  std::error_code code;
  if (file.empty()) throw Error("expected the name of a config, got \"\"");
  const bool bare = !file.has_parent_path() && !fs::exists(file, code);
  if (!bare && !fs::exists(file, code)) {
    throw Error("{}: no such file{}", file.string(), config_hint(file));
  }
  ConfigSource source = read_source(file.string(), bare ? fs::path(".") : fs::path(), "", {});
  return finish(std::move(source), file.stem().string(), sets);
}

Config load_config_with(const std::string& base, const std::optional<fs::path>& folder, const std::string& said_by,
                        std::span<const Setting> settings, std::span<const std::string> sets) {
  ConfigSource source = read_source(base, folder, said_by, {});
  return finish(std::move(source), fs::path(base).stem().string(), sets, settings);
}

Config load_config_text(std::string_view text, std::string_view origin, std::span<const std::string> sets,
                        const fs::path& folder) {
  ConfigSource source;
  source.value = parse_json(text, origin, &source.origins);
  source = with_bases(std::move(source), std::string(origin), folder, {});
  return finish(std::move(source), fs::path(origin).stem().string(), sets);
}

Json completed_config(Json saved) {
  erase_unused_options(config_keys(), saved);
  fill_defaults(config_keys(), saved);
  return saved;
}

void log_config_files(const Config& config) {
  static std::mutex mutex;
  static std::set<std::vector<std::string>> said;
  const std::lock_guard lock(mutex);
  if (config.files.empty() || !said.insert(config.files).second) return;
  std::string text;
  for (size_t i = 0; i < config.files.size(); ++i)
    text += (i == 0 ? "" : i == 1 ? ", which extends " : ", ") + config.files[i];
  spdlog::info("config: {}", text);
}

std::vector<std::string> embedded_configs() {
  std::vector<std::string> names;
  for (size_t i = 0; i < kEmbeddedConfigs_count; ++i) names.emplace_back(kEmbeddedConfigs[i].name);
  std::sort(names.begin(), names.end());
  return names;
}

std::optional<std::string_view> embedded_config(std::string_view name) {
  for (size_t i = 0; i < kEmbeddedConfigs_count; ++i) {
    const EmbeddedFile& file = kEmbeddedConfigs[i];
    if (name == file.name) return std::string_view(reinterpret_cast<const char*>(file.bytes), file.size);
  }
  return std::nullopt;
}

}  // namespace tidepool
