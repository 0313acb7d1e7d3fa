// Element types. Arithmetic happens in f32 (f32, bf16) or f64; bf16 is a storage format that rounds once, at the store.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "core/host_device.h"

namespace tidepool {

enum class DType : uint8_t { f32, f64, bf16, i64, i32, u8 };

/// bfloat16: the upper half of an f32. Conversion rounds to nearest, ties to even; NaN stays NaN.
struct bf16 {
  uint16_t bits = 0;

  bf16() = default;
  TP_HD explicit bf16(float value) {
    uint32_t word;
    memcpy(&word, &value, 4);
    bits = (word & 0x7fffffffu) > 0x7f800000u ? static_cast<uint16_t>((word >> 16) | 0x40u)
                                              : static_cast<uint16_t>((word + 0x7fffu + ((word >> 16) & 1u)) >> 16);
  }
  TP_HD explicit operator float() const {
    const uint32_t word = static_cast<uint32_t>(bits) << 16;
    float value;
    memcpy(&value, &word, 4);
    return value;
  }
};

constexpr size_t size_of(DType t) {
  switch (t) {
    case DType::f64:
    case DType::i64:
      return 8;
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::bf16:
      return 2;
    case DType::u8:
      return 1;
  }
  return 0;
}

constexpr const char* name_of(DType t) {
  switch (t) {
    case DType::f32:
      return "f32";
    case DType::f64:
      return "f64";
    case DType::bf16:
      return "bf16";
    case DType::i64:
      return "i64";
    case DType::i32:
      return "i32";
    case DType::u8:
      return "u8";
  }
  return "?";
}

constexpr bool is_floating(DType t) {
  return t == DType::f32 || t == DType::f64 || t == DType::bf16;
}

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::f64;
};
template <>
struct DTypeOf<bf16> {
  static constexpr DType value = DType::bf16;
};
template <>
struct DTypeOf<int64_t> {
  static constexpr DType value = DType::i64;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::i32;
};
template <>
struct DTypeOf<uint8_t> {
  static constexpr DType value = DType::u8;
};

/// The type in which an element type is summed.
template <class T>
struct AccOf {
  using type = T;
};
template <>
struct AccOf<bf16> {
  using type = float;
};
template <class T>
using Acc = typename AccOf<T>::type;

/// Calls f with a value of the element type that `t` names.
template <class F>
decltype(auto) dispatch_any(DType t, F&& f) {
  switch (t) {
    case DType::f64:
      return std::forward<F>(f)(double{});
    case DType::bf16:
      return std::forward<F>(f)(bf16{});
    case DType::i64:
      return std::forward<F>(f)(int64_t{});
    case DType::i32:
      return std::forward<F>(f)(int32_t{});
    case DType::u8:
      return std::forward<F>(f)(uint8_t{});
    case DType::f32:
      break;
  }
  return std::forward<F>(f)(float{});
}

/// Calls f with a value of the floating element type that `t` names; `who` stands in the error for another type.
template <class F>
decltype(auto) dispatch_floating(DType t, const char* who, F&& f) {
  switch (t) {
    case DType::f32:
      return std::forward<F>(f)(float{});
    case DType::f64:
      return std::forward<F>(f)(double{});
    case DType::bf16:
      return std::forward<F>(f)(bf16{});
    default:
      throw Error("[{}] expected a tensor of f32, f64 or bf16, got {}", who, name_of(t));
  }
}

}  // namespace tidepool
