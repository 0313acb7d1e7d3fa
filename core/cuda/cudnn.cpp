// cuDNN by its backend descriptors: the only file that includes its header. The library is loaded at run time.
#include "core/cuda/cudnn.h"

#include <cudnn.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "core/backend/libraries.h"
#include "core/backend/plan_cache.h"
#include "core/cuda/loaded_library.h"
#include "core/cuda/stream.h"
#include "core/error.h"

static_assert(CUDNN_VERSION >= 90000, "cuDNN 9 or later");

namespace tidepool::cudnn {
namespace {

#define TP_TEXT_OF(x) #x
#define TP_TEXT(x) TP_TEXT_OF(x)
#define TP_FUNCTION(name) decltype(::name)* const name = library.find<decltype(::name)>(#name)

struct Api {
  // cuDNN loads the runtime compiler for each question about a depthwise convolution and unloads it again, 12 ms each
  // time, unless it is there already.
  const cuda::LoadedLibrary compiler{fmt::format("libnvrtc.so.{}", CUDART_VERSION / 1000).c_str()};
  const cuda::LoadedLibrary library{"libcudnn.so." TP_TEXT(CUDNN_MAJOR)};
  TP_FUNCTION(cudnnGetVersion);
  TP_FUNCTION(cudnnGetErrorString);
  TP_FUNCTION(cudnnGetLastErrorString);
  TP_FUNCTION(cudnnCreate);
  TP_FUNCTION(cudnnDestroy);
  TP_FUNCTION(cudnnSetStream);
  TP_FUNCTION(cudnnBackendCreateDescriptor);
  TP_FUNCTION(cudnnBackendDestroyDescriptor);
  TP_FUNCTION(cudnnBackendSetAttribute);
  TP_FUNCTION(cudnnBackendGetAttribute);
  TP_FUNCTION(cudnnBackendFinalize);
  TP_FUNCTION(cudnnBackendExecute);

  bool complete() const {
    return cudnnGetVersion && cudnnGetErrorString && cudnnGetLastErrorString && cudnnCreate && cudnnDestroy &&
           cudnnSetStream && cudnnBackendCreateDescriptor && cudnnBackendDestroyDescriptor &&
           cudnnBackendSetAttribute && cudnnBackendGetAttribute && cudnnBackendFinalize && cudnnBackendExecute;
  }
};
const Api& api() {
  static const Api* a = new Api;  // never destroyed: plans of other statics call it
  return *a;
}

// A status that says that this engine or graph is not served; others are failures.
bool is_refusal(cudnnStatus_t status) {
  return CUDNN_STATUS_CATEGORY(status) == CUDNN_STATUS_NOT_SUPPORTED;
}
void check(cudnnStatus_t status, const char* call) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  char why[512] = {};
  api().cudnnGetLastErrorString(why, sizeof why);
  throw Failure("cuDNN: {}: {}{}{}", call, api().cudnnGetErrorString(status), *why ? ": " : "", why);
}

/// A descriptor, with those that it refers to.
class Descriptor {
 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type) {
    cudnnBackendDescriptor_t raw = nullptr;
    check(api().cudnnBackendCreateDescriptor(type, &raw), "cudnnBackendCreateDescriptor");
    raw_.reset(raw, api().cudnnBackendDestroyDescriptor);
  }
  cudnnBackendDescriptor_t get() const { return raw_.get(); }

