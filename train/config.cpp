#include "train/config.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <set>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "core/text.h"
#include "data/named_normalisation.h"
#include "train/optimizers/rule.h"
#include "train/schema.h"
#include "train/task.h"

namespace tidepool {

// Defined by a generated source: cmake/embed.cmake.
struct EmbeddedFile {
  const char* name;
  const unsigned char* bytes;
  size_t size;
};
extern const EmbeddedFile kEmbeddedConfigs[];
extern const size_t kEmbeddedConfigs_count;

namespace {

namespace fs = std::filesystem;

const Schema& schema() {
  static const Schema kSchema = [] {
    Json text = parse_json(*embedded_config("schema.json"), "schema.json");
    describe_optimizers(text);
    return Schema(text.dump(), "schema.json");
  }();
  return kSchema;
}

// The optimizer that a config's `optim` names; null when that is no optimizer.
const OptimizerDescription* named_optimizer(const Json& optim) {
  const Json name = optim.is_object() && optim.contains("name") ? optim["name"] : Json(OptimConfig{}.name);
  for (const OptimizerDescription* each : optimizers())
    if (name == each->name) return each;
  return nullptr;
}

// Calls f(object, key, path) for each key of any optimizer's own that `optim` or a group of it says.
template <class F>
void each_optimizer_key(Json& optim, const F& f) {
  const auto visit = [&](Json& object, const std::string& path) {
    if (!object.is_object()) return;
    std::set<std::string> keys;
    for (const OptimizerDescription* each : optimizers())
      for (const auto& item : optimizer_keys(*each).items())
        if (object.contains(item.key())) keys.insert(item.key());
    for (const std::string& key : keys) f(object, key, join_path(path, key));
  };
  visit(optim, "optim");
  if (!optim.is_object() || !optim.contains("groups") || !optim["groups"].is_array()) return;
  for (size_t i = 0; i < optim["groups"].size(); ++i) visit(optim["groups"][i], fmt::format("optim.groups.{}", i));
}

// Keys that the named optimizer does not have go: a run saved by an older version has those of all optimizers.
void drop_other_optimizers_keys(Json& config) {
  if (!config.is_object() || !config.contains("optim")) return;
  const OptimizerDescription* optimizer = named_optimizer(config["optim"]);
  if (!optimizer) return;
  const Json& own = optimizer_keys(*optimizer);
  each_optimizer_key(config["optim"], [&](Json& object, const std::string& key, const std::string&) {
    if (!own.contains(key)) object.erase(key);
  });
}

// The schema's defaults, and those of the named optimizer's own keys.
void fill_defaults(Json& value) {
  schema().fill_defaults(value);
  if (!value.is_object() || !value.contains("optim") || !value["optim"].is_object()) return;
  const OptimizerDescription* optimizer = named_optimizer(value["optim"]);
  if (!optimizer) return;
  for (const auto& item : optimizer_keys(*optimizer).items())
    if (!value["optim"].contains(item.key())) value["optim"][item.key()] = item.value()["default"];
  schema().fill_defaults(value);  // for the order
}

struct Source {
  Json value;
  Origins origins;
  std::vector<std::string> files;  // as Config::files
  bool shipped = false;            // one of ours, or a saved run: nobody wrote its groups for this network
};

bool other_type(const Json& base, const Json& over) {
  return base.contains("type") && over.contains("type") && base["type"] != over["type"];
}

void merge(Json& base, const Json& over) {
  if (!base.is_object() || !over.is_object() || other_type(base, over)) {
    base = over;
    return;
  }
  for (const auto& item : over.items()) {
    if (base.contains(item.key())) {
      merge(base[item.key()], item.value());
    } else {
      base[item.key()] = item.value();
    }
  }
}

// What lies beside the configs for them: schema.json, and operators.schema.json for editors.
bool is_schema(std::string_view name) {
  return name.ends_with("schema.json");
}

std::optional<std::string> embedded_name(const std::string& name) {
  for (const std::string& each : {name, name + ".json"}) {
    if (!is_schema(each) && embedded_config(each)) return each;
  }
  return std::nullopt;
}

// The name of a config near to a file's, whose ending may have been left out.
std::string config_hint(const fs::path& file) {
  std::string name = file.filename().string();
  if (!name.ends_with(".json")) name += ".json";
  return did_you_mean(name, embedded_configs());
}

bool is_file(const fs::path& path) {
  std::error_code code;
  return fs::is_regular_file(path, code);
}

// Folders of configs that a name alone is looked for in, before the copies in the program: whoever edits one there
// means it to be used.
std::vector<fs::path> config_folders() {
  std::vector<fs::path> folders{"configs"};
  std::error_code code;
  const fs::path program = fs::read_symlink("/proc/self/exe", code);
  if (code) return folders;
  const fs::path source = (program.parent_path() / TIDEPOOL_SOURCE_FROM_BUILD / "configs").lexically_normal();
  if (is_file(source / "schema.json")) folders.push_back(source);  // not where the program was copied elsewhere
  return folders;
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
Source with_bases(Source source, const std::string& origin, const std::optional<fs::path>& folder,
                  std::vector<std::string> chain);

Source read_source(const std::string& name, const std::optional<fs::path>& folder, const std::string& said_by,
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
  Source source;
  const std::string origin = on_disk ? file.lexically_normal().string() : id;
  source.files.push_back(on_disk ? origin : *embedded + " (compiled in)");
  source.shipped = !on_disk || is_shipped(file);
  if (on_disk) {
    source.value = read_json(file.lexically_normal(), &source.origins);
    if (is_saved_run(file)) drop_other_optimizers_keys(source.value);
  } else {
    source.value = parse_json(*embedded_config(*embedded), origin, &source.origins);
  }
  return with_bases(std::move(source), origin, on_disk ? std::optional(file.parent_path()) : std::nullopt,
                    std::move(chain));
}

Source with_bases(Source source, const std::string& origin, const std::optional<fs::path>& folder,
                  std::vector<std::string> chain) {
  source.origins.emplace("", origin);
  if (!source.value.is_object()) throw Error("{}: expected an object, got {}", origin, brief_json(source.value));
  if (!source.value.contains("extends")) return source;
  const Json extends = source.value["extends"];
  const std::string said_by = origin_of(source.origins, "extends") + "extends: ";
  if (!extends.is_string()) throw Error("{}expected the name of a config, got {}", said_by, brief_json(extends));
  Source base = read_source(extends.get<std::string>(), folder, said_by, std::move(chain));
  source.value.erase("extends");
  source.value.erase("$schema");
  base.value.erase("$schema");
  if (base.value.contains("optim") && source.value.contains("optim") && source.value["optim"].is_object() &&
      source.value["optim"].contains("name") &&
      named_optimizer(source.value["optim"]) != named_optimizer(base.value["optim"]))
    each_optimizer_key(base.value["optim"], [](Json& object, const std::string& key, const std::string&) {
      object.erase(key);  // another optimizer, as another type: the keys of the base's go
    });
  merge(base.value, source.value);
  for (auto& [path, place] : source.origins) base.origins[path] = place;
  base.files.insert(base.files.begin(), source.files.begin(), source.files.end());
  base.shipped = source.shipped;
  return base;
}

bool is_index(const std::string& text) {
  return !text.empty() && text.size() < 9 && text.find_first_not_of("0123456789") == std::string::npos;
}

constexpr std::string_view kSet = "--set ";

void apply_set(Source& source, const std::string& set) {
  const std::string origin = std::string(kSet) + set;
  const size_t equals = set.find('=');
  expect_text(set, std::string(kSet) + printable(set.substr(0, equals)));
  if (equals == std::string::npos || equals == 0) throw Error("{}: expected KEY=VALUE", origin);
  const std::string path = set.substr(0, equals);
  const std::string text = set.substr(equals + 1);
  if (path == "extends") throw Error("{}: a config file says what it extends; --set cannot", origin);

  Json value = text;
  if (!schema().wants_string(path, source.value) || text.starts_with('"')) {
    try {
      value = parse_json(text, origin);
    } catch (const Error&) {
      // What looks like a list or an object was meant as one; anything else is a string, as `--set data.root=/data`.
      if (text.starts_with('{') || text.starts_with('[') || text.starts_with('"')) throw;
    }
  }

  Json* at = &source.value;
  std::string parent;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('.', begin), path.size());
    const std::string key = path.substr(begin, end - begin);
    const bool last = end == path.size();
    begin = end + 1;
    if (key.empty()) throw Error("{}: '{}' has an empty part", origin, path);
    const std::string here = join_path(parent, key);
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
      if (last && key == "type" && at->contains("type") && (*at)["type"] != value) {
        // Another type: the keys of the old one go, but not those that an earlier --set gave.
        const std::vector<std::string> keys = [&] {
          std::vector<std::string> all;
          for (const auto& item : at->items()) all.push_back(item.key());
          return all;
        }();
        for (const std::string& other : keys) {
          const auto said = source.origins.find(join_path(parent, other));
          if (said == source.origins.end() || !said->second.starts_with(kSet)) at->erase(other);
        }
      }
      if (path == "optim.name" && last && at->contains(key) && (*at)[key] != value)  // likewise
        each_optimizer_key(*at, [&](Json& object, const std::string& other, const std::string& where) {
          if (!origin_of(source.origins, where).starts_with(kSet)) object.erase(other);
        });
      if (!at->contains(key) || (!last && (*at)[key].is_null())) {
        (*at)[key] = last ? Json() : Json::object();
        source.origins[here] = origin;
      }
      at = &(*at)[key];
    } else {
      throw Error("{}: {} is {}, which has no key '{}'", origin, parent, brief_json(*at), key);
    }
    parent = here;
  }
  *at = std::move(value);
  // Children of a replaced value came from here too.
  for (auto& [each, place] : source.origins) {
    if (each.starts_with(path + ".")) place = origin;
  }
  source.origins[path] = origin;
}

