// Our own 3x3 convolutions against the f64 reference: every direction, any channels, paddings and map sizes.
#include "core/winograd/convolve.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/winograd/drivers.h"
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
                               // enough images for tiles of their own at the right, the bottom, both
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
                               {90, 6, 4, 7, 15, 1, 1}};

constexpr size_t kKindsOfTile = 9;  // 2x2, 3x3, 4x4, and 4 by 1, 2, 3 either way

struct Results {
  Tensor y, dx, dw, dbias;
  const Tensor& operator[](size_t i) const { return i == 0 ? y : i == 1 ? dx : i == 2 ? dw : dbias; }
};

struct Operands {
  Tensor x, w, bias, dy;

  Operands(const Case& c, DType dtype, double mean = 0) {
    x = normal(c.x(), 1).contiguous(kLast);
    for (int64_t i = 0; i < x.numel(); ++i) x.data<double>()[i] += mean;
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
  const DnnTable& table = reference_table();
  EXPECT_TRUE(table.conv_forward(wide(a.x), wide(a.w), wide(a.bias), c.options(), r.y));
  EXPECT_TRUE(table.conv_backward_data(wide(a.dy), wide(a.w), c.options(), r.dx));
  EXPECT_TRUE(table.conv_backward_weights(wide(a.x), wide(a.dy), c.options(), r.dw, r.dbias));
  return r;
}

double allowed(int m) {
  return m == 4 ? 2e-5 : 4e-6;
}

// Sizes of the tiles that the cases meet, in each direction: a kind that none meets would be believed unseen.
TEST(Winograd, CasesMeetEveryKindOfTile) {
  std::set<std::pair<int64_t, int64_t>> of_y, of_x;
  for (const Case& c : kCases)
    for (const int m : {2, 4}) {
      const winograd::Parts y = winograd::Parts::of(m, c.images, c.y()[2], c.y()[3]);
      const winograd::Parts x = winograd::Parts::of(m, c.images, c.height, c.width);
      for (const winograd::Tiles& t : y.all()) of_y.insert({t.height, t.width});
      for (const winograd::Tiles& t : x.all()) of_x.insert({t.height, t.width});
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

TEST(Winograd, PartsCoverAMapOnce) {
  std::set<std::pair<int64_t, int64_t>> sizes;
  for (const int m : {2, 4})
    for (const int64_t images : {1, 100})
      for (int64_t h = 1; h <= 20; ++h)
        for (int64_t w = 1; w <= 20; ++w) {
          std::vector<int> covered(static_cast<size_t>(h * w));
          const winograd::Parts parts = winograd::Parts::of(m, images, h, w);
          for (const winograd::Tiles& t : parts.all()) {
            EXPECT_EQ(t.images, images);
            sizes.insert({t.height, t.width});
            winograd::TileCursor at(t, 0);
            for (int64_t i = 0; i < t.rows * t.columns; ++i, at.next(t))
              for (int64_t y = at.top(t); y < std::min(h, at.top(t) + t.height); ++y)
                for (int64_t x = at.left(t); x < std::min(w, at.left(t) + t.width); ++x)
                  ++covered[static_cast<size_t>(y * w + x)];
          }
          EXPECT_EQ(std::count(covered.begin(), covered.end(), 1), h * w) << m << ": " << h << "x" << w;
        }
  EXPECT_EQ(sizes.size(), kKindsOfTile);
  EXPECT_LT(winograd::Parts::of(4, 100, 13, 13).points(), winograd::Parts::of(4, 1, 13, 13).points() * 100)
      << "one image does not pay for weights that are transformed once more";
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
        const Results many = by_winograd(m, c, a);
        for (size_t i = 0; i < 4; ++i)
          EXPECT_EQ(one[i].values(), many[i].values()) << threads << " threads, " << c.str() << " result " << i;
      }
    }
  }
  omp_set_num_threads(before);
}

// The widths that this machine does not choose for itself.
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
    filter<V>(m, Pass::of(Direction::forward, p), x, a.w.data<float>(),
              Target<float>{r.y.data<float>(), c.outputs, a.bias.data<float>()});
    filter<V>(m, Pass::of(Direction::backward_data, p), dy, a.w.data<float>(),
              Target<float>{r.dx.data<float>(), c.inputs});
    weight_gradient<V>(m, p, x, dy, r.dw.data<float>());
    for (size_t i = 0; i < 3; ++i)
      EXPECT_LE(error(r[i].values(), expected[i].values()), allowed(m)) << lanes << " lanes, " << c.str() << " " << i;
  };
  check(2);
  check(4);
}

TEST(Winograd, VectorsOfFourAndEight) {
  for (const Case& c : kCases) {
    const Operands a(c, DType::f32);
    const Results expected = by_reference(c, a);
    check_lanes<4>(c, a, expected);
    check_lanes<8>(c, a, expected);
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
  EXPECT_EQ(winograd_size({128, 512, 2, 2}, {512, 512, 3, 3}, same), 2);
  EXPECT_EQ(winograd_size({128, 512, 1, 1}, {512, 512, 3, 3}, same), 0) << "one tap of nine";
  EXPECT_EQ(winograd_size({128, 3, 32, 32}, {64, 3, 3, 3}, same), 0) << "three channels are all transform";
  const Tensor x = normal({1, 64, 8, 8}, 1).to(DType::f32).contiguous(kLast),
               w = normal({64, 64, 3, 3}, 2).to(DType::f32);
  const Tensor y = Tensor::empty(x.shape(), x.options());
  EXPECT_TRUE(winograd_table().conv_forward(x, w, {}, same, y));
  ConvOptions exact = same;
  exact.exact = true;
  EXPECT_FALSE(winograd_table().conv_forward(x, w, {}, exact, y));
}

}  // namespace
}  // namespace tidepool::testing
