// Random programs of cuDNN's backend interface that describe a convolution, right or wrong, and what a library says to
// each call. Two libraries of equal verdicts say the same.
#pragma once
#include <cudnn.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace tidepool::programs {

/// The functions of one library.
struct Library {
  decltype(&::cudnnBackendCreateDescriptor) create = nullptr;
  decltype(&::cudnnBackendDestroyDescriptor) destroy = nullptr;
  decltype(&::cudnnBackendSetAttribute) set = nullptr;
  decltype(&::cudnnBackendGetAttribute) get = nullptr;
  decltype(&::cudnnBackendFinalize) finalize = nullptr;
};

struct Call {
  enum Kind { kCreate, kSet, kFinalize } kind;
  size_t slot;                       ///< which descriptor
  int type = 0;                      ///< of the descriptor, or of the attribute's elements
  int name = 0;                      ///< of the attribute
  int64_t count = 0;                 ///< of elements
  std::vector<int64_t> values = {};  ///< slots where the type is a descriptor's

  std::string str() const {
    std::string text = kind == kCreate     ? "create " + std::to_string(type)
                       : kind == kFinalize ? "finalize"
                                           : "set " + std::to_string(name) + " type " + std::to_string(type) +
                                                 " count " + std::to_string(count) + " {";
    if (kind == kSet) {
      for (const int64_t v : values) text += " " + std::to_string(v);
      text += " }";
    }
    return "[" + std::to_string(slot) + "] " + text;
  }
};
using Program = std::vector<Call>;

enum Slot : size_t { kX, kW, kY, kConv, kOperation, kGraph, kSlots };

/// The call that a library refuses first, and how; the program's length and success where it refuses none.
struct Verdict {
  size_t call;
  cudnnStatus_t status;
};

/// Descriptors of a program while they live.
class Run {
 public:
  explicit Run(const Library& library) : library_(library) {}
  ~Run() {
    for (size_t i = slots_.size(); i-- > 0;)
      if (slots_[i]) library_.destroy(slots_[i]);
  }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  Verdict run(const Program& program) {
    for (size_t i = 0; i < program.size(); ++i)
      if (const cudnnStatus_t status = call(program[i]); status != CUDNN_STATUS_SUCCESS) return {i, status};
    return {program.size(), CUDNN_STATUS_SUCCESS};
  }
  cudnnBackendDescriptor_t graph() const { return slots_[kGraph]; }

 private:
  cudnnStatus_t call(const Call& c) {
    cudnnBackendDescriptor_t& descriptor = slots_[c.slot];
    switch (c.kind) {
      case Call::kCreate:
        return library_.create(static_cast<cudnnBackendDescriptorType_t>(c.type), &descriptor);
      case Call::kFinalize:
        return library_.finalize(descriptor);
      case Call::kSet:
        break;
    }
    std::array<std::byte, 512> elements{};  // more than any count asks for
    const auto put = [&](size_t i, const auto& value) {
      std::memcpy(&elements[i * sizeof value], &value, sizeof value);
    };
    for (size_t i = 0; i < c.values.size(); ++i) {
      const int64_t v = c.values[i];
      switch (c.type) {
        case CUDNN_TYPE_BACKEND_DESCRIPTOR:
          put(i, slots_[static_cast<size_t>(v)]);
          break;
        case CUDNN_TYPE_INT64:
          put(i, v);
          break;
        case CUDNN_TYPE_FLOAT:
          put(i, static_cast<float>(v));
          break;
        case CUDNN_TYPE_DOUBLE:
          put(i, static_cast<double>(v));
          break;
        case CUDNN_TYPE_BOOLEAN:
          put(i, v != 0);
          break;
        default:
          put(i, static_cast<int32_t>(v));
      }
    }
    return library_.set(descriptor, static_cast<cudnnBackendAttributeName_t>(c.name),
                        static_cast<cudnnBackendAttributeType_t>(c.type), c.count, elements.data());
  }

  const Library& library_;
  std::array<cudnnBackendDescriptor_t, kSlots> slots_{};
};

