// Our own 3x3 convolutions against the f64 reference: every direction, any channels, paddings and map sizes.
#include "core/cpu/winograd/convolve.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "core/cpu/tables.h"
#include "core/cpu/winograd/source_maps.h"
#include "core/cpu/winograd/weight_gradient.h"
#include "core/reference/tables.h"
#include "tests/layers/battery.h"

namespace tidepool::testing {
namespace {

constexpr auto kLast = MemoryFormat::channels_last;

struct Case {
  int64_t images, inputs, outputs, height, width, pad_h, pad_w;

  Dims x() const { return {images, inputs, height, width}; }
  Dims w() const { return {outputs, inputs, 3, 3}; }
  Dims y() const { return {images, outputs, height + 2 * pad_h - 2, width + 2 * pad_w - 2}; }
  ConvOptions options() const { return {.padding = {pad_h, pad_w, 0}}; }
  std::string str() const { return fmt::format("{} {} padding {} {}", x().str(), w().str(), pad_h, pad_w); }
};

// Every channel count that is no multiple of a vector, maps from one pixel on, tiles cut at both edges, both schedules
// of either driver (many tiles; wide layers on small maps).
const std::vector<Case> kCases{{2, 3, 10, 8, 8, 1, 1},
                               {1, 10, 3, 7, 5, 1, 1},
                               {2, 16, 16, 6, 9, 0, 0},
                               {3, 24, 33, 5, 5, 2, 2},
                               {2, 33, 24, 4, 3, 1, 0},
                               {1, 1, 1, 1, 1, 1, 1},
                               {2, 17, 31, 1, 1, 2, 2},
                               {1, 32, 64, 3, 13, 2, 1},
                               {5, 16, 160, 2, 2, 1, 1},
                               {3, 130, 129, 4, 4, 1, 1},
                               {2, 48, 20, 1, 7, 1, 0},
                               {70, 16, 20, 9, 9, 1, 1},
                               {300, 40, 48, 2, 3, 1, 1},
                               {2, 8, 7, 33, 31, 0, 2},
                               {33, 129, 130, 7, 6, 1, 1},
                               // enough images for the tiles that suit the map
                               {90, 17, 5, 4, 5, 1, 1},
                               {90, 6, 18, 6, 8, 1, 1},
                               {90, 3, 34, 7, 6, 0, 1},
                               {90, 16, 33, 5, 11, 1, 0},
                               {90, 9, 16, 8, 7, 1, 1},
                               {90, 20, 33, 6, 6, 1, 1},
                               {33, 5, 160, 9, 3, 1, 2},
                               {90, 7, 130, 5, 5, 2, 2},
                               {90, 5, 18, 4, 3, 1, 1},
                               {90, 18, 5, 3, 8, 1, 1},
                               {90, 4, 6, 15, 7, 1, 1},
                               {90, 6, 4, 7, 15, 1, 1},
                               {90, 18, 16, 5, 4, 1, 1},
                               {90, 5, 33, 4, 5, 1, 1},
                               {90, 16, 7, 5, 3, 1, 1},
                               {90, 33, 16, 3, 10, 1, 1},
                               {90, 12, 20, 2, 3, 1, 1},
                               {90, 20, 12, 3, 2, 1, 1},
                               {33, 16, 34, 14, 9, 0, 0},
                               {40, 40, 130, 10, 5, 1, 1},
                               // axes of one pixel
                               {90, 34, 17, 1, 1, 1, 1},
                               {70, 16, 5, 1, 2, 1, 1},
                               {70, 5, 16, 2, 1, 1, 1},
                               {70, 33, 9, 1, 3, 1, 1},
                               {70, 9, 33, 6, 1, 1, 1},
                               {70, 16, 16, 1, 4, 1, 1},
                               {70, 3, 20, 4, 1, 1, 1},
                               {70, 20, 3, 1, 10, 1, 1},
                               {70, 130, 129, 5, 1, 1, 1},
                               // axes of two pixels
                               {90, 34, 17, 2, 2, 1, 1},
                               {128, 130, 129, 2, 2, 1, 1},
                               {70, 7, 33, 2, 4, 1, 1},
                               {70, 33, 7, 8, 2, 1, 1},
                               {70, 16, 5, 2, 5, 1, 1},
                               {70, 5, 16, 10, 2, 1, 1},
                               {90, 9, 18, 4, 2, 0, 1},
                               {90, 18, 9, 2, 2, 1, 2}};

constexpr size_t kKindsOfTile = 23;  // kTileSides: five squares, and nine others either way

struct Results {
  Tensor y, dx, dw, dbias;
  const Tensor& operator[](size_t i) const { return i == 0 ? y : i == 1 ? dx : i == 2 ? dw : dbias; }
};

struct Operands {
  Tensor x, w, bias, dy;

