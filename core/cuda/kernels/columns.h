// Two sums per channel over all that a channel has, in f64 and in an order that follows from the shape alone. Two
// launches: sums of chunks of rows, lanes along channels where memory is channels-last; then over the chunks.
#pragma once
#include "core/cuda/block.h"

namespace tidepool::cuda {

/// `outer` matrices of rows x channels; plain memory: channels of runs of `positions`.
struct Columns {
  uint32_t outer = 1, rows = 1, channels = 1, positions = 1;
  bool last = true, of_image = true;
  uint32_t chunk_rows = 1, chunks = 1;

  /// Of every image by itself; of the whole batch.
  static Columns of_images(const Tensor& x) { return Columns(Map(x), true); }
  static Columns of_batch(const Tensor& x) { return Columns(Map(x), false); }

  TP_HD uint32_t at(uint32_t o, uint32_t row, uint32_t channel) const {
    if (last) return (o * rows + row) * channels + channel;
    if (of_image) return (o * channels + channel) * positions + row;
    return (row / positions * channels + channel) * positions + row % positions;
  }
  TP_HD uint32_t chunk_begin(uint32_t chunk) const { return chunk * chunk_rows; }
  TP_HD uint32_t chunk_end(uint32_t chunk) const {
    return (chunk + 1) * chunk_rows < rows ? (chunk + 1) * chunk_rows : rows;
  }

