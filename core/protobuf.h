// Protocol buffers' wire format, written (protobuf.dev, "Encoding"): a field is its number and kind, then a number of 7
// bits per byte, 4 or 8 bytes, or a length and so many bytes. A message is its fields, one behind the other.
#pragma once
#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace tidepool::protobuf {

enum class Wire : uint64_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

inline std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 128; value >>= 7) bytes += static_cast<char>(value | 128);
  bytes += static_cast<char>(value);
  return bytes;
}

inline std::string key(int field, Wire wire) {
  return varint(static_cast<uint64_t>(field) << 3 | static_cast<uint64_t>(wire));
}

/// The bytes of a number, the lowest first.
template <class Number>
std::string little_endian(Number value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  if constexpr (std::endian::native == std::endian::big) bytes = std::string(bytes.rbegin(), bytes.rend());
  return bytes;
}

inline std::string whole(int field, int64_t value) {
  return key(field, Wire::kVarint) + varint(static_cast<uint64_t>(value));
}
inline std::string f32(int field, double value) {
  return key(field, Wire::kFixed32) + little_endian(static_cast<float>(value));
}
inline std::string f64(int field, double value) {
  return key(field, Wire::kFixed64) + little_endian(value);
}
/// What stands before the bytes of a string or of a message within this one.
inline std::string bytes_header(int field, uint64_t size) {
  return key(field, Wire::kBytes) + varint(size);
}
inline std::string bytes(int field, std::string_view value) {
  return bytes_header(field, value.size()).append(value);
}

}  // namespace tidepool::protobuf
