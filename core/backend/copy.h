// Copies between layouts and types of one device, fills, and what a host reads. Tensor's own members call these.
#pragma once
#include <cstdint>

#include "core/backend/table.h"

namespace tidepool {

struct CopyTable {
  const char* name;
  /// `to`, of any type and strides, = `from` of the same shape. Not empty.
  bool (*copy)(const Tensor& from, const Tensor& to);
  bool (*fill)(const Tensor& to, double value);
  /// out [numel] on the host: the elements in the order of the shape.
  bool (*read)(const Tensor& from, double* out);
  /// The host will read the values of these: they may be sent already.
  bool (*expect_read)(std::span<const Tensor> tensors);
  /// The first normals of the stream 0 under the seed, times `deviation`, rounded to f32; to is dense.
  bool (*fill_normal)(const Tensor& to, uint64_t seed, double deviation);
};

namespace backend {
template <>
std::span<const CopyTable* const> tables<CopyTable>(Device device);
}

inline void copy_elements(const Tensor& from, const Tensor& to) {
  backend::run("copy between layouts or types", &CopyTable::copy, from, to);
}
inline void fill_elements(const Tensor& to, double value) {
  backend::run("fill", &CopyTable::fill, to, value);
}
inline void read_elements(const Tensor& from, double* out) {
  backend::run("read", &CopyTable::read, from, out);
}
/// Tensor::values() of these will not wait for more than what the device does now. They are of one device.
inline void expect_read(std::span<const Tensor> tensors) {
  if (!tensors.empty()) backend::run("read", &CopyTable::expect_read, tensors);
}
/// Whether the host waits for a device when it reads the tensor: then what can be read later, is.
inline bool reads_wait(const Tensor& t) {
  return t.device().kind != DeviceKind::cpu;
}
/// Itself on the host, else a copy there.
inline Tensor on_host(const Tensor& t) {
  return t.to(kCpu);
}
inline void fill_normal(const Tensor& to, uint64_t seed, double deviation) {
  backend::run("normal init", &CopyTable::fill_normal, to, seed, deviation);
}

}  // namespace tidepool
