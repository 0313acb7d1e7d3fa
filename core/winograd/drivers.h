// Whole convolutions of tiles: who transforms what, and when, in one of two ways. `Narrow` layers carry a small block
// of tiles, which stays in a core's cache, from the input to the output; layers that are wide beside their map
// transform all tiles first and divide the products by panels of channels. The chunks, and with them every order of
// summation, depend on the shapes alone and not on the number of threads. Results are set, not added.
#pragma once
#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <type_traits>
#include <utility>

#include "core/winograd/convolve.h"
#include "core/winograd/product.h"
#include "core/winograd/tiling.h"
#include "core/winograd/weights.h"

namespace tidepool::winograd {

/// A convolution, 3x3, stride 1: x [images, height, width, inputs], y [images, height + 2 pad_h - 2, ..., outputs],
/// w [outputs, inputs, 3, 3]. Paddings are 0 to 2.
struct Problem {
  int64_t images, inputs, outputs, height, width, pad_h = 1, pad_w = 1;

  int64_t out_height() const { return height + 2 * pad_h - 2; }
  int64_t out_width() const { return width + 2 * pad_w - 2; }
};

/// Flushes denormal numbers to 0 on this thread while it lives: they cost a hundred times a normal one.
class FlushDenormals {
 public:
#if defined(__SSE2__)
  FlushDenormals() : before_(_mm_getcsr()) {
    _mm_setcsr(before_ | 0x8040u);
  }
  ~FlushDenormals() {
    _mm_setcsr(before_);
  }
#else
  FlushDenormals() {}
#endif
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
#if defined(__SSE2__)
  unsigned before_;
#endif
};

/// Divides n into chunks of about `target`: 1, 2, 4 or a multiple of 8 of them, so that 2, 4 or 8 threads get equal
/// shares.
inline int64_t chunk_of(int64_t n, int64_t target) {
  int64_t chunks = (n + target - 1) / target;
  chunks = chunks > 4 ? (chunks + 7) / 8 * 8 : chunks == 3 ? 4 : chunks;
  return (n + chunks - 1) / chunks;
}

/// The height of the register blocks that `rows` rows are divided into evenly.
template <class V>
int64_t row_block(int64_t rows) {
  const int64_t blocks = (rows + kRows<V> - 1) / kRows<V>;
  return (rows + blocks - 1) / blocks;
}

/// This thread's share of `count`, in a parallel region: [first, second), neighbours.
inline std::pair<int64_t, int64_t> own_share(int64_t count) {
  const int64_t self = omp_get_thread_num(), threads = omp_get_num_threads();
  return {count * self / threads, count * (self + 1) / threads};
}

/// One convolution as the drivers see it, in either direction.
struct FilterProblem {
  Direction direction;
  int64_t images, in_height, in_width, depth, out_height, out_width, results, pad_h, pad_w;

  static FilterProblem of(Direction d, const Problem& p) {
    if (d == Direction::forward)
      return {d, p.images, p.height, p.width, p.inputs, p.out_height(), p.out_width(), p.outputs, p.pad_h, p.pad_w};
    return {d,        p.images, p.out_height(), p.out_width(), p.outputs,
            p.height, p.width,  p.inputs,       2 - p.pad_h,   2 - p.pad_w};
  }
};

/// Scratch memory of `count` floats.
inline Tensor room(int64_t count) {
  return Tensor::empty({count});
}

/// Calls f.operator()<columns>() with the vectors that panel n of `results` channels has.
template <class V, class F>
TP_INLINE void with_columns(int64_t results, int64_t n, const F& f) {
  if (results - n * kColumns * kLanes < V >> kLanes<V>)
    f.template operator()<kColumns>();
  else
    f.template operator()<1>();
}

/// The moments of one chunk of tiles: mean and sum of squares about it by channel, [2, results], and how many values
/// they are of. None when nobody asked.
struct ChunkMoments {
  double *parts = nullptr, *count = nullptr;
};

/// Pixels that tiles [begin, end) have inside the map.
inline int64_t pixels_of(const Tiles& tiles, int64_t begin, int64_t end) {
  int64_t sum = 0;
  TileCursor at(tiles, begin);
  for (int64_t t = begin; t < end; ++t, at.next(tiles))
    sum += std::min(tiles.height, tiles.map_height - at.top(tiles)) *
           std::min(tiles.width, tiles.map_width - at.left(tiles));
  return sum;
}

/// Transformed weights of every panel, the panels `step` floats apart.
template <class F, class V>
struct Panels {
  static constexpr int64_t kWidth = kColumns * kLanes<V>;
  int64_t depth, results, count, point_step, step;

