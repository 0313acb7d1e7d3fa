// The part of cuDNN that the program calls, against the real header: it refuses what the library refuses
// (cudnn_check.cpp), proposes engines of every kind that a program must tell apart, and convolves on the simulated
// device's memory, in the stream's order. Types are f32, bf16 and f64.
#include <cudnn.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "tests/simulated_cuda/convolution.h"
#include "tests/simulated_cuda/cudnn_check.h"
#include "tests/simulated_cuda/library.h"

struct cudnnContext {
  cudaStream_t stream = nullptr;
};

namespace simulated {
namespace {

thread_local std::string last_error;

cudnnStatus_t refuse(cudnnStatus_t status, const char* why) {
  if (status != CUDNN_STATUS_SUCCESS) last_error = why;
  return status;
}

/// The engines, in the order of the heuristics. A program that wants its bits again takes no kWobbling, one that wants
/// f32 no kTensorCore, one that wants direct sums no kWinograd.
enum Engine : int64_t { kWobbling, kRefusing, kTensorCore, kWinograd, kDirect, kEngines };

int64_t workspace_of(int64_t engine, const Convolution& c) {
  if (engine == kWinograd) return 4 * c.y.span();
  return c.direction == Convolution::kBackwardWeights ? 4096 + 4 * c.w.span() : 0;
}

using tidepool::DType;
DType dtype_of(cudnnDataType_t type) {
  return type == CUDNN_DATA_DOUBLE ? DType::f64 : type == CUDNN_DATA_BFLOAT16 ? DType::bf16 : DType::f32;
}

Map map_of(const Descriptor& d) {
  Map m;
  const auto &lengths = d.list(CUDNN_ATTR_TENSOR_DIMENSIONS), &strides = d.list(CUDNN_ATTR_TENSOR_STRIDES);
  const size_t missing = 5 - lengths.size();
  for (size_t i = 0; i < lengths.size(); ++i) {
    const size_t to = i < 2 ? i : i + missing;
    m.n[to] = lengths[i], m.stride[to] = strides[i];
  }
  m.type = dtype_of(static_cast<cudnnDataType_t>(d.number(CUDNN_ATTR_TENSOR_DATA_TYPE)));
  m.uid = d.number(CUDNN_ATTR_TENSOR_UNIQUE_ID);
  m.alignment = d.number(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT);
  return m;
}

Convolution convolution_of(const Descriptor& graph) {
  const auto& operation = *reinterpret_cast<const Descriptor*>(graph.number(CUDNN_ATTR_OPERATIONGRAPH_OPS));
  const OperationNames& names = *names_of(operation.type);
  Convolution c;
  c.direction = operation.type == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR ? Convolution::kForward
                : operation.type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR
                    ? Convolution::kBackwardData
                    : Convolution::kBackwardWeights;
  c.x = map_of(*operation.part(names.x));
  c.w = map_of(*operation.part(names.w));
  c.y = map_of(*operation.part(names.y));
  const Descriptor& d = *operation.part(names.conv);
  c.flipped = d.number(CUDNN_ATTR_CONVOLUTION_CONV_MODE) == CUDNN_CONVOLUTION;
  const auto axes = static_cast<size_t>(d.number(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS));
  for (size_t i = 0; i < axes; ++i) {
    const size_t to = i + 3 - axes;
    c.step[to] = d.list(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES)[i];
    c.dilation[to] = d.list(CUDNN_ATTR_CONVOLUTION_DILATIONS)[i];
    const auto& padding = d.list(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS);
    c.padding[to] = padding.empty() ? 0 : padding[i];
  }
  return c;
}

/// Whether there are engines for what is described: one type, served, 2 or 3 spatial axes, a result that is set.
bool is_served(const Descriptor& graph) {
  const auto& operation = *reinterpret_cast<const Descriptor*>(graph.number(CUDNN_ATTR_OPERATIONGRAPH_OPS));
  const OperationNames& names = *names_of(operation.type);
  const auto type = [&](int name) { return operation.part(name)->number(CUDNN_ATTR_TENSOR_DATA_TYPE); };
  const size_t rank = operation.part(names.x)->list(CUDNN_ATTR_TENSOR_DIMENSIONS).size();
  const int64_t t = type(names.x);
  return (rank == 4 || rank == 5) && type(names.w) == t && type(names.y) == t && operation.number(names.beta) == 0 &&
         (t == CUDNN_DATA_FLOAT || t == CUDNN_DATA_BFLOAT16 || t == CUDNN_DATA_DOUBLE);
}

cudnnStatus_t finalize_plan(Descriptor& plan) {
  if (plan.number(CUDNN_ATTR_EXECUTION_PLAN_HANDLE) == 0) return refuse(CUDNN_STATUS_BAD_PARAM, "a plan of no handle");
  const Descriptor* const configuration = plan.part(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
  if (!configuration) return refuse(CUDNN_STATUS_BAD_PARAM, "a plan of no configuration");
  const int64_t engine = configuration->number(CUDNN_ATTR_ENGINE_GLOBAL_INDEX);
  if (engine == kRefusing) return refuse(CUDNN_STATUS_NOT_SUPPORTED, "this engine does not serve the case");
  auto work = std::make_shared<Convolution>(convolution_of(*configuration->part(CUDNN_ATTR_ENGINE_OPERATION_GRAPH)));
  work->tf32 = engine == kTensorCore && work->x.type == DType::f32;
  static int plans = 0;
  if (engine == kWobbling) work->wobble = 1e-4f * static_cast<float>(1 + ++plans % 7);
  work->workspace_bytes = workspace_of(engine, *work);
  plan.work = work;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t finalize_pack(const Descriptor& pack) {
  if (pack.list(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS).size() != pack.list(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS).size())
    return refuse(CUDNN_STATUS_BAD_PARAM, "a variant pack of more or fewer pointers than names");
  return CUDNN_STATUS_SUCCESS;
}

// Values of a numerical note's attribute, or how many there are.
template <class T>
cudnnStatus_t give(std::initializer_list<T> values, int64_t most, int64_t* count, void* to) {
  *count = static_cast<int64_t>(values.size());
  if (*count > 0) std::copy_n(values.begin(), std::min(most, *count), static_cast<T*>(to));
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t give_notes(int64_t engine, int64_t most, int64_t* count, void* to) {
  using Note = cudnnBackendNumericalNote_t;
  switch (engine) {
    case kWobbling:
      return give<Note>({CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC}, most, count, to);
    case kTensorCore:
      return give<Note>({CUDNN_NUMERICAL_NOTE_TENSOR_CORE}, most, count, to);
    case kWinograd:
      return give<Note>({CUDNN_NUMERICAL_NOTE_WINOGRAD, CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4}, most, count, to);
    default:
      return give<Note>({}, most, count, to);
  }
}

cudnnStatus_t give_proposals(const Descriptor& heuristics, int64_t most, int64_t* count, void* to) {
  const Descriptor& graph = *heuristics.part(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
  const bool fallback = heuristics.number(CUDNN_ATTR_ENGINEHEUR_MODE) == CUDNN_HEUR_MODE_FALLBACK;
  *count = 0;
  if (!is_served(graph)) return CUDNN_STATUS_SUCCESS;
  for (int64_t engine = fallback ? kDirect : kWobbling; engine < kEngines && *count < most; ++engine) {
    Descriptor& configuration = **(static_cast<Descriptor**>(to) + *count);
    configuration.attributes[CUDNN_ATTR_ENGINE_GLOBAL_INDEX] = {engine};
    configuration.attributes[CUDNN_ATTR_ENGINE_OPERATION_GRAPH] = {reinterpret_cast<int64_t>(&graph)};
    configuration.finalized = true;
    ++*count;
  }
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t execute(cudaStream_t stream, const Descriptor& plan, const Descriptor& pack) {
  const Convolution& c = *plan.work;
  const auto& uids = pack.list(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
  const auto& pointers = pack.list(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
  const auto find = [&](const Map& m) -> void* {
    for (size_t i = 0; i < uids.size(); ++i)
      if (uids[i] == m.uid) return reinterpret_cast<void*>(pointers[i]);
    return nullptr;
  };
  for (const Map* m : {&c.x, &c.w, &c.y}) {
    void* const data = find(*m);
    if (!data) return refuse(CUDNN_STATUS_BAD_PARAM, "a tensor of the plan is not in the variant pack");
    if (reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(m->alignment) != 0)
      return refuse(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER, "a tensor is not aligned as it was described");
    expect_on_device(data, static_cast<size_t>(m->span()) * size_of(m->type));
  }
  void* const room = reinterpret_cast<void*>(pack.number(CUDNN_ATTR_VARIANT_PACK_WORKSPACE));
  if (c.workspace_bytes > 0) expect_on_device(room, static_cast<size_t>(c.workspace_bytes));
  enqueue(stream, [work = plan.work, room, x = find(c.x), w = find(c.w), y = find(c.y)] {
    if (work->workspace_bytes > 0) std::memset(room, 0xff, static_cast<size_t>(work->workspace_bytes));
    work->run(x, w, y);
  });
  return CUDNN_STATUS_SUCCESS;
}

size_t element_bytes(cudnnBackendAttributeType_t type) {
  switch (type) {
    case CUDNN_TYPE_INT64:
    case CUDNN_TYPE_DOUBLE:
    case CUDNN_TYPE_VOID_PTR:
    case CUDNN_TYPE_HANDLE:
    case CUDNN_TYPE_BACKEND_DESCRIPTOR:
      return 8;
    case CUDNN_TYPE_BOOLEAN:
    case CUDNN_TYPE_CHAR:
      return 1;
    default:
      return 4;
  }
}

}  // namespace
}  // namespace simulated

using namespace simulated;  // NOLINT: this file is the library

extern "C" {

size_t cudnnGetVersion() {
  return CUDNN_VERSION;
}
const char* cudnnGetErrorString(cudnnStatus_t status) {
  return status == CUDNN_STATUS_SUCCESS            ? "CUDNN_STATUS_SUCCESS"
         : status == CUDNN_STATUS_EXECUTION_FAILED ? "CUDNN_STATUS_EXECUTION_FAILED"
                                                   : "a refusal of the simulated cuDNN";
}
void cudnnGetLastErrorString(char* message, size_t most) {
  std::strncpy(message, last_error.c_str(), most);
  last_error.clear();
}
cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  if (call_fails()) return CUDNN_STATUS_NOT_INITIALIZED;
  *handle = new cudnnContext;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
  delete handle;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  if (call_fails()) return CUDNN_STATUS_BAD_PARAM_STREAM_MISMATCH;
  handle->stream = stream;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t* descriptor) {
  if (call_fails()) return CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED;
  *descriptor = nullptr;
  if (const cudnnStatus_t status = check_type(type); status != CUDNN_STATUS_SUCCESS) return refuse(status, "type");
  *descriptor = new Descriptor{type};
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
  delete static_cast<Descriptor*>(descriptor);
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count, const void* elements) {
  Descriptor& d = *static_cast<Descriptor*>(descriptor);
  if (const cudnnStatus_t status = check_set(d, name, type, count, elements); status != CUDNN_STATUS_SUCCESS)
    return refuse(status, "attribute");
  std::vector<int64_t> values(static_cast<size_t>(count), 0);
  for (size_t i = 0; i < values.size(); ++i) {
    const char* const from = static_cast<const char*>(elements) + i * element_bytes(type);
    if (type == CUDNN_TYPE_FLOAT) {
      float value = 0;
      std::memcpy(&value, from, sizeof value);
      values[i] = static_cast<int64_t>(value);
    } else if (type == CUDNN_TYPE_DOUBLE) {
      double value = 0;
      std::memcpy(&value, from, sizeof value);
      values[i] = static_cast<int64_t>(value);
    } else {
      std::memcpy(&values[i], from, element_bytes(type));
    }
  }
  d.attributes[name] = std::move(values);
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
  if (call_fails()) return CUDNN_STATUS_INTERNAL_ERROR;
  Descriptor& d = *static_cast<Descriptor*>(descriptor);
  const cudnnStatus_t status = d.type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR ? finalize_plan(d)
                               : d.type == CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR ? finalize_pack(d)
                                                                                 : check_finalize(d);
  if (status != CUDNN_STATUS_SUCCESS) return refuse(status, "what is described");
  d.finalized = true;
  return status;
}
cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t, int64_t most, int64_t* count, void* elements) {
  const Descriptor& d = *static_cast<const Descriptor*>(descriptor);
  if (!d.finalized) return refuse(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "attribute of what is not finalized");
  switch (name) {
    case CUDNN_ATTR_ENGINEHEUR_RESULTS:
      return give_proposals(d, most, count, elements);
    case CUDNN_ATTR_ENGINECFG_ENGINE: {
      Descriptor& engine = **static_cast<Descriptor**>(elements);
      engine.attributes = d.attributes;
      engine.finalized = true;
      *count = 1;
      return CUDNN_STATUS_SUCCESS;
    }
    case CUDNN_ATTR_ENGINE_NUMERICAL_NOTE:
      return give_notes(d.number(CUDNN_ATTR_ENGINE_GLOBAL_INDEX), most, count, elements);
    case CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE:
      *count = 0;
      return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE:
      return give<int64_t>({d.work->workspace_bytes}, most, count, elements);
    default:
      return refuse(CUDNN_STATUS_NOT_SUPPORTED, "attribute");
  }
}
cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t pack) {
  if (call_fails()) return CUDNN_STATUS_EXECUTION_FAILED;
  try {
    const auto &p = *static_cast<const Descriptor*>(plan), &v = *static_cast<const Descriptor*>(pack);
    if (!p.finalized || !v.finalized) return refuse(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "plan or variant pack");
    return execute(handle->stream, p, v);
  } catch (const std::exception& e) {
    return refuse(CUDNN_STATUS_BAD_PARAM, e.what());
  }
}

}  // extern "C"
