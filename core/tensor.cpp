#include "core/tensor.h"

#include <atomic>
#include <cstring>

#include "core/allocator.h"
#include "core/backend/copy.h"

namespace tidepool {

std::string Dims::str() const {
  return rank_ == 0 ? "scalar" : fmt::format("{}", fmt::join(begin(), end(), "x"));
}

Dims dense_strides(const Dims& shape, MemoryFormat format) {
  const int rank = shape.rank();
  Dims strides = Dims::filled(rank, 1);
  int64_t next = 1;
  if (format == MemoryFormat::channels_last && rank >= 3) {
    strides[1] = 1;
    next = shape[1];
    for (int i = rank - 1; i >= 2; --i) {
      strides[i] = next;
      next *= shape[i];
    }
    strides[0] = next;
    return strides;
  }
  for (int i = rank - 1; i >= 0; --i) {
    strides[i] = next;
    next *= shape[i];
  }
  return strides;
}

namespace {
uint64_t next_storage_id() {
  static std::atomic<uint64_t> next{1};
  return next++;
}
}  // namespace

Storage::Storage(size_t n, Device d) : data(Allocator::of(d).allocate(n)), bytes(n), device(d), id(next_storage_id()) {}
Storage::Storage(void* borrowed, size_t n, Device d)
    : data(borrowed), bytes(n), device(d), owned(false), id(next_storage_id()) {}
Storage::~Storage() {
  if (owned) Allocator::of(device).release(data);
}

namespace {

size_t bytes_of(const Dims& shape, DType dtype) {
  int64_t count = 1;
  for (int64_t n : shape) {
    if (n < 0) throw Error("tensor: a length of {} in shape {}", n, shape.str());
    if (__builtin_mul_overflow(count, n, &count) || count > (int64_t{1} << 43))
      throw Error("tensor: shape {} is too large to hold", shape.str());
  }
  return static_cast<size_t>(count) * size_of(dtype);
}

}  // namespace

Tensor Tensor::in(std::shared_ptr<Storage> storage, const Dims& shape, const TensorOptions& options) {
  auto impl = std::make_shared<Impl>();
  impl->storage = std::move(storage);
  impl->shape = shape;
  impl->strides = dense_strides(shape, options.format);
  impl->dtype = options.dtype;
  return Tensor(std::move(impl));
}

Tensor Tensor::empty(const Dims& shape, TensorOptions options) {
  return in(std::make_shared<Storage>(bytes_of(shape, options.dtype), options.device), shape, options);
}

Tensor Tensor::borrowed(void* memory, const Dims& shape, TensorOptions options) {
  return in(std::make_shared<Storage>(memory, bytes_of(shape, options.dtype), options.device), shape, options);
}

Tensor Tensor::zeros(const Dims& shape, TensorOptions options) {
  return full(shape, 0.0, options);
}

Tensor Tensor::full(const Dims& shape, double value, TensorOptions options) {
  Tensor t = empty(shape, options);
  t.fill(value);
  return t;
}

template <class T>
Tensor Tensor::from(std::span<const T> values, const Dims& shape) {
  if (static_cast<int64_t>(values.size()) != shape.product())
    throw Error("tensor: shape {} wants {} values, got {}", shape.str(), shape.product(), values.size());
  Tensor t = empty(shape, {.dtype = DTypeOf<T>::value});
  if (!values.empty()) std::memcpy(t.mutable_raw(), values.data(), values.size_bytes());
  return t;
}
template Tensor Tensor::from(std::span<const float>, const Dims&);
template Tensor Tensor::from(std::span<const double>, const Dims&);
template Tensor Tensor::from(std::span<const int64_t>, const Dims&);
template Tensor Tensor::from(std::span<const int32_t>, const Dims&);
template Tensor Tensor::from(std::span<const uint8_t>, const Dims&);

bool Tensor::is_contiguous(MemoryFormat format) const {
  const Dims dense = dense_strides(shape(), format);
  if (numel() == 0) return true;
  for (int i = 0; i < rank(); ++i)
    if (size(i) != 1 && strides()[i] != dense[i]) return false;
  return true;
}

MemoryFormat Tensor::format() const {
  // A tensor that is dense both ways (one channel, or one position) says what its strides were made for.
  const bool last = is_contiguous(MemoryFormat::channels_last);
  if (!last) return MemoryFormat::plain;
  if (!is_contiguous(MemoryFormat::plain)) return MemoryFormat::channels_last;
  return rank() >= 3 && strides() == dense_strides(shape(), MemoryFormat::channels_last) &&
                 !(strides() == dense_strides(shape(), MemoryFormat::plain))
             ? MemoryFormat::channels_last
             : MemoryFormat::plain;
}

Tensor Tensor::view(const Dims& shape, const Dims& strides, int64_t offset) const {
  auto impl = std::make_shared<Impl>();
  impl->storage = impl_->storage;
  impl->shape = shape;
  impl->strides = strides;
  impl->offset = offset;
  impl->dtype = impl_->dtype;
  return Tensor(std::move(impl));
}

Tensor Tensor::slice(int axis, int64_t begin, int64_t length, int64_t step) const {
  if (axis < 0 || axis >= rank() || begin < 0 || length < 0 || step < 1 ||
      (length > 0 && begin + (length - 1) * step >= size(axis)))
    throw Error("slice: [{}, +{} by {}) on axis {} does not fit the shape {}", begin, length, step, axis,
                shape().str());
  Dims n = shape(), s = strides();
  n[axis] = length;
  s[axis] *= step;
  return view(n, s, impl_->offset + begin * strides()[axis]);
}

Tensor Tensor::select(int axis, int64_t index) const {
  const Tensor one = slice(axis, index, 1);
  std::vector<int64_t> n, s;
  for (int i = 0; i < rank(); ++i) {
    if (i == axis) continue;
    n.push_back(size(i));
    s.push_back(strides()[i]);
  }
  return view(Dims(n), Dims(s), one.impl_->offset);
}

Tensor Tensor::permute(std::initializer_list<int> axes) const {
  if (static_cast<int>(axes.size()) != rank())
    throw Error("permute: {} axes for the shape {}", axes.size(), shape().str());
  Dims n = shape(), s = strides();
  int to = 0;
  unsigned seen = 0;
  for (int from : axes) {
    if (from < 0 || from >= rank() || (seen >> from & 1u))
      throw Error("permute: axis {} is out of range or named twice, shape {}", from, shape().str());
    seen |= 1u << from;
    n[to] = size(from);
    s[to++] = strides()[from];
  }
  return view(n, s, impl_->offset);
}

Tensor Tensor::reshape(const Dims& shape_) const {
  if (shape_.product() != numel()) throw Error("reshape: {} to {}", shape().str(), shape_.str());
  const Tensor dense = contiguous(MemoryFormat::plain);
  return dense.view(shape_, dense_strides(shape_, MemoryFormat::plain), dense.impl_->offset);
}

Tensor Tensor::contiguous(MemoryFormat format) const {
  if (is_contiguous(format)) {
    if (strides() == dense_strides(shape(), format)) return *this;
    Tensor same = view(shape(), dense_strides(shape(), format), impl_->offset);  // axes of length 1: strides only
    return same;
  }
  Tensor copy = empty(shape(), {dtype(), format, device()});
  copy.copy_from(*this);
  return copy;
}

Tensor Tensor::to(DType dtype_) const {
  if (dtype_ == dtype()) return *this;
  Tensor copy = empty(shape(), {dtype_, format(), device()});
  copy.copy_from(*this);
  return copy;
}

Tensor Tensor::to(Device device_) const {
  if (device_ == device()) return *this;
  const Tensor dense = contiguous();
  Tensor copy = empty(shape(), {dtype(), dense.format(), device_});
  device_memory::copy(copy.mutable_raw(), device_, dense.raw(), device(),
                      static_cast<size_t>(numel()) * size_of(dtype()));
  return copy;
}

Tensor Tensor::clone() const {
  Tensor copy = empty(shape(), options());
  copy.copy_from(*this);
  return copy;
}

void Tensor::copy_from(const Tensor& src) const {
  if (src.shape() != shape()) throw Error("copy: expected the shape {}, got {}", shape().str(), src.shape().str());
  if (numel() == 0) return;
  if (device() != src.device()) {
    const Tensor here = src.to(dtype()).contiguous(format()).to(device());
    if (!is_contiguous(format())) throw Error("copy: a strided view cannot be filled from another device");
    device_memory::copy(mutable_raw(), device(), here.raw(), device(), static_cast<size_t>(numel()) * size_of(dtype()));
    return;
  }
  if (src.dtype() == dtype() && src.strides() == strides() && is_contiguous(format()) && numel() < 4096) {
    device_memory::copy(mutable_raw(), device(), src.raw(), device(), static_cast<size_t>(numel()) * size_of(dtype()));
    return;
  }
  copy_elements(src, *this);
}

void Tensor::fill(double value) const {
  if (numel() > 0) fill_elements(*this, value);
}

double Tensor::item() const {
  if (numel() != 1) throw Error("item: expected one element, got the shape {}", shape().str());
  return values()[0];
}

std::vector<double> Tensor::values() const {
  std::vector<double> out(static_cast<size_t>(numel()));
  if (out.empty()) return out;
  read_elements(*this, out.data());
  return out;
}

const Tensor& Tensor::set_requires_grad(bool on) const {
  if (on && !is_floating(dtype()))
    throw Error("tensor: only floating tensors have gradients, got {}", name_of(dtype()));
  impl_->requires_grad = on;
  return *this;
}

const Tensor& Tensor::grad() const {
  static const Tensor none;
  return impl_->grad ? *impl_->grad : none;
}

void Tensor::set_grad(Tensor grad) const {
  if (!grad)
    impl_->grad.reset();
  else
    impl_->grad = std::make_shared<Tensor>(std::move(grad));
}

void expect_shape(const char* who, const char* what, const Tensor& x, const Dims& shape) {
  if (x.shape() != shape)
    throw Error("[{}] {}: expected the shape {}, got {}", who, what, shape.str(), x.shape().str());
}

}  // namespace tidepool