template <class T>
T get(const Json& object, const char* key) {
  return object.at(key).get<T>();
}

template <class T>
std::optional<T> get_optional(const Json& object, const char* key) {
  if (!object.contains(key) || object[key].is_null()) return std::nullopt;
  return object[key].get<T>();
}

template <class T>
T get_or(const Json& object, const char* key, T otherwise) {
  return get_optional<T>(object, key).value_or(std::move(otherwise));
}

ScheduleConfig parse_schedule(const Json& json) {
  static const std::map<std::string, ScheduleType> kTypes = {{"cosine", ScheduleType::kCosine},
                                                             {"constant", ScheduleType::kConstant},
                                                             {"step", ScheduleType::kStep},
                                                             {"linear", ScheduleType::kLinear}};
  ScheduleConfig schedule;
  schedule.type = kTypes.at(get<std::string>(json, "type"));
  schedule.warmup_epochs = get<double>(json, "warmup_epochs");
  schedule.end_lr = get_or(json, "end_lr", schedule.end_lr);
  schedule.milestones = get_or(json, "milestones", schedule.milestones);
  schedule.gamma = get_or(json, "gamma", schedule.gamma);
  return schedule;
}

DataConfig parse_data(const Json& json) {
  DataConfig data;
  data.name = get<std::string>(json, "name");
  data.root = get_or<std::string>(json, "root", "");
  const Json& variant = json.at("variant");
  data.variant.type = get<std::string>(variant, "type");
  data.variant.factor = get_or(variant, "factor", data.variant.factor);
  data.variant.grid = get_or(variant, "grid", data.variant.grid);
  data.variant.size = get_or(variant, "size", data.variant.size);
  data.normalize = json.at("normalize");
  data.augment = get<std::string>(json, "augment") == "standard";
  data.padding = get<int64_t>(json, "padding");
  data.shuffle = get<bool>(json, "shuffle");
  data.drop_last = get<bool>(json, "drop_last");
  data.train_images = get_optional<int64_t>(json, "train_images");
  data.val_images = get<int64_t>(json, "val_images");
  data.val_seed = get<uint64_t>(json, "val_seed");
  data.test_images = get_optional<int64_t>(json, "test_images");
  if (const Json& size = json.at("size"); size.is_array())
    data.size = size.get<std::array<int64_t, 2>>();
  else if (size.is_number())
    data.size = {size.get<int64_t>(), size.get<int64_t>()};
  data.classes = get_optional<int64_t>(json, "classes");
  data.seed = get<uint64_t>(json, "seed");
  data.workers = get<int64_t>(json, "workers");
  data.prefetch = get<int64_t>(json, "prefetch");
  return data;
}

