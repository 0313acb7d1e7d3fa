// Copies between layouts and types, fills, normals. Elements of any strides are addressed by their index in the shape;
// the one frequent change of layout, between plain and channels-last, is a transposition by tiles.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/cuda/block.h"
#include "core/cuda/host_copy.h"
#include "core/cuda/tables.h"
#include "core/philox.h"

namespace tidepool::cuda {
namespace {

constexpr int kRank = Dims::kMaxRank;

// The strides of two tensors of one shape, as kernels see them; axes that are one in both are joined.
struct Walk {
  uint32_t length[kRank];
  int64_t from[kRank], to[kRank];
  int rank = 0;

  Walk(const Dims& shape, const Dims& from_strides, const Dims& to_strides) {
    for (int axis = 0; axis < shape.rank(); ++axis) {
      if (shape[axis] == 1) continue;
      const int last = rank - 1;
      if (rank > 0 && from[last] == shape[axis] * from_strides[axis] && to[last] == shape[axis] * to_strides[axis]) {
        length[last] *= narrow(shape[axis]);
      } else {
        length[rank++] = narrow(shape[axis]);
      }
      from[rank - 1] = from_strides[axis];
      to[rank - 1] = to_strides[axis];
    }
  }
  bool dense() const { return rank == 0 || (rank == 1 && from[0] == 1 && to[0] == 1); }
  TP_HD void offsets(uint32_t i, int64_t& at_from, int64_t& at_to) const {
    at_from = at_to = 0;
    // Unrolled, axes are known to the compiler, and the strides stay in the kernel's arguments.
    TP_UNROLL
    for (int axis = kRank - 1; axis >= 0; --axis) {
      if (axis >= rank) continue;
      const uint32_t next = i / length[axis], here = i - next * length[axis];
      at_from += here * from[axis];
      at_to += here * to[axis];
      i = next;
    }
  }
};

template <class From, class To>
TP_HD TP_INLINE To converted(From v) {
  if constexpr (std::is_same_v<From, To>)
    return v;
  else if constexpr (std::is_same_v<To, bf16>)
    return bf16(static_cast<float>(value_of(v)));
  else
    return static_cast<To>(value_of(v));
}

template <class From, class To>
__global__ void strided_copy(const From* from, To* to, Walk walk, uint32_t count) {
  const uint32_t i = thread_index();
  if (i >= count) return;
  int64_t at_from, at_to;
  walk.offsets(i, at_from, at_to);
  to[at_to] = converted<From, To>(from[at_from]);
}

template <class From, class To, int n>
__global__ void dense_copy(const From* from, To* to, uint32_t packs) {
  const uint32_t i = thread_index();
  if (i >= packs) return;
  const Pack<From, n> in = reinterpret_cast<const Pack<From, n>*>(from)[i];
  Pack<To, n> out;
  TP_UNROLL
  for (int k = 0; k < n; ++k) out.v[k] = converted<From, To>(in.v[k]);
  reinterpret_cast<Pack<To, n>*>(to)[i] = out;
}

constexpr unsigned kTile = 32, kTileRows = 8;

// to [outer][columns][rows] of from [outer][rows][columns].
template <class T>
__global__ void transpose(const T* from, T* to, uint32_t rows, uint32_t columns) {
  TP_SHARED(T, tile, (kTile * (kTile + 1)));
  const size_t map = size_t{blockIdx.z} * rows * columns;
  const uint32_t row = blockIdx.y * kTile, column = blockIdx.x * kTile;
  for (uint32_t r = threadIdx.y; r < kTile; r += kTileRows)
    if (row + r < rows && column + threadIdx.x < columns)
      tile[r * (kTile + 1) + threadIdx.x] = from[map + size_t{row + r} * columns + column + threadIdx.x];
  __syncthreads();
  for (uint32_t c = threadIdx.y; c < kTile; c += kTileRows)
    if (column + c < columns && row + threadIdx.x < rows)
      to[map + size_t{column + c} * rows + row + threadIdx.x] = tile[threadIdx.x * (kTile + 1) + c];
}

// Whether the walk is a transposition of the last two axes: [outer, a, b] whose b is dense in `from` and a in `to`.
struct Transposition {
  int64_t outer = 1, rows = 0, columns = 0;
  explicit operator bool() const { return rows > 0; }

