// Tensor: a handle to a strided view of shared memory. Logical order is always N, C, spatial; strides say whether
// memory is plain (row-major) or channels-last.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/dtype.h"
#include "core/error.h"

namespace tidepool {

/// A shape or the strides of a tensor: up to five numbers.
class Dims {
 public:
  static constexpr int kMaxRank = 5;

  Dims() = default;
  Dims(std::initializer_list<int64_t> values) : Dims(std::span(values.begin(), values.size())) {}
  explicit Dims(std::span<const int64_t> values) {
    if (values.size() > kMaxRank) throw Error("tensor: rank {} is over the highest, {}", values.size(), kMaxRank);
    rank_ = static_cast<int>(values.size());
    for (int i = 0; i < rank_; ++i) values_[static_cast<size_t>(i)] = values[static_cast<size_t>(i)];
  }
  static Dims filled(int rank, int64_t value) {
    Dims d;
    d.rank_ = rank;
    for (int i = 0; i < rank; ++i) d[i] = value;
    return d;
  }

  int rank() const { return rank_; }
  int64_t operator[](int i) const { return values_[static_cast<size_t>(i)]; }
  int64_t& operator[](int i) { return values_[static_cast<size_t>(i)]; }
  const int64_t* begin() const { return values_.data(); }
  const int64_t* end() const { return values_.data() + rank_; }
  int64_t product() const {
    int64_t p = 1;
    for (int64_t v : *this) p *= v;
    return p;
  }
  bool operator==(const Dims& o) const { return rank_ == o.rank_ && std::equal(begin(), end(), o.begin()); }
  /// "2x3x4"; a scalar is "scalar".
  std::string str() const;

 private:
  std::array<int64_t, kMaxRank> values_{};
  int rank_ = 0;
};

enum class MemoryFormat : uint8_t { plain, channels_last };
constexpr const char* name_of(MemoryFormat f) {
  return f == MemoryFormat::plain ? "plain" : "channels_last";
}

/// Strides of a dense tensor. Channels-last differs from plain in ranks 3 to 5 only.
Dims dense_strides(const Dims& shape, MemoryFormat format);

/// Shared memory; released to its allocator with the last tensor.
struct Storage {
  Storage(size_t bytes, Device device);
  /// Of memory that somebody else owns.
  Storage(void* borrowed, size_t bytes, Device device);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data = nullptr;
  size_t bytes = 0;
  Device device;
  const bool owned = true;  ///< by the device's allocator
  const uint64_t id;        ///< never used again in this process, unlike an address
  /// Counts Tensor::mutable_data; caches of transformed weights key on (id, version).
  std::atomic<uint64_t> version = 0;
};

struct TensorOptions {
  DType dtype = DType::f32;
  MemoryFormat format = MemoryFormat::plain;
  Device device = kCpu;
};

/// A handle: copies share memory, as in PyTorch. Operators in layers/ record history; the methods here (views, copies,
/// conversions) do not, so a view of a recorded tensor is a constant.
class Tensor {
 public:
  Tensor() = default;

  // -- making
  /// Memory that is not initialised.
  static Tensor empty(const Dims& shape, TensorOptions options = {});
  /// Of memory that somebody else owns, and keeps as long as a handle is used.
  static Tensor borrowed(void* memory, const Dims& shape, TensorOptions options);
  static Tensor zeros(const Dims& shape, TensorOptions options = {});
  static Tensor full(const Dims& shape, double value, TensorOptions options = {});
  /// Row-major values; throws Error when their number is not the shape's.
  template <class T>
  static Tensor from(std::span<const T> values, const Dims& shape);
  template <class T>
  static Tensor from(std::initializer_list<T> values, const Dims& shape) {
    return from(std::span<const T>(values.begin(), values.size()), shape);
  }

