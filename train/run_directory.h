// The files of a run: nothing in its directory is ever half-written, whatever kills the program.
#pragma once
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "core/json.h"
#include "core/safetensors.h"
#include "models/network.h"
#include "train/config.h"

namespace tidepool {

/// The checkpoint from which the run in `folder` resumes, once it has been written.
inline std::filesystem::path checkpoint_in(const std::filesystem::path& folder) {
  return folder / "last.safetensors";
}

/// Throws Error where `output` is a file that a run has in its directory: what is written must not take its place.
void expect_no_file_of_a_run(const std::filesystem::path& output);

class RunDirectory {
 public:
  /// Makes the folder and takes its lock. Throws Error when another process trains in it, or when it holds a run and
  /// `resume` is off; Failure when the system refuses.
  RunDirectory(std::filesystem::path folder, bool resume);
  ~RunDirectory();
  RunDirectory(const RunDirectory&) = delete;
  RunDirectory& operator=(const RunDirectory&) = delete;

  const std::filesystem::path& folder() const { return folder_; }
  std::filesystem::path last() const { return checkpoint_in(folder_); }
  std::filesystem::path best() const { return folder_ / "best.safetensors"; }
  /// The weights of model.init, of a run that begins with them a second time.
  std::filesystem::path initial() const { return folder_ / "initial.safetensors"; }

  /// provenance.json of the run that the folder holds, if it holds one.
  std::optional<Json> provenance() const;
  std::optional<Json> result() const;
  /// What result.json says is not so any more.
  void remove_result();
  void write_json(const char* name, const Json& json);

  static constexpr int64_t kFromTheStart = -1;
  /// Opens log.jsonl and shapes.csv for appending, first dropping what is of later steps than `step` or half a line.
  void open_logs(int64_t step);
  void log(const Json& line);
  /// One row of shapes.csv: the value at `index` of a shape parameter or map size.
  void shape_row(int64_t step, int64_t epoch, const std::string& name, int64_t index, double value);
  void flush();

 private:
  std::filesystem::path folder_;
  int lock_ = -1;
  std::ofstream log_, shapes_;
};

/// Reads the config that was saved with a checkpoint or run: `path` is a run directory or a .safetensors file of one.
struct SavedRun {
  std::filesystem::path checkpoint;
  SafetensorsFile file;
  Json config;
};
/// Throws Error when there is no such run, or the file is no checkpoint of ours.
SavedRun open_saved_run(const std::filesystem::path& path);

/// Copies the parameters and buffers of a network from a checkpoint, and projects the parameters. Throws Error naming
/// the file.
void load_network(const SafetensorsFile& file, Network& network, const std::filesystem::path& path);

/// Copies the tensors of `state` from those of a checkpoint whose names begin with `prefix` (with "": all but
/// "state/..."). Throws Error, before anything is copied, unless they are the same names and shapes; it names what is
/// missing and left over.
void load_state(const SafetensorsFile& file, const std::vector<std::pair<std::string, Tensor>>& state,
                const std::string& prefix, const std::filesystem::path& path);

/// The same with the weights of a checkpoint that are evaluated: the moving average where it holds one
/// ("state/average/..."), else those under the names of the network. For everything that uses a trained network.
void load_weights(const SafetensorsFile& file, Network& network, const std::filesystem::path& path);

/// Starts a network from the weights that model.init names, those that load_weights takes; nothing where it names none.
/// Throws Error, before anything is copied, that names the file and every tensor that is missing, left over or of
/// another shape; with model.strict false, only when none fits: a tensor that does not keeps its initial values, and
/// the log says so.
void load_init(const ModelConfig& config, Network& network);

}  // namespace tidepool