/// A convolution drawn at random, in any direction, rank, layout and type.
class Draw {
 public:
  explicit Draw(uint32_t seed) : random_(seed) {}

  Program valid();
  /// A few calls changed, left out or moved.
  Program mutated(Program p);

  int64_t below(int64_t n) { return static_cast<int64_t>(random_() % static_cast<uint64_t>(n)); }

 private:
  template <class T>
  T one_of(std::initializer_list<T> values) {
    return values.begin()[below(static_cast<int64_t>(values.size()))];
  }
  void mutate(Program& p);

  std::mt19937_64 random_;
};

inline Call set(size_t slot, int name, int type, std::vector<int64_t> values) {
  const auto count = static_cast<int64_t>(values.size());
  return {Call::kSet, slot, type, name, count, std::move(values)};
}

inline Program Draw::valid() {
  Program p;
  const auto axes = static_cast<size_t>(one_of({1, 2, 2, 2, 2, 3}));
  const int64_t groups = one_of<int64_t>({1, 1, 1, 2, 4}), in = groups * one_of<int64_t>({1, 2, 3, 4, 8}),
                out = groups * one_of<int64_t>({1, 2, 5, 8});
  std::vector<int64_t> x{1 + below(4), in}, w{out, in / groups}, y{x[0], out}, stride, pad, dilation;
  for (size_t i = 0; i < axes; ++i) {
    const int64_t kernel = 1 + below(4);
    stride.push_back(1 + below(3)), pad.push_back(below(3)), dilation.push_back(1 + below(2));
    const int64_t reach = dilation[i] * (kernel - 1) + 1, length = std::max<int64_t>(1, reach - 2 * pad[i]) + below(9);
    x.push_back(length), w.push_back(kernel);
    y.push_back((length + 2 * pad[i] - reach) / stride[i] + 1);
  }
  const int64_t type =
      one_of({CUDNN_DATA_FLOAT, CUDNN_DATA_FLOAT, CUDNN_DATA_BFLOAT16, CUDNN_DATA_HALF, CUDNN_DATA_DOUBLE});
  const bool last = below(2) == 0;
  const auto tensor = [&](size_t slot, const std::vector<int64_t>& lengths) {
    std::vector<int64_t> strides(lengths.size());
    int64_t step = 1;
    if (last) strides[1] = 1, step = lengths[1];
    for (size_t i = lengths.size(); i-- > (last ? 2u : 0u);) strides[i] = step, step *= lengths[i];
    if (last) strides[0] = step;
    p.push_back({Call::kCreate, slot, CUDNN_BACKEND_TENSOR_DESCRIPTOR});
    p.push_back(set(slot, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, {static_cast<int64_t>(slot) + 1}));
    p.push_back(set(slot, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, {type}));
    p.push_back(set(slot, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, lengths));
    p.push_back(set(slot, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, strides));
    p.push_back(set(slot, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, {one_of<int64_t>({8, 16, 16, 32})}));
    p.push_back({Call::kFinalize, slot});
  };
  tensor(kX, x), tensor(kW, w), tensor(kY, y);
  p.push_back({Call::kCreate, kConv, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR});
  p.push_back(set(kConv, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE,
                  {type == CUDNN_DATA_DOUBLE ? CUDNN_DATA_DOUBLE : CUDNN_DATA_FLOAT}));
  p.push_back(set(kConv, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE,
                  {below(8) == 0 ? CUDNN_CONVOLUTION : CUDNN_CROSS_CORRELATION}));
  p.push_back(set(kConv, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, {static_cast<int64_t>(axes)}));
  p.push_back(set(kConv, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, pad));
  p.push_back(set(kConv, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, pad));
  p.push_back(set(kConv, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, stride));
  p.push_back(set(kConv, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, dilation));
  p.push_back({Call::kFinalize, kConv});

  struct Names {
    int type, alpha, beta, conv, x, w, y;
  };
  const Names directions[] = {
      {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
       CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
       CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
       CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y},
      {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY},
      {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA,
       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY}};
  const Names& names = directions[below(3)];
  const int scalar = type == CUDNN_DATA_DOUBLE ? CUDNN_TYPE_DOUBLE : CUDNN_TYPE_FLOAT;
  p.push_back({Call::kCreate, kOperation, names.type});
  p.push_back(set(kOperation, names.alpha, scalar, {1}));
  p.push_back(set(kOperation, names.beta, scalar, {0}));
  p.push_back(set(kOperation, names.conv, CUDNN_TYPE_BACKEND_DESCRIPTOR, {kConv}));
  p.push_back(set(kOperation, names.x, CUDNN_TYPE_BACKEND_DESCRIPTOR, {kX}));
  p.push_back(set(kOperation, names.w, CUDNN_TYPE_BACKEND_DESCRIPTOR, {kW}));
  p.push_back(set(kOperation, names.y, CUDNN_TYPE_BACKEND_DESCRIPTOR, {kY}));
  p.push_back({Call::kFinalize, kOperation});
  p.push_back({Call::kCreate, kGraph, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR});
  p.push_back(set(kGraph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, {kOperation}));
  p.push_back({Call::kFinalize, kGraph});
  return p;
}

