// Forward and gradient of the input: who transforms what, and when, in one of two ways. Narrow layers carry a small
// block of tiles, which stays in a core's cache, from the input to the output; layers that are wide beside their map
// transform all tiles first and divide the products by panels of channels. The chunks, and with them every order of
// summation, depend on the shapes alone and not on the number of threads. Results are set, not added.
#pragma once
#include <type_traits>

#include "core/cpu/winograd/convolve.h"
#include "core/cpu/winograd/schedule.h"
#include "core/cpu/winograd/weights.h"

namespace tidepool::winograd {

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
      float* const u = to.mutable_data<float>();
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
template <class F, class V, class T>
void filter_tiles(const FilterProblem& problem, const Tiles& tiles, const FilterPlan& plan, const TiledMap& source,
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
  float *const all_c = products.mutable_data<float>(), *const all_v = points.mutable_data<float>(),
               *const u = made.mutable_data<float>();

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
      for (int64_t t = 0; t < tiles.count(); t += kRun) source.transform(t, std::min(t + kRun, tiles.count()), t, v);
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
        source.transform(begin, end, 0, v);
        PrefetchQueue soon;
        if (!stream) add_tiles(soon, target, tiles, begin, end, problem.out_height, problem.out_width, 0);
        if (chunk + 1 < last) source.prefetch(soon, end, end_of(end));
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
template <class V, class T>
void filter(int m, const FilterProblem& problem, const MakeTiledMap& make_source, const Tensor& w,
            const Target<T>& target, ResultMoments* moments = nullptr) {
  const Tiles tiles = tiles_of(m, problem.images, problem.out_height, problem.out_width, problem.pad_h, problem.pad_w);
  const FilterPlan plan = tiles.count() > 0 ? FilterPlan::of<V>(problem, tiles.count()) : FilterPlan{};
  ChunkMoments first;
  if (moments) {
    const int64_t chunks = tiles.count() > 0 ? plan.chunks(tiles) : 0;
    moments->parts = Tensor::empty({chunks, 2, problem.results}, {.dtype = DType::f64});
    moments->counts = Tensor::empty({chunks}, {.dtype = DType::f64});
    first = {moments->parts.template mutable_data<double>(), moments->counts.template mutable_data<double>()};
    for (int64_t i = 0; i < chunks; ++i)
      first.count[i] =
          static_cast<double>(pixels_of(tiles, i * plan.chunk, std::min((i + 1) * plan.chunk, tiles.count())));
  }
  if (tiles.count() == 0) return;
  const TiledMap source = make_source(tiles, {problem.in_height, problem.in_width, problem.pad_h, problem.pad_w});
  with_filtering(tiles, [&]<class F> { filter_tiles<F, V>(problem, tiles, plan, source, w, target, first); });
}

}  // namespace tidepool::winograd