  Operands(const Case& c, DType dtype, double mean = 0) {
    x = normal(c.x(), 1).contiguous(kLast);
    for (int64_t i = 0; i < x.numel(); ++i) x.mutable_data<double>()[i] += mean;
    x = x.to(dtype);
    w = normal(c.w(), 2).to(DType::f32);
    bias = normal({c.outputs}, 3).to(DType::f32);
    dy = normal(c.y(), 4).contiguous(kLast).to(dtype);
  }
};

Results by_winograd(int m, const Case& c, const Operands& a) {
  poison();
  Results r{Tensor::empty(c.y(), a.dy.options()), Tensor::empty(c.x(), a.x.options()), Tensor::empty(c.w()),
            Tensor::empty({c.outputs})};
  winograd::conv_forward(m, a.x, a.w, a.bias, c.options(), r.y);
  winograd::conv_backward_data(m, a.dy, a.w, c.options(), r.dx);
  winograd::conv_backward_weights(m, a.x, a.dy, c.options(), r.dw, r.dbias);
  return r;
}

Results by_reference(const Case& c, const Operands& a) {
  const auto wide = [](const Tensor& t) { return t.to(DType::f64); };
  const TensorOptions maps{DType::f64, kLast, kCpu}, plain{DType::f64, MemoryFormat::plain, kCpu};
  Results r{Tensor::empty(c.y(), maps), Tensor::empty(c.x(), maps), Tensor::empty(c.w(), plain),
            Tensor::empty({c.outputs}, plain)};
  const ConvTable& table = reference::kConv;
  EXPECT_TRUE(table.forward(wide(a.x), wide(a.w), wide(a.bias), c.options(), r.y));
  EXPECT_TRUE(table.backward_data(wide(a.dy), wide(a.w), c.options(), r.dx));
  EXPECT_TRUE(table.backward_weights(wide(a.x), wide(a.dy), c.options(), r.dw, r.dbias));
  return r;
}

double allowed(int m) {
  return m == 4 ? 2e-5 : 4e-6;
}

// Tiles that the cases meet, in each direction: a kind that none meets would be believed unseen.
TEST(Winograd, CasesMeetEveryKindOfTile) {
  std::set<std::array<int, 4>> of_y, of_x;
  const auto kind = [](const winograd::Tiles& t) {
    return std::array{t.down.results, int{t.down.whole}, t.across.results, int{t.across.whole}};
  };
  for (const Case& c : kCases)
    for (const int m : {2, 4}) {
      of_y.insert(kind(winograd::tiles_of(m, c.images, c.y()[2], c.y()[3], c.pad_h, c.pad_w)));
      of_x.insert(kind(winograd::tiles_of(m, c.images, c.height, c.width, 2 - c.pad_h, 2 - c.pad_w)));
    }
  EXPECT_EQ(of_y.size(), kKindsOfTile);
  EXPECT_EQ(of_x.size(), kKindsOfTile);
}

TEST(Winograd, AgreesWithTheReference) {
  for (const Case& c : kCases)
    for (const double mean : {0.0, 100.0}) {
      const Operands a(c, DType::f32, mean);
      const Results expected = by_reference(c, a);
      for (const int m : {2, 4}) {
        const Results got = by_winograd(m, c, a);
        for (size_t i = 0; i < 4; ++i)
          EXPECT_LE(error(got[i].values(), expected[i].values()), allowed(m))
              << "F(" << m << ") " << c.str() << " mean " << mean << " result " << i;
      }
    }
}

TEST(Winograd, ServesMapsOfBf16) {
  for (const Case& c : kCases) {
    const Operands a(c, DType::bf16);
    const Results expected = by_reference(c, a);
    for (const int m : {2, 4}) {
      const Results got = by_winograd(m, c, a);
      for (size_t i = 0; i < 4; ++i)  // maps are rounded once, gradients of weights stay f32
        EXPECT_LE(error(got[i].values(), expected[i].values()), i < 2 ? 0x1p-8 : allowed(m))
            << "F(" << m << ") " << c.str() << " result " << i;
    }
  }
}

TEST(Winograd, TilesSuitTheMap) {
  using winograd::kOne, winograd::kTwo, winograd::Side;
  using Sides = std::pair<Side, Side>;
  const auto sides = [](int m, int64_t images, int64_t h, int64_t w, int64_t pad = 1) {
    const winograd::Tiles t = winograd::tiles_of(m, images, h, w, pad, pad);
    EXPECT_GE(t.rows * t.height, h);
    EXPECT_GE(t.columns * t.width, w);
    return Sides(t.down, t.across);
  };
  for (int64_t h = 1; h <= 40; ++h)
    for (int64_t w = 1; w <= 40; ++w) EXPECT_TRUE(sides(2, 100, h, w) == Sides({2}, {2}));
  for (const int64_t side : {4, 8, 16, 32}) EXPECT_TRUE(sides(4, 128, side, side) == Sides({4}, {4})) << side;
  for (const int64_t side : {5, 10, 15}) EXPECT_TRUE(sides(4, 128, side, side) == Sides({5}, {3})) << side;
  EXPECT_TRUE(sides(4, 128, 5, 4) == Sides({3}, {4}));
  EXPECT_TRUE(sides(4, 128, 3, 10) == Sides({3}, {5}));
  EXPECT_TRUE(sides(4, 128, 2, 3) == Sides(kTwo, {3}));
  EXPECT_TRUE(sides(4, 128, 2, 2) == Sides(kTwo, kTwo));
  EXPECT_TRUE(sides(4, 128, 1, 1) == Sides(kOne, kOne));
  EXPECT_TRUE(sides(4, 128, 7, 1) == Sides({4}, kOne));
  EXPECT_TRUE(sides(4, 128, 1, 1, 0) == Sides({2}, {2})) << "of a map without padding all taps meet a pixel";
  EXPECT_TRUE(sides(4, 128, 2, 2, 0) == Sides({2}, {2})) << "without padding there are no zeros";
  EXPECT_TRUE(sides(4, 1, 10, 10) == Sides({2}, {2})) << "one image does not pay for large tiles' weights";
  for (const auto& [longer, shorter] : winograd::kTileSides)
    winograd::with_filtering(winograd::Tiles(1, 8, 8, shorter, longer), [&]<class F> {
      EXPECT_TRUE(F::kSideA == longer && F::kSideB == shorter);
      EXPECT_EQ(F::kPoints, winograd::Tiles(1, 8, 8, longer, shorter).points());
    });
}

// What products bring nearer is for speed alone, so no result shows where it is wrong.
TEST(Winograd, PrefetchedTilesAreTheWholeMapOnce) {
  std::vector<float> memory(4096);
  for (const Case& c : {Case{2, 3, 10, 8, 8, 1, 1}, Case{3, 5, 4, 7, 5, 0, 2}, Case{5, 2, 1, 1, 3, 1, 1},
                        Case{4, 6, 7, 2, 2, 1, 1}, Case{2, 1, 3, 13, 9, 2, 0}}) {
    const Dims y = c.y();
    const winograd::Tiles tiles = winograd::tiles_of(4, c.images, y[2], y[3], c.pad_h, c.pad_w);
    for (const int64_t chunk : {1, 3, 1000}) {
      const winograd::PlainSource<float> map{memory.data(), c.inputs};
      const int64_t size = c.images * c.height * c.width * c.inputs;
      int64_t reached = 0;
      for (int64_t begin = 0; begin < tiles.count(); begin += chunk) {
        winograd::PrefetchQueue soon;
        winograd::add_tiles(soon, map, tiles, begin, std::min(begin + chunk, tiles.count()), c.height, c.width,
                            2 - c.pad_h);
        const auto first = reinterpret_cast<uintptr_t>(memory.data() + reached);
        const auto [at, step] = soon.take(1, nullptr);
        if (step == 0) continue;  // all of it came with the tiles before, beside these in their row
        EXPECT_EQ(at, first) << c.str();
        uintptr_t lines = 1;
        while (soon.take(1, nullptr).step > 0) ++lines;
        reached =
            std::min(size, reached + static_cast<int64_t>(lines * winograd::PrefetchLines::kSize / sizeof(float)));
        const winograd::TileCursor last(tiles, std::min(begin + chunk, tiles.count()) - 1);
        const int64_t rows = std::min(c.height, last.top(tiles) + tiles.height + 2 - c.pad_h);
        const int64_t wanted = (last.image * c.height + rows) * c.width * c.inputs;
        EXPECT_GE(reached, wanted) << c.str();
        EXPECT_LT(reached, wanted + 16) << c.str();
        reached = wanted;
      }
      EXPECT_EQ(reached, size) << c.str();
    }
  }
}

TEST(Winograd, PrefetchQueueGivesLinesInOrder) {
  alignas(64) const std::array<float, 100> some{};
  const auto address = [&](size_t i) { return reinterpret_cast<uintptr_t>(some.data() + i); };
  winograd::PrefetchQueue soon;
  soon.add(some.data(), some.data() + 40);       // three lines
  soon.add(some.data() + 48, some.data() + 48);  // none
  soon.add(some.data() + 64, some.data() + 80);  // one
  EXPECT_EQ(soon.take(2, &soon).at, address(0));
  EXPECT_EQ(soon.take(2, &soon).at, address(32));
  const winograd::PrefetchLines last = soon.take(1, &soon);
  EXPECT_EQ(last.at, address(64));
  EXPECT_EQ(last.step, 64u);
  const winograd::PrefetchLines idle = soon.take(7, &soon);
  EXPECT_EQ(idle.at, reinterpret_cast<uintptr_t>(&soon));
  EXPECT_EQ(idle.step, 0u);
}

TEST(Winograd, LinesSpreadOverStepsReachEveryByte) {
  alignas(64) const std::array<float, 256> some{};
  const auto first = reinterpret_cast<uintptr_t>(some.data());
  for (const int64_t bytes : {64, 512, 1024})
    for (const int64_t steps : {1, 7, 56, 128, 1000}) {
      if (bytes > steps * 64) continue;  // more than a line per step
      winograd::PrefetchLines lines = winograd::PrefetchLines::spread(some.data(), bytes, steps);
      std::set<uintptr_t> reached;
      for (int64_t i = 0; i < steps; ++i, lines.next()) reached.insert((lines.at - first) / 64);
      EXPECT_GE(reached.size(), static_cast<size_t>(bytes / 64)) << bytes << " bytes in " << steps << " steps";
      EXPECT_EQ(*reached.rbegin() + 1, reached.size());  // none left out
    }
}

TEST(Winograd, TheSameBitsForAnyNumberOfThreads) {
  const int before = omp_get_max_threads();
  for (const Case& c : kCases) {
    const Operands a(c, DType::f32);
    for (const int m : {2, 4}) {
      omp_set_num_threads(1);
      const Results one = by_winograd(m, c, a);
      for (const int threads : {2, 3, 8}) {
        omp_set_num_threads(threads);
        a.w.mutable_raw();  // else its transform is kept
        const Results many = by_winograd(m, c, a);
        for (size_t i = 0; i < 4; ++i)
          EXPECT_EQ(one[i].values(), many[i].values()) << threads << " threads, " << c.str() << " result " << i;
      }
    }
  }
  omp_set_num_threads(before);
}

TEST(Winograd, TransformedWeightsAreKeptWhileTheyStay) {
  bool some = false;
  for (const Case& c : kCases)
    for (const int m : {2, 4}) {
      forget_transformed_weights();
      const Operands a(c, DType::f32);
      const auto same = [&](const Results& one, const Results& other, const char* when) {
        for (size_t i = 0; i < 4; ++i) EXPECT_EQ(one[i].values(), other[i].values()) << when << c.str() << " " << i;
      };
      const Results first = by_winograd(m, c, a);
      EXPECT_EQ(backend_cache_stats().weights, 0) << c.str();
      same(by_winograd(m, c, a), first, "when they are kept ");
      some = some || backend_cache_stats().weights == 2;
      same(by_winograd(m, c, a), first, "when they were kept ");
      for (int64_t i = 0; i < a.w.numel(); ++i) a.w.mutable_data<float>()[i] *= 2;
      const Operands other(c, DType::f32);
      for (int64_t i = 0; i < a.w.numel(); ++i) other.w.mutable_data<float>()[i] *= 2;
      same(by_winograd(m, c, a), by_winograd(m, c, other), "when they have changed ");
      EXPECT_EQ(backend_cache_stats().weights, 0) << c.str();
    }
  EXPECT_TRUE(some);
  forget_transformed_weights();
}

template <int lanes>
void check_lanes(const Case& c, const Operands& a, const Results& expected) {
  using V = typename tidepool::detail::VectorOf<float, lanes>::type;
  using namespace winograd;
  const Problem p{c.images, c.inputs, c.outputs, c.height, c.width, c.pad_h, c.pad_w};
  const auto check = [&](int m) {
    poison();
    const Results r{Tensor::empty(c.y(), a.dy.options()), Tensor::empty(c.x(), a.x.options()), Tensor::empty(c.w()),
                    Tensor{}};
    const PlainSource<float> x{a.x.data<float>(), c.inputs}, dy{a.dy.data<float>(), c.outputs};
    filter<V>(m, FilterProblem::of(Direction::forward, p), map_of<V, false>(x), a.w,
              Target<float>{r.y.mutable_data<float>(), c.outputs, a.bias.data<float>()});
    filter<V>(m, FilterProblem::of(Direction::backward_data, p), map_of<V, false>(dy), a.w,
              Target<float>{r.dx.mutable_data<float>(), c.inputs});
    weight_gradient<V>(m, p, map_of<V, false>(x), map_of<V, true>(dy), r.dw.mutable_data<float>());
    for (size_t i = 0; i < 3; ++i)
      EXPECT_LE(error(r[i].values(), expected[i].values()), allowed(m)) << lanes << " lanes, " << c.str() << " " << i;
  };
  check(2);
  check(4);
}
// This machine's own width is in every other test.
template <int lanes>
void check_other_lanes(const Case& c, const Operands& a, const Results& expected) {
  if constexpr (lanes != kLanes<winograd::Register>) check_lanes<lanes>(c, a, expected);
}

TEST(Winograd, VectorsOfFourAndEight) {
  for (const Case& c : kCases) {
    const Operands a(c, DType::f32);
    const Results expected = by_reference(c, a);
    check_other_lanes<4>(c, a, expected);
    check_other_lanes<8>(c, a, expected);
  }
}

TEST(Winograd, FlushesDenormalsOnItsOwnThreadsOnly) {
  const Case c{2, 16, 16, 8, 8, 1, 1};
  Operands a(c, DType::f32);
  a.x.fill(1e-40);
  a.dy.fill(1e-40);
  for (const int m : {2, 4}) {
    const Results r = by_winograd(m, c, a);
    for (const double v : r.dx.values()) EXPECT_EQ(v, 0);
    for (const double v : r.dw.values()) EXPECT_EQ(v, 0);
  }
  volatile float small = 1e-38f;
  EXPECT_GT(small * 0.01f, 0.0f) << "the caller's denormals are still there";
}

TEST(Winograd, ServesWhatItSaysAndNothingElse) {
  const Tensor x = Tensor::empty({1, 16, 8, 8}, {.format = kLast}), w = Tensor::empty({16, 16, 3, 3});
  const ConvOptions same{.padding = {1, 1, 0}};
  EXPECT_TRUE(winograd::serves(x, w, same));
  EXPECT_FALSE(winograd::serves(Tensor::empty({1, 16, 8, 8}), w, same)) << "plain";
  EXPECT_FALSE(winograd::serves(x, Tensor::empty({16, 16, 1, 1}), same));
  EXPECT_FALSE(winograd::serves(x, Tensor::empty({16, 8, 3, 3}), {.padding = {1, 1, 0}, .groups = 2}));
  EXPECT_FALSE(winograd::serves(x, w, {.stride = {2, 1, 1}, .padding = {1, 1, 0}}));
  EXPECT_FALSE(winograd::serves(x, w, {.padding = {3, 1, 0}}));
  EXPECT_FALSE(winograd::serves(x, w, {.padding = {2, 2, 0}, .dilation = {2, 2, 1}}));
  EXPECT_FALSE(winograd::serves(x.to(DType::f64), w.to(DType::f64), same));
}

TEST(Winograd, TheRuleAndTheWayAroundIt) {
  const ConvOptions same{.padding = {1, 1, 0}};
  EXPECT_EQ(winograd_size({128, 64, 32, 32}, {64, 64, 3, 3}, same), 4);
  EXPECT_EQ(winograd_size({128, 512, 2, 2}, {512, 512, 3, 3}, same), 4);
  EXPECT_EQ(winograd_size({128, 512, 1, 1}, {512, 512, 3, 3}, same), 4);
  EXPECT_EQ(winograd_size({128, 16, 1, 3}, {16, 16, 3, 3}, same), 4);
  EXPECT_EQ(winograd_size({128, 512, 1, 1}, {512, 512, 3, 3}, {.padding = {2, 2, 0}}), 0) << "one tap of nine";
  EXPECT_EQ(winograd_size({128, 3, 32, 32}, {64, 3, 3, 3}, same), 0) << "three channels are all transform";
  const Tensor x = normal({1, 64, 8, 8}, 1).to(DType::f32).contiguous(kLast),
               w = normal({64, 64, 3, 3}, 2).to(DType::f32);
  const Tensor y = Tensor::empty(x.shape(), x.options());
  EXPECT_TRUE(cpu::kWinogradConv.forward(x, w, {}, same, y));
  ConvOptions exact = same;
  exact.exact = true;
  EXPECT_FALSE(cpu::kWinogradConv.forward(x, w, {}, exact, y));
}

}  // namespace
}  // namespace tidepool::testing