  explicit Transposition(const Walk& w) {
    if (w.rank < 2 || w.rank > 3) return;
    const int a = w.rank - 2, b = w.rank - 1;
    const int64_t n = w.length[a], m = w.length[b];
    const bool whole = w.rank == 2 || (w.from[0] == n * m && w.to[0] == n * m);
    if (!whole || w.from[b] != 1 || w.from[a] != m || w.to[a] != 1 || w.to[b] != n) return;
    outer = w.rank == 3 ? w.length[0] : 1;
    if (outer > 65535 || (n + kTile - 1) / kTile > 65535) return;
    rows = n;
    columns = m;
  }
};

template <class T>
struct IntegerOf {
  using type = T;
};
template <>
struct IntegerOf<float> {
  using type = int32_t;
};
template <>
struct IntegerOf<double> {
  using type = int64_t;
};

bool copy(const Tensor& from, const Tensor& to) {
  const Walk walk(to.shape(), from.strides(), to.strides());
  const int64_t count = to.numel();
  if (from.dtype() == to.dtype()) {
    const size_t size = size_of(to.dtype());
    if (walk.dense()) {
      device_memory::copy(to.mutable_raw(), to.device(), from.raw(), from.device(), static_cast<size_t>(count) * size);
      return true;
    }
    dispatch_any(to.dtype(), [&]<class T>(T) {
      using I = typename IntegerOf<T>::type;  // bits: half the kernels, and no number changes on the way
      const auto* in = static_cast<const I*>(from.raw());
      auto* out = static_cast<I*>(to.mutable_raw());
      if (const Transposition t(walk); t)
        launch(
            transpose<I>,
            Grid(dim3(narrow((t.columns + kTile - 1) / kTile), narrow((t.rows + kTile - 1) / kTile), narrow(t.outer)),
                 dim3(kTile, kTileRows)),
            in, out, narrow(t.rows), narrow(t.columns));
      else
        launch(strided_copy<I, I>, Grid::over(count), in, out, walk, narrow(count));
    });
    return true;
  }
  dispatch_any(from.dtype(), [&]<class From>(From) {
    dispatch_any(to.dtype(), [&]<class To>(To) {
      if constexpr (!std::is_same_v<From, To>) {
        const auto* in = static_cast<const From*>(from.raw());
        auto* out = static_cast<To*>(to.mutable_raw());
        constexpr int n = kPack<To> < kPack<From> ? kPack<To> : kPack<From>;
        const auto aligned = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
        if (walk.dense() && count % n == 0 && aligned(in) && aligned(out))
          launch(dense_copy<From, To, n>, Grid::over(count / n), in, out, narrow(count / n));
        else
          launch(strided_copy<From, To>, Grid::over(count), in, out, walk, narrow(count));
      }
    });
  });
  return true;
}

template <class T>
__global__ void fill_strided(T* to, T value, Walk walk, uint32_t count) {
  const uint32_t i = thread_index();
  if (i >= count) return;
  int64_t unused, at;
  walk.offsets(i, unused, at);
  to[at] = value;
}

bool fill(const Tensor& to, double value) {
  const Walk walk(to.shape(), to.strides(), to.strides());
  dispatch_any(to.dtype(), [&]<class T>(T) {
    T v;
    if constexpr (std::is_same_v<T, bf16>)
      v = bf16(static_cast<float>(value));
    else
      v = static_cast<T>(value);
    launch(fill_strided<T>, Grid::over(to.numel()), static_cast<T*>(to.mutable_raw()), v, walk, narrow(to.numel()));
  });
  return true;
}

bool read(const Tensor& from, double* out) {
  Tensor here;
  if (const void* const known = from.is_contiguous(from.format()) ? host_copy(from) : nullptr) {
    here = Tensor::empty(from.shape(), {.dtype = from.dtype(), .format = from.format()});
    std::memcpy(here.mutable_raw(), known, static_cast<size_t>(from.numel()) * size_of(from.dtype()));
  } else {
    here = from.to(kCpu);
  }
  read_elements(here, out);
  return true;
}

bool expect(std::span<const Tensor> tensors) {
  send_to_host(tensors);
  return true;
}

template <class T>
__global__ void normals(T* to, uint64_t seed, double deviation, uint32_t count) {
  const uint32_t i = thread_index();
  if (i >= count) return;
  // As Random::normal(), of the i-th block of words (Box & Muller 1958).
  const auto words = random_words(seed, 0, i);
  const auto uniform = [](uint32_t high, uint32_t low) {
    return static_cast<double>(uint64_t{high >> 5} * 67108864 + (low >> 6)) * 0x1p-53;
  };
  const double u = 1.0 - uniform(words[0], words[1]), v = uniform(words[2], words[3]);
  const double normal = sqrt(-2.0 * log(u)) * cos(6.283185307179586476925 * v);
  to[i] = rounded<T>(static_cast<float>(deviation * normal));
}

bool fill_normal(const Tensor& to, uint64_t seed, double deviation) {
  dispatch_floating(to.dtype(), "normal init", [&]<class T>(T) {
    launch(normals<T>, Grid::over(to.numel()), to.mutable_data<T>(), seed, deviation, narrow(to.numel()));
  });
  return true;
}

}  // namespace

const CopyTable kCopy{
    .name = "kernels", .copy = copy, .fill = fill, .read = read, .expect_read = expect, .fill_normal = fill_normal};

}  // namespace tidepool::cuda
