// Tasks: what a network is trained for. A task is its loss, its metrics and what a file of predictions holds. A new one
// is a file of its own in train/tasks/ and two lines in registry.cpp there.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/json.h"
#include "core/philox.h"
#include "core/tensor.h"
#include "models/network.h"
#include "train/config.h"

namespace tidepool {

/// A number by which networks are compared: 0 to 1, the larger the better.
struct Metric {
  std::string name;   ///< in keys: "top1" of "top1_last", "test_top1"
  std::string label;  ///< in tables and logs: "top-1"
};

struct MetricValue {
  Metric metric;
  double value = 0;
  /// "top-1 71.20%"
  std::string text() const;
};

/// What an evaluation found.
struct Evaluation {
  std::vector<double> metrics;  ///< in the task's order
  double loss = 0;              ///< the task's, without label smoothing
  int64_t images = 0;
  Json tables = Json::object();  ///< name -> rows, each an object with the same keys: {"classes": [{"class": 0, ...}]}
};

/// Sums of one evaluation, in f64 and i64.
class Evaluator {
 public:
  virtual ~Evaluator() = default;
  /// The network's output for a batch, with the batch's labels.
  virtual void add(const Tensor& output, const Tensor& labels) = 0;
  /// Zeros where there was nothing to count.
  virtual Evaluation result() const = 0;
};

/// Writes the predictions of one evaluation.
class Predictions {
 public:
  virtual ~Predictions() = default;
  /// The network's output for a batch of the images `indices` of the data set, with the batch's labels.
  virtual void add(const Tensor& output, const Tensor& labels, std::span<const int64_t> indices) = 0;
  /// To be called once, last: what is one file appears here.
  virtual void finish() {}
};

struct TaskOptions {
  int64_t classes = 0;  ///< of the network's output
  double label_smoothing = 0;
};

/// `output` is the network's, `labels` are a batch's (data/loader.h).
class Task {
 public:
  virtual ~Task() = default;
  /// What is minimised: a scalar, mean over what is counted, recorded on the current tape.
  virtual Tensor loss(const Tensor& output, const Tensor& labels) const = 0;
  virtual std::unique_ptr<Evaluator> evaluator() const = 0;
  /// Into `path`, a file or folder as TaskDescription::predictions says, of `images` images. Throws Error when that
  /// cannot be written.
  virtual std::unique_ptr<Predictions> predictions(const std::filesystem::path& path, int64_t images,
                                                   const std::string& checkpoint) const = 0;
  /// Labels for `images` (N, C, H, W) that belong to no data set: for commands that measure.
  virtual Tensor random_labels(const Tensor& images, Random& random) const = 0;
};

/// A task as it is registered.
struct TaskDescription {
  std::string name, help;       ///< "classification"; one sentence
  std::vector<Metric> metrics;  ///< the first is the primary one: `best` is chosen by it, and tables show it
  bool of_pixels = false;   ///< the output is a map with a label for every pixel; else one vector and label per image
  std::string predictions;  ///< what `eval --output` writes, for its help
  std::unique_ptr<Task> (*make)(const TaskOptions& options) = nullptr;

  const Metric& primary() const { return metrics.front(); }
};

const std::vector<const TaskDescription*>& tasks();
/// Throws Error with the names that there are.
const TaskDescription& find_task(const std::string& name);

/// The config's task for its network. Throws Error naming both where the network's output or the data set's labels are
/// not what the task needs.
std::unique_ptr<Task> make_task(const Config& config, const Network& network);

}  // namespace tidepool
