#include "train/figures/run_record.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <map>
#include <set>

#include "core/error.h"
#include "core/text.h"
#include "train/config.h"
#include "train/row_labels.h"
#include "train/same_run.h"

namespace tidepool::figures {
namespace {

// Calls each(line, number) for every line of a file that is whole: a last one without its end was cut off.
template <class Each>
void whole_lines(const fs::path& file, const Each& each) {
  std::ifstream in(file, std::ios::binary);
  if (!in) throw Error("{}: expected the log of a run, it cannot be read", file.string());
  int64_t number = 0;
  for (std::string line; std::getline(in, line) && !in.eof();) each(line, ++number);
}

[[noreturn]] void damaged(const fs::path& file, int64_t number, const std::string& line, const char* expected) {
  constexpr size_t kShown = 60;
  throw Error("{}:{}: damaged: expected {}, got '{}{}'", file.string(), number, expected,
              printable(line.substr(0, kShown)), line.size() > kShown ? "..." : "");
}

void read_log(RunRecord& run) {
  const fs::path file = run.folder / "log.jsonl";
  whole_lines(file, [&](const std::string& line, int64_t number) {
    const Json entry = Json::parse(line, nullptr, false);
    const auto is = [&](const char* key, bool (Json::*type)() const noexcept) {
      return entry.contains(key) && (entry.at(key).*type)();
    };
    if (!entry.is_object() || !is("step", &Json::is_number_integer) || !is("epoch", &Json::is_number_integer))
      damaged(file, number, line, "a JSON object with step and epoch");
    const auto step = entry.at("step").get<int64_t>();
    if (entry.contains("loss")) {
      for (const char* key : {"loss", "task_loss", "gmacs_loss", "lr"})
        if (!is(key, &Json::is_number)) damaged(file, number, line, "numbers for loss, task_loss, gmacs_loss and lr");
      run.steps.push_back({.step = step,
                           .epoch = entry.at("epoch").get<int64_t>(),
                           .loss = entry.at("loss").get<double>(),
                           .task_loss = entry.at("task_loss").get<double>(),
                           .gmacs_loss = entry.at("gmacs_loss").get<double>(),
                           .lr = entry.at("lr").get<double>()});
      return;
    }
    LoggedEvaluation evaluation{.step = step, .values = {}};
    for (const auto& [key, value] : entry.items())
      if (value.is_number() && key != "step" && key != "epoch") evaluation.values[key] = value.get<double>();
    if (!entry.contains("weights")) run.evaluations.push_back(std::move(evaluation));  // else the test at the end
  });
}

template <class Number>
bool parsed(std::string_view text, Number& value) {
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  return code == std::errc() && end == text.data() + text.size() && !text.empty();
}

void read_shapes(RunRecord& run) {
  const fs::path file = run.folder / "shapes.csv";
  if (!fs::exists(file)) return;
  std::map<std::pair<std::string, int64_t>, size_t> known;
  whole_lines(file, [&](const std::string& line, int64_t number) {
    if (number == 1 && line == "step,epoch,name,index,value") return;
    std::vector<std::string_view> cells;
    for (size_t from = 0; from <= line.size();) {
      const size_t comma = std::min(line.find(',', from), line.size());
      cells.push_back(std::string_view(line).substr(from, comma - from));
      from = comma + 1;
    }
    int64_t step = 0, epoch = 0, index = 0;
    double value = 0;
    if (cells.size() != 5 || !parsed(cells[0], step) || !parsed(cells[1], epoch) || !parsed(cells[3], index) ||
        !parsed(cells[4], value))
      damaged(file, number, line, "step,epoch,name,index,value");
    const auto [at, fresh] = known.try_emplace({std::string(cells[2]), index}, run.shapes.size());
    if (fresh) run.shapes.push_back({.name = at->first.first, .index = index, .points = {}});
    run.shapes[at->second].points.emplace_back(step, value);
  });
}

std::string stem(const fs::path& folder) {
  std::string name = folder.filename().string();
  const size_t dash = name.rfind("-seed");
  const auto digits = [](std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  };
  if (dash != std::string::npos && dash > 0 && digits(std::string_view(name).substr(dash + 5))) name.resize(dash);
  if (name.starts_with("seed") && digits(std::string_view(name).substr(4)) && folder.has_parent_path())
    return folder.parent_path().filename().string();
  return name;
}

bool same_row(const RunRecord& a, const RunRecord& b) {
  static constexpr std::string_view kIgnored[] = {"name", "train.seed"};
  return config_difference(a.config, b.config, (a.folder / "config.json").string(), kIgnored).empty();
}

// Labels that are told apart: where names repeat, as many folders above them are named as it takes.
void name_groups(std::vector<RunGroup>& groups) {
  std::vector<fs::path> above;
  for (RunGroup& group : groups) {
    group.label = stem(group.runs.front().folder);
    above.push_back(fs::absolute(group.runs.front().folder).lexically_normal().parent_path());
  }
  while (true) {
    std::vector<size_t> repeated;
    for (size_t i = 0; i < groups.size(); ++i) {
      bool repeats = false;
      for (size_t k = 0; k < groups.size(); ++k)
        repeats = repeats || (groups[k].label == groups[i].label && above[k] != above[i]);
      if (repeats && !above[i].filename().empty()) repeated.push_back(i);
    }
    if (repeated.empty()) return;
    for (const size_t i : repeated) {
      groups[i].label = (above[i].filename() / groups[i].label).string();
      above[i] = above[i].parent_path();
    }
  }
}

}  // namespace

std::optional<int64_t> RunRecord::steps_per_epoch() const {
  for (const LoggedStep& s : steps)
    if (s.epoch > 0) return (s.step - 1) / s.epoch;
  const auto& data = config.at("data");
  if (!data.contains("train_images") || !data.at("train_images").is_number_integer()) return std::nullopt;
  const int64_t images = data.at("train_images").get<int64_t>() - data.value("val_images", int64_t{0});
  const int64_t batch = config.at("train").at("batch").get<int64_t>();
  return std::max<int64_t>(1, (images + (data.value("drop_last", false) ? 0 : batch - 1)) / batch);
}

std::optional<double> RunRecord::result_number(const std::string& key) const {
  return result && result->contains(key) && result->at(key).is_number() ? std::optional(result->at(key).get<double>())
                                                                        : std::nullopt;
}

std::vector<fs::path> find_runs(std::span<const fs::path> paths) {
  std::vector<fs::path> found;
  for (const fs::path& given : paths) {
    std::error_code code;
    if (!fs::exists(given, code)) throw Error("{}: no such run directory", given.string());
    if (!fs::is_directory(given, code)) throw Error("{}: expected a run directory, it is a file", given.string());
    if (fs::exists(given / "config.json", code)) {
      found.push_back(given);
      continue;
    }
    std::vector<fs::path> below;
    for (fs::recursive_directory_iterator at(given, fs::directory_options::skip_permission_denied, code), end;
         !code && at != end; at.increment(code)) {
      if (at.depth() > 3) at.disable_recursion_pending();
      if (at->path().filename() == "config.json") below.push_back(at->path().parent_path());
    }
    if (below.empty())
      throw Error("{}: holds no run: there is no config.json in it or in the folders below it", given.string());
    std::sort(below.begin(), below.end());
    found.insert(found.end(), below.begin(), below.end());
  }
  std::set<fs::path> seen;
  for (const fs::path& run : found)
    if (!seen.insert(fs::weakly_canonical(run)).second) throw Error("{}: this run is named twice", run.string());
  return found;
}

RunRecord read_run(const fs::path& folder, const RecordParts& parts) {
  const fs::path file = folder / "config.json";
  const Config config = load_config_text(completed_config(read_json(file)).dump(), file.string());
  RunRecord run{.folder = folder,
                .config = config.resolved,
                .result = {},
                .seed = config.train.seed,
                .task = &find_task(config.task)};
  if (fs::exists(folder / "result.json")) run.result = read_json(folder / "result.json");
  if (parts.log) {
    if (!fs::exists(folder / "log.jsonl")) throw Error("{}: holds no log.jsonl: nothing was trained", folder.string());
    read_log(run);
  }
  if (parts.shapes) read_shapes(run);
  return run;
}

std::vector<RunGroup> group_runs(std::vector<RunRecord> runs, std::span<const std::string> labels) {
  std::vector<std::vector<RunRecord>> configs;
  for (RunRecord& run : runs) {
    const RunRecord& first = configs.empty() ? run : configs.front().front();
    if (run.task != first.task)
      throw Error("one figure shows one task: {} has the task {}, and {} has {}", first.folder.string(),
                  first.task->name, run.folder.string(), run.task->name);
    auto same =
        std::find_if(configs.begin(), configs.end(), [&](const auto& others) { return same_row(others.front(), run); });
    if (same == configs.end()) same = configs.insert(same, std::vector<RunRecord>());
    same->push_back(std::move(run));
  }
  std::vector<RunGroup> groups;
  for (std::vector<RunRecord>& same : configs) {
    // Where a seed repeats, these are rows of one config, told apart by their folders' names.
    std::set<uint64_t> seeds;
    for (const RunRecord& run : same) seeds.insert(run.seed);
    std::map<fs::path, size_t> rows;
    for (RunRecord& run : same) {
      const fs::path row =
          seeds.size() == same.size() ? fs::path() : (run.folder.parent_path() / stem(run.folder)).lexically_normal();
      const auto [at, fresh] = rows.try_emplace(row, groups.size());
      if (fresh) groups.emplace_back();
      groups[at->second].runs.push_back(std::move(run));
    }
  }
  for (RunGroup& group : groups)
    std::sort(group.runs.begin(), group.runs.end(),
              [](const RunRecord& a, const RunRecord& b) { return a.seed < b.seed; });
  name_groups(groups);
  if (!labels.empty()) {
    if (labels.size() != groups.size()) {
      std::string names;
      for (const RunGroup& group : groups) names += (names.empty() ? "" : ", ") + group.label;
      throw Error("--label: expected one for each of the {} rows ({}), got {}", groups.size(), names, labels.size());
    }
    for (size_t i = 0; i < groups.size(); ++i) groups[i].label = labels[i];
  }
  return groups;
}

std::vector<RunGroup> read_groups(std::span<const fs::path> paths, const RecordParts& parts,
                                  std::span<const std::string> labels) {
  std::vector<RunRecord> runs;
  for (const fs::path& folder : find_runs(paths)) runs.push_back(read_run(folder, parts));
  return group_runs(std::move(runs), labels);
}

std::string pool_text(const Json& config) {
  static const std::map<std::string, std::string> kNames = {
      {"dynopool", "DynOPool"}, {"shape_adaptor", "Shape Adaptor"}, {"diffstride", "DiffStride"}, {"soft", "SoftPool"}};
  std::vector<std::string> names;
  const Json& model = config.at("model");
  if (model.contains("pool") && model.at("pool").is_object())
    for (const auto& [slot, op] : model.at("pool").items()) {
      if (!op.is_object() || !op.contains("type") || !op.at("type").is_string()) continue;
      const auto type = op.at("type").get<std::string>();
      const auto published = kNames.find(type);
      const std::string& name = published == kNames.end() ? type : published->second;
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  return names.empty() ? "human-designed" : fmt::format("{}", fmt::join(names, ", "));
}

int pool_rank(const std::string& text) {
  const char* learned[] = {"Shape Adaptor", "DiffStride", "DynOPool"};
  for (int i = 2; i >= 0; --i)
    if (text.find(learned[i]) != std::string::npos) return i + 1;
  return 0;
}

std::string variant_text(const Json& config) {
  const Json& data = config.at("data");
  VariantOptions variant;
  if (data.contains("variant") && data.at("variant").is_object()) {
    Keys keys(data.at("variant"));
    variant.keys(keys);
  }
  return data_label(variant);
}

std::string context_text(const Json& config, bool with_variant) {
  const Json& data = config.at("data");
  std::string text =
      fmt::format("{}, {}", config.at("model").at("name").get<std::string>(), data.at("name").get<std::string>());
  if (const std::string variant = variant_text(config); with_variant && variant != "plain") text += ", " + variant;
  if (data.contains("train_images") && data.at("train_images").is_number_integer())
    text += fmt::format(", {} images", data.at("train_images").get<int64_t>());
  if (config.at("train").contains("epochs")) {
    const Json& epochs = config.at("train").at("epochs");
    text += fmt::format(", {} epoch{}", epochs.dump(), epochs == 1 ? "" : "s");
  }
  return text;
}

bool learns_shapes(const RunRecord& run) {
  return std::any_of(run.shapes.begin(), run.shapes.end(),
                     [](const ShapePath& path) { return !path.name.ends_with(".size"); });
}

}  // namespace tidepool::figures
