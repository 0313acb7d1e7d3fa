#include "train/run_directory.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "core/atomic_file.h"
#include "core/torch_file.h"

namespace tidepool {
namespace fs = std::filesystem;
namespace {

constexpr const char *kState = "state/", *kAverage = "state/average/";

// Rewrites a file with the lines that `keep` wants; a last line without its end is dropped.
template <class Keep>
void keep_lines(const fs::path& path, const Keep& keep) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return;
  std::string kept;
  bool changed = false;
  for (std::string line; std::getline(in, line);) {
    if (!in.eof() && keep(line))
      kept += line + '\n';
    else
      changed = true;
  }
  if (changed) write_file_atomically(path, kept);
}

}  // namespace

void expect_no_file_of_a_run(const fs::path& output) {
  static const std::set<std::string> kNames{"config.json",         "last.safetensors", "best.safetensors",
                                            "initial.safetensors", "log.jsonl",        "shapes.csv",
                                            "provenance.json",     "result.json",      ".lock"};
  std::error_code code;
  const fs::path real = fs::weakly_canonical(output, code);
  if (kNames.contains(real.filename().string()) && fs::exists(real, code) &&
      fs::exists(real.parent_path() / "config.json", code))
    throw Error("{}: is a file of a run; expected another name", output.string());
}

RunDirectory::RunDirectory(fs::path folder, bool resume) : folder_(std::move(folder)) {
  std::error_code code;
  if (fs::exists(folder_, code) && !fs::is_directory(folder_, code))
    throw Error("--out {}: expected a folder, it is a file", folder_.string());
  fs::create_directories(folder_, code);
  if (code == std::errc::no_space_on_device)
    throw Failure("cannot make the folder {}: {}", folder_.string(), code.message());
  if (code) throw Error("--out {}: the folder cannot be made: {}", folder_.string(), code.message());
  const fs::path lock = folder_ / ".lock";
  lock_ = ::open(lock.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644);
  if (lock_ < 0) throw Failure("cannot open {}: {}", lock.string(), std::strerror(errno));
  try {
    if (flock(lock_, LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) throw Error("{}: another process trains in this folder", folder_.string());
      throw Failure("{}: the file system gives no lock, by which two processes are kept apart: {}", folder_.string(),
                    std::strerror(errno));
    }
    if (!resume && fs::exists(folder_ / "config.json"))
      throw Error("{0}: holds a run already; `tidepool train --resume {0}` resumes it, another --out starts a new one",
                  folder_.string());
    if (!resume && fs::exists(last()))
      throw Error(
          "{}: holds a checkpoint, {}, of a run whose config.json is gone; expected another --out, or model.init",
          folder_.string(), last().filename().string());
  } catch (...) {
    ::close(lock_);
    throw;
  }
  // Temporary files of a run that was killed while it wrote; the lock says that nobody writes now.
  for (const auto& entry : fs::directory_iterator(folder_)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with('.') && name.ends_with(".tmp")) fs::remove(entry.path(), code);
  }
}

RunDirectory::~RunDirectory() {
  ::close(lock_);
}

std::optional<Json> RunDirectory::provenance() const {
  if (!fs::exists(folder_ / "provenance.json")) return std::nullopt;
  return read_json(folder_ / "provenance.json");
}

std::optional<Json> RunDirectory::result() const {
  if (!fs::exists(folder_ / "result.json")) return std::nullopt;
  return read_json(folder_ / "result.json");
}

void RunDirectory::remove_result() {
  fs::remove(folder_ / "result.json");
}

void RunDirectory::write_json(const char* name, const Json& json) {
  write_file_atomically(folder_ / name, json.dump(2) + "\n");
}