inline void Draw::mutate(Program& p) {
  const auto at = static_cast<size_t>(below(static_cast<int64_t>(p.size())));
  Call& c = p[at];
  const bool refers = c.type == CUDNN_TYPE_BACKEND_DESCRIPTOR;
  if (c.kind == Call::kFinalize) {
    if (below(3) == 0) p.erase(p.begin() + static_cast<int64_t>(at));
    return;
  }
  if (c.kind == Call::kCreate) {
    if (c.slot == kOperation && below(4) == 0)  // another direction, whose attributes have other names
      c.type = one_of<int>({CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                            CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                            CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR});
    return;
  }
  switch (below(12)) {
    case 0:
      p.erase(p.begin() + static_cast<int64_t>(at));
      break;
    case 1:
      c.count = one_of<int64_t>({std::max<int64_t>(0, c.count - 1), c.count + 1, 0, 1, 2, 3, 9});
      if (refers && c.count > 1) c.count = 0;  // the library would follow what is no descriptor
      break;
    case 2:
      if (!refers)
        c.type = one_of<int>({CUDNN_TYPE_INT64, CUDNN_TYPE_FLOAT, CUDNN_TYPE_DOUBLE, CUDNN_TYPE_BOOLEAN,
                              CUDNN_TYPE_DATA_TYPE, CUDNN_TYPE_CONVOLUTION_MODE});
      break;
    case 3: {  // after the descriptor is finalized
      const Call moved = c;
      p.erase(p.begin() + static_cast<int64_t>(at));
      p.push_back(moved);
      break;
    }
    case 4:
      if (refers) break;
      c.name = one_of<int>({CUDNN_ATTR_TENSOR_STRIDES, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT,
                            CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS,
                            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                            CUDNN_ATTR_ENGINEHEUR_MODE});
      break;
    case 5:
      if (c.values.size() > 1)
        std::swap(c.values[0], c.values[static_cast<size_t>(below(static_cast<int64_t>(c.values.size())))]);
      break;
    default: {
      int64_t& v = c.values[static_cast<size_t>(below(static_cast<int64_t>(c.values.size())))];
      if (refers && v < int64_t{kConv})
        v = below(kConv);  // another tensor; the real library takes a descriptor of another kind for what it is not
      else if (c.type == CUDNN_TYPE_DATA_TYPE)
        v = below(18);
      else if (c.type == CUDNN_TYPE_CONVOLUTION_MODE)
        v = below(3);
      else if (!refers)
        v = one_of<int64_t>({v - 1, v + 1, v + 1, v * 2, v + 8, 0, 1, 2, 3, 4, 8, 16, 24, 32, 128, -1, -2,
                             int64_t{1} << 31, int64_t{1} << 40});
    }
  }
}

inline Program Draw::mutated(Program p) {
  for (int64_t i = 1 + below(3); i > 0; --i) mutate(p);
  return p;
}

}  // namespace tidepool::programs
