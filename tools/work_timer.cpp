#include "tools/work_timer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/atomic_file.h"
#include "tools/command.h"

namespace tidepool {
namespace {

// Operators that say nothing of their work themselves.
const char* kind_of(std::string_view op, bool backward) {
  if (op.starts_with("conv")) return backward ? "convolution backward weights" : "convolution forward";
  if (op == "batch_norm" || op == "norm") return "norm";
  if (op == "linear") return "linear";
  if (op == "cross_entropy") return "loss";
  static constexpr std::string_view kOther[] = {"add_maps",  "concat", "dropout",         "gate",    "global_avg",
                                                "hardswish", "relu",   "relu6",           "reshape", "resize",
                                                "sigmoid",   "silu",   "stochastic_depth"};
  if (std::find(std::begin(kOther), std::end(kOther), op) != std::end(kOther)) return "other";
  return "pooling";
}

}  // namespace

void WorkTimer::charge(const std::string& kind, const std::string& layer, double bytes, double multiply_adds) {
  const auto now = Clock::now();
  const double seconds = seconds_between(last_, now);
  Sum& sum = sums_[kind];
  sum.seconds += seconds;
  sum.bytes += bytes;
  sum.multiply_adds += multiply_adds;
  if (keep_trace_ && spans_.size() < kMostSpans)
    spans_.push_back({kind, layer, seconds_between(begin_, last_), seconds});
  last_ = Clock::now();
}

void WorkTimer::output(const char* op, std::span<const Tensor> inputs, std::span<const Tensor> outputs) {
  const std::string_view name = op;
  // Fused operators have said what they did; what is left is the record itself.
  const bool said = name.starts_with("conv") || name == "norm";
  charge(kind_of(name, false), LayerScope::path(), said ? 0 : bytes_of(inputs) + bytes_of(outputs), 0);
}

void WorkTimer::span_ended(const char* kind, double bytes, double multiply_adds) {
  charge(kind, LayerScope::path(), bytes, multiply_adds);
}

void WorkTimer::gradients_computed(const char* op, const std::string& scope, std::span<const Tensor> dx) {
  const std::string_view name = op;
  const bool said = name.starts_with("conv") || name == "norm";
  charge(kind_of(name, true), scope, said ? 0 : bytes_of(dx), 0);
}

double WorkTimer::total_seconds() const {
  double sum = 0;
  for (const auto& [kind, s] : sums_) sum += s.seconds;
  return sum;
}

std::string WorkTimer::table(int64_t steps) const {
  const auto n = static_cast<double>(std::max<int64_t>(1, steps));
  std::vector<std::vector<std::string>> rows;
  for (const auto& [kind, s] : sums_)
    rows.push_back({kind, fmt::format("{:.2f}", 1e3 * s.seconds / n),
                    fmt::format("{:.1f}%", 100 * s.seconds / total_seconds()),
                    s.bytes > 0 ? fmt::format("{:.1f}", s.bytes / n / (1 << 20)) : "-",
                    s.bytes > 0 ? fmt::format("{:.1f}", 1e-9 * s.bytes / s.seconds) : "-",
                    s.multiply_adds > 0 ? fmt::format("{:.0f}", 2e-9 * s.multiply_adds / s.seconds) : "-"});
  return text_table({"kind of work", "ms per step", "share", "MiB moved", "GB/s", "GFLOP/s"}, rows);
}

Json WorkTimer::kinds(int64_t steps) const {
  Json json = Json::object();
  for (const auto& [kind, s] : sums_) json[kind] = 1e3 * s.seconds / static_cast<double>(std::max<int64_t>(1, steps));
  return json;
}

Json WorkTimer::work(int64_t steps) const {
  const auto n = static_cast<double>(std::max<int64_t>(1, steps));
  Json json = Json::object();
  for (const auto& [kind, s] : sums_)
    json[kind] = {
        {"milliseconds", 1e3 * s.seconds / n}, {"bytes", s.bytes / n}, {"multiply_adds", s.multiply_adds / n}};
  return json;
}

void WorkTimer::write_trace(const std::filesystem::path& path) const {
  Json events = Json::array();
  const auto name = [&](const char* what, const char* text) {
    events.push_back({{"name", what}, {"ph", "M"}, {"pid", 1}, {"tid", 1}, {"args", {{"name", text}}}});
  };
  name("process_name", "tidepool");
  name("thread_name", "kinds of work");
  for (const Span& s : spans_)
    events.push_back({{"name", s.layer.empty() ? s.kind : s.layer + ": " + s.kind},
                      {"cat", s.kind},
                      {"ph", "X"},
                      {"pid", 1},
                      {"tid", 1},
                      {"ts", 1e6 * s.start},
                      {"dur", 1e6 * s.seconds}});
  const Json trace{{"traceEvents", events}, {"displayTimeUnit", "ms"}};
  write_file_atomically(path, trace.dump());
}

}  // namespace tidepool