ModelConfig parse_model(const Json& json) {
  ModelConfig model;
  model.name = get<std::string>(json, "name");
  model.width = get<double>(json, "width");
  model.classes = get_optional<int64_t>(json, "classes");
  model.conv_bias = get<bool>(json, "conv_bias");
  if (!json.at("stem").is_null()) model.stem = get<std::string>(json, "stem");
  model.strides = json.at("strides").get<std::map<std::string, int64_t>>();
  model.where = get<std::string>(json, "where");
  model.head = get_or<std::string>(json, "head", "");
  model.dropout = get_optional<double>(json, "dropout");
  model.stochastic_depth = get_optional<double>(json, "stochastic_depth");
  model.pool = json.at("pool");
  return model;
}

OptimConfig parse_optim(const Json& json) {
  OptimConfig optim;
  optim.name = get<std::string>(json, "name");
  optim.lr = get<double>(json, "lr");
  const Json& own = optimizer_keys(find_optimizer(optim.name));
  const auto options_of = [&](const Json& object) {
    Json options = Json::object();
    for (const auto& item : own.items())
      if (object.contains(item.key())) options[item.key()] = object[item.key()];
    return options;
  };
  optim.options = options_of(json);
  optim.weight_decay = get<double>(json, "weight_decay");
  optim.grad_clip = get_optional<double>(json, "grad_clip");
  optim.ema = get_optional<double>(json, "ema");
  optim.schedule = parse_schedule(json.at("schedule"));
  for (const Json& each : json.at("groups")) {
    ParamGroupConfig group;
    group.match = get<std::string>(each, "match");
    group.lr = get_or(each, "lr", optim.lr);
    group.options = options_of(each);
    group.weight_decay = get_optional<double>(each, "weight_decay");
    group.first_epoch = get<int64_t>(each, "first_epoch");
    group.every = get<int64_t>(each, "every");
    group.schedule = each.contains("schedule") ? parse_schedule(each["schedule"]) : optim.schedule;
    group.schedule.warmup_epochs = get_or(each, "warmup_epochs", group.schedule.warmup_epochs);
    optim.groups.push_back(std::move(group));
  }
  return optim;
}