  template <class T>
  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, const T* values, size_t count) {
    check(api().cudnnBackendSetAttribute(get(), name, type, static_cast<int64_t>(count), values),
          "cudnnBackendSetAttribute");
  }
  template <class T>
  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, const T& value) {
    set(name, type, &value, 1);
  }
  void set(cudnnBackendAttributeName_t name, const std::vector<int64_t>& values) {
    set(name, CUDNN_TYPE_INT64, values.data(), values.size());
  }
  void set(cudnnBackendAttributeName_t name, const Descriptor& other) {
    parts_.push_back(other);
    const cudnnBackendDescriptor_t raw = other.get();
    set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, raw);
  }
  void finalize() { check(api().cudnnBackendFinalize(get()), "cudnnBackendFinalize"); }
  /// False where the library does not serve what is described.
  bool try_finalize() {
    const cudnnStatus_t status = api().cudnnBackendFinalize(get());
    if (is_refusal(status)) return false;
    check(status, "cudnnBackendFinalize");
    return true;
  }

  int64_t number(cudnnBackendAttributeName_t name) const {
    int64_t value = 0, count = 0;
    check(api().cudnnBackendGetAttribute(get(), name, CUDNN_TYPE_INT64, 1, &count, &value), "cudnnBackendGetAttribute");
    return value;
  }
  /// At most `most` values of an attribute that is a list.
  template <class T>
  std::vector<T> list(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t most) const {
    std::vector<T> values(static_cast<size_t>(most));
    int64_t count = 0;
    check(api().cudnnBackendGetAttribute(get(), name, type, most, &count, values.data()), "cudnnBackendGetAttribute");
    values.resize(static_cast<size_t>(std::min(count, most)));
    return values;
  }
  std::vector<Descriptor> list(cudnnBackendAttributeName_t name, cudnnBackendDescriptorType_t type,
                               int64_t most) const {
    std::vector<Descriptor> all;
    std::vector<cudnnBackendDescriptor_t> raw;
    for (int64_t i = 0; i < most; ++i) raw.push_back(all.emplace_back(type).get());
    int64_t count = 0;
    const cudnnStatus_t status =
        api().cudnnBackendGetAttribute(get(), name, CUDNN_TYPE_BACKEND_DESCRIPTOR, most, &count, raw.data());
    if (is_refusal(status)) return {};
    check(status, "cudnnBackendGetAttribute");
    all.erase(all.begin() + std::min(count, most), all.end());
    return all;
  }

 private:
  std::shared_ptr<void> raw_;
  std::vector<Descriptor> parts_;
};

/// Who makes a plan: a GPU of this process by its handle, or one that is described.
struct Target {
  cudnnHandle_t handle = nullptr;
  std::optional<Descriptor> device;
};

// -- a convolution as descriptors ------------------------------------------------------------------------------------

enum Uid : int64_t { kX = 1, kW, kY };

// cuDNN knows 2 and 3 spatial axes: an axis of length 1 stands before a single one.
std::vector<int64_t> with_axes(const Dims& d) {
  std::vector<int64_t> all(d.begin(), d.end());
  if (d.rank() == 3) all.insert(all.begin() + 2, 1);
  return all;
}
std::vector<int64_t> axes(const std::array<int64_t, 3>& values, int rank, int64_t missing) {
  std::vector<int64_t> all(values.begin(), values.begin() + (rank - 2));
  if (rank == 3) all.insert(all.begin(), missing);
  return all;
}

cudnnDataType_t type_of(DType t) {
  return t == DType::bf16 ? CUDNN_DATA_BFLOAT16 : t == DType::f64 ? CUDNN_DATA_DOUBLE : CUDNN_DATA_FLOAT;
}

Descriptor describe_tensor(Uid uid, const Dims& shape, const ConvCase& c) {
  const std::vector<int64_t> lengths = with_axes(shape);
  const Dims strides = dense_strides(Dims(lengths), c.format);
  Descriptor t(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  t.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, int64_t{uid});
  t.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, type_of(c.dtype));
  t.set(CUDNN_ATTR_TENSOR_DIMENSIONS, lengths);
  t.set(CUDNN_ATTR_TENSOR_STRIDES, std::vector<int64_t>(strides.begin(), strides.end()));
  t.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, kAlignment);
  t.finalize();
  return t;
}

Descriptor describe_conv(const ConvCase& c) {
  const int rank = c.x.rank();
  const std::vector<int64_t> padding = axes(c.options.padding, rank, 0);
  Descriptor d(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  d.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE,
        c.dtype == DType::f64 ? CUDNN_DATA_DOUBLE : CUDNN_DATA_FLOAT);
  d.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, CUDNN_CROSS_CORRELATION);
  d.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, static_cast<int64_t>(padding.size()));
  d.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, padding);
  d.set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, padding);
  d.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, axes(c.options.stride, rank, 1));
  d.set(CUDNN_ATTR_CONVOLUTION_DILATIONS, axes(c.options.dilation, rank, 1));
  d.finalize();
  return d;
}

