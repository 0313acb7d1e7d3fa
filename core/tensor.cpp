#include "core/tensor.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "core/allocator.h"
#include "core/parallel.h"
#include "core/transpose.h"

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
Storage::~Storage() {
  Allocator::of(device).release(data);
}

Tensor Tensor::empty(const Dims& shape, TensorOptions options) {
  int64_t count = 1;
  for (int64_t n : shape) {
    if (n < 0) throw Error("tensor: a length of {} in shape {}", n, shape.str());
    if (__builtin_mul_overflow(count, n, &count) || count > (int64_t{1} << 43))
      throw Error("tensor: shape {} is too large to hold", shape.str());
  }
  auto impl = std::make_shared<Impl>();
  impl->storage = std::make_shared<Storage>(static_cast<size_t>(count) * size_of(options.dtype), options.device);
  impl->shape = shape;
  impl->strides = dense_strides(shape, options.format);
  impl->dtype = options.dtype;
  return Tensor(std::move(impl));
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

namespace {

template <class To, class From>
To convert(From v) {
  if constexpr (std::is_same_v<To, From>)
    return v;
  else if constexpr (std::is_same_v<From, bf16>)
    return static_cast<To>(static_cast<float>(v));
  else if constexpr (std::is_same_v<To, bf16>)
    return bf16(static_cast<float>(v));
  else
    return static_cast<To>(v);
}

// Visits every element of two tensors of one shape, outer axes in parallel. Axes are taken in the destination's memory
// order, so that writes run through memory.
template <class To, class From>
void copy_strided(const Dims& shape, To* to, const Dims& to_strides, const From* from, const Dims& from_strides) {
  const int rank = shape.rank();
  std::array<int, Dims::kMaxRank> order{};
  for (int i = 0; i < rank; ++i) order[static_cast<size_t>(i)] = i;
  std::stable_sort(order.begin(), order.begin() + rank, [&](int a, int b) { return to_strides[a] > to_strides[b]; });
  const int inner = rank > 0 ? order[static_cast<size_t>(rank - 1)] : 0;
  const int64_t run = rank > 0 ? shape[inner] : 1;
  const int64_t to_step = rank > 0 ? to_strides[inner] : 1, from_step = rank > 0 ? from_strides[inner] : 1;
  const int64_t total = shape.product();
  if (total == 0) return;
  parallel_chunks(total / run, std::max<int64_t>(1, 16384 / run), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      int64_t rest = row, to_offset = 0, from_offset = 0;
      for (int i = rank - 2; i >= 0; --i) {
        const int axis = order[static_cast<size_t>(i)];
        to_offset += rest % shape[axis] * to_strides[axis];
        from_offset += rest % shape[axis] * from_strides[axis];
        rest /= shape[axis];
      }
      To* t = to + to_offset;
      const From* f = from + from_offset;
      if (to_step == 1 && from_step == 1)
        for (int64_t i = 0; i < run; ++i) t[i] = convert<To>(f[i]);
      else
        for (int64_t i = 0; i < run; ++i) t[i * to_step] = convert<To>(f[i * from_step]);
    }
  });
}

// Plain to channels-last or back: of each image a matrix, turned over square by square.
template <class T>
void copy_turned(int64_t images, int64_t rows, int64_t columns, T* to, const T* from) {
  using V = detail::WideOf<float>::type;
  constexpr int64_t kSide = kLanes<V>;
  const int64_t strips = (columns + kSide - 1) / kSide;
  parallel_chunks(images * strips, std::max<int64_t>(1, 16384 / (kSide * rows)), [&](int64_t begin, int64_t end) {
    for (int64_t strip = begin; strip < end; ++strip) {
      const int64_t image = strip / strips, first = strip % strips * kSide, last = std::min(columns, first + kSide);
      const T* const f = from + image * rows * columns;
      T* const t = to + image * rows * columns;
      int64_t row = 0;
      if constexpr (sizeof(T) == sizeof(float))
        for (; row + kSide <= rows && first + kSide <= columns; row += kSide) {
          V square[kSide];
          for (int64_t i = 0; i < kSide; ++i) std::memcpy(&square[i], f + (row + i) * columns + first, sizeof(V));
          transpose(square);
          for (int64_t i = 0; i < kSide; ++i) std::memcpy(t + (first + i) * rows + row, &square[i], sizeof(V));
        }
      for (; row < rows; row += kSide)
        for (int64_t column = first; column < last; ++column)
          for (int64_t i = row, stop = std::min(rows, row + kSide); i < stop; ++i)
            t[column * rows + i] = f[i * columns + column];
    }
  });
}

template <class F>
void dispatch_any(DType t, F&& f) {
  switch (t) {
    case DType::f32:
      return f(float{});
    case DType::f64:
      return f(double{});
    case DType::bf16:
      return f(bf16{});
    case DType::i64:
      return f(int64_t{});
    case DType::i32:
      return f(int32_t{});
    case DType::u8:
      return f(uint8_t{});
  }
}

}  // namespace

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
  if (device() != kCpu) throw Failure("copy between layouts or types on cuda is not supported");
  if (src.dtype() == dtype() && rank() > 2 && format() != src.format() && is_contiguous(format()) &&
      src.is_contiguous(src.format())) {
    const int64_t channels = size(1), positions = numel() / (size(0) * channels);
    const bool last = format() == MemoryFormat::channels_last;
    return dispatch_any(dtype(), [&]<class T>(T) {
      copy_turned(size(0), last ? channels : positions, last ? positions : channels, mutable_data<T>(), src.data<T>());
    });
  }
  dispatch_any(dtype(), [&]<class To>(To) {
    dispatch_any(src.dtype(), [&]<class From>(From) {
      copy_strided<To, From>(shape(), mutable_data<To>(), strides(), src.data<From>(), src.strides());
    });
  });
}

void Tensor::fill(double value) const {
  if (device() != kCpu) {
    const Tensor here = full(shape(), value, {dtype(), format(), kCpu});
    copy_from(here);
    return;
  }
  const double one = value;
  dispatch_any(dtype(), [&]<class To>(To) {
    copy_strided<To, double>(shape(), mutable_data<To>(), strides(), &one, Dims::filled(rank(), 0));
  });
}

double Tensor::item() const {
  if (numel() != 1) throw Error("item: expected one element, got the shape {}", shape().str());
  return values()[0];
}

std::vector<double> Tensor::values() const {
  std::vector<double> out(static_cast<size_t>(numel()));
  if (out.empty()) return out;
  const Tensor here = to(kCpu);
  dispatch_any(here.dtype(), [&]<class From>(From) {
    copy_strided<double, From>(shape(), out.data(), dense_strides(shape(), MemoryFormat::plain), here.data<From>(),
                               here.strides());
  });
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