TrainConfig parse_train(const Json& json) {
  TrainConfig train;
  train.epochs = get<int64_t>(json, "epochs");
  train.batch = get<int64_t>(json, "batch");
  train.dtype = get<std::string>(json, "dtype");
  train.max_steps = get_optional<int64_t>(json, "max_steps");
  train.seed = get<uint64_t>(json, "seed");
  train.log_every = get<int64_t>(json, "log_every");
  train.checkpoint_every = get_optional<int64_t>(json, "checkpoint_every");
  train.eval_every = get<int64_t>(json, "eval_every");
  train.device = get<std::string>(json, "device");
  return train;
}

// What no schema can say: how keys go together.
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
  try {
    find_task(config.task);
  } catch (const Error& error) {
    fail("task", error.what());
  }
  if (const Json& normalize = config.data.normalize; normalize.is_string()) {
    std::vector<std::string> names = {"measure"};
    for (const NamedNormalisation& known : kNamedNormalisations) names.emplace_back(known.name);
    if (std::find(names.begin(), names.end(), normalize) == names.end()) {
      fail("data.normalize",
           fmt::format(R"(expected one of {} or {{"mean": [...], "std": [...]}}; got {}{})", fmt::join(names, ", "),
                       brief_json(normalize), did_you_mean(normalize.get<std::string>(), names)));
    }
  }
  const OptimConfig& optim = config.optim;
  const OptimizerDescription& optimizer = find_optimizer(optim.name);
  Json said_optim = config.resolved["optim"];
  each_optimizer_key(said_optim, [&](Json&, const std::string& key, const std::string& path) {
    const Json& own = optimizer_keys(optimizer);
    if (own.contains(key)) return;
    std::vector<std::string> having, keys;
    for (const OptimizerDescription* each : optimizers())
      if (optimizer_keys(*each).contains(key)) having.push_back(each->name);
    for (const auto& item : own.items()) keys.push_back(item.key());
    fail(path, fmt::format("{} has no such key, but {}; its own keys are {}", optim.name, fmt::join(having, " and "),
                           fmt::join(keys, ", ")));
  });
  OptimizerKeys keys(&optim.options);
  optimizer.keys(keys);
  if (const auto& complaint = keys.complaint()) fail("optim." + complaint->first, complaint->second);
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
  std::set<std::string> globs;
  for (size_t i = 0; i < optim.groups.size(); ++i) {
    const std::string path = fmt::format("optim.groups.{}", i);
    const Json& said = config.resolved["optim"]["groups"][i];
    if (optim.groups[i].match.empty()) fail(path + ".match", "expected a pattern of parameter names, got \"\"");
    if (!globs.insert(optim.groups[i].match).second) {
      fail(path + ".match", fmt::format("{} has a group already, and the first one wins", said["match"].dump()));
    }
    if (said.contains("schedule") || said.contains("warmup_epochs")) {
      check_schedule(optim.groups[i].schedule, path + ".schedule",
                     path + (said.contains("warmup_epochs") ? ".warmup_epochs" : ".schedule.warmup_epochs"));
    }
  }
}

