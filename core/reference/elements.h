// The elements of a tensor of any type and strides as f64, in the order of its shape.
#pragma once
#include <cstdint>

#include "core/tensor.h"

namespace tidepool::reference {

class Elements {
 public:
  explicit Elements(const Tensor& t) : shape_(t.shape()), strides_(t.strides()), dtype_(t.dtype()), from_(t.raw()) {}

  int64_t size() const { return shape_.product(); }
  double operator[](int64_t i) const {
    const int64_t at = offset(i);
    switch (dtype_) {
      case DType::f32:
        return static_cast<double>(static_cast<const float*>(from_)[at]);
      case DType::f64:
        return static_cast<const double*>(from_)[at];
      case DType::bf16:
        return static_cast<double>(static_cast<float>(static_cast<const bf16*>(from_)[at]));
      case DType::i64:
        return static_cast<double>(static_cast<const int64_t*>(from_)[at]);
      case DType::i32:
        return static_cast<double>(static_cast<const int32_t*>(from_)[at]);
      case DType::u8:
        return static_cast<double>(static_cast<const uint8_t*>(from_)[at]);
    }
    return 0;
  }
  /// Where element i stands, in elements.
  int64_t offset(int64_t i) const {
    int64_t at = 0;
    for (int axis = shape_.rank() - 1; axis >= 0; --axis) {
      at += i % shape_[axis] * strides_[axis];
      i /= shape_[axis];
    }
    return at;
  }

 private:
  Dims shape_, strides_;
  DType dtype_;
  const void* from_;
};

/// The same, to be set: rounded to the type.
class Results : public Elements {
 public:
  explicit Results(const Tensor& t) : Elements(t), dtype_(t.dtype()), to_(t.mutable_raw()) {}

  void set(int64_t i, double v) const {
    const int64_t at = offset(i);
    switch (dtype_) {
      case DType::f32:
        static_cast<float*>(to_)[at] = static_cast<float>(v);
        break;
      case DType::f64:
        static_cast<double*>(to_)[at] = v;
        break;
      case DType::bf16:
        static_cast<bf16*>(to_)[at] = bf16(static_cast<float>(v));
        break;
      case DType::i64:
        static_cast<int64_t*>(to_)[at] = static_cast<int64_t>(v);
        break;
      case DType::i32:
        static_cast<int32_t*>(to_)[at] = static_cast<int32_t>(v);
        break;
      case DType::u8:
        static_cast<uint8_t*>(to_)[at] = static_cast<uint8_t>(v);
        break;
    }
  }

 private:
  DType dtype_;
  void* to_;
};

/// A map [N, C, spatial] by image, channel and position.
struct MapShape {
  int64_t images, channels, positions = 1;

  explicit MapShape(const Tensor& x) : images(x.size(0)), channels(x.rank() > 1 ? x.size(1) : 1) {
    for (int i = 2; i < x.rank(); ++i) positions *= x.size(i);
  }
  int64_t at(int64_t n, int64_t c, int64_t p) const { return (n * channels + c) * positions + p; }
  int64_t channel(int64_t i) const { return i / positions % channels; }
  int64_t image(int64_t i) const { return i / positions / channels; }
};

}  // namespace tidepool::reference