// The names of one direction's attributes.
struct OperationNames {
  cudnnBackendDescriptorType_t type;
  cudnnBackendAttributeName_t x, w, y, alpha, beta, conv;
};
OperationNames names_of(Direction d) {
  switch (d) {
    case Direction::forward:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC};
    case Direction::backward_data:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC};
    case Direction::backward_weights:
      break;
  }
  return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC};
}

Descriptor describe_graph(const ConvCase& c, const Target& target) {
  const OperationNames names = names_of(c.direction);
  Descriptor operation(names.type);
  operation.set(names.x, describe_tensor(kX, c.x, c));
  operation.set(names.w, describe_tensor(kW, c.w, c));
  operation.set(names.y, describe_tensor(kY, c.y, c));
  operation.set(names.conv, describe_conv(c));
  if (c.dtype == DType::f64) {
    operation.set(names.alpha, CUDNN_TYPE_DOUBLE, 1.0);
    operation.set(names.beta, CUDNN_TYPE_DOUBLE, 0.0);
  } else {
    operation.set(names.alpha, CUDNN_TYPE_FLOAT, 1.0f);
    operation.set(names.beta, CUDNN_TYPE_FLOAT, 0.0f);
  }
  operation.finalize();
  Descriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, operation);
  if (target.handle) graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, target.handle);
  graph.finalize();
  return graph;
}

// -- choosing a plan -------------------------------------------------------------------------------------------------

/// Configurations of engines, best first.
std::vector<Descriptor> propose(const Descriptor& graph, const Target& target, cudnnBackendHeurMode_t mode,
                                int64_t most) {
  Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, mode);
#if CUDNN_VERSION >= 90800
  if (target.device) heuristics.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, *target.device);
#endif
  if (!heuristics.try_finalize()) return {};
  return heuristics.list(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, most);
}

/// What a proposal's engine says of itself.
struct Engine {
  bool repeats = true;    ///< the same bits each time
  bool whole = true;      ///< partial sums are not rounded to less than f32
  bool exact = true;      ///< factors are not rounded to less than the case's own type
  bool direct = true;     ///< neither Winograd's algorithm nor a Fourier transform
  bool compiles = false;  ///< its plans compile kernels at run time
};
Engine engine_of(const Descriptor& configuration, DType dtype) {
  Engine e;
  const std::vector<Descriptor> engine =
      configuration.list(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR, 1);
  if (engine.empty()) throw Failure("cuDNN: a configuration without an engine");
  for (const auto note : engine[0].list<cudnnBackendNumericalNote_t>(
           CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT)) {
    if (note == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC) e.repeats = false;
    if (note == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION) e.whole = false;
    if (note == CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS ||
        (note == CUDNN_NUMERICAL_NOTE_TENSOR_CORE && dtype == DType::f32))  // by way of TF32
      e.exact = false;
    if (note == CUDNN_NUMERICAL_NOTE_FFT ||
        (note >= CUDNN_NUMERICAL_NOTE_WINOGRAD && note <= CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13))
      e.direct = false;
  }
  for (const auto note : engine[0].list<cudnnBackendBehaviorNote_t>(
           CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE, CUDNN_BEHAVIOR_NOTE_TYPE_COUNT))
    if (note == CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION) e.compiles = true;
  return e;
}

struct Candidate {
  Descriptor plan;
  int64_t workspace_bytes = 0;
  int proposal = 0;
};

std::optional<Candidate> make_candidate(const Descriptor& configuration, const Target& target, int proposal) {
  Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration);
  if (target.handle) plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, target.handle);
#if CUDNN_VERSION >= 90800
  if (target.device) plan.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, *target.device);
#endif
  if (!plan.try_finalize()) return std::nullopt;
  const int64_t bytes = plan.number(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE);
  return Candidate{std::move(plan), bytes, proposal};
}

// Where a plan is looked for, one after the other: to ask for all proposals costs several times what four cost. Engines
// that compile come last: with sizes that change, each step would wait for them.
struct Round {
  cudnnBackendHeurMode_t mode;
  int64_t most;
  bool compiles;
};
constexpr Round kRounds[] = {{CUDNN_HEUR_MODE_A, 4, false},
                             {CUDNN_HEUR_MODE_A, 64, false},
                             {CUDNN_HEUR_MODE_FALLBACK, 64, false},
                             {CUDNN_HEUR_MODE_A, 64, true}};