  Panels(int64_t depth_, int64_t results_)
      : depth(depth_),
        results(results_),
        count((results + kWidth - 1) / kWidth),
        point_step(depth * kWidth + 16),  // 16: points must not all fall into the same sets of a cache
        step(F::kPoints * point_step) {}

  /// Reduced channels [begin, end) of panel n.
  void transform(const FilterProblem& problem, const Tiles& tiles, const float* w, int64_t n, int64_t begin,
                 int64_t end, float* u) const {
    const bool forward = problem.direction == Direction::forward;
    const int64_t outputs = forward ? results : depth, inputs = forward ? depth : results;
    with_columns<V>(results, n, [&]<int columns>() {
      transform_panel<F, columns, V>(problem.direction, is_turned<F>(tiles), w, outputs, inputs, n * kWidth, begin, end,
                                     u, point_step);
    });
  }
  /// All panels, by the threads of the parallel region that this is called in. They meet at its end.
  void transform_all(const FilterProblem& problem, const Tiles& tiles, const float* w, float* u) const {
#pragma omp for collapse(2) schedule(static)
    for (int64_t n = 0; n < count; ++n)
      for (int64_t k = 0; k < depth; k += kLanes<V>)
        transform(problem, tiles, w, n, k, std::min<int64_t>(k + kLanes<V>, depth), u + n * step);
  }
  /// All panels of w, when they are kept.
  Tensor kept(const FilterProblem& problem, const Tiles& tiles, const Tensor& w) const {
    if constexpr (F::kPoints > kKeptPoints) return {};
    const PanelLayout layout{problem.direction, tiles.down, tiles.across, w.size(0), w.size(1), kLanes<V>};
    return transformed_weights().get(w, layout, [&](Tensor& to) {
      to = room(count * step);
      const float* from = w.data<float>();
      float* const u = to.data<float>();
#pragma omp parallel
      {
        const FlushDenormals flush;
        transform_all(problem, tiles, from, u);
      }
    });
  }
  /// Rows [0, rows) of `v` times panel u -> c. `soon`: none where the rows of `v` lie too far off to be waited for.
  void multiply(int64_t n, int64_t rows, const Block& v, const float* u, PrefetchQueue* soon, float* c,
                int64_t c_column, int64_t c_point) const {
    with_columns<V>(results, n, [&]<int columns>() {
      for (int p = 0; p < F::kPoints; ++p) {
        const float *const rows_here = v.data + p * v.step, *const next = v.data + (p + 1) % F::kPoints * v.step;
        multiply_rows<V, columns>(rows, v.block, rows_here, depth, next, u + p * point_step, point_step, soon,
                                  c + p * c_point, c_column);
      }
    });
  }
  template <class T>
  void store(int64_t n, const float* c, int64_t c_column, int64_t c_point, const Tiles& tiles, int64_t begin,
             int64_t end, const Target<T>& to, bool stream, const ChunkMoments& moments) const {
    with_columns<V>(results, n, [&]<int columns>() {
      Gathered<V> gathered[columns];
      Gathered<V>* const wanted = moments.parts ? gathered : nullptr;
      const auto write = [&]<bool kStream>() {
        store_tiles<F, kStream, columns, V>(c, c_column, c_point, tiles, begin, end, n * kWidth, to, wanted);
      };
      if constexpr (std::is_same_v<T, float>)
        stream ? write.template operator()<true>() : write.template operator()<false>();
      else
        write.template operator()<false>();
      if (!wanted) return;
      for (int j = 0; j < columns; ++j) {
        const int64_t first = n * kWidth + j * kLanes<V>, lanes = std::min<int64_t>(kLanes<V>, results - first);
        gathered[j].finish(*moments.count, lanes, moments.parts + first, moments.parts + results + first);
      }
    });
  }
};

/// Sizes of the blocks; measured on Sapphire Rapids (2 MiB of L2 cache a core).
struct FilterPlan {
  bool wide = false;
  int64_t group = 0;  ///< tiles that are transformed together
  int64_t chunk = 0;  ///< tiles of which the products are formed together; narrow: the group

