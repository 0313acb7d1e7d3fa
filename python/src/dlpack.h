// The part of DLPack 1.3's binary interface that the module uses: how array frameworks hand memory to each other
// without a copy (dmlc/dlpack, include/dlpack/dlpack.h). The layouts are fixed by that document.
#pragma once
#include <cstdint>

namespace tidepool::dlpack {

inline constexpr int32_t kCpuDevice = 1, kCudaDevice = 2, kCudaHostDevice = 3;
inline constexpr uint8_t kInt = 0, kUint = 1, kFloat = 2, kBfloat = 4;

struct DeviceId {
  int32_t type, index;
};
struct ElementType {
  uint8_t code, bits;
  uint16_t lanes;
};
struct Array {
  void* data;
  DeviceId device;
  int32_t rank;
  ElementType type;
  int64_t *shape, *strides;  ///< strides in elements; null: row-major
  uint64_t byte_offset;
};
struct Version {
  uint32_t major, minor;
};
struct Managed {
  Version version;
  void* context;
  void (*deleter)(Managed*);
  uint64_t flags;
  Array array;
};

/// What a framework offers on its array type as `__dlpack_c_exchange_api__`: the functions behind its `__dlpack__`.
/// Those that return an int have set a Python exception where it is not 0.
struct ExchangeApi {
  Version version;
  ExchangeApi* previous;
  int (*allocate)(Array* prototype, Managed** out, void* error_context,
                  void (*set_error)(void* error_context, const char* kind, const char* message));
  int (*from_object)(void* object, Managed** out);
  int (*to_object)(Managed* array, void** out);  ///< a new reference; takes the array over
  int (*view_of_object)(void* object, Array* out);
  int (*current_stream)(int32_t device_type, int32_t device_index, void** out);
};

}  // namespace tidepool::dlpack
