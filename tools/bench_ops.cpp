#include "tools/bench_ops.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "core/cpu/onednn_bench.h"
#include "core/error.h"
#include "core/tape.h"
#include "layers/pool/prepared.h"
#include "tools/machine.h"
#include "tools/pool_request.h"
#include "tools/progress.h"
#include "tools/timing.h"

namespace tidepool {
namespace {

constexpr MemoryFormat kLayouts[] = {MemoryFormat::channels_last, MemoryFormat::plain};
constexpr int64_t kFactor = 2;

struct Measured {
  std::string op, layout;
  double forward = 0, both = 0;              // seconds, medians
  double forward_bytes = 0, both_bytes = 0;  // that must move
  std::optional<size_t> kept = {};           // bytes for the backward; none: not known
  Dims y = {};
  nlohmann::json config = {};
};

DType dtype_of(const Call& call) {
  const std::string& name = call.choice("dtype");
  return name == "f32" ? DType::f32 : name == "bf16" ? DType::bf16 : DType::f64;
}

// "32x64x64x64"
Dims size_of_option(const Call& call) {
  constexpr int64_t kMost = int64_t{1} << 31;
  const std::string& text = call.text("size");
  const auto wrong = [&] {
    throw Error(
        "--size: expected N x C x one to three lengths, as in 32x64x64x64, with at most 2^31 elements, got '{}'", text);
  };
  std::vector<int64_t> lengths;
  int64_t product = 1;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find('x', at), text.size());
    const std::string word = text.substr(at, end - at);
    at = end + 1;
    if (word.empty() || word.size() > 10 || word.find_first_not_of("0123456789") != std::string::npos) wrong();
    lengths.push_back(std::stoll(word));
    if (lengths.back() < 1 || lengths.back() > kMost / product) wrong();
    product *= lengths.back();
  }
  if (lengths.size() < 3 || lengths.size() > 5) wrong();
  return Dims(lengths);
}

double bytes_of(const Tensor& t) {
  return static_cast<double>(t.numel()) * static_cast<double>(size_of(t.dtype()));
}

Measured measure(const PoolRequest& request, const Dims& shape, DType dtype, MemoryFormat layout, int64_t repeats) {
  Measured m{.op = request.op->name, .layout = name_of(layout)};
  m.config = config_for_factor(*request.op, kFactor, shape, request.config);
  const auto op = make_pool_operator(m.config);
  const Tensor x = made_up_map(shape, {.dtype = dtype, .format = layout});
  const std::vector<Tensor> parameters = initial_values(*op, shape, dtype, 0);
  Tensor y;
  m.forward = median_seconds(repeats, [&] { y = op->forward(x, parameters, {}); });
  m.y = y.shape();
  m.kept = measure_kept_bytes(*op, shape, dtype).bytes;
  const Tensor dy = made_up_map(y.shape(), {.dtype = dtype, .format = layout}, 1);
  y = {};

  std::vector<Tensor> leaves = parameters;
  leaves.push_back(x);
  for (const Tensor& leaf : leaves) leaf.set_requires_grad();
  uint64_t step = 0;
  m.both = median_seconds(repeats, [&] {
    Tape tape;
    Tensor out;
    {
      const Tape::Scope recording(&tape);
      out = op->forward(x, parameters, {.training = true, .seed = 0, .step = step++});
    }
    if (out.shape() != dy.shape())
      throw Failure("[{}] gives {} in training and {} in evaluation", m.op, out.shape().str(), dy.shape().str());
    tape.backward(out, dy);
    for (const Tensor& leaf : leaves) leaf.set_grad({});
  });
  double in_parameters = 0;
  for (const Tensor& p : parameters) in_parameters += bytes_of(p);
  m.forward_bytes = bytes_of(x) + in_parameters + bytes_of(dy);
  m.both_bytes = 2 * m.forward_bytes + static_cast<double>(*m.kept);
  return m;
}

// oneDNN's own pooling, where it does this type.
std::optional<Measured> measure_onednn(bool max, const Dims& shape, DType dtype, MemoryFormat layout, int64_t repeats) {
  for (int i = 2; i < shape.rank(); ++i)
    if (shape[i] < kFactor) return std::nullopt;
  const auto seconds = time_onednn_pooling(max, shape, dtype, layout, static_cast<int>(repeats));
  if (!seconds) return std::nullopt;
  Measured m{.op = max ? "oneDNN max" : "oneDNN avg",
             .layout = name_of(layout),
             .forward = seconds->forward,
             .both = seconds->both};
  m.y = shape;
  for (int i = 2; i < shape.rank(); ++i) m.y[i] = shape[i] / kFactor;
  m.forward_bytes = static_cast<double>(shape.product() + m.y.product()) * static_cast<double>(size_of(dtype));
  // Its maximum keeps a byte per output, as ours does.
  m.both_bytes = 2 * m.forward_bytes + (max ? static_cast<double>(m.y.product()) : 0);
  return m;
}

}  // namespace

