#include "python/src/arrays.h"

#include <cstring>

#include "core/backend/outside_stream.h"

namespace tidepool::python {
namespace {

Device device_of(dlpack::DeviceId id, const std::string& who) {
  switch (id.type) {
    case dlpack::kCpuDevice:
    case dlpack::kCudaHostDevice:
      return kCpu;
    case dlpack::kCudaDevice:
      parse_device("cuda");  // says what is missing
      if (id.index != 0) throw Error("{}: only the first card is served, got cuda:{}", who, id.index);
      return kCuda;
    default:
      throw Error("{}: expected memory of the CPU or of CUDA, got DLPack's device {}", who, id.type);
  }
}

/// A storage is reached through handles that are const; the object is not.
Storage& storage_of(const Tensor& t) {
  return const_cast<Storage&>(t.storage());
}

/// Elements of `size` bytes, row-major; strides in elements. Any alignment.
void copy_axis(const char* from, const Dims& strides, const Dims& shape, size_t size, int axis, char*& to) {
  if (axis == shape.rank()) {
    std::memcpy(to, from, size);
    to += size;
    return;
  }
  for (int64_t i = 0; i < shape[axis]; ++i)
    copy_axis(from + i * strides[axis] * static_cast<int64_t>(size), strides, shape, size, axis + 1, to);
}

}  // namespace

DType dtype_of(dlpack::ElementType type, const std::string& who) {
  for (const DType ours : {DType::f32, DType::f64, DType::bf16, DType::i64, DType::i32, DType::u8}) {
    const dlpack::ElementType e = element_type(ours);
    if (e.code == type.code && e.bits == type.bits && type.lanes == 1) return ours;
  }
  constexpr const char* kKinds[] = {"int", "uint", "float", "opaque", "bfloat", "complex", "bool"};
  throw WrongType(fmt::format("{}: expected elements of f32, f64 or bf16, got {}{}", who,
                              type.code < std::size(kKinds) ? kKinds[type.code] : "type ", type.bits));
}

dlpack::ElementType element_type(DType type) {
  const auto bits = static_cast<uint8_t>(8 * size_of(type));
  switch (type) {
    case DType::f32:
    case DType::f64:
      return {dlpack::kFloat, bits, 1};
    case DType::bf16:
      return {dlpack::kBfloat, bits, 1};
    case DType::i64:
    case DType::i32:
      return {dlpack::kInt, bits, 1};
    case DType::u8:
      return {dlpack::kUint, bits, 1};
  }
  return {};
}

Borrowed::Borrowed(const dlpack::Array& array, const std::string& who) {
  const DType type = dtype_of(array.type, who);
  const Device device = device_of(array.device, who);
  if (array.rank < 0 || array.rank > Dims::kMaxRank)
    throw Error("{}: expected at most {} axes, got {}", who, Dims::kMaxRank, array.rank);
  const auto rank = static_cast<size_t>(array.rank);
  const Dims shape(std::span<const int64_t>(array.shape, rank));
  const Dims strides =
      array.strides ? Dims(std::span<const int64_t>(array.strides, rank)) : dense_strides(shape, MemoryFormat::plain);
  const auto is_dense = [&](MemoryFormat format) {
    const Dims dense = dense_strides(shape, format);
    for (int i = 0; i < shape.rank(); ++i)  // frameworks give axes of length 1 any stride
      if (shape[i] > 1 && strides[i] != dense[i]) return false;
    return true;
  };
  void* const data = static_cast<char*>(array.data) + array.byte_offset;
  const bool plain = shape.product() == 0 || is_dense(MemoryFormat::plain);
  in_place_ =
      (plain || is_dense(MemoryFormat::channels_last)) && reinterpret_cast<uintptr_t>(data) % size_of(type) == 0;
  if (in_place_) {
    tensor_ = Tensor::borrowed(data, shape, {type, plain ? MemoryFormat::plain : MemoryFormat::channels_last, device});
    return;
  }
  if (device != kCpu) throw Error("{}: expected a dense tensor, plain or channels-last", who);
  tensor_ = Tensor::empty(shape, {type, MemoryFormat::plain, device});
  char* to = static_cast<char*>(tensor_.mutable_raw());
  copy_axis(static_cast<const char*>(data), strides, shape, size_of(type), 0, to);
}

Borrowed::~Borrowed() {
  if (tensor_ && in_place_) storage_of(tensor_).data = nullptr;  // it may be gone
}

dlpack::Managed* export_tensor(Tensor tensor) {
  struct Exported {
    dlpack::Managed managed;
    Tensor tensor;
    Dims shape, strides;
  };
  auto* const e = new Exported{{}, std::move(tensor), {}, {}};
  e->shape = e->tensor.shape();
  e->strides = e->tensor.strides();
  e->managed = {.version = {1, 1},
                .context = e,
                .deleter =
                    [](dlpack::Managed* m) {
                      auto* const gone = static_cast<Exported*>(m->context);
                      std::unique_lock<std::recursive_mutex> lock;
                      if (gone->tensor.device() == kCuda) lock = between_outside_work();
                      delete gone;
                    },
                .flags = 0,
                .array = {.data = const_cast<void*>(e->tensor.raw()),
                          .device = {e->tensor.device() == kCuda ? dlpack::kCudaDevice : dlpack::kCpuDevice, 0},
                          .rank = e->shape.rank(),
                          .type = element_type(e->tensor.dtype()),
                          .shape = &e->shape[0],
                          .strides = &e->strides[0],
                          .byte_offset = 0}};
  return &e->managed;
}

}  // namespace tidepool::python