 private:
  Columns(const Map& map, bool images)
      : outer(images ? map.images : 1),
        rows(images ? map.positions : map.images * map.positions),
        channels(map.channels),
        positions(map.positions),
        last(map.last),
        of_image(images) {
    // Some blocks for each of a GPU's multiprocessors, but chunks of at least 64 rows; 65535 is the most along y.
    constexpr uint32_t kBlocks = 1024, kRows = 64;
    const uint32_t tiles = outer * (last ? (channels + 31) / 32 : channels);
    const uint32_t wanted = tiles < kBlocks ? kBlocks / (tiles > 0 ? tiles : 1) : 1;
    chunk_rows = (rows + wanted - 1) / wanted;
    chunk_rows = chunk_rows < kRows ? kRows : chunk_rows;
    chunks = (rows + chunk_rows - 1) / chunk_rows;
  }
};

#if defined(TP_DEVICE_PASS)
inline constexpr unsigned kColumnLanes = 32, kColumnRows = 8;

// Images stand along x beside tiles of channels, as a grid has at most 65,535 blocks along y and z: block x is
// (outer, tile) in that order.

/// parts [outer][chunks][2][channels]; channels-last memory.
template <class F, int n>
__global__ void chunk_sums(Columns m, uint32_t tiles, F f, double* parts) {
  constexpr unsigned kWidth = kColumnLanes * n;
  TP_SHARED(double, sums, (2 * kColumnRows * kWidth));
  const uint32_t outer = blockIdx.x / tiles;
  const uint32_t first = (blockIdx.x - outer * tiles) * kWidth, mine = threadIdx.x * n, channel = first + mine;
  double a[n] = {}, b[n] = {};
  if (channel < m.channels)
    for (uint32_t row = m.chunk_begin(blockIdx.y) + threadIdx.y; row < m.chunk_end(blockIdx.y); row += kColumnRows)
      f(m.at(outer, row, channel), channel, a, b);
  TP_UNROLL
  for (int k = 0; k < n; ++k) {
    sums[threadIdx.y * kWidth + mine + static_cast<unsigned>(k)] = a[k];
    sums[(kColumnRows + threadIdx.y) * kWidth + mine + static_cast<unsigned>(k)] = b[k];
  }
  __syncthreads();
  for (unsigned i = threadIdx.y * kColumnLanes + threadIdx.x; i < 2 * kWidth; i += kColumnLanes * kColumnRows) {
    const unsigned which = i / kWidth, column = i % kWidth;
    double total = 0;
    for (unsigned y = 0; y < kColumnRows; ++y) total += sums[(which * kColumnRows + y) * kWidth + column];
    if (first + column < m.channels)
      parts[((size_t{outer} * m.chunks + blockIdx.y) * 2 + which) * m.channels + first + column] = total;
  }
}

/// The same of plain memory: a block takes a channel's chunk.
template <class F>
__global__ void chunk_sums_plain(Columns m, F f, double* parts) {
  TP_SHARED(double, first, 32);
  TP_SHARED(double, second, 32);
  double a[1] = {}, b[1] = {};
  const uint32_t outer = blockIdx.x / m.channels, channel = blockIdx.x - outer * m.channels;
  for (uint32_t row = m.chunk_begin(blockIdx.y) + threadIdx.x; row < m.chunk_end(blockIdx.y); row += blockDim.x)
    f(m.at(outer, row, channel), channel, a, b);
  const double sum = block_sum(a[0], first), other = block_sum(b[0], second);
  if (threadIdx.x > 0) return;
  double* const to = parts + (size_t{outer} * m.chunks + blockIdx.y) * 2 * m.channels + channel;
  to[0] = sum;
  to[m.channels] = other;
}

/// finish(outer, channel, sum, other sum) of parts [outer][chunks][2][channels].
template <class Finish>
__global__ void join_chunks(const double* parts, uint32_t chunks, uint32_t channels, uint32_t tiles, Finish finish) {
  TP_SHARED(double, sums, (2 * kColumnRows * kColumnLanes));
  const uint32_t outer = blockIdx.x / tiles;
  const uint32_t channel = (blockIdx.x - outer * tiles) * kColumnLanes + threadIdx.x;
  double a = 0, b = 0;
  if (channel < channels)
    for (uint32_t chunk = threadIdx.y; chunk < chunks; chunk += kColumnRows) {
      const double* const from = parts + (size_t{outer} * chunks + chunk) * 2 * channels + channel;
      a += from[0];
      b += from[channels];
    }
  sums[threadIdx.y * kColumnLanes + threadIdx.x] = a;
  sums[(kColumnRows + threadIdx.y) * kColumnLanes + threadIdx.x] = b;
  __syncthreads();
  if (threadIdx.y > 0 || channel >= channels) return;
  for (unsigned y = 1; y < kColumnRows; ++y) {
    a += sums[y * kColumnLanes + threadIdx.x];
    b += sums[(kColumnRows + y) * kColumnLanes + threadIdx.x];
  }
  finish(outer, channel, a, b);
}

template <class Finish>
void launch_join(const double* parts, uint32_t outer, uint32_t chunks, uint32_t channels, const Finish& finish) {
  const uint32_t tiles = (channels + kColumnLanes - 1) / kColumnLanes;
  launch(join_chunks<Finish>, Grid(dim3(narrow(int64_t{outer} * tiles)), dim3(kColumnLanes, kColumnRows)), parts,
         chunks, channels, tiles, finish);
}

/// f adds to two sums what n elements from `at` on give: f(at, channel, double (&)[n], double (&)[n]). `arrays`: of
/// elements of T, which it loads n at a time.
template <class T, class F, class Finish>
void sum_columns(const Columns& m, std::initializer_list<const void*> arrays, const F& f, const Finish& finish) {
  if (m.rows == 0 || m.outer == 0 || m.channels == 0) return;
  const Tensor parts =
      Tensor::empty({int64_t{m.outer} * m.chunks * 2 * m.channels}, {.dtype = DType::f64, .device = kCuda});
  double* const to = parts.mutable_data<double>();
  if (m.last)
    dispatch_pack<T>(m.channels, arrays, [&](auto n) {
      constexpr uint32_t kWidth = kColumnLanes * n;
      const uint32_t tiles = (m.channels + kWidth - 1) / kWidth;
      launch(chunk_sums<F, n>, Grid(dim3(narrow(int64_t{m.outer} * tiles), m.chunks), dim3(kColumnLanes, kColumnRows)),
             m, tiles, f, to);
    });
  else
    launch(chunk_sums_plain<F>, Grid(dim3(narrow(int64_t{m.outer} * m.channels), m.chunks), dim3(256)), m, f, to);
  launch_join(to, m.outer, m.chunks, m.channels, finish);
}
#endif

}  // namespace tidepool::cuda