std::vector<Option> bench_ops_options() {
  Option op = op_names_option(false), config = op_config_option();
  op.help = "ops: " + op.help;
  config.help = "ops: " + config.help;
  return {
      op,
      config,
      {.name = "size", .value = "SIZE", .help = "ops: the map, N x C x lengths", .default_value = "32x64x64x64"},
      {.name = "dtype",
       .value = "TYPE",
       .help = "ops: f32, bf16 or f64",
       .default_value = "f32",
       .choices = {"f32", "bf16", "f64"}},
      {.name = "repeats", .value = "N", .help = "ops: times that each is run; medians count", .default_value = "15"}};
}

int bench_ops(const Call& call) {
  if (!call.argument(1).empty())
    throw Error("unexpected argument '{}': `bench ops` takes operators with --op", call.argument(1));
  refuse_options(call, "bench ops", {"set", "steps", "beside", "copy", "seed"});
  std::vector<PoolRequest> requests = pool_requests(call);
  const Dims shape = size_of_option(call);
  const DType dtype = dtype_of(call);
  const int64_t repeats = call.integer("repeats", 1, 100000);

  // What cannot run on such a map is an error when it was asked for by name, and else left out and said.
  std::vector<std::pair<std::string, std::string>> left_out;
  for (size_t i = 0; i < requests.size();) {
    const PoolRequest& request = requests[i];
    try {
      const auto op = make_pool_operator(config_for_factor(*request.op, kFactor, shape, request.config));
      op->output_shape(shape, initial_values(*op, shape, dtype, 0));
      ++i;
    } catch (const Error& error) {
      if (call.text("op") != "all" || !request.config.empty()) throw;
      left_out.emplace_back(request.op->name, error.what());
      requests.erase(requests.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }

  flush_denormals();
  std::vector<Measured> all;
  const double copy = copy_bandwidth(shape, dtype, repeats);
  Progress bar("bench ops", static_cast<int64_t>(2 * (requests.size() + 2)), "cases");
  int64_t done = 0;
  for (const MemoryFormat layout : kLayouts) {
    for (const PoolRequest& request : requests) {
      all.push_back(measure(request, shape, dtype, layout, repeats));
      bar.update(++done, {request.op->name});
    }
    for (const bool max : {true, false}) {
      if (auto m = measure_onednn(max, shape, dtype, layout, repeats)) all.push_back(std::move(*m));
      bar.update(++done, {"oneDNN"});
    }
  }
  bar.finish();

  const auto elements = static_cast<double>(shape.product());
  if (call.json()) {
    Json list = Json::array();
    for (const Measured& m : all) {
      const double forward = m.forward_bytes / m.forward, both = m.both_bytes / m.both;
      list.push_back({{"op", m.op},
                      {"layout", m.layout},
                      {"dtype", name_of(dtype)},
                      {"forward_ms", 1e3 * m.forward},
                      {"both_ms", 1e3 * m.both},
                      {"forward_gbps", forward / 1e9},
                      {"both_gbps", both / 1e9},
                      {"copy_gbps", copy / 1e9},
                      {"forward_share", forward / copy},
                      {"both_share", both / copy},
                      {"kept_bytes", m.kept ? Json(*m.kept) : Json(nullptr)},
                      {"input", std::vector<int64_t>(shape.begin(), shape.end())},
                      {"output", std::vector<int64_t>(m.y.begin(), m.y.end())},
                      {"config", m.config},
                      {"threads", cpu_threads()}});
    }
    print_json(list);
    return 0;
  }
  std::vector<std::vector<std::string>> rows;
  for (const Measured& m : all) {
    const double forward = m.forward_bytes / m.forward, both = m.both_bytes / m.both;
    rows.push_back({m.op, m.layout, m.y.str(), fmt::format("{:.3f}", 1e3 * m.forward),
                    fmt::format("{:.2f}", forward / 1e9), fmt::format("{:.2f}", forward / copy),
                    fmt::format("{:.3f}", 1e3 * m.both), fmt::format("{:.2f}", both / 1e9),
                    fmt::format("{:.2f}", both / copy),
                    m.kept ? fmt::format("{:.3g}", static_cast<double>(*m.kept) / elements) : "-"});
  }
  std::string text = text_table(
      {"operator", "layout", "output", "forward ms", "GB/s", "of copy", "both ms", "GB/s", "of copy", "kept B/element"},
      rows, {.minor = {"kept B/element", "layout", "of copy"}});
  text += fmt::format("{} of {}, {} threads; a plain copy moves {:.2f} GB/s (read and written)\n", shape.str(),
                      name_of(dtype), cpu_threads(), copy / 1e9);
  for (const auto& [name, why] : left_out) text += fmt::format("left out: {}: {}\n", name, why);
  print(text);
  return 0;
}

}  // namespace tidepool