void RunDirectory::open_logs(int64_t step) {
  const auto up_to = [step](const std::string& digits) {
    return !digits.empty() && std::strtoll(digits.c_str(), nullptr, 10) <= step;
  };
  const fs::path log = folder_ / "log.jsonl", shapes = folder_ / "shapes.csv";
  keep_lines(log, [&](const std::string& line) {
    const Json entry = Json::parse(line, nullptr, false);
    return entry.is_object() && entry.contains("step") && entry["step"].is_number_integer() &&
           entry["step"].get<int64_t>() <= step;
  });
  keep_lines(shapes, [&](const std::string& line) {
    return line.starts_with("step,") || up_to(line.substr(0, line.find(',')));
  });
  const bool fresh = !fs::exists(shapes) || fs::file_size(shapes) == 0;
  log_.open(log, std::ios::app);
  shapes_.open(shapes, std::ios::app);
  if (!log_ || !shapes_) throw Failure("cannot write {} and shapes.csv beside it", log.string());
  if (fresh) shapes_ << "step,epoch,name,index,value\n";
  flush();
}

void RunDirectory::log(const Json& line) {
  log_ << line.dump() << '\n';
}

void RunDirectory::shape_row(int64_t step, int64_t epoch, const std::string& name, int64_t index, double value) {
  shapes_ << fmt::format("{},{},{},{},{}\n", step, epoch, name, index, value);
}

void RunDirectory::flush() {
  if (!log_.flush() || !shapes_.flush()) throw Failure("{}: the logs cannot be written (disk full?)", folder_.string());
}

SavedRun open_saved_run(const fs::path& path) {
  SavedRun run;
  if (!fs::exists(path)) throw Error("{}: no such run directory or checkpoint", path.string());
  run.checkpoint = path;
  if (fs::is_directory(path)) {
    run.checkpoint = checkpoint_in(path);
    if (!fs::exists(run.checkpoint))
      throw Error("{}: expected a run directory with a checkpoint, it holds no last.safetensors", path.string());
  }
  run.file = read_safetensors(run.checkpoint);
  const auto config = run.file.metadata.find("config");
  if (config == run.file.metadata.end())
    throw Error("{}: expected a checkpoint of tidepool, it has no config in its metadata", run.checkpoint.string());
  run.config = parse_json(config->second, run.checkpoint.string() + " (config)");
  return run;
}

namespace {

// The prefix of the weights that are evaluated.
std::string weights_prefix(const SafetensorsFile& file) {
  const auto average = file.tensors.lower_bound(kAverage);
  return average != file.tensors.end() && average->first.starts_with(kAverage) ? kAverage : "";
}

void project(Network& network, const std::string& origin) {
  try {
    network.project();
  } catch (const Error& e) {
    throw Error("{}: {}", origin, e.what());
  }
}

void load_and_project(const SafetensorsFile& file, Network& network, const std::string& prefix, const fs::path& path) {
  load_state(file, network.state(), prefix, path);
  project(network, path.string());
}

using State = std::vector<std::pair<std::string, Tensor>>;

// How the tensors of a file whose names begin with a prefix fit those of `state`.
struct Fit {
  State fitting;                       // of `state`, by their names in the file
  std::vector<std::string> missing;    // names that the file lacks
  std::vector<std::string> left_over;  // names that `state` lacks
  std::vector<std::string> misshapen;  // "tensor 'x': expected the shape 2, got 3"
};

Fit fit_of(const SafetensorsFile& file, const State& state, const std::string& prefix) {
  Fit fit;
  std::set<std::string> wanted;
  for (const auto& [own, value] : state) {
    const std::string name = prefix + own;
    wanted.insert(name);
    const auto found = file.tensors.find(name);
    if (found == file.tensors.end())
      fit.missing.push_back(name);
    else if (found->second.shape() != value.shape())
      fit.misshapen.push_back(fmt::format("tensor '{}': expected the shape {}, got {}", name, value.shape().str(),
                                          found->second.shape().str()));
    else if (is_floating(value.dtype()) && !is_floating(found->second.dtype()))
      fit.misshapen.push_back(fmt::format("tensor '{}': expected {}, got {}", name, name_of(value.dtype()),
                                          name_of(found->second.dtype())));
    else
      fit.fitting.emplace_back(name, value);
  }
  for (const auto& [name, value] : file.tensors) {
    if (!name.starts_with(prefix) || (prefix.empty() && name.starts_with(kState)) || wanted.contains(name)) continue;
    constexpr std::string_view kCounter = "num_batches_tracked";  // of torch's batch norms; ours have no use for it
    const bool counter =
        name.ends_with(kCounter) && wanted.contains(name.substr(0, name.size() - kCounter.size()) + "running_mean");
    if (!counter) fit.left_over.push_back(name);
  }
  return fit;
}

// "a, b, c and 7 more"
std::string names_text(const std::vector<std::string>& names) {
  constexpr size_t kShown = 16;
  const std::string shown =
      fmt::format("{}", fmt::join(names.begin(), names.begin() + std::min(kShown, names.size()), ", "));
  return names.size() > kShown ? fmt::format("{} and {} more", shown, names.size() - kShown) : shown;
}

std::string misfit_text(const Fit& fit) {
  std::string text;
  if (!fit.missing.empty()) text += "; missing: " + names_text(fit.missing);
  if (!fit.left_over.empty()) text += "; left over: " + names_text(fit.left_over);
  if (!fit.misshapen.empty()) text += "; " + names_text(fit.misshapen);
  return text;
}

void copy_fitting(const SafetensorsFile& file, const Fit& fit) {
  for (const auto& [name, value] : fit.fitting) value.copy_from(file.tensors.at(name));
}

}  // namespace