/// Up to `most` plans that serve the case, in the order of the proposals. One: the best that compiles nothing, if there
/// is one. Several: any, among all proposals.
std::vector<Candidate> find_candidates(const ConvCase& c, const Target& target, size_t most) {
  std::vector<Candidate> found;
  const Descriptor graph = describe_graph(c, target);
  const bool several = most > 1;
  for (const Round& round : kRounds) {
    if (several && round.most < static_cast<int64_t>(most)) continue;
    int index = -1;
    for (const Descriptor& configuration : propose(graph, target, round.mode, round.most)) {
      ++index;
      const Engine engine = engine_of(configuration, c.dtype);
      if (!engine.repeats || !engine.whole || (!engine.exact && !c.tf32) || (c.options.exact && !engine.direct))
        continue;
      if (engine.compiles && !round.compiles && !several) continue;
      if (auto candidate = make_candidate(configuration, target, index)) found.push_back(std::move(*candidate));
      if (found.size() == most) return found;
    }
    if (!found.empty()) break;
  }
  return found;
}

// -- this process's GPU ----------------------------------------------------------------------------------------------

// A handle serves one call at a time.
std::mutex& handle_mutex() {
  static std::mutex mutex;
  return mutex;
}
cudnnHandle_t handle() {
  static const cudnnHandle_t made = [] {
    if (const std::string why = problem(); !why.empty()) throw Error("convolutions on cuda: {}", why);
    cudnnHandle_t h = nullptr;
    check(api().cudnnCreate(&h), "cudnnCreate");
    try {
      check(api().cudnnSetStream(h, cuda::compute_stream()), "cudnnSetStream");
    } catch (const Failure&) {
      api().cudnnDestroy(h);
      throw;
    }
    return h;
  }();
  return made;
}

PlanKey key_of(const ConvCase& c, bool measure) {
  PlanKey k;
  k.add_enum(c.direction);
  k.add_enum(c.dtype);
  k.add_enum(c.format);
  k.add(c.tf32 + 2 * c.options.exact + 4 * measure);
  k.add(c.x.rank());
  for (const Dims& d : {c.x, c.w, c.y})
    for (const int64_t n : d) k.add(n);
  for (int i = 0; i < c.x.rank() - 2; ++i) {
    const auto a = static_cast<size_t>(i);
    k.add(c.options.stride[a]), k.add(c.options.padding[a]), k.add(c.options.dilation[a]);
  }
  return k;
}

}  // namespace

// One candidate, or with `measure` several until the first run has timed them.
class CudnnConvPlan {
 public:
  CudnnConvPlan(const ConvCase& c, std::vector<Candidate> candidates) : case_(c), candidates_(std::move(candidates)) {}
  bool is_found() const { return !candidates_.empty(); }

  void run(const Tensor& a, const Tensor& b, const Tensor& to) {
    const std::lock_guard lock(handle_mutex());
    try {
      if (candidates_.size() > 1) keep_fastest(a, b, to);
      execute(candidates_.front(), a, b, to);
    } catch (const Failure& e) {
      throw Failure("{}: {}", case_.str(), e.what());
    }
  }

 private:
  void execute(const Candidate& candidate, const Tensor& a, const Tensor& b, const Tensor& to) const {
    const Tensor workspace = Tensor::empty({candidate.workspace_bytes}, {.dtype = DType::u8, .device = to.device()});
    std::array<int64_t, 3> uids{kX, kW, kY};
    if (case_.direction == Direction::backward_data) uids = {kY, kW, kX};
    if (case_.direction == Direction::backward_weights) uids = {kX, kY, kW};
    const std::array<void*, 3> data{const_cast<void*>(a.raw()), const_cast<void*>(b.raw()), to.mutable_raw()};
    Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, uids.data(), uids.size());
    pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, data.data(), data.size());
    void* const room = workspace.mutable_raw();
    pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, room);
    pack.finalize();
    check(api().cudnnBackendExecute(handle(), candidate.plan.get(), pack.get()), "cudnnBackendExecute");
  }

  // Each runs once to be loaded and then three times; the shortest time counts. One that fails, for want of memory for
  // its workspace, is left out.
  void keep_fastest(const Tensor& a, const Tensor& b, const Tensor& to) {
    using Clock = std::chrono::steady_clock;
    const auto wait = [] {
      cuda::Event done;
      done.record(cuda::compute_stream());
      done.wait();
    };
    std::optional<size_t> best;
    auto least = Clock::duration::max();
    std::exception_ptr failure;
    for (size_t i = 0; i < candidates_.size(); ++i) {
      auto own = Clock::duration::max();
      try {
        for (int turn = 0; turn < 4; ++turn) {
          wait();
          const auto start = Clock::now();
          execute(candidates_[i], a, b, to);
          wait();
          if (turn > 0) own = std::min(own, Clock::now() - start);
        }
      } catch (const Failure&) {
        failure = std::current_exception();
        continue;
      }
      if (own < least) least = own, best = i;
    }
    if (!best) std::rethrow_exception(failure);
    candidates_ = {candidates_[*best]};
  }

  ConvCase case_;
  std::vector<Candidate> candidates_;
};