// Whether neither the config asked for, unless it is one of ours, nor a --set says the value.
bool inherited(const Source& source, const std::string& path) {
  const std::string said = origin_of(source.origins, path);
  if (said.starts_with(kSet)) return false;
  return source.shipped || !said.starts_with(source.origins.at("") + ":");
}

Config finish(Source source, const std::string& name, std::span<const std::string> sets) {
  source.value.erase("$schema");
  source.value.erase("extends");
  // Defaults before the sets, so that a set can change a part of one, as optim.betas.0; and again for what they add.
  fill_defaults(source.value);
  for (const std::string& set : sets) {
    apply_set(source, set);
    fill_defaults(source.value);
  }
  if (!source.value.contains("name")) source.value["name"] = name;
  fill_defaults(source.value);
  schema().validate(source.value, source.origins);

  Config config;
  config.name = get<std::string>(source.value, "name");
  config.math = get<std::string>(source.value, "math");
  config.fuse = get<bool>(source.value, "fuse");
  config.task = get<std::string>(source.value, "task");
  config.data = parse_data(source.value.at("data"));
  config.model = parse_model(source.value.at("model"));
  config.loss.label_smoothing = get<double>(source.value.at("loss"), "label_smoothing");
  config.loss.gmacs_lambda = get<double>(source.value.at("loss"), "gmacs_lambda");
  config.optim = parse_optim(source.value.at("optim"));
  config.train = parse_train(source.value.at("train"));
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
  Source source = read_source(file.string(), bare ? fs::path(".") : fs::path(), "", {});
  return finish(std::move(source), file.stem().string(), sets);
}

Config load_config_text(std::string_view text, std::string_view origin, std::span<const std::string> sets,
                        const fs::path& folder) {
  Source source;
  source.value = parse_json(text, origin, &source.origins);
  source = with_bases(std::move(source), std::string(origin), folder, {});
  return finish(std::move(source), fs::path(origin).stem().string(), sets);
}

Json completed_config(Json saved) {
  drop_other_optimizers_keys(saved);
  fill_defaults(saved);
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
  for (size_t i = 0; i < kEmbeddedConfigs_count; ++i) {
    if (!is_schema(kEmbeddedConfigs[i].name)) names.emplace_back(kEmbeddedConfigs[i].name);
  }
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
