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

bool copy(const Tensor& from, const Tensor& to) {
  if (from.dtype() == to.dtype() && to.rank() > 2 && to.format() != from.format() && to.is_contiguous(to.format()) &&
      from.is_contiguous(from.format())) {
    const int64_t channels = to.size(1), positions = to.numel() / (to.size(0) * channels);
    const bool last = to.format() == MemoryFormat::channels_last;
    dispatch_any(to.dtype(), [&]<class T>(T) {
      copy_turned(to.size(0), last ? channels : positions, last ? positions : channels, to.mutable_data<T>(),
                  from.data<T>());
    });
    return true;
  }
  dispatch_any(to.dtype(), [&]<class To>(To) {
    dispatch_any(from.dtype(), [&]<class From>(From) {
      copy_strided<To, From>(to.shape(), to.mutable_data<To>(), to.strides(), from.data<From>(), from.strides());
    });
  });
  return true;
}

bool fill(const Tensor& to, double value) {
  dispatch_any(to.dtype(), [&]<class To>(To) {
    copy_strided<To, double>(to.shape(), to.mutable_data<To>(), to.strides(), &value, Dims::filled(to.rank(), 0));
  });
  return true;
}

bool read(const Tensor& from, double* out) {
  dispatch_any(from.dtype(), [&]<class From>(From) {
    copy_strided<double, From>(from.shape(), out, dense_strides(from.shape(), MemoryFormat::plain), from.data<From>(),
                               from.strides());
  });
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