  int64_t chunks(const Tiles& tiles) const { return (tiles.count() + chunk - 1) / chunk; }

  template <class V>
  static FilterPlan of(const FilterProblem& problem, int64_t tiles) {
    const int64_t panels = (problem.results + kColumns * kLanes<V> - 1) / (kColumns * kLanes<V>);
    // Of deep layers not even a small block of tiles stays in the cache.
    if (tiles <= (problem.depth > 256 ? 256 : 64) && panels >= 4) {
      const int64_t chunk = chunk_of(tiles, 64);
      return {true, tiles, (chunk + row_block<V>(chunk) - 1) / row_block<V>(chunk) * row_block<V>(chunk)};
    }
    const int64_t chunk = chunk_of(tiles, problem.depth >= 256 ? 56 : tiles >= 512 ? 42 : 28);
    return {false, chunk, chunk};
  }
};

/// The results of tiles. `moments`: none, or where the first chunk's go.
template <class F, class V, class Source, class T>
void filter_tiles(const FilterProblem& problem, const Tiles& tiles, const FilterPlan& plan, const Source& source,
                  const Tensor& weights, const Target<T>& target, const ChunkMoments& moments) {
  const Panels<F, V> panels(problem.depth, problem.results);
  const bool stream = streams<V>(target.data, problem.images * problem.out_height * problem.out_width * problem.results,
                                 problem.results);
  const int threads = omp_get_max_threads();
  const auto moments_at = [&](int64_t begin) -> ChunkMoments {
    if (!moments.parts) return {};
    const int64_t chunk = begin / plan.chunk;
    return {moments.parts + chunk * 2 * problem.results, moments.count + chunk};
  };

  const int64_t block = row_block<V>(plan.chunk);
  const int64_t deep = (problem.depth + kLanes<V> - 1) / kLanes<V> * kLanes<V>;
  const int64_t v_step = (plan.group + block - 1) / block * block * deep + 16;
  const int64_t c_column = plan.chunk * kLanes<V>, c_point = kColumns * c_column + 16;
  const int64_t c_size = F::kPoints * c_point, v_size = F::kPoints * v_step;
  const Tensor products = room(threads * c_size), points = room(plan.wide ? v_size : threads * v_size);
  const Tensor kept = panels.kept(problem, tiles, weights);
  const Tensor made = kept ? kept : room((plan.wide ? threads : panels.count) * panels.step);
  const float* const w = weights.data<float>();
  float *const all_c = products.data<float>(), *const all_v = points.data<float>(), *const u = made.data<float>();

  const auto transform = [&](int64_t begin, int64_t end, int64_t row, const Block& v) {
    transform_tiles<F, false, V>(source, tiles, problem.in_height, problem.in_width, problem.pad_h, problem.pad_w,
                                 begin, end, row, v);
  };
  const auto end_of = [&](int64_t begin) { return std::min(begin + plan.chunk, tiles.count()); };
#pragma omp parallel num_threads(threads)
  {
    const FlushDenormals flush;
    const int64_t self = omp_get_thread_num();
    float* const c = all_c + self * c_size;
    if (plan.wide) {
      const Block v{all_v, block, v_step};
      constexpr int64_t kRun = 8;
#pragma omp for schedule(static)
      for (int64_t t = 0; t < tiles.count(); t += kRun) transform(t, std::min(t + kRun, tiles.count()), t, v);
#pragma omp for schedule(static)
      for (int64_t n = 0; n < panels.count; ++n) {
        float* const own = u + (kept ? n : self) * panels.step;
        if (!kept)
          panels.transform(problem, tiles, w, n, 0, problem.depth, own);  // used here and now, while it is in cache
        for (int64_t begin = 0; begin < tiles.count(); begin += plan.chunk) {
          const int64_t end = end_of(begin);
          panels.multiply(n, end - begin, {all_v + begin * deep, block, v_step}, own, nullptr, c, c_column, c_point);
          panels.store(n, c, c_column, c_point, tiles, begin, end, target, stream, moments_at(begin));
        }
      }
    } else {
      const Block v{all_v + self * v_size, block, v_step};
      if (!kept) panels.transform_all(problem, tiles, w, u);
      const auto [first, last] = own_share(plan.chunks(tiles));
      for (int64_t chunk = first; chunk < last; ++chunk) {
        const int64_t begin = chunk * plan.chunk, end = end_of(begin);
        transform(begin, end, 0, v);
        PrefetchQueue soon;
        if (!stream) add_tiles(soon, target, tiles, begin, end, problem.out_height, problem.out_width, 0);
        if (chunk + 1 < last)
          add_tiles(soon, source, tiles, end, end_of(end), problem.in_height, problem.in_width, 2 - problem.pad_h);
        for (int64_t n = 0; n < panels.count; ++n) {
          panels.multiply(n, end - begin, v, u + n * panels.step, &soon, c, c_column, c_point);
          panels.store(n, c, c_column, c_point, tiles, begin, end, target, stream, moments_at(begin));
        }
      }
    }
    if (stream) finish_streams();
  }
}

/// y of x (forward), or dx of dy (backward_data: w turned and transposed), by tiles_of(m). `moments`: made and filled
/// when given.
template <class V, class Source, class T>
void filter(int m, const FilterProblem& problem, const Source& source, const Tensor& w, const Target<T>& target,
            ResultMoments* moments = nullptr) {
  const Tiles tiles = tiles_of(m, problem.images, problem.out_height, problem.out_width, problem.pad_h, problem.pad_w);
  const FilterPlan plan = tiles.count() > 0 ? FilterPlan::of<V>(problem, tiles.count()) : FilterPlan{};
  ChunkMoments first;
  if (moments) {
    const int64_t chunks = tiles.count() > 0 ? plan.chunks(tiles) : 0;
    moments->parts = Tensor::empty({chunks, 2, problem.results}, {.dtype = DType::f64});
    moments->counts = Tensor::empty({chunks}, {.dtype = DType::f64});
    first = {moments->parts.template data<double>(), moments->counts.template data<double>()};
    for (int64_t i = 0; i < chunks; ++i)
      first.count[i] =
          static_cast<double>(pixels_of(tiles, i * plan.chunk, std::min((i + 1) * plan.chunk, tiles.count())));
  }
  if (tiles.count() == 0) return;
  with_filtering(tiles, [&]<class F> { filter_tiles<F, V>(problem, tiles, plan, source, w, target, first); });
}

/// Sizes of the weight gradient's blocks.
struct GradientPlan {
  bool wide;
  int64_t parts;  ///< narrow: sums that are kept apart and added in order at the end
  int64_t chunk;  ///< tiles that are transformed together

