// What the operators that are no plain windows promise beyond their battery.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <set>

#include "layers/pool/operator.h"
#include "layers/pool/outside.h"
#include "layers/pool/prepared.h"
#include "tests/layers/battery.h"
#include "tests/layers/pool/reference.h"

namespace tidepool::testing {
namespace {

using nlohmann::json;

struct MapRun {
  Tensor y, dx;
};

MapRun run_map(const PoolOperator& op, const Tensor& from, const std::vector<Tensor>& tensors, const PoolMode& mode,
               const Tensor& dy = {}) {
  const Tensor x = from.slice(0, 0, from.size(0));
  x.set_requires_grad();
  poison();
  Tape tape;
  const Tape::Scope scope(&tape);
  MapRun r;
  r.y = op.forward(x, tensors, mode);
  const bool may_detour = x.format() == MemoryFormat::plain && x.size(1) >= 16;  // by channels, and back
  EXPECT_TRUE(tape.nodes() == 1 || (may_detour && tape.nodes() == 3)) << tape.nodes();
  poison();
  tape.backward(r.y, (dy ? dy : normal(r.y.shape(), 99)).to(r.y.dtype()));
  r.dx = x.grad();
  return r;
}

/// A map whose value is its position on one spatial axis.
Tensor ramp(const Dims& shape, int axis) {
  const Tensor x = Tensor::empty(shape, {.dtype = DType::f64});
  int64_t inner = 1;
  for (int i = axis + 1; i < shape.rank(); ++i) inner *= shape[i];
  for (int64_t i = 0; i < x.numel(); ++i) x.mutable_data<double>()[i] = static_cast<double>(i / inner % shape[axis]);
  return x;
}

std::vector<int64_t> whole(const Values& v) {
  std::vector<int64_t> list;
  for (double e : v) list.push_back(static_cast<int64_t>(e));
  return list;
}

// ---- fractional_max

// Starts by the formula, for many lengths, against the definition: all windows lie on the map, the first starts at 0,
// the last ends at the end, steps are the two whole numbers next to A.
TEST(FractionalMax, StartsAreTorchsSequence) {
  for (int64_t n = 4; n < 24; ++n)
    for (int64_t k = 1; k <= 3; ++k)
      for (int64_t m = 2; m + k - 1 <= n; ++m) {
        const auto op = make_pool_operator({{"type", "fractional_max"}, {"kernel", k}, {"output_size", {1, m}}});
        const Dims shape{1, 1, k, n};
        for (double u : {0.0, 0.25, 0.5, 0.9999999}) {
          const Tensor given = Tensor::from<double>({0.3, u}, {1, 1, 2});
          const auto ends = whole(op->forward(ramp(shape, 3), std::vector{given}, {}).values());
          const double a = static_cast<double>(n - k) / static_cast<double>(m - 1);
          EXPECT_EQ(ends.front(), k - 1);
          EXPECT_EQ(ends.back(), n - 1);
          for (size_t i = 0; i + 1 < ends.size(); ++i) {
            const double expected =
                std::floor((static_cast<double>(i) + u) * a) - std::floor(u * a) + static_cast<double>(k - 1);
            EXPECT_EQ(static_cast<double>(ends[i]), expected) << n << " " << k << " " << m << " " << u;
          }
        }
        const Tensor middle = Tensor::from<double>({0.5, 0.5}, {1, 1, 2});
        const Values at_rest = op->forward(ramp(shape, 3), {}, {}).values();
        if ((n - k) % (m - 1) == 0) {  // else f64 may fall on the other side of a whole number
          EXPECT_EQ(at_rest, op->forward(ramp(shape, 3), std::vector{middle}, {}).values());
        }
        for (size_t i = 1; i < at_rest.size(); ++i) EXPECT_LE(at_rest[i - 1], at_rest[i]);
      }
}

TEST(FractionalMax, GivenDrawsInEveryTypeAndLayout) {
  double worst = 0;
  for (const char* text :
       {R"({"type": "fractional_max"})", R"({"type": "fractional_max", "ratio": 0.7, "kernel": [3, 2]})",
        R"({"type": "fractional_max", "output_size": [2, 3], "kernel": 5})"}) {
    const json config = json::parse(text);
    const auto op = make_pool_operator(config);
    for (const Dims& shape : {Dims{2, 19, 11, 9}, Dims{1, 3, 8, 34}}) {
      const Tensor x = normal(shape, 3);
      Random random(17, 0);
      Values u(static_cast<size_t>(shape[0] * shape[1] * 2));
      for (double& e : u) e = std::floor(random.uniform() * 256) / 256;  // exact in every type
      const Tensor given = Tensor::from<double>(u, {shape[0], shape[1], 2});
      const Tensor dy = normal(op->output_shape(shape, {}), 5);
      const reference::Result expected = reference::pool(config, shape, x.values(), {u}, dy.values());
      for (DType type : {DType::f64, DType::f32, DType::bf16})
        for (Layout layout :
             {Layout::plain, Layout::channels_last, Layout::strided_plain, Layout::strided_channels_last}) {
          const MapRun r = run_map(*op, laid_out(x.to(type), layout), {given.to(type)}, {.training = true, .seed = 1},
                                   laid_out(dy.to(type), layout));
          EXPECT_EQ(error(r.y.values(), expected.y), 0) << text << name_of(layout);
          EXPECT_LE(error(r.dx.values(), expected.dx), tolerance(type)) << text << name_of(layout);
          worst = std::max(worst, error(r.dx.values(), expected.dx) / tolerance(type));
        }
    }
  }
  fmt::print("fractional_max with given draws: worst dx {:.1e} of what is allowed\n", worst);
}

TEST(FractionalMax, DrawsAnewForEveryImageChannelAxisAndStep) {
  const auto op = make_pool_operator({{"type", "fractional_max"}, {"ratio", 0.7}});
  const Dims shape{3, 5, 40, 40};
  std::set<std::vector<int64_t>> rows;
  int maps = 0;
  for (const PoolMode& mode : {PoolMode{true, 1, 0}, PoolMode{true, 1, 1}, PoolMode{true, 2, 0}})
    for (int axis : {2, 3}) {
      const Tensor y = op->forward(ramp(shape, axis), {}, mode);
      for (int64_t n = 0; n < 3; ++n)
        for (int64_t c = 0; c < 5; ++c) {
          const Tensor plane = y.select(0, n).select(0, c);
          rows.insert(whole((axis == 2 ? plane.select(1, 0) : plane.select(0, 0)).values()));
          ++maps;
        }
    }
  EXPECT_GT(rows.size(), static_cast<size_t>(maps) / 4) << "of " << maps << " draws: sequences seldom coincide";
  // The same draw again, in either layout; and a backward that uses the forward's draw.
  const Tensor x = normal(shape, 8).to(DType::f32);
  const PoolMode mode{true, 7, 3};
  const MapRun a = run_map(*op, x, {}, mode), b = run_map(*op, laid_out(x, Layout::channels_last), {}, mode);
  EXPECT_TRUE(same_bits(a.y, b.y));
  EXPECT_EQ(error(a.dx.values(), b.dx.values()), 0);
  for (int threads : {1, 2}) {
    const int before = cpu_threads();
    set_cpu_threads(threads);
    const MapRun c = run_map(*op, x, {}, mode);
    EXPECT_TRUE(same_bits(a.y, c.y) && same_bits(a.dx, c.dx));
    set_cpu_threads(before);
  }
}

// ---- s3

// Which rows and columns a draw keeps shows on a ramp; with them the output is the maximum's rows and columns.
TEST(S3, KeepsAShareOfEveryCellInOrder) {
  for (const char* text : {R"({"type": "s3", "kernel": 1})", R"({"type": "s3", "kernel": 1, "stride": 2, "grid": 6})",
                           R"({"type": "s3", "kernel": 1, "stride": [3, 1], "grid": [6, 4]})"}) {
    const json config = json::parse(text);
    const auto op = make_pool_operator(config);
    const Dims shape{1, 1, 20, 15};
    std::set<std::vector<int64_t>> seen;
    for (uint64_t step = 0; step < 20; ++step)
      for (int axis : {2, 3}) {
        const Tensor y = op->forward(ramp(shape, axis), {}, {true, 5, step});
        EXPECT_EQ(y.shape(), op->output_shape(shape, {}));
        const Tensor line = axis == 2 ? y.select(3, 0) : y.select(2, 0);
        const auto kept = whole(line.values());
        const auto get = [&](const char* name, int64_t otherwise) {
          if (!config.contains(name)) return otherwise;
          return config[name].is_array() ? config[name][static_cast<size_t>(axis - 2)].get<int64_t>()
                                         : config[name].get<int64_t>();
        };
        const int64_t stride = get("stride", 2), grid = get("grid", stride), n = shape[axis];
        size_t next = 0;
        for (int64_t begin = 0; begin < n; begin += grid) {
          const int64_t rows = std::min(grid, n - begin), wanted = (rows + stride - 1) / stride;
          for (int64_t i = 0; i < wanted; ++i, ++next) {
            ASSERT_LT(next, kept.size());
            EXPECT_GE(kept[next], begin);
            EXPECT_LT(kept[next], begin + rows);
            if (next > 0) {
              EXPECT_GT(kept[next], kept[next - 1]);
            }
          }
        }
        EXPECT_EQ(next, kept.size());
        seen.insert(kept);
      }
    EXPECT_GT(seen.size(), 15u) << text;
  }
}

TEST(S3, TrainingIsTheMaximumOfTheRowsKept) {
  const Dims shape{2, 17, 11, 10};
  for (const char* text :
       {R"({"type": "s3"})", R"({"type": "s3", "kernel": 3, "padding": 1, "stride": 2, "grid": 4})"}) {
    const json config = json::parse(text);
    const auto op = make_pool_operator(config);
    const int64_t k = config.value("kernel", 2), pad = config.value("padding", 0);
    const PoolMode mode{true, 11, 4};
    // rows by a ramp: the maximum over rows [s - pad, s - pad + k) of the map is its last row
    const auto lines = [&](int axis) {
      const Tensor y = op->forward(ramp({1, 1, shape[2], shape[3]}, axis), {}, mode);
      return whole((axis == 2 ? y.select(3, 0) : y.select(2, 0)).values());
    };
    // of a window that hangs over the end, the ramp tells only the last row: the falling ramp tells its first
    const auto firsts = [&](int axis) {
      Tensor down = ramp({1, 1, shape[2], shape[3]}, axis);
      for (int64_t i = 0; i < down.numel(); ++i) down.mutable_data<double>()[i] *= -1;
      const Tensor y = op->forward(down, {}, mode);
      return whole((axis == 2 ? y.select(3, 0) : y.select(2, 0)).values());
    };
    const auto r1 = lines(2), c1 = lines(3), r0 = firsts(2), c0 = firsts(3);
    for (size_t i = 0; i < r1.size(); ++i) EXPECT_LE(r1[i] + r0[i] + 1, k);
    EXPECT_LE(pad, 1);
    const Tensor x = normal(shape, 21);
    const Tensor dy = normal(op->output_shape(shape, {}), 22);
    Values y, dx(static_cast<size_t>(x.numel()), 0.0);
    const Values v = x.values(), g = dy.values();
    for (int64_t plane = 0; plane < shape[0] * shape[1]; ++plane)
      for (size_t i = 0; i < r1.size(); ++i)
        for (size_t j = 0; j < c1.size(); ++j) {
          size_t best = 0;
          double most = -INFINITY;
          for (int64_t h = -r0[i]; h <= r1[i]; ++h)
            for (int64_t w = -c0[j]; w <= c1[j]; ++w) {
              const auto at = static_cast<size_t>((plane * shape[2] + h) * shape[3] + w);
              if (v[at] > most) most = v[at], best = at;
            }
          dx[best] += g[y.size()];
          y.push_back(most);
        }
    for (DType type : {DType::f64, DType::f32, DType::bf16})
      for (Layout layout :
           {Layout::plain, Layout::channels_last, Layout::strided_plain, Layout::strided_channels_last}) {
        const MapRun r = run_map(*op, laid_out(x.to(type), layout), {}, mode, laid_out(dy.to(type), layout));
        EXPECT_EQ(error(r.y.values(), y), 0) << text;
        EXPECT_LE(error(r.dx.values(), dx), tolerance(type)) << text;
      }
  }
}

// Evaluation is the mean over draws when a cell keeps one row and column.
TEST(S3, EvaluationIsTheMeanOverDraws) {
  const auto op = make_pool_operator({{"type", "s3"}});
  const Tensor x = normal({1, 2, 8, 9}, 31);
  const Values expected = op->forward(x, {}, {}).values();
  Values mean(expected.size(), 0.0);
  constexpr int kDraws = 4000;
  for (int step = 0; step < kDraws; ++step) {
    const Values y = op->forward(x, {}, {true, 3, static_cast<uint64_t>(step)}).values();
    for (size_t i = 0; i < y.size(); ++i) mean[i] += y[i] / kDraws;
  }
  for (size_t i = 0; i < mean.size(); ++i) EXPECT_NEAR(mean[i], expected[i], 5 * 1.5 / std::sqrt(kDraws));
}

// ---- traces

std::vector<double> slopes(const json& config, const Dims& x, std::vector<Tensor> parameters = {}) {
  const auto op = make_pool_operator(config);
  if (parameters.empty())
    for (const ParameterSpec& spec : op->parameters(x)) {
      parameters.push_back(Tensor::empty(spec.shape));
      spec.init(parameters.back(), 0);
    }
  TracedShape from = TracedShape::of(x);
  const Tensor before = Tensor::zeros({4});
  for (size_t i = 0; i < from.lengths.size(); ++i) from.lengths[i].add(before, static_cast<int64_t>(i), 1);
  Trace trace;
  const TracedShape y = op->trace(from, parameters, "pool1", trace);
  EXPECT_EQ(y.dims(), op->output_shape(x, parameters));
  std::vector<double> list;
  for (const TracedLength& length : y.lengths) {
    double own = 0;
    for (const Slope& s : length.slopes)
      if (s.parameter.shares_storage(before)) own += s.value;
    list.push_back(own);
  }
  return list;
}

// d length / d length before it: the stride's reciprocal, the ratio, or 0 where the length is fixed.
// Which operators draw is stated in one place; the statement is measured here, of every operator of the registry.
TEST(Draws, AreDeclaredWhereTheResultDependsOnTheSeed) {
  std::set<std::string> drawing;
  for (const PoolDescription* op : pool_operators()) {
    std::vector<nlohmann::json> configs = {{{"type", op->name}}};
    if (op->name == "fractional_max") configs = {{{"type", op->name}, {"output_size", 5}}};  // no whole steps
    if (op->name == "mixed") configs.push_back({{"type", "mixed"}, {"random", true}});
    for (const nlohmann::json& config : configs) {
      Dims shape = Dims::filled(2 + op->ranks.back(), 8);
      const Tensor x = made_up_map(shape, {});
      const auto pool = make_pool_operator(config_for_factor(*op, 2, shape, config));
      const auto parameters = initial_values(*pool, shape, DType::f32, 0);
      const auto of = [&](uint64_t seed) {
        return pool->forward(x, parameters, {.training = true, .seed = seed}).values();
      };
      bool same = true;
      for (uint64_t seed = 1; seed < 9; ++seed) same = same && of(seed) == of(0);
      EXPECT_EQ(draws_in_training(config_for_factor(*op, 2, shape, config)), !same) << config.dump();
      if (!same) drawing.insert(op->name);
    }
  }
  EXPECT_EQ(drawing, (std::set<std::string>{"fractional_max", "mixed", "s3", "stochastic"}));
}

TEST(PoolTrace, StraightThroughLengths) {
  const Dims x{1, 4, 13, 18};
  using List = std::vector<double>;
  EXPECT_EQ(slopes({{"type", "adaptive_avg"}, {"output_size", 3}}, x), (List{0, 0}));
  EXPECT_EQ(slopes({{"type", "adaptive_max"}, {"output_size", {3, 5}}}, x), (List{0, 0}));
  EXPECT_EQ(slopes({{"type", "global_avg"}}, x), (List{0, 0}));
  EXPECT_EQ(slopes({{"type", "blur"}, {"kernel", 3}, {"stride", {2, 4}}}, x), (List{0.5, 0.25}));
  EXPECT_EQ(slopes({{"type", "max_blur"}}, x), (List{0.5, 0.5}));
  EXPECT_EQ(slopes({{"type", "fractional_max"}, {"ratio", {0.5, 0.75}}}, x), (List{0.5, 0.75}));
  EXPECT_EQ(slopes({{"type", "fractional_max"}, {"output_size", 5}}, x), (List{0, 0}));
  EXPECT_EQ(slopes({{"type", "s3"}, {"stride", {2, 4}}}, x), (List{0.5, 0.25}));
  EXPECT_EQ(slopes({{"type", "space_to_depth"}, {"block", 2}}, {1, 4, 12, 18}), (List{0.5, 0.5}));
}

TEST(PoolTrace, FourierLengths) {
  using List = std::vector<double>;
  const Dims x{1, 4, 24, 40};
  EXPECT_EQ(slopes({{"type", "spectral"}, {"ratio", {0.5, 0.75}}}, x), (List{0.5, 0.75}));
  EXPECT_EQ(slopes({{"type", "spectral"}, {"output_size", 5}}, x), (List{0, 0}));
  EXPECT_EQ(slopes({{"type", "diffstride"}, {"stride", {2, 4}}}, x), (List{0.5, 0.25}));
  const auto op = make_pool_operator({{"type", "diffstride"}, {"smoothness", 1}});
  const Tensor stride = Tensor::from<double>({1.6, 2.5}, {2});
  Trace trace;
  TracedShape y = op->trace(TracedShape::of(x), std::vector{stride}, "pool1", trace);
  EXPECT_EQ(y.dims(), (Dims{1, 4, 17, 18}));
  for (size_t i : {0u, 1u}) {
    ASSERT_EQ(y.lengths[i].slopes.size(), 1u);
    EXPECT_EQ(y.lengths[i].slopes[0].element, static_cast<int64_t>(i));
    EXPECT_DOUBLE_EQ(y.lengths[i].slopes[0].value, i == 0 ? -24 / (1.6 * 1.6) : -40 / (2.5 * 2.5));
  }
  // What an optimizer step may leave is traced as project will leave it.
  const Tensor beyond = Tensor::from<float>({0.5f, 33.0f}, {2});
  y = op->trace(TracedShape::of(x), std::vector{beyond}, "pool1", trace);
  const uint64_t version = beyond.version();
  op->project(std::vector{beyond}, x);
  EXPECT_EQ(beyond.values(), (Values{1, 20}));
  EXPECT_GT(beyond.version(), version);
  EXPECT_EQ(op->output_shape(x, std::vector{beyond}), y.dims());
}

// ---- Fourier

TEST(DiffStride, StartsWithinTheBoundsOfItsMap) {
  const auto op = make_pool_operator({{"type", "diffstride"}});
  const auto start = [&](const Dims& x) {
    const auto specs = op->parameters(x);
    EXPECT_EQ(specs.size(), 1u);
    EXPECT_EQ(specs[0].kind, ParameterKind::shape);
    const Tensor t = Tensor::empty(specs[0].shape);
    specs[0].init(t, 0);
    return t.values();
  };
  EXPECT_EQ(start({1, 1, 8, 3}), (Values{2, 1.5}));
  EXPECT_EQ(start({1, 1, 1, 2}), (Values{1, 1}));
  // As published: with a smoothness of 4 a map of 16 is not reduced at the start, a longer one is.
  const std::vector<Tensor> two{Tensor::from<double>({2, 2}, {2})};
  EXPECT_EQ(op->output_shape({1, 1, 16, 20}, two), (Dims{1, 1, 16, 18}));
}

// The stride's gradient is the derivative of y where the length does not change.
TEST(DiffStride, FiniteDifferencesOfTheStride) {
  for (const char* text : {R"({"type": "diffstride"})", R"({"type": "diffstride", "smoothness": 1.3})",
                           R"({"type": "diffstride", "smoothness": 2.1})"})
    for (const Dims& shape : {Dims{2, 3, 24, 35}, Dims{2, 3, 41}}) {
      const auto op = make_pool_operator(json::parse(text));
      const int64_t rank = shape.rank() - 2;
      const Values at = rank == 1 ? Values{2.37} : Values{1.71, 2.37};
      const Tensor x = normal(shape, 51);
      const auto forward = [&](const Values& s) {
        return op->forward(x, std::vector{Tensor::from<double>(s, {rank})}, {});
      };
      const Tensor dy = normal(forward(at).shape(), 52);
      const Tensor stride = Tensor::from<double>(at, {rank});
      stride.set_requires_grad();
      Tape tape;
      {
        const Tape::Scope scope(&tape);
        tape.backward(op->forward(x, std::vector{stride}, {}), dy);
      }
      const Values gradient = stride.grad().values(), g = dy.values();
      for (size_t i = 0; i < at.size(); ++i) {
        constexpr double h = 1e-6;
        Values up = at, down = at;
        up[i] += h, down[i] -= h;
        const Values a = forward(up).values(), b = forward(down).values();
        double numeric = 0;
        for (size_t j = 0; j < g.size(); ++j) numeric += g[j] * (a[j] - b[j]) / (2 * h);
        EXPECT_NEAR(gradient[i], numeric, 1e-6 * std::max(1.0, std::abs(numeric))) << text << " axis " << i;
        EXPECT_NE(gradient[i], 0);
      }
    }
}

// Constant maps keep their value, and a wave that is kept comes out as the same wave, at any length.
TEST(Spectral, WavesStayWaves) {
  constexpr double kTurn = 6.283185307179586;
  for (int64_t n : {5, 8, 13, 64, 67, 300})
    for (int64_t m : {n / 2, n / 2 + 1, n - 1}) {
      const auto op = make_pool_operator({{"type", "spectral"}, {"output_size", m}});
      for (int64_t k = 0; 2 * k < m; k += std::max<int64_t>(1, m / 7)) {
        const auto wave = [&](int64_t length) {
          Values v;
          for (int64_t i = 0; i < length; ++i)
            v.push_back(std::cos(kTurn * static_cast<double>(k * i) / static_cast<double>(length) + 0.7));
          return v;
        };
        const Tensor x = Tensor::from<double>(wave(n), {1, 1, n});
        EXPECT_LE(error(op->forward(x, {}, {}).values(), wave(m)), 1e-12) << n << " to " << m << ", wave " << k;
      }
    }
}

// An axis whose matrix does not fit into one tile, in both memory orders.
TEST(Spectral, LongAxes) {
  constexpr double kTurn = 6.283185307179586;
  const int64_t n = 6000, m = 2999;
  const auto op = make_pool_operator({{"type", "spectral"}, {"output_size", m}});
  const auto wave = [&](int64_t length) {
    Values v;
    for (int64_t i = 0; i < length; ++i) {
      const double at = kTurn * static_cast<double>(i) / static_cast<double>(length);
      v.push_back(std::cos(3 * at) + 0.5 * std::sin(1499 * at));
      v.push_back(std::sin(700 * at + 1));
    }
    return v;
  };
  const Tensor last = Tensor::empty({1, 2, n}, {DType::f64, MemoryFormat::channels_last, kCpu});
  const Values in = wave(n), out = wave(m);
  std::memcpy(last.mutable_raw(), in.data(), in.size() * sizeof(double));
  for (MemoryFormat format : {MemoryFormat::plain, MemoryFormat::channels_last}) {
    const Tensor y = op->forward(last.contiguous(format), {}, {}).contiguous(MemoryFormat::channels_last);
    Values got(out.size());
    std::memcpy(got.data(), y.raw(), out.size() * sizeof(double));
    EXPECT_LE(error(got, out), 1e-10) << name_of(format);
  }
}

TEST(PoolTrace, SpaceToDepthCountsItsMultiplyAdds) {
  const auto op = make_pool_operator({{"type", "space_to_depth"}, {"channels", 6}});
  const std::vector<Tensor> weight{Tensor::zeros({6, 16, 1, 1})};
  Trace trace;
  op->trace(TracedShape::of({1, 4, 12, 18}), weight, "pool1", trace);
  ASSERT_EQ(trace.layers.size(), 1u);
  EXPECT_EQ(trace.macs(), 6 * 16 * 6 * 9);
  EXPECT_EQ(trace.parameters(), 96);
}

TEST(PoolMaps, SpaceToDepthIsPixelUnshuffle) {
  const auto op = make_pool_operator({{"type", "space_to_depth"}, {"channels", 8}});
  const Tensor x = normal({1, 2, 4, 6}, 41), weight = Tensor::zeros({8, 8, 1, 1}, {.dtype = DType::f64});
  for (int64_t i = 0; i < 8; ++i) weight.mutable_data<double>()[i * 9] = 1;
  const Values y = op->forward(x, std::vector{weight}, {}).values(), v = x.values();
  size_t at = 0;
  for (int64_t c = 0; c < 2; ++c)
    for (int64_t i = 0; i < 2; ++i)
      for (int64_t j = 0; j < 2; ++j)
        for (int64_t h = 0; h < 2; ++h)
          for (int64_t w = 0; w < 3; ++w, ++at)
            EXPECT_EQ(y[at], v[static_cast<size_t>((c * 4 + 2 * h + i) * 6 + 2 * w + j)]);
}

}  // namespace
}  // namespace tidepool::testing
