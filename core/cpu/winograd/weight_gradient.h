// Gradient of the weights: products of the transformed tiles of x and dy, summed over tiles, in one of two ways that
// divide the work as filter.h does. The order of every sum depends on the shapes alone. Results are set, not added.
#pragma once
#include "core/cpu/winograd/schedule.h"
#include "core/cpu/winograd/weights.h"

namespace tidepool::winograd {

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

/// What both ways share: where transformed tiles and sums lie, and the two steps over a cell of sums.
template <class F, class V>
struct GradientCells {
  static constexpr int n = kLanes<V>;
  static constexpr int64_t kPanel = kColumns * n;
  static constexpr int64_t kCell = n * kPanel;  ///< sums of n input x kPanel output channels

  const Problem& p;
  const Tiles& tiles;
  const TiledMap &x, &dy;
  GradientPlan plan;
  float* dw;
  int64_t in_blocks = (p.inputs + n - 1) / n, out_blocks = (p.outputs + n - 1) / n,
          out_panels = (p.outputs + kPanel - 1) / kPanel;
  int64_t x_step = in_blocks * plan.chunk * n + 16, dy_step = out_blocks * plan.chunk * n + 16;

  /// Floats of one chunk of transformed tiles: x, then dy.
  int64_t room_size() const { return F::kPoints * (x_step + dy_step); }
  void transform(int64_t begin, int64_t end, int64_t row, float* to_x) const {
    x.transform(begin, end, row, Block{to_x, plan.chunk, x_step});
    dy.transform(begin, end, row, Block{to_x + F::kPoints * x_step, plan.chunk, dy_step});
  }
  /// The products of point q and one cell, over `count` tiles, into d. Narrow layers have them in the core's own cache.
  /// lines_for(d): what is prefetched while the sums at d are formed.
  template <bool kWide, class LinesFor>
  void add(const float* vx, int q, int64_t in, int64_t panel, int64_t count, const LinesFor& lines_for, float* d,
           bool first) const {
    const float* const a = vx + q * x_step + in * plan.chunk * n;
    const float* const b = vx + F::kPoints * x_step + q * dy_step + panel * kColumns * plan.chunk * n;
    with_columns<V>(p.outputs, panel, [&]<int columns>() {
      for (int r = 0; r < n; r += kGradientRows<V>) {
        float* const sums = d + r * columns * n;
        const bool ahead = kWide && r == 0;
        accumulate<V, columns, kWide>(a + r, ahead ? x_step : 0, b, plan.chunk * n, ahead ? dy_step : 0, count,
                                      lines_for(sums), sums, first);
      }
    });
  }
  void store(const float* d, int64_t point_step, int64_t parts, int64_t part_step, int64_t in, int64_t panel) const {
    with_columns<V>(p.outputs, panel, [&]<int columns>() {
      store_weight_gradient<F, columns, V>(d, point_step, parts, part_step, is_turned<F>(tiles), dw, p.outputs,
                                           p.inputs, in * n, panel * kPanel);
    });
  }
};

/// Many tiles of few channels: each thread sums parts of the tiles, which are added in order at the end.
template <class F, class V>
void narrow_weight_gradient(const GradientCells<F, V>& g) {
  const GradientPlan& plan = g.plan;
  const int threads = omp_get_max_threads();
  const int64_t cells = g.in_blocks * g.out_panels, point_step = cells * g.kCell + 16,
                part_step = F::kPoints * point_step;
  const Tensor sums = room(plan.parts * part_step), rooms = room(threads * g.room_size());
  float *const d = sums.mutable_data<float>(), *const all = rooms.mutable_data<float>();
  const auto begin_of = [&](int64_t part) { return g.tiles.count() * part / plan.parts; };
#pragma omp parallel num_threads(threads)
  {
    const FlushDenormals flush;
    float* const vx = all + omp_get_thread_num() * g.room_size();
    const auto [first_part, last_part] = own_share(plan.parts);
    for (int64_t part = first_part; part < last_part; ++part) {
      const int64_t first = begin_of(part), last = begin_of(part + 1);
      for (int64_t begin = first; begin < last; begin += plan.chunk) {
        const int64_t end = std::min(begin + plan.chunk, last),
                      soon_end = std::min(end + plan.chunk, begin_of(last_part));
        g.transform(begin, end, 0, vx);
        PrefetchQueue soon;
        g.x.prefetch(soon, end, soon_end);
        g.dy.prefetch(soon, end, soon_end);
        const auto next_tiles = [&](const float* here) { return soon.take(end - begin, here); };
        for (int q = 0; q < F::kPoints; ++q)
          for (int64_t cell = 0; cell < cells; ++cell)
            g.template add<false>(vx, q, cell / g.out_panels, cell % g.out_panels, end - begin, next_tiles,
                                  d + part * part_step + q * point_step + cell * g.kCell, begin == first);
      }
    }
#pragma omp barrier
#pragma omp for schedule(static)
    for (int64_t cell = 0; cell < cells; ++cell)
      g.store(d + cell * g.kCell, point_step, plan.parts, part_step, cell / g.out_panels, cell % g.out_panels);
  }
}

/// Many channels: the threads transform a chunk of tiles together and divide the sums. A unit of in_unit x out_unit
/// cells is what a thread sums before it goes on, large while all threads get their share; a cell's sum is the same in
/// any.
template <class F, class V>
void wide_weight_gradient(const GradientCells<F, V>& g) {
  const GradientPlan& plan = g.plan;
  const int threads = omp_get_max_threads();
  const int64_t count = g.tiles.count();
  const int64_t out_unit = std::min<int64_t>(2, g.out_panels), out_units = (g.out_panels + out_unit - 1) / out_unit;
  const int64_t in_unit = std::min(g.in_blocks, unit_of(g.in_blocks * out_units, threads));
  const int64_t in_units = (g.in_blocks + in_unit - 1) / in_unit;
  const int64_t point_step = in_unit * out_unit * g.kCell, unit_size = F::kPoints * point_step + 16;
  const bool once = plan.chunk == count;  // then a unit's sums are done when they are formed
  const Tensor sums = room(unit_size * (once ? threads : in_units * out_units)), rooms = room(g.room_size());
  float *const all = sums.mutable_data<float>(), *const vx = rooms.mutable_data<float>();
#pragma omp parallel num_threads(threads)
  {
    const FlushDenormals flush;
    for (int64_t begin = 0; begin < count; begin += plan.chunk) {
      const int64_t end = std::min(begin + plan.chunk, count);
      constexpr int64_t kRun = 8;
#pragma omp for schedule(static)
      for (int64_t t = begin; t < end; t += kRun) g.transform(t, std::min(t + kRun, end), t - begin, vx);
      // The next sums, which would be waited for else (10% of 8x8 maps); the next tiles lie too far off for a gain.
      const auto next_sums = [&](const float* here) {
        constexpr int64_t kSums = kGradientRows<V> * g.kPanel;
        return PrefetchLines::spread(here + kSums, kSums * static_cast<int64_t>(sizeof(float)), end - begin);
      };
#pragma omp for schedule(static)
      for (int64_t unit = 0; unit < in_units * out_units; ++unit) {
        float* const d = all + (once ? omp_get_thread_num() : unit) * unit_size;
        const int64_t in0 = unit / out_units * in_unit, in1 = std::min(in0 + in_unit, g.in_blocks);
        const int64_t out0 = unit % out_units * out_unit, out1 = std::min(out0 + out_unit, g.out_panels);
        const auto cell = [&](int64_t in, int64_t out) { return d + ((out - out0) * in_unit + in - in0) * g.kCell; };
        for (int q = 0; q < F::kPoints; ++q)
          for (int64_t out = out0; out < out1; ++out)
            for (int64_t in = in0; in < in1; ++in)
              g.template add<true>(vx, q, in, out, end - begin, next_sums, cell(in, out) + q * point_step, begin == 0);
        if (end < count) continue;
        for (int64_t out = out0; out < out1; ++out)
          for (int64_t in = in0; in < in1; ++in) g.store(cell(in, out), point_step, 1, 0, in, out);
      }
    }
  }
}

/// dw of x and dy, by tiles_of(m).
template <class V>
void weight_gradient(int m, const Problem& p, const MakeTiledMap& make_x, const MakeTiledMap& make_dy, float* dw) {
  const Tiles tiles = tiles_of(m, p.images, p.out_height(), p.out_width(), p.pad_h, p.pad_w);
  if (tiles.count() == 0) {
    std::fill_n(dw, p.inputs * p.outputs * 9, 0.0f);
    return;
  }
  const TiledMap x = make_x(tiles, {p.height, p.width, p.pad_h, p.pad_w}),
                 dy = make_dy(tiles, {p.out_height(), p.out_width(), 0, 0});
  const GradientPlan plan = GradientPlan::of(p, tiles.count());
  with_filtering(tiles, [&]<class F> {
    const GradientCells<F, V> cells{p, tiles, x, dy, plan, dw};
    plan.wide ? wide_weight_gradient(cells) : narrow_weight_gradient(cells);
  });
}

}  // namespace tidepool::winograd