namespace {

PlanCache<CudnnConvPlan>& plans() {
  static auto* p = new PlanCache<CudnnConvPlan>;  // never destroyed: the library's own statics may go first
  return *p;
}

}  // namespace

std::string problem() {
  if (!api().library) return "cuDNN (libcudnn.so." TP_TEXT(CUDNN_MAJOR) ") is not installed on this machine";
  if (!api().complete()) return "libcudnn.so." TP_TEXT(CUDNN_MAJOR) " lacks functions of cuDNN's interface";
  return "";
}

std::string version() {
  if (!api().complete()) return "";
  const size_t v = api().cudnnGetVersion();
  return fmt::format("{}.{}.{}", v / 10000, v / 100 % 100, v % 100);
}

std::string ConvCase::str() const {
  const auto along = [&](const std::array<int64_t, 3>& values) {
    return Dims(std::span(values.data(), static_cast<size_t>(x.rank() - 2))).str();
  };
  std::string text = fmt::format("{} of {} with weights {}, stride {}, padding {}", name_of(direction), x.str(),
                                 w.str(), along(options.stride), along(options.padding));
  if (options.dilation != std::array<int64_t, 3>{1, 1, 1}) text += ", dilation " + along(options.dilation);
  if (options.groups > 1) text += fmt::format(", {} groups", options.groups);
  return text + fmt::format(", {}, {}", tidepool::name_of(dtype), tidepool::name_of(format));
}

std::shared_ptr<CudnnConvPlan> find_plan(const ConvCase& c) {
  constexpr size_t kMeasured = 8;
  const bool measure = library_settings().measure;
  const auto plan = plans().get(key_of(c, measure), [&] {
    const std::lock_guard lock(handle_mutex());
    try {
      return std::make_shared<CudnnConvPlan>(
          c, find_candidates(c, {.handle = handle(), .device = {}}, measure ? kMeasured : 1));
    } catch (const Failure& e) {
      throw Failure("{}: {}", c.str(), e.what());
    }
  });
  return plan->is_found() ? plan : nullptr;
}

void run(CudnnConvPlan& plan, const Tensor& a, const Tensor& b, const Tensor& to) {
  plan.run(a, b, to);
}

void forget_plans() {
  plans().clear();
}

void add_to(CacheStats& stats) {
  stats.primitives += plans().size();
  stats.primitives_made += plans().made();
}

PlanReport plan_for_device([[maybe_unused]] const ConvCase& c, [[maybe_unused]] const std::string& device_json) {
#if CUDNN_VERSION >= 90800
  if (const std::string why = problem(); !why.empty()) throw Failure("cuDNN: {}", why);
  static std::mutex mutex;
  static auto* described = new std::map<std::string, Descriptor>;  // to read one costs milliseconds
  const std::lock_guard lock(mutex);
  auto device = described->find(device_json);
  if (device == described->end()) {
    Descriptor d(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
    d.set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, device_json.data(), device_json.size());
    d.finalize();
    device = described->emplace(device_json, std::move(d)).first;
  }
  const std::vector<Candidate> found = find_candidates(c, {.handle = nullptr, .device = device->second}, 1);
  if (found.empty()) return {};
  return {.found = true, .proposal = found[0].proposal, .workspace_bytes = found[0].workspace_bytes};
#else
  throw Failure("cuDNN {} plans for no GPU that is only described; 9.8 and later do", CUDNN_VERSION);
#endif
}

}  // namespace tidepool::cudnn