  // -- what it is
  explicit operator bool() const { return impl_ != nullptr; }
  const Dims& shape() const { return impl_->shape; }
  const Dims& strides() const { return impl_->strides; }
  int rank() const { return impl_->shape.rank(); }
  int64_t size(int axis) const { return impl_->shape[axis]; }
  int64_t numel() const { return impl_->shape.product(); }
  DType dtype() const { return impl_->dtype; }
  Device device() const { return impl_->storage->device; }
  TensorOptions options() const { return {dtype(), format(), device()}; }
  /// Dense in that format. Axes of length 1 fit either.
  bool is_contiguous(MemoryFormat format) const;
  /// channels_last when the tensor is dense in that format alone, or in both (one channel, or one position) with that
  /// one's strides; else plain.
  MemoryFormat format() const;
  /// Whether no other handle to it is left, and no view: its memory may then be written without anyone seeing it.
  bool is_sole_owner() const { return impl_.use_count() == 1 && impl_->storage.use_count() == 1; }
  bool shares_storage(const Tensor& o) const { return impl_->storage == o.impl_->storage; }
  const Storage& storage() const { return *impl_->storage; }
  /// Expired when no tensor is left of the storage.
  std::weak_ptr<const Storage> weak_storage() const { return impl_->storage; }

  // -- memory: reading and writing are told apart, so that a cache of what was made of a tensor (transformed weights)
  // knows when it is stale
  /// First element, to read.
  const void* raw() const { return address(); }
  /// The same; throws Error when T is not the tensor's type.
  template <class T>
  const T* data() const {
    expect_type<T>();
    return static_cast<const T*>(address());
  }
  /// First element, to write: a new version(). A pointer is for the writes at hand: a later one asks again.
  void* mutable_raw() const {
    impl_->storage->version.fetch_add(1, std::memory_order_relaxed);
    return address();
  }
  template <class T>
  T* mutable_data() const {
    expect_type<T>();
    return static_cast<T*>(mutable_raw());
  }
  /// Counts the accesses that may have written into the storage.
  uint64_t version() const { return impl_->storage->version.load(std::memory_order_relaxed); }

  // -- views: share memory
  Tensor slice(int axis, int64_t begin, int64_t length, int64_t step = 1) const;
  Tensor select(int axis, int64_t index) const;
  Tensor permute(std::initializer_list<int> axes) const;
  /// A view where strides allow it, else a plain copy.
  Tensor reshape(const Dims& shape) const;

  // -- copies
  /// Itself when it is dense in that format already.
  Tensor contiguous(MemoryFormat format) const;
  Tensor contiguous() const { return contiguous(format()); }
  /// Itself when the type is the same. Keeps the format.
  Tensor to(DType dtype) const;
  Tensor to(Device device) const;
  Tensor clone() const;
  /// Copies the values of a tensor of the same shape, any strides and type.
  void copy_from(const Tensor& src) const;
  void fill(double value) const;
  /// The one element, as f64.
  double item() const;
  /// Row-major values as f64 (small tensors, tests).
  std::vector<double> values() const;

  // -- autograd
  bool requires_grad() const { return impl_->requires_grad; }
  /// Marks a leaf: backward leaves its gradient in grad(). Floating types only.
  const Tensor& set_requires_grad(bool on = true) const;
  /// The gradient that backward left here, summed over calls; undefined before the first.
  const Tensor& grad() const;
  void set_grad(Tensor grad) const;

 private:
  friend class Tape;
  struct Impl;
  struct TapeLink {
    uint64_t tape = 0;
    int32_t value = -1;
  };
  struct Impl {
    std::shared_ptr<Storage> storage;
    Dims shape, strides;
    int64_t offset = 0;  // elements
    DType dtype = DType::f32;
    bool requires_grad = false;
    TapeLink link;
    std::shared_ptr<Tensor> grad;
  };
  explicit Tensor(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  static Tensor in(std::shared_ptr<Storage> storage, const Dims& shape, const TensorOptions& options);
  Tensor view(const Dims& shape, const Dims& strides, int64_t offset) const;
  void* address() const {
    return static_cast<char*>(impl_->storage->data) + impl_->offset * static_cast<int64_t>(size_of(impl_->dtype));
  }
  template <class T>
  void expect_type() const {
    if (DTypeOf<T>::value != dtype())
      throw Error("tensor: expected elements of {}, got {}", name_of(DTypeOf<T>::value), name_of(dtype()));
  }

  std::shared_ptr<Impl> impl_;
};

/// Throws Error naming `who` unless x has that shape.
void expect_shape(const char* who, const char* what, const Tensor& x, const Dims& shape);

}  // namespace tidepool