void load_network(const SafetensorsFile& file, Network& network, const fs::path& path) {
  load_and_project(file, network, "", path);
}

void load_weights(const SafetensorsFile& file, Network& network, const fs::path& path) {
  load_and_project(file, network, weights_prefix(file), path);
}

void load_state(const SafetensorsFile& file, const State& state, const std::string& prefix, const fs::path& path) {
  const Fit fit = fit_of(file, state, prefix);
  if (const std::string misfits = misfit_text(fit); !misfits.empty())
    throw Error("{}: its tensors do not fit the network{}", path.string(), misfits);
  copy_fitting(file, fit);
}

void load_init(const ModelConfig& config, Network& network) {
  if (config.init.empty()) return;
  fs::path path = config.init;
  if (fs::is_directory(path)) {
    path = checkpoint_in(path);
    if (!fs::exists(path))
      throw Error("model.init: {}: expected a safetensors file or a run directory, it holds no last.safetensors",
                  config.init);
  }
  const SafetensorsFile file = [&] {
    try {
      return is_torch_file(path) ? read_torch_file(path) : read_safetensors(path);
    } catch (const Error& e) {
      throw Error("model.init: {}", e.what());
    }
  }();
  const State state = network.state();
  const Fit fit = fit_of(file, state, weights_prefix(file));
  const std::string misfits = misfit_text(fit);
  if (fit.fitting.empty())
    throw Error("model.init: {}: none of its tensors fits the network{}", path.string(), misfits);
  if (config.strict && !misfits.empty())
    throw Error("model.init: {}: its tensors do not fit the network{} (model.strict=false takes those that fit)",
                path.string(), misfits);
  copy_fitting(file, fit);
  project(network, "model.init: " + path.string());
  spdlog::info("model.init: {}: {} of the network's {} tensors loaded", path.string(), fit.fitting.size(),
               state.size());
  for (const std::string& tensor : fit.misshapen) spdlog::warn("model.init: {}; it keeps its initial values", tensor);
  if (!fit.missing.empty())
    spdlog::warn("model.init: {} missing, with their initial values: {}", fit.missing.size(), names_text(fit.missing));
  if (!fit.left_over.empty())
    spdlog::warn("model.init: {} left over: {}", fit.left_over.size(), names_text(fit.left_over));
}

}  // namespace tidepool
