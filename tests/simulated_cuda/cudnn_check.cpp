#include "tests/simulated_cuda/cudnn_check.h"

#include <algorithm>

namespace simulated {
namespace {

constexpr int64_t kMostAxes = CUDNN_DIM_MAX;  // 8

/// An attribute of a descriptor: its elements, and whether there is one or a list.
struct Attribute {
  cudnnBackendAttributeType_t type;
  enum Number { kOne, kList } number;
  int64_t least = 0;  ///< elements of a list
};
using Attributes = std::map<int, Attribute>;

Attributes operation(const OperationNames& n) {
  Attributes a;
  for (const int name : {n.x, n.w, n.y, n.conv}) a[name] = {CUDNN_TYPE_BACKEND_DESCRIPTOR, Attribute::kOne};
  for (const int name : {n.alpha, n.beta}) a[name] = {CUDNN_TYPE_FLOAT, Attribute::kOne};
  return a;
}

const std::map<cudnnBackendDescriptorType_t, OperationNames>& operations() {
  static const std::map<cudnnBackendDescriptorType_t, OperationNames> all = {
      {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
       {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
        CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
        CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA}},
      {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
       {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
        CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
        CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA}},
      {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
       {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
        CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
        CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA}}};
  return all;
}

const std::map<cudnnBackendDescriptorType_t, Attributes>& attributes() {
  constexpr auto kOne = Attribute::kOne, kList = Attribute::kList;
  static const std::map<cudnnBackendDescriptorType_t, Attributes> all = [] {
    std::map<cudnnBackendDescriptorType_t, Attributes> a;
    a[CUDNN_BACKEND_TENSOR_DESCRIPTOR] = {{CUDNN_ATTR_TENSOR_UNIQUE_ID, {CUDNN_TYPE_INT64, kOne}},
                                          {CUDNN_ATTR_TENSOR_DATA_TYPE, {CUDNN_TYPE_DATA_TYPE, kOne}},
                                          {CUDNN_ATTR_TENSOR_DIMENSIONS, {CUDNN_TYPE_INT64, kList, 1}},
                                          {CUDNN_ATTR_TENSOR_STRIDES, {CUDNN_TYPE_INT64, kList, 1}},
                                          {CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, {CUDNN_TYPE_INT64, kOne}}};
    a[CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR] = {{CUDNN_ATTR_CONVOLUTION_COMP_TYPE, {CUDNN_TYPE_DATA_TYPE, kOne}},
                                               {CUDNN_ATTR_CONVOLUTION_CONV_MODE, {CUDNN_TYPE_CONVOLUTION_MODE, kOne}},
                                               {CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, {CUDNN_TYPE_INT64, kOne}},
                                               {CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, {CUDNN_TYPE_INT64, kList, 1}},
                                               {CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, {CUDNN_TYPE_INT64, kList, 1}},
                                               {CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, {CUDNN_TYPE_INT64, kList, 1}},
                                               {CUDNN_ATTR_CONVOLUTION_DILATIONS, {CUDNN_TYPE_INT64, kList, 1}}};
    for (const auto& [type, names] : operations()) a[type] = operation(names);
    a[CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR] = {
        {CUDNN_ATTR_OPERATIONGRAPH_OPS, {CUDNN_TYPE_BACKEND_DESCRIPTOR, kList}},
        {CUDNN_ATTR_OPERATIONGRAPH_HANDLE, {CUDNN_TYPE_HANDLE, kOne}}};
    a[CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR] = {
        {CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, {CUDNN_TYPE_BACKEND_DESCRIPTOR, kOne}},
        {CUDNN_ATTR_ENGINEHEUR_MODE, {CUDNN_TYPE_HEUR_MODE, kOne}}};
    a[CUDNN_BACKEND_ENGINE_DESCRIPTOR] = {};
    a[CUDNN_BACKEND_ENGINECFG_DESCRIPTOR] = {{CUDNN_ATTR_ENGINECFG_ENGINE, {CUDNN_TYPE_BACKEND_DESCRIPTOR, kOne}}};
    a[CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR] = {
        {CUDNN_ATTR_EXECUTION_PLAN_HANDLE, {CUDNN_TYPE_HANDLE, kOne}},
        {CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, {CUDNN_TYPE_BACKEND_DESCRIPTOR, kOne}}};
    a[CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR] = {{CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, {CUDNN_TYPE_INT64, kList}},
                                                {CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, {CUDNN_TYPE_VOID_PTR, kList}},
                                                {CUDNN_ATTR_VARIANT_PACK_WORKSPACE, {CUDNN_TYPE_VOID_PTR, kOne}}};
    return a;
  }();
  return all;
}

bool served(cudnnDataType_t type) {
  return bytes_of(type) > 0;
}

// -- tensors ---------------------------------------------------------------------------------------------------------

cudnnStatus_t check_tensor(const Descriptor& d) {
  const auto &lengths = d.list(CUDNN_ATTR_TENSOR_DIMENSIONS), &strides = d.list(CUDNN_ATTR_TENSOR_STRIDES);
  const auto type = static_cast<cudnnDataType_t>(d.number(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_DATA_FLOAT));
  const int64_t alignment = d.number(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 1);
  if (lengths.empty() || lengths.size() != strides.size() || lengths.size() >= kMostAxes) return CUDNN_STATUS_BAD_PARAM;
  if (!served(type)) return CUDNN_STATUS_NOT_SUPPORTED;
  for (size_t i = 0; i < lengths.size(); ++i)
    if (lengths[i] < 0 || strides[i] < 0) return CUDNN_STATUS_BAD_PARAM;
  if (alignment <= 0 || alignment % bytes_of(type) != 0) return CUDNN_STATUS_BAD_PARAM;
  return CUDNN_STATUS_SUCCESS;
}

/// Whether a tensor has an element at every address between its first and its last; not where they are more than can
/// be counted.
bool is_dense(const Descriptor& t) {
  const auto &lengths = t.list(CUDNN_ATTR_TENSOR_DIMENSIONS), &strides = t.list(CUDNN_ATTR_TENSOR_STRIDES);
  int64_t last = 0, count = 1;
  for (size_t i = 0; i < lengths.size(); ++i) {
    int64_t step = 0;
    if (__builtin_mul_overflow(lengths[i] - 1, strides[i], &step) || __builtin_add_overflow(last, step, &last) ||
        __builtin_mul_overflow(count, lengths[i], &count))
      return false;
  }
  return last == count - 1;
}

/// Whether two indices may share an element: from the smallest stride on, each must step over all before it.
bool overlaps(const Descriptor& t) {
  const auto &lengths = t.list(CUDNN_ATTR_TENSOR_DIMENSIONS), &strides = t.list(CUDNN_ATTR_TENSOR_STRIDES);
  std::vector<std::pair<int64_t, int64_t>> axes;
  for (size_t i = 0; i < lengths.size(); ++i)
    if (lengths[i] > 1 && strides[i] > 0) axes.emplace_back(strides[i], lengths[i]);
  std::sort(axes.begin(), axes.end());
  int64_t reach = 1;
  for (const auto& [stride, length] : axes) {
    if (stride < reach) return true;
    if (__builtin_mul_overflow(stride, length, &reach)) reach = INT64_MAX;
  }
  return false;
}

// -- convolutions ----------------------------------------------------------------------------------------------------

// Missing paddings are 0.
int64_t at(const Descriptor& d, int name, size_t axis) {
  const auto& values = d.list(name);
  return axis < values.size() ? values[axis] : 0;
}

cudnnStatus_t check_conv(const Descriptor& d) {
  const int64_t axes = d.number(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS);
  if (axes < 1 || axes > kMostAxes) return CUDNN_STATUS_BAD_PARAM;
  for (const int name : {CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_ATTR_CONVOLUTION_DILATIONS,
                         CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS}) {
    const bool padding = name == CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS || name == CUDNN_ATTR_CONVOLUTION_POST_PADDINGS;
    const auto& values = d.list(name);
    if (padding && values.empty()) continue;  // none
    if (static_cast<int64_t>(values.size()) != axes) return CUDNN_STATUS_BAD_PARAM;
    for (const int64_t v : values)
      if (v < (padding ? 0 : 1)) return CUDNN_STATUS_BAD_PARAM;
  }
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t check_operation(const Descriptor& d, const OperationNames& names) {
  const Descriptor *const x = d.part(names.x), *const w = d.part(names.w), *const y = d.part(names.y),
                          *const conv = d.part(names.conv);
  if (!x || !w || !y || !conv) return CUDNN_STATUS_BAD_PARAM;
  const auto &nx = x->list(CUDNN_ATTR_TENSOR_DIMENSIONS), &nw = w->list(CUDNN_ATTR_TENSOR_DIMENSIONS),
             &ny = y->list(CUDNN_ATTR_TENSOR_DIMENSIONS);
  if (!x->finalized || !w->finalized || !y->finalized || !conv->finalized) return CUDNN_STATUS_BAD_PARAM;
  const auto axes = static_cast<size_t>(conv->number(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS));
  if (nx.size() != axes + 2 || nw.size() != axes + 2 || ny.size() != axes + 2) return CUDNN_STATUS_BAD_PARAM;
  if (overlaps(*x) || overlaps(*y) || !is_dense(*w)) return CUDNN_STATUS_BAD_PARAM;
  if (nw[1] == 0 || nx[1] == 0 || nx[1] % nw[1] != 0 || nw[0] % (nx[1] / nw[1]) != 0) return CUDNN_STATUS_BAD_PARAM;
  if (nx[0] != ny[0] || ny[1] != nw[0]) return CUDNN_STATUS_BAD_PARAM;
  for (size_t i = 0; i < axes; ++i) {
    const int64_t reach = at(*conv, CUDNN_ATTR_CONVOLUTION_DILATIONS, i) * (nw[i + 2] - 1) + 1,
                  room = nx[i + 2] + at(*conv, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, i) +
                         at(*conv, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, i) - reach;
    if (room < 0 || ny[i + 2] != room / at(*conv, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, i) + 1)
      return CUDNN_STATUS_BAD_PARAM;
  }
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t check_graph(const Descriptor& d) {
  const auto& ops = d.list(CUDNN_ATTR_OPERATIONGRAPH_OPS);
  if (ops.empty()) return CUDNN_STATUS_BAD_PARAM;
  return CUDNN_STATUS_SUCCESS;
}

}  // namespace

const std::vector<int64_t>& Descriptor::list(int name) const {
  static const std::vector<int64_t> none;
  const auto it = attributes.find(name);
  return it == attributes.end() ? none : it->second;
}
int64_t Descriptor::number(int name, int64_t missing) const {
  const auto& values = list(name);
  return values.empty() ? missing : values[0];
}
const Descriptor* Descriptor::part(int name) const {
  return reinterpret_cast<const Descriptor*>(number(name));
}

int64_t bytes_of(cudnnDataType_t type) {
  switch (type) {
    case CUDNN_DATA_DOUBLE:
    case CUDNN_DATA_INT64:
      return 8;
    case CUDNN_DATA_FLOAT:
    case CUDNN_DATA_INT32:
      return 4;
    case CUDNN_DATA_HALF:
    case CUDNN_DATA_BFLOAT16:
      return 2;
    case CUDNN_DATA_INT8x4:  // of the legacy interface
    case CUDNN_DATA_UINT8x4:
    case CUDNN_DATA_INT8x32:
    case CUDNN_DATA_FAST_FLOAT_FOR_FP8:  // to compute in, not to store
      return 0;
    default:
      return 1;
  }
}

const OperationNames* names_of(cudnnBackendDescriptorType_t type) {
  const auto it = operations().find(type);
  return it == operations().end() ? nullptr : &it->second;
}

cudnnStatus_t check_type(cudnnBackendDescriptorType_t type) {
  return attributes().contains(type) ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_NOT_SUPPORTED;
}

cudnnStatus_t check_set(const Descriptor& d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                        int64_t count, const void* elements) {
  if (!elements) return CUDNN_STATUS_BAD_PARAM_NULL_POINTER;
  if (d.finalized) return CUDNN_STATUS_BAD_PARAM;
  const Attributes& known = attributes().at(d.type);
  const auto it = known.find(name);
  if (it == known.end()) return CUDNN_STATUS_BAD_PARAM;
  const bool scalar = it->second.type == CUDNN_TYPE_FLOAT && type == CUDNN_TYPE_DOUBLE;
  if (type != it->second.type && !scalar) return CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE;
  if (it->second.number == Attribute::kOne ? count != 1 : count < it->second.least) return CUDNN_STATUS_BAD_PARAM;
  if (name == CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS && *static_cast<const int64_t*>(elements) > INT32_MAX)
    return CUDNN_STATUS_BAD_PARAM;
  if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR)
    for (int64_t i = 0; i < count; ++i) {
      const Descriptor* const part = static_cast<const Descriptor* const*>(elements)[i];
      if (!part) return CUDNN_STATUS_BAD_PARAM_NULL_POINTER;
      if (!part->finalized && !names_of(d.type)) return CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED;
    }
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t check_finalize(const Descriptor& d) {
  if (d.type == CUDNN_BACKEND_TENSOR_DESCRIPTOR) return check_tensor(d);
  if (d.type == CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR) return check_conv(d);
  if (d.type == CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR) return check_graph(d);
  if (const OperationNames* names = names_of(d.type)) return check_operation(d, *names);
  return CUDNN_STATUS_SUCCESS;
}

}  // namespace simulated
