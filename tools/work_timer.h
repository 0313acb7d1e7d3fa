// Where the time of training steps goes: a watch of the tape that sums it by kind of work, and writes a trace.
#pragma once
#include <chrono>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/json.h"
#include "core/tape.h"
#include "tools/timing.h"

namespace tidepool {

/// Everything is charged to the kind that ends: time since the last notice. Kinds: "convolution forward", "convolution
/// backward data", "convolution backward weights" (the same of "depthwise" and "pointwise" ones), "norm", "pooling",
/// "linear", "loss", "optimizer", "input", "evaluation", "other".
class WorkTimer final : public Observer {
 public:
  /// Spans that the trace keeps; later ones are in the sums alone.
  static constexpr size_t kMostSpans = 200000;

  explicit WorkTimer(bool keep_trace = false) : keep_trace_(keep_trace) {}

  void output(const char* op, std::span<const Tensor> inputs, std::span<const Tensor> outputs) override;
  void span_ended(const char* kind, double bytes, double multiply_adds) override;
  void gradients_computed(const char* op, const std::string& scope, std::span<const Tensor> dx) override;
  /// What was done since the last notice is nobody's.
  void restart() { last_ = Clock::now(); }

  struct Sum {
    double seconds = 0, bytes = 0, multiply_adds = 0;
  };
  const std::map<std::string, Sum>& sums() const { return sums_; }
  double total_seconds() const;

  /// Kind, milliseconds, share, GB/s of the bytes that had to move, GFLOP/s as the direct algorithm counts them; all
  /// a step.
  std::string table(int64_t steps) const;
  /// Kind -> milliseconds per step.
  Json kinds(int64_t steps) const;
  /// Kind -> milliseconds, bytes and multiply-adds per step.
  Json work(int64_t steps) const;
  /// The trace event format of chrome://tracing and Perfetto, written atomically.
  void write_trace(const std::filesystem::path& path) const;

 private:
  struct Span {
    std::string kind, layer;
    double start, seconds;  // from the timer's beginning
  };
  void charge(const std::string& kind, const std::string& layer, double bytes, double multiply_adds);

  bool keep_trace_;
  Clock::time_point begin_ = Clock::now(), last_ = begin_;
  std::map<std::string, Sum> sums_;
  std::vector<Span> spans_;
};

}  // namespace tidepool
