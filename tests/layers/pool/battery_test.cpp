// What every pooling operator must pass, over the table of cases.cpp: types, layouts, strided
// views, poisoned memory, random cotangents, finite differences, NaN, batch 0, bit-equal repeats and numbers of
// threads.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>

#include "core/tape.h"
#include "layers/pool/operator.h"
#include "layers/pool/prepared.h"
#include "tests/layers/battery.h"
#include "tests/layers/pool/cases.h"
#include "tests/layers/pool/reference.h"

namespace tidepool::testing {
namespace {

using nlohmann::json;

/// How many comparisons ran, and the worst error of each kind in parts of what is allowed.
struct Tally {
  int cases = 0, runs = 0;
  std::map<std::string, double> worst;
  void note(const std::string& kind, double e) { worst[kind] = std::max(worst[kind], e); }
};

struct Setting {
  const PoolRow* row = nullptr;
  json config;  // as the reference reads it
  PoolMode mode;
  std::unique_ptr<PoolOperator> op;
  Tensor x;                        // f64, plain
  std::vector<Tensor> parameters;  // f64
  std::string name;
};

Tensor data_of(const PoolCase& c, uint64_t seed) {
  const Tensor x = normal(c.shape, seed, c.data == Data::wide ? 1e4 : 1);
  Values v = x.values();
  for (double& e : v) {
    if (c.data == Data::ties) e = std::round(e);
    if (c.data == Data::equal) e = 0.69921875;
    if (c.data == Data::zero) e = 0;
    if (c.data == Data::large) e = e < 0 ? -9984 : 9984;  // 1e4, as bf16 has it
  }
  return Tensor::from<double>(v, c.shape);
}

Setting setting_of(const PoolRow& row, const PoolCase& c, uint64_t seed) {
  Setting s;
  s.row = &row;
  s.config = json::parse(c.config);
  s.config["type"] = row.name;
  json config = s.config;
  if (config.erase("training") > 0) s.mode = {.training = true, .seed = reference::kSeed, .step = reference::kStep};
  s.op = make_pool_operator(config);
  s.x = data_of(c, seed);
  s.name = fmt::format("{} {} x {} data {}", row.name, c.config, c.shape.str(), static_cast<int>(c.data));
  size_t i = 0;
  for (const ParameterSpec& spec : s.op->parameters(c.shape)) {
    if (i < c.parameters.size())
      s.parameters.push_back(Tensor::from<double>(c.parameters[i], spec.shape));
    else if (spec.kind == ParameterKind::weight || spec.kind == ParameterKind::bias)
      s.parameters.push_back(normal(spec.shape, seed + 50 + i, 0.5));
    else {
      s.parameters.push_back(Tensor::empty(spec.shape, {.dtype = DType::f64}));
      spec.init(s.parameters.back(), seed);
      Values v = s.parameters.back().values();
      const Values moves = normal(spec.shape, seed + 70 + i, c.vary).values();
      for (size_t j = 0; j < v.size(); ++j) v[j] += moves[j];
      s.parameters.back() = Tensor::from<double>(v, spec.shape);
      s.parameters.back() = s.parameters.back().to(DType::bf16).to(DType::f64);
    }
    ++i;
  }
  return s;
}

/// Whether it multiplies through core/backend/matmul.h: a library may sum in another order with another number of
/// threads, and takes weights as maps are or in f32.
bool multiplies(const Setting& s) {
  const std::string type = s.config["type"];
  return type == "conv" || type == "space_to_depth" || type == "strip" ||
         (type == "lip" && s.config.value("logit", "identity") != "identity");
}

struct PoolRun {
  size_t nodes = 0;  // of the tape
  Tensor y, dx;
  std::vector<Tensor> parameters;
};

PoolRun run_pool(const PoolOperator& op, const Tensor& x_, const std::vector<Tensor>& parameters_, const Tensor& dy,
                 const PoolMode& mode = {}) {
  const Tensor there = on_device(x_), x = there.slice(0, 0, there.size(0));  // handles of their own
  x.set_requires_grad();
  std::vector<Tensor> parameters;
  for (const Tensor& p : on_device(parameters_)) {
    parameters.push_back(p.slice(0, 0, p.size(0)));
    parameters.back().set_requires_grad();
  }
  poison();
  Tape tape;
  const Tape::Scope scope(&tape);
  PoolRun r;
  r.y = op.forward(x, parameters, mode);
  r.nodes = tape.nodes();
  poison();
  tape.backward(r.y, on_device(dy.to(r.y.dtype())));
  r.dx = x.grad();
  for (const Tensor& p : parameters) r.parameters.push_back(p.grad());
  return r;
}

void expect_same(const PoolRun& a, const PoolRun& b, const char* what) {
  EXPECT_TRUE(same_bits(a.y, b.y)) << what << ": y";
  EXPECT_TRUE(same_bits(a.dx, b.dx)) << what << ": dx";
  for (size_t i = 0; i < a.parameters.size(); ++i)
    EXPECT_TRUE(same_bits(a.parameters[i], b.parameters[i])) << what << ": parameter " << i;
}

Values values_of(const Tensor& t) {
  return t.values();
}

reference::Result reference_of(const Setting& s, const Values& x, const Values& dy) {
  std::vector<Values> parameters;
  for (const Tensor& p : s.parameters) parameters.push_back(p.values());
  if (s.row->reference) return s.row->reference(s.config, s.x.shape(), x, parameters, dy);
  return reference::pool(s.config, s.x.shape(), x, parameters, dy);
}

void compare(const Setting& s, Tally& tally) {
  const Dims shape = reference_of(s, s.x.values(), {}).shape;
  EXPECT_EQ(s.op->output_shape(s.x.shape(), s.parameters), shape);
  const Tensor dy = normal(shape, 4242);
  const reference::Result expected = reference_of(s, s.x.values(), dy.values());
  for (DType type : {DType::f64, DType::f32, DType::bf16})
    for (Layout layout : {Layout::plain, Layout::channels_last, Layout::strided_plain, Layout::strided_channels_last}) {
      SCOPED_TRACE(fmt::format("{}, {}", tidepool::name_of(type), name_of(layout)));
      const Tensor x = laid_out(s.x.to(type), layout), cotangent = laid_out(dy.to(type), layout);
      std::vector<Tensor> parameters;  // of x's type, or f32
      for (const Tensor& p : s.parameters)
        parameters.push_back(p.to(layout == Layout::plain && !multiplies(s) ? type
                                  : type == DType::f64                      ? type
                                                                            : DType::f32));
      const PoolRun r = run_pool(*s.op, x, parameters, cotangent, s.mode);
      ++tally.runs;
      const bool may_detour = x.format() == MemoryFormat::plain && x.size(1) >= 16;           // by channels, and back
      EXPECT_TRUE(r.nodes == 1 || (may_detour && r.nodes == 3) || multiplies(s)) << r.nodes;  // networks are layers
      EXPECT_EQ(r.y.dtype(), type);
      EXPECT_EQ(r.dx.dtype(), type);
      if (layout == Layout::plain || layout == Layout::channels_last) {
        EXPECT_EQ(r.y.format(), laid_out(r.y, layout).format());
      }
      const auto check = [&](const char* kind, double e) {
        tally.note(fmt::format("{} {}", kind, tidepool::name_of(type)), e);
        EXPECT_LE(e, tolerance(type)) << kind;
      };
      check("y", error(r.y.values(), expected.y));
      check("dx", error(r.dx.values(), expected.dx));
      for (size_t i = 0; i < parameters.size(); ++i) {
        const bool narrow = battery_device == kCuda && r.parameters[i].dtype() == type;  // of a convolution there
        EXPECT_TRUE(narrow || r.parameters[i].dtype() == parameters[i].dtype());
        const Values got = r.parameters[i].values(), &want = expected.parameters[i];
        ASSERT_EQ(got.size(), want.size());
        double most = 0, worst = 0;  // over the root of the terms' squares: a sum with signs
        for (size_t j = 0; j < want.size(); ++j) most = std::max({most, std::abs(want[j]), expected.sizes[i][j]});
        for (size_t j = 0; j < want.size(); ++j) {
          const double difference = std::abs(got[j] - want[j]);
          worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
        }
        check("parameter", worst == 0 ? 0 : worst / (most > 1e-30 ? most : 1));  // what f32 can hold
      }
      expect_same(r, run_pool(*s.op, x, parameters, cotangent, s.mode), "repeated");
      if (battery_device != kCpu) continue;
      const int threads = cpu_threads();
      for (int other : {1, 2}) {
        set_cpu_threads(other);
        if (!multiplies(s)) expect_same(r, run_pool(*s.op, x, parameters, cotangent, s.mode), "other threads");
      }
      set_cpu_threads(threads);
    }
}

/// d/dt <dy, y(x + t v)>, central, in random directions, at values that are not rounded to bf16: no two are equal.
void differ(Setting& s, bool parameters, Tally& tally) {
  if (s.config.value("grad", "") == "frozen_weights") return;  // not the derivative of the value, on purpose
  Random random(5, 6);
  Values distinct(static_cast<size_t>(s.x.numel()));
  for (double& e : distinct) e = random.normal();
  const Tensor rounded = std::exchange(s.x, Tensor::from<double>(distinct, s.x.shape()));
  const Dims shape = s.op->output_shape(s.x.shape(), s.parameters);
  const Tensor dy = normal(shape, 777);
  const PoolRun r = run_pool(*s.op, s.x, s.parameters, dy, s.mode);
  std::vector<Tensor> inputs{s.x};
  std::vector<Tensor> gradients{r.dx};
  if (parameters)
    for (size_t i = 0; i < s.parameters.size(); ++i) {
      inputs.push_back(s.parameters[i]);
      gradients.push_back(r.parameters[i]);
    }
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Values v = values_of(normal(inputs[i].shape(), 31 + i)), g = gradients[i].values();
    const auto objective = [&](double t) {
      Values moved = inputs[i].values();
      for (size_t j = 0; j < moved.size(); ++j) moved[j] += t * v[j];
      std::vector<Tensor> p = s.parameters;
      Tensor x = s.x;
      (i == 0 ? x : p[i - 1]) = Tensor::from<double>(moved, inputs[i].shape());
      const Values y = s.op->forward(x, p, s.mode).values(), c = dy.values();
      double sum = 0;
      for (size_t j = 0; j < y.size(); ++j) sum += y[j] * c[j];
      return sum;
    };
    constexpr double h = 1e-6;
    const double numeric = (objective(h) - objective(-h)) / (2 * h);
    double analytic = 0, size = 0;
    for (size_t j = 0; j < v.size(); ++j) {
      analytic += v[j] * g[j];
      size += v[j] * g[j] * v[j] * g[j];
    }
    const double e = std::abs(analytic - numeric) / std::max(1.0, std::sqrt(size));
    tally.note("finite difference", e);
    EXPECT_LE(e, 1e-6) << "finite difference, input " << i;
  }
  s.x = rounded;
}

void not_a_number(const Setting& s, Tally& tally) {
  Values x = s.x.values();
  x[x.size() / 2] = NAN;
  const reference::Result expected = reference_of(s, x, {});
  for (DType type : {DType::f64, DType::f32, DType::bf16})
    for (Layout layout : {Layout::plain, Layout::channels_last}) {
      std::vector<Tensor> parameters;
      for (const Tensor& p : s.parameters) parameters.push_back(p.to(type == DType::f64 ? type : DType::f32));
      const Tensor y = s.op->forward(on_device(laid_out(Tensor::from<double>(x, s.x.shape()).to(type), layout)),
                                     on_device(parameters), s.mode);
      EXPECT_LE(error(y.values(), expected.y), tolerance(type)) << "NaN";
      ++tally.runs;
    }
}

void empty_batch(const Setting& s, Tally& tally) {
  Dims shape = s.x.shape();
  shape[0] = 0;
  Dims out = s.op->output_shape(s.x.shape(), s.parameters);
  out[0] = 0;
  EXPECT_EQ(s.op->output_shape(shape, s.parameters), out);
  const PoolRun r = run_pool(*s.op, Tensor::empty(shape, {.dtype = DType::f64}), s.parameters,
                             Tensor::empty(out, {.dtype = DType::f64}));
  EXPECT_EQ(r.y.shape(), out);
  EXPECT_EQ(r.dx.shape(), shape);
  for (const Tensor& p : r.parameters)
    for (double v : p.values()) EXPECT_EQ(v, 0) << "batch 0";
  ++tally.runs;
}

class Battery : public ::testing::TestWithParam<PoolRow> {};

TEST_P(Battery, Believed) {
  const PoolRow& row = GetParam();
  Tally tally;
  uint64_t seed = 100;
  for (const PoolCase& c : row.cases) {
    Setting s = setting_of(row, c, ++seed);
    SCOPED_TRACE(s.name);
    ++tally.cases;
    compare(s, tally);
    if (c.data == Data::normal) differ(s, row.differences, tally);
    if (row.nan) not_a_number(s, tally);
    empty_batch(s, tally);
  }
  std::string line = fmt::format("{:14} {} cases, {} runs; worst:", row.name, tally.cases, tally.runs);
  for (const auto& [kind, e] : tally.worst) line += fmt::format(" {} {:.1e};", kind, e);
  fmt::print("{}\n", line);
}

INSTANTIATE_TEST_SUITE_P(Pool, Battery, ::testing::ValuesIn(pool_rows()),
                         [](const auto& row) { return std::string(row.param.name); });

TEST(PoolTable, EveryOperatorHasARow) {
  for (const PoolDescription* d : pool_operators()) {
    bool found = false;
    for (const PoolRow& row : pool_rows()) found = found || d->name == row.name;
    EXPECT_TRUE(found) << d->name;
  }
}

// 1-D = 2-D = 3-D: a map with axes of length 1 in front.
TEST(PoolRanks, AgreeBitForBit) {
  for (const char* name : {"max", "avg", "soft", "dynopool", "lp", "gem", "lse", "mixed", "stochastic", "dpp", "em",
                           "edscw", "ada", "gated", "ordinal", "lip"}) {
    SCOPED_TRACE(name);
    const std::string windows[] = {
        R"({"type": "NAME", "kernel": 3, "stride": 2, "padding": 1})",
        R"({"type": "NAME", "kernel": [1, 3], "stride": [1, 2], "padding": [0, 1]})",
        R"({"type": "NAME", "kernel": [1, 1, 3], "stride": [1, 1, 2], "padding": [0, 0, 1]})"};
    const Tensor x = normal({2, 5, 33}, 9).to(DType::f32);
    std::vector<PoolRun> runs;
    for (int rank = 1; rank <= 3; ++rank) {
      json config = std::string(name) == "dynopool" ? json{{"type", name}} : json::parse(windows[rank - 1]);
      config["type"] = name;
      const auto op = make_pool_operator(config);
      Dims shape = Dims::filled(2 + rank, 1);
      shape[0] = 2, shape[1] = 5, shape[1 + rank] = 33;
      std::vector<Tensor> parameters;
      if (std::string(name) == "dynopool") {
        std::vector<double> alpha(static_cast<size_t>(rank), 1.0);
        alpha.back() = 1.75;
        parameters.push_back(Tensor::from<double>(alpha, {rank}).to(DType::f32));
      } else {
        for (const ParameterSpec& spec : op->parameters(shape)) {
          const Values v = normal({spec.shape.product()}, 8).values();
          parameters.push_back(Tensor::from<double>(v, spec.shape).to(DType::f32));
        }
      }
      const Dims out = op->output_shape(shape, parameters);
      runs.push_back(run_pool(*op, x.reshape(shape), parameters, normal(out, 3)));
    }
    for (int i : {1, 2}) {
      EXPECT_EQ(runs[0].y.values(), runs[static_cast<size_t>(i)].y.values());
      EXPECT_EQ(runs[0].dx.values(), runs[static_cast<size_t>(i)].dx.values());
    }
  }
}

// The detour of plain maps is invisible but for its speed: the same bits as on channels-last memory, in plain memory.
TEST(PoolByChannels, PlainMapsOfManyChannels) {
  for (const char* config :
       {R"({"type": "blur"})", R"({"type": "max_blur"})", R"({"type": "s3"})", R"({"type": "strip"})",
        R"({"type": "fractional_max", "ratio": 0.6})", R"({"type": "shape_adaptor"})", R"({"type": "spp"})",
        R"({"type": "dynopool", "r": 0.6})", R"({"type": "stochastic"})",
        R"({"type": "soft", "kernel": 3, "stride": 2})", R"({"type": "ada", "kernel": 3, "stride": 1})"}) {
    SCOPED_TRACE(config);
    const auto op = make_pool_operator(json::parse(config));
    const Tensor x = normal({2, 17, 8, 10}, 5).to(DType::f32);
    const std::vector<Tensor> parameters = initial_values(*op, x.shape(), DType::f32, 3);
    const PoolMode mode{.training = true, .seed = 1, .step = 2};
    const Tensor dy = normal(op->forward(x, parameters, mode).shape(), 6).to(DType::f32);
    const auto run = [&](MemoryFormat format) {
      std::vector<Tensor> leaves{x.clone().contiguous(format)};
      for (const Tensor& p : parameters) leaves.push_back(p.clone());
      for (const Tensor& leaf : leaves) leaf.set_requires_grad();
      Tape tape;
      std::vector<Tensor> results;
      {
        const Tape::Scope scope(&tape);
        results.push_back(op->forward(leaves[0], std::span(leaves).subspan(1), mode));
      }
      EXPECT_EQ(results[0].format(), format);
      EXPECT_EQ(tape.nodes(), format == MemoryFormat::plain ? 3u : 1u);  // there, the operator, and back
      tape.backward(results[0], dy);
      EXPECT_EQ(leaves[0].grad().format(), format);
      for (const Tensor& leaf : leaves) results.push_back(leaf.grad());
      return results;
    };
    const auto plain = run(MemoryFormat::plain), last = run(MemoryFormat::channels_last);
    for (size_t i = 0; i < plain.size(); ++i) EXPECT_EQ(plain[i].values(), last[i].values()) << "result " << i;
  }
}

TEST(PoolMax, InfinitiesFollowIeee) {
  const auto max = make_pool_operator({{"type", "max"}}), avg = make_pool_operator({{"type", "avg"}});
  const Tensor x =
      Tensor::from<double>({-INFINITY, -INFINITY, INFINITY, 1, -INFINITY, 3, INFINITY, -INFINITY}, {1, 1, 8});
  EXPECT_EQ(max->forward(x, {}, {}).values(), (Values{-INFINITY, INFINITY, 3, INFINITY}));
  const Values mean = avg->forward(x, {}, {}).values();
  EXPECT_EQ(mean[0], -INFINITY);
  EXPECT_EQ(mean[1], INFINITY);
  EXPECT_TRUE(std::isnan(mean[3]));
  const PoolRun r = run_pool(*max, x, {}, Tensor::from<double>({1, 2, 3, 4}, {1, 1, 4}));
  EXPECT_EQ(r.dx.values(), (Values{1, 0, 2, 0, 0, 3, 4, 0}));
}

// Windows of bf16 that are compared as bits: values on a coarse grid for ties, zeros of both signs, infinities, and NaN
// of both signs in some; channels that are no multiple of a vector.
TEST(PoolMax, BitsOfBf16AreOrderedAsNumbers) {
  const auto max = make_pool_operator({{"type", "max"}});
  const Dims shape{2, 75, 6, 10};
  for (const bool with_nan : {false, true}) {
    Values v = normal(shape, 11).values();
    for (size_t i = 0; i < v.size(); ++i) {
      v[i] = std::round(2 * v[i]) / 2;  // rounds to -0 too
      if (i % 17 == 0) v[i] = i % 2 == 0 ? INFINITY : -INFINITY;
      if (with_nan && i % 101 == 0) v[i] = std::copysign(NAN, i % 2 == 0 ? 1 : -1);
    }
    const Tensor x = Tensor::from<double>(v, shape).contiguous(MemoryFormat::channels_last);
    const Tensor dy = normal({2, 75, 3, 5}, 12).to(DType::bf16);  // what both can hold
    const PoolRun bits = run_pool(*max, x.to(DType::bf16), {}, dy);
    const PoolRun wide = run_pool(*max, x.to(DType::f32), {}, dy.to(DType::f32));
    const Values y = bits.y.values(), expected = wide.y.values();
    for (size_t i = 0; i < y.size(); ++i)
      EXPECT_TRUE(y[i] == expected[i] || (std::isnan(y[i]) && std::isnan(expected[i]))) << i << ": " << y[i];
    EXPECT_EQ(bits.dx.values(), wide.dx.values());
  }
}

// Slopes far below the window's largest keep their digits: exp(t) / sum, and not 1 + expm1(t), which is 0 from -17 on.
TEST(PoolLse, SmallSlopesKeepTheirDigits) {
  const auto lse = make_pool_operator({{"type", "lse"}, {"kernel", 4}});
  const Tensor x = Tensor::from<double>({0, -5, -12, -30}, {1, 1, 4}).to(DType::f32);
  const PoolRun r = run_pool(*lse, x, {}, Tensor::full({1, 1, 1}, 1));
  const double sum = 1 + std::exp(-5.0) + std::exp(-12.0) + std::exp(-30.0);
  for (size_t i = 0; i < 4; ++i) {
    const double exact = std::exp(x.values()[i]) / sum;
    // a weight's rounded exponent (Weights, core/lanes.h)
    EXPECT_NEAR(r.dx.values()[i], exact, (1e-6 - 0x1p-23 * x.values()[i]) * exact) << i;
  }
}

TEST(PoolSoft, LargestFiniteNumbers) {
  const auto soft = make_pool_operator({{"type", "soft"}});
  const Tensor x = Tensor::from<double>({3e38, -3e38, -3e38, -3e38}, {1, 1, 4}).to(DType::f32);
  const Values y = soft->forward(x, {}, {}).values();
  EXPECT_FLOAT_EQ(static_cast<float>(y[0]), 3e38f);
  EXPECT_FLOAT_EQ(static_cast<float>(y[1]), -3e38f);
}

// What each keeps for its backward, parameters not counted, of 2x16x8x8 f32: 2048 elements, 512 outputs.
TEST(PoolKept, AsLittleAsPossible) {
  const std::map<std::string, size_t> bytes = {{R"({"type": "max"})", 512},
                                               {R"({"type": "avg"})", 0},
                                               {R"({"type": "soft"})", 8192},
                                               {R"({"type": "dynopool"})", 512},
                                               {R"({"type": "adaptive_avg", "output_size": 3})", 0},
                                               {R"({"type": "adaptive_max", "output_size": 4})", 512},
                                               {R"({"type": "adaptive_max", "output_size": 3})", 288},
                                               {R"({"type": "global_max"})", 32},
                                               {R"({"type": "blur", "kernel": 3, "stride": 2})", 0},
                                               {R"({"type": "max_blur"})", 32 * 49},
                                               {R"({"type": "spp"})", 32 * 21},
                                               {R"({"type": "fractional_max"})", 512},
                                               {R"({"type": "s3"})", 32 * 49},
                                               {R"({"type": "spectral"})", 0},
                                               {R"({"type": "diffstride"})", 0},
                                               {R"({"type": "space_to_depth"})", 8192}};
  for (const auto& [config, expected] : bytes) {
    const auto op = make_pool_operator(json::parse(config));
    const Tensor x = normal({2, 16, 8, 8}, 1).to(DType::f32).contiguous(MemoryFormat::channels_last), copy = x.clone();
    std::vector<Tensor> parameters;
    for (const auto& spec : op->parameters(x.shape())) {
      parameters.push_back(Tensor::empty(spec.shape));
      spec.init(parameters.back(), 0);
      if (spec.kind == ParameterKind::weight) parameters.back().set_requires_grad();
    }
    Tape tape;
    const Tape::Scope scope(&tape);
    copy.set_requires_grad(false);
    x.set_requires_grad(false);
    const Tensor seed = Tensor::full(x.shape(), 0);
    seed.set_requires_grad();
    // x is a value of the tape and no leaf, so that its bytes count where they are kept
    const Tensor value = x.clone();
    Tape::record("source", {seed}, {value}, {}, [](BackwardContext& ctx) { ctx.dx(0) = ctx.dy(); });
    op->forward(value, parameters, {});
    EXPECT_EQ(tape.saved_bytes().back().bytes, expected) << config;
  }
}

}  // namespace
}  // namespace tidepool::testing
