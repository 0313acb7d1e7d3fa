// Copies of any types and strides, turned over in registers between plain and channels-last; fills.
#include <algorithm>
#include <array>
#include <cstring>

#include "core/cpu/normals.h"
#include "core/cpu/tables.h"
#include "core/parallel.h"
#include "core/transpose.h"

namespace tidepool {
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

// Copies n elements, from_step and to_step elements apart.
using CopyRun = void (*)(int64_t n, void* to, int64_t to_step, const void* from, int64_t from_step);

template <class To, class From>
void copy_run(int64_t n, void* to, int64_t to_step, const void* from, int64_t from_step) {
  auto* const t = static_cast<To*>(to);
  const auto* const f = static_cast<const From*>(from);
  if (to_step == 1 && from_step == 1)
    for (int64_t i = 0; i < n; ++i) t[i] = convert<To>(f[i]);
  else
    for (int64_t i = 0; i < n; ++i) t[i * to_step] = convert<To>(f[i * from_step]);
}

// The elements of a tensor, or of a buffer.
template <class Pointer>
struct Elements {
  DType dtype;
  Pointer first;
  const Dims& strides;

  Pointer at(int64_t offset) const {
    using Byte = std::conditional_t<std::is_const_v<std::remove_pointer_t<Pointer>>, const std::byte, std::byte>;
    return static_cast<Byte*>(first) + offset * static_cast<int64_t>(size_of(dtype));
  }
};

// Visits every element of two tensors of one shape, outer axes in parallel. Axes are taken in the destination's memory
// order, so that writes run through memory.
void copy_strided(const Dims& shape, const Elements<void*>& to, const Elements<const void*>& from) {
  const int rank = shape.rank();
  std::array<int, Dims::kMaxRank> order{};
  for (int i = 0; i < rank; ++i) order[static_cast<size_t>(i)] = i;
  std::stable_sort(order.begin(), order.begin() + rank, [&](int a, int b) { return to.strides[a] > to.strides[b]; });
  const int inner = rank > 0 ? order[static_cast<size_t>(rank - 1)] : 0;
  const int64_t run = rank > 0 ? shape[inner] : 1;
  const int64_t to_step = rank > 0 ? to.strides[inner] : 1, from_step = rank > 0 ? from.strides[inner] : 1;
  const int64_t total = shape.product();
  if (total == 0) return;
  const CopyRun copy = dispatch_any(to.dtype, [&]<class To>(To) {
    return dispatch_any(from.dtype, []<class From>(From) -> CopyRun { return copy_run<To, From>; });
  });
  parallel_chunks(total / run, std::max<int64_t>(1, 16384 / run), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      int64_t rest = row, to_offset = 0, from_offset = 0;
      for (int i = rank - 2; i >= 0; --i) {
        const int axis = order[static_cast<size_t>(i)];
        to_offset += rest % shape[axis] * to.strides[axis];
        from_offset += rest % shape[axis] * from.strides[axis];
        rest /= shape[axis];
      }
      copy(run, to.at(to_offset), to_step, from.at(from_offset), from_step);
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

bool copy(const Tensor& from, const Tensor& to) {
  if (from.dtype() == to.dtype() && to.rank() > 2 && to.format() != from.format() && to.is_contiguous(to.format()) &&
      from.is_contiguous(from.format())) {
    const int64_t channels = to.size(1), positions = to.numel() / (to.size(0) * channels);
    const bool last = to.format() == MemoryFormat::channels_last;
    const int64_t rows = last ? channels : positions, columns = last ? positions : channels;
    const auto turn = [&]<class Bits>(Bits) {
      copy_turned(to.size(0), rows, columns, static_cast<Bits*>(to.mutable_raw()),
                  static_cast<const Bits*>(from.raw()));
    };
    switch (size_of(to.dtype())) {
      case 8:
        turn(uint64_t{});
        return true;
      case 4:
        turn(uint32_t{});
        return true;
      case 2:
        turn(uint16_t{});
        return true;
      default:
        turn(uint8_t{});
        return true;
    }
  }
  copy_strided(to.shape(), {to.dtype(), to.mutable_raw(), to.strides()}, {from.dtype(), from.raw(), from.strides()});
  return true;
}

bool fill(const Tensor& to, double value) {
  const Dims nowhere = Dims::filled(to.rank(), 0);
  copy_strided(to.shape(), {to.dtype(), to.mutable_raw(), to.strides()}, {DType::f64, &value, nowhere});
  return true;
}

bool read(const Tensor& from, double* out) {
  const Dims dense = dense_strides(from.shape(), MemoryFormat::plain);
  copy_strided(from.shape(), {DType::f64, out, dense}, {from.dtype(), from.raw(), from.strides()});
  return true;
}

bool fill_normals(const Tensor& to, uint64_t seed, double deviation) {
  dispatch_floating(to.dtype(), "init", [&]<class T>(T) {
    T* const values = to.mutable_data<T>();
    constexpr int64_t kGrain = 4096;
    parallel_chunks(to.numel(), kGrain, [&](int64_t begin, int64_t end) {
      std::array<float, kGrain> drawn;
      const std::span<float> chunk(drawn.data(), static_cast<size_t>(end - begin));
      draw_normals(seed, 0, static_cast<uint64_t>(begin), deviation, chunk);
      std::ranges::transform(chunk, values + begin, [](float v) { return static_cast<T>(v); });
    });
  });
  return true;
}

}  // namespace

const CopyTable cpu::kCopy{.name = "vector loops",
                           .copy = copy,
                           .fill = fill,
                           .read = read,
                           .expect_read = nullptr,
                           .fill_normal = fill_normals};

}  // namespace tidepool