  static GradientPlan of(const Problem& p, int64_t tiles) {
    if (tiles > 256 && p.inputs * p.outputs <= 128 * 128) return {false, std::min<int64_t>(8, (tiles + 255) / 256), 56};
    return {true, 1, std::min<int64_t>(tiles, 128)};
  }
};

/// Of 4, 2 and 1, how many of `n` make a unit so that `threads` get equal shares, or as nearly as it goes.
inline int64_t unit_of(int64_t n, int64_t threads) {
  for (const int64_t unit : {4, 2})
    if (n % (unit * threads) == 0) return unit;
  return n >= 16 * threads ? 4 : 1;
}

/// A map as the weight gradient sees it.
struct TiledMap {
  /// Transforms tiles [begin, end) to rows of a block from `row` on.
  std::function<void(int64_t begin, int64_t end, int64_t row, const Block& to)> transform;
  /// Adds what they read.
  std::function<void(PrefetchQueue& soon, int64_t begin, int64_t end)> add;
};

/// A map of [images, height, width], transformed as transform_tiles() does. `source` and `tiles` must outlive it.
template <class F, bool kGradient, class V, class Source>
TiledMap tiled_map(const Source& source, const Tiles& tiles, int64_t height, int64_t width, int64_t pad_h,
                   int64_t pad_w) {
  return {[=, &source, &tiles](int64_t begin, int64_t end, int64_t row, const Block& to) {
            transform_tiles<F, kGradient, V>(source, tiles, height, width, pad_h, pad_w, begin, end, row, to);
          },
          [=, &source, &tiles](PrefetchQueue& soon, int64_t begin, int64_t end) {
            add_tiles(soon, source, tiles, begin, end, height, width, kGradient ? 0 : 2 - pad_h);
          }};
}

/// dw of the tiles of y.
template <class F, class V>
void weight_gradient_of(const Problem& p, const Tiles& tiles, const TiledMap& x, const TiledMap& dy, float* dw) {
  constexpr int n = kLanes<V>;
  constexpr int64_t kPanel = kColumns * n, kCell = n * kPanel;  // a cell: L input x kPanel output channels
  const GradientPlan plan = GradientPlan::of(p, tiles.count());
  const int64_t in_blocks = (p.inputs + n - 1) / n, out_blocks = (p.outputs + n - 1) / n,
                out_panels = (p.outputs + kPanel - 1) / kPanel;
  const int threads = omp_get_max_threads();
  const int64_t x_step = in_blocks * plan.chunk * n + 16, dy_step = out_blocks * plan.chunk * n + 16;
  const int64_t room_size = F::kPoints * (x_step + dy_step);

  const auto transform_x = [&](int64_t begin, int64_t end, int64_t row, float* to) {
    x.transform(begin, end, row, Block{to, plan.chunk, x_step});
  };
  const auto transform_dy = [&](int64_t begin, int64_t end, int64_t row, float* to) {
    dy.transform(begin, end, row, Block{to, plan.chunk, dy_step});
  };
  // The products of one point and one cell, over the `count` tiles that are transformed. Narrow layers have them in the
  // core's own cache. lines_for(d): what is brought nearer while the sums at d are formed.
  const auto add_cell = [&](const float* vx, const float* vdy, int64_t in, int64_t panel, int64_t count,
                            const auto& lines_for, float* d, bool first) {
    const float* a = vx + in * plan.chunk * n;
    const float* b = vdy + panel * kColumns * plan.chunk * n;
    with_columns<V>(p.outputs, panel, [&]<int columns>() {
      for (int r = 0; r < n; r += kGradientRows<V>) {
        float* const sums = d + r * columns * n;
        if (plan.wide)
          accumulate<V, columns, true>(a + r, r == 0 ? x_step : 0, b, plan.chunk * n, r == 0 ? 0 : dy_step, count,
                                       lines_for(sums), sums, first);
        else
          accumulate<V, columns, false>(a + r, 0, b, plan.chunk * n, 0, count, lines_for(sums), sums, first);
      }
    });
  };
  const auto store_cell = [&](const float* d, int64_t point_step, int64_t parts, int64_t part_step, int64_t in,
                              int64_t panel) {
    with_columns<V>(p.outputs, panel, [&]<int columns>() {
      store_weight_gradient<F, columns, V>(d, point_step, parts, part_step, is_turned<F>(tiles), dw, p.outputs,
                                           p.inputs, in * n, panel * kPanel);
    });
  };

  if (!plan.wide) {
    const int64_t cells = in_blocks * out_panels, point_step = cells * kCell + 16, part_step = F::kPoints * point_step;
    const Tensor sums = room(plan.parts * part_step), rooms = room(threads * room_size);
    float *const d = sums.data<float>(), *const all = rooms.data<float>();
    const auto begin_of = [&](int64_t part) { return tiles.count() * part / plan.parts; };
#pragma omp parallel num_threads(threads)
    {
      const FlushDenormals flush;
      float *const vx = all + omp_get_thread_num() * room_size, *const vdy = vx + F::kPoints * x_step;
      const auto [first_part, last_part] = own_share(plan.parts);
      for (int64_t part = first_part; part < last_part; ++part) {
        const int64_t first = begin_of(part), last = begin_of(part + 1);
        for (int64_t begin = first; begin < last; begin += plan.chunk) {
          const int64_t end = std::min(begin + plan.chunk, last),
                        soon_end = std::min(end + plan.chunk, begin_of(last_part));
          transform_x(begin, end, 0, vx);
          transform_dy(begin, end, 0, vdy);
          PrefetchQueue soon;
          x.add(soon, end, soon_end);
          dy.add(soon, end, soon_end);
          const auto next_tiles = [&](const float* here) { return soon.take(end - begin, here); };
          for (int q = 0; q < F::kPoints; ++q)
            for (int64_t cell = 0; cell < cells; ++cell)
              add_cell(vx + q * x_step, vdy + q * dy_step, cell / out_panels, cell % out_panels, end - begin,
                       next_tiles, d + part * part_step + q * point_step + cell * kCell, begin == first);
        }
      }
#pragma omp barrier
#pragma omp for schedule(static)
      for (int64_t cell = 0; cell < cells; ++cell)
        store_cell(d + cell * kCell, point_step, plan.parts, part_step, cell / out_panels, cell % out_panels);
    }
    return;
  }

  // Units of in_unit x out_unit cells: what a thread sums before it goes on, large while all threads get their share. A
  // cell's sum is the same in any.
  const int64_t out_unit = std::min<int64_t>(2, out_panels), out_units = (out_panels + out_unit - 1) / out_unit;
  const int64_t in_unit = std::min(in_blocks, unit_of(in_blocks * out_units, threads));
  const int64_t in_units = (in_blocks + in_unit - 1) / in_unit;
  const int64_t point_step = in_unit * out_unit * kCell, unit_size = F::kPoints * point_step + 16;
  const bool once = plan.chunk == tiles.count();  // then a unit's sums are done when they are formed
  const Tensor sums = room(unit_size * (once ? threads : in_units * out_units)), rooms = room(room_size);
  float *const all = sums.data<float>(), *const vx = rooms.data<float>(), *const vdy = vx + F::kPoints * x_step;
#pragma omp parallel num_threads(threads)
  {
    const FlushDenormals flush;
    for (int64_t begin = 0; begin < tiles.count(); begin += plan.chunk) {
      const int64_t end = std::min(begin + plan.chunk, tiles.count());
      constexpr int64_t kRun = 8;
#pragma omp for schedule(static)
      for (int64_t t = begin; t < end; t += kRun) {
        transform_x(t, std::min(t + kRun, end), t - begin, vx);
        transform_dy(t, std::min(t + kRun, end), t - begin, vdy);
      }
      // The next sums, which would be waited for else (10% of 8x8 maps); the next tiles lie too far off for a gain.
      const auto next_sums = [&](const float* here) {
        constexpr int64_t kSums = kGradientRows<V> * kPanel;
        return PrefetchLines::spread(here + kSums, kSums * static_cast<int64_t>(sizeof(float)), end - begin);
      };
#pragma omp for schedule(static)
      for (int64_t unit = 0; unit < in_units * out_units; ++unit) {
        float* const d = all + (once ? omp_get_thread_num() : unit) * unit_size;
        const int64_t in0 = unit / out_units * in_unit, in1 = std::min(in0 + in_unit, in_blocks);
        const int64_t out0 = unit % out_units * out_unit, out1 = std::min(out0 + out_unit, out_panels);
        const auto cell = [&](int64_t in, int64_t out) { return d + ((out - out0) * in_unit + in - in0) * kCell; };
        for (int q = 0; q < F::kPoints; ++q)
          for (int64_t out = out0; out < out1; ++out)
            for (int64_t in = in0; in < in1; ++in)
              add_cell(vx + q * x_step, vdy + q * dy_step, in, out, end - begin, next_sums,
                       cell(in, out) + q * point_step, begin == 0);
        if (end < tiles.count()) continue;
        for (int64_t out = out0; out < out1; ++out)
          for (int64_t in = in0; in < in1; ++in) store_cell(cell(in, out), point_step, 1, 0, in, out);
      }
    }
  }
}

/// dw of x and dy, by tiles_of(m).
template <class V, class SourceX, class SourceDy>
void weight_gradient(int m, const Problem& p, const SourceX& x, const SourceDy& dy, float* dw) {
  const Tiles tiles = tiles_of(m, p.images, p.out_height(), p.out_width(), p.pad_h, p.pad_w);
  if (tiles.count() == 0) {
    std::fill_n(dw, p.inputs * p.outputs * 9, 0.0f);
    return;
  }
  with_filtering(tiles, [&]<class F> {
    weight_gradient_of<F, V>(p, tiles, tiled_map<F, false, V>(x, tiles, p.height, p.width, p.pad_h, p.pad_w),
                             tiled_map<F, true, V>(dy, tiles, p.out_height(), p.out_width(), 0, 0), dw);
  });
}

}  // namespace tidepool::winograd
