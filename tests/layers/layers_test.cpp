// Linear, activations, dropout, global average and the loss.
#include "layers/activation.h"
#include "layers/dropout.h"
#include "layers/global_avg.h"
#include "layers/linear.h"
#include "layers/loss.h"
#include "tests/layers/battery.h"

namespace tidepool::testing {
namespace {

const std::vector<DType> kTypes{DType::f64, DType::f32, DType::bf16};
DType parameters_of(DType t) {
  return t == DType::f64 ? t : DType::f32;
}

// -- linear ----------------------------------------------------------------------------------------------------------

Case linear_case(int64_t n, int64_t in, int64_t out, bool bias) {
  Case c;
  c.name = fmt::format("{} x {} to {}{}", n, in, out, bias ? ", bias" : "");
  c.inputs = {normal({n, in}, 1), normal({out, in}, 2, 0.3)};
  if (bias) c.inputs.push_back(normal({out}, 3));
  c.op = [](const std::vector<Tensor>& t) { return linear(t[0], t[1], t.size() > 2 ? t[2] : Tensor()); };
  c.reference = [=](const std::vector<Values>& v, const Values& dy) {
    const auto at = [](int64_t row, int64_t column, int64_t columns) {
      return static_cast<size_t>(row * columns + column);
    };
    Values y(static_cast<size_t>(n * out)), dx(v[0].size()), dw(v[1].size()), db(static_cast<size_t>(out));
    for (int64_t i = 0; i < n; ++i)
      for (int64_t o = 0; o < out; ++o) {
        for (int64_t k = 0; k < in; ++k) {
          y[at(i, o, out)] += v[0][at(i, k, in)] * v[1][at(o, k, in)];
          dx[at(i, k, in)] += dy[at(i, o, out)] * v[1][at(o, k, in)];
          dw[at(o, k, in)] += dy[at(i, o, out)] * v[0][at(i, k, in)];
        }
        if (bias) y[at(i, o, out)] += v[2][static_cast<size_t>(o)];
        db[static_cast<size_t>(o)] += dy[at(i, o, out)];
      }
    std::vector<Values> r{y, dx, dw};
    if (bias) r.push_back(db);
    return r;
  };
  c.own_kernels = false;
  return c;
}

TEST(Linear, Battery) {
  believe(linear_case(5, 7, 4, true));
  believe(linear_case(3, 33, 17, false));
  believe(linear_case(1, 1, 1, true));
  believe(linear_case(1, 9, 100, true));
  believe(linear_case(32, 128, 100, true));
}

TEST(Linear, BatchOfNone) {
  for (const DType t : kTypes) {
    const Tensor x = Tensor::zeros({0, 3}, {t}), w = Tensor::full({4, 3}, 1, {parameters_of(t)}),
                 b = Tensor::zeros({4}, {parameters_of(t)});
    for (const Tensor& leaf : {x, w, b}) leaf.set_requires_grad();
    poison();
    Tape tape;
    const Tape::Scope scope(&tape);
    const Tensor y = linear(x, w, b);
    tape.backward(y, Tensor::zeros({0, 4}, {t}));
    EXPECT_EQ(y.shape(), Dims({0, 4}));
    EXPECT_EQ(x.grad().shape(), x.shape());
    EXPECT_EQ(w.grad().values(), Values(12, 0.0));
    EXPECT_EQ(b.grad().values(), Values(4, 0.0));
  }
}

TEST(Linear, NanStaysInItsRow) {
  for (const DType t : kTypes) {
    const Tensor x = normal({5, 8}, 1).to(t);
    x.slice(0, 2, 1).slice(1, 3, 1).fill(NAN);
    const Values y = linear(x, normal({6, 8}, 2).to(parameters_of(t)), {}).values();
    for (size_t i = 0; i < y.size(); ++i) EXPECT_EQ(std::isnan(y[i]), i / 6 == 2);
  }
}

TEST(Linear, ErrorsAtTheDoor) {
  const Tensor x = Tensor::zeros({2, 3}), w = Tensor::zeros({4, 3});
  EXPECT_EQ(error_of([&] {
              linear(Tensor::zeros({2, 3, 1}), w, {});
            }),
            "[linear] expected an input N x I, got the shape 2x3x1");
  EXPECT_EQ(error_of([&] {
              linear(x, Tensor::zeros({4, 5}), {});
            }),
            "[linear] expected a weight O x 3 for an input of shape 2x3, got the shape 4x5");
  EXPECT_EQ(error_of([&] { linear(x, w, Tensor::zeros({3})); }), "[linear] bias: expected the shape 4, got 3");
  EXPECT_EQ(error_of([&] { linear(x, w.to(DType::bf16), {}); }),
            "[linear] expected a weight of f32 for an input of f32, got bf16");
}

// -- activations -----------------------------------------------------------------------------------------------------

Case activation_case(const std::string& name, const Dims& shape, double scale, Tensor (*op)(const Tensor&),
                     double (*f)(double), double (*slope)(double)) {
  Case c;
  c.name = name + " of " + shape.str();
  c.inputs = {normal(shape, 1, scale)};
  c.op = [op](const std::vector<Tensor>& t) { return op(t[0]); };
  c.reference = [=](const std::vector<Values>& in, const Values& dy) {
    Values y, dx;
    for (size_t i = 0; i < dy.size(); ++i) {
      y.push_back(f(in[0][i]));
      dx.push_back(slope(in[0][i]) * dy[i]);
    }
    return std::vector<Values>{y, dx};
  };
  return c;
}
double logistic(double v) {
  return v >= 0 ? 1 / (1 + std::exp(-v)) : std::exp(v) / (1 + std::exp(v));
}

TEST(Activation, Battery) {
  for (const Dims& shape : {Dims{2, 5, 3, 7}, Dims{3, 40, 17, 11}, Dims{4, 19}, Dims{2, 3, 3, 4, 5}}) {
    believe(activation_case(
        "relu", shape, 2, relu, [](double v) { return v > 0 ? v : 0; }, [](double v) { return v > 0 ? 1.0 : 0.0; }));
    believe(
        activation_case("sigmoid", shape, 3, sigmoid, logistic, [](double v) { return logistic(v) * logistic(-v); }));
    believe(activation_case(
        "silu", shape, 3, silu, [](double v) { return v * logistic(v); },
        [](double v) { return logistic(v) + v * logistic(v) * logistic(-v); }));
    for (Case c : std::vector<Case>{
             activation_case(
                 "relu6", shape, 5, relu6, [](double v) { return std::clamp(v, 0.0, 6.0); },
                 [](double v) { return v > 0 && v < 6 ? 1.0 : 0.0; }),
             activation_case(
                 "hardswish", shape, 3, hardswish, [](double v) { return v * std::clamp(v + 3, 0.0, 6.0) / 6; },
                 [](double v) { return v <= -3  ? 0.0
                                       : v >= 3 ? 1.0
                                                : v / 3 + 0.5; })}) {
      Values v = c.inputs[0].values();  // finite differences must not step over a kink
      for (double& e : v)
        if (std::abs(e) == 3 || e == 6 || e == 0) e += 0.25;
      c.inputs[0] = Tensor::from<double>(v, shape);
      believe(c);
    }
  }
}

// PyTorch 2.11: hardswish's gradient is 0 at -3 and 1 at 3.
TEST(Activation, Kinks) {
  for (const DType t : kTypes)
    for (const int64_t n : {1, 40}) {  // in a scalar and in a vector
      const auto gradient = [&](Tensor (*op)(const Tensor&), double at) {
        const Tensor x = Tensor::full({n}, at, {t});
        x.set_requires_grad();
        Tape tape;
        const Tape::Scope scope(&tape);
        tape.backward(op(x), Tensor::full({n}, 0.75, {t}));
        EXPECT_TRUE(same_bits(x.grad().slice(0, 0, 1), x.grad().slice(0, n - 1, 1)));
        return x.grad().values().front();
      };
      EXPECT_EQ(gradient(relu6, 0), 0);
      EXPECT_EQ(gradient(relu6, 5.5), 0.75);
      EXPECT_EQ(gradient(relu6, 6), 0);
      EXPECT_EQ(gradient(relu6, 7), 0);
      EXPECT_EQ(gradient(hardswish, -3), 0);
      EXPECT_EQ(gradient(hardswish, -1.5), 0);
      EXPECT_EQ(gradient(hardswish, 0), 0.375);
      EXPECT_EQ(gradient(hardswish, 1.5), 0.75);
      EXPECT_EQ(gradient(hardswish, 3), 0.75);
      EXPECT_EQ(gradient(hardswish, 4), 0.75);
      EXPECT_TRUE(std::isnan(gradient(hardswish, NAN)));
      EXPECT_EQ(gradient(relu6, NAN), 0.75);  // as relu's
      EXPECT_EQ(relu6(Tensor::full({n}, INFINITY, {t})).values()[0], 6);
      EXPECT_EQ(hardswish(Tensor::full({n}, 3, {t})).values()[0], 3);
      EXPECT_EQ(hardswish(Tensor::full({n}, -3, {t})).values()[0], 0);
      EXPECT_EQ(hardswish(Tensor::full({n}, 100, {t})).values()[0], 100);
    }
}

TEST(Activation, ByName) {
  const Tensor x = normal({2, 3, 4, 5}, 1, 4);
  const std::vector<std::pair<Act, Tensor (*)(const Tensor&)>> all{
      {Act::relu, relu}, {Act::relu6, relu6}, {Act::silu, silu}, {Act::hardswish, hardswish}, {Act::sigmoid, sigmoid}};
  for (const auto& [act, op] : all) EXPECT_TRUE(same_bits(activation(x, act), op(x))) << name_of(act);
  EXPECT_TRUE(activation(x, Act::none).shares_storage(x));
  const std::vector<Act> acts{Act::none, Act::relu, Act::relu6, Act::silu, Act::hardswish, Act::sigmoid};
  std::string names;
  for (const Act act : acts) names += std::string(name_of(act)) + " ";
  EXPECT_EQ(names, "none relu relu6 silu hardswish sigmoid ");
}

TEST(Activation, EdgesOfTheRange) {
  for (const DType t : kTypes) {
    const Tensor x = Tensor::from<double>({-1e4, -100, -0.0, 0, 100, 1e4, INFINITY}, {7}).to(t);
    const Values r = relu(x).values(), s = sigmoid(x).values(), l = silu(x).values();
    EXPECT_EQ(r[0], 0);
    EXPECT_EQ(r[2], 0);
    EXPECT_EQ(r[6], INFINITY);
    EXPECT_NEAR(s[0], 0, 1e-40);
    EXPECT_EQ(s[3], 0.5);
    EXPECT_EQ(s[5], 1);
    EXPECT_NEAR(l[0], 0, 1e-30);
    EXPECT_EQ(l[6], INFINITY);
    for (int64_t n : {1, 40})  // in a scalar and in a vector
      for (const auto op : {relu, relu6, sigmoid, silu, hardswish}) {
        const Values y = op(Tensor::full({n}, NAN, {t})).values();
        EXPECT_TRUE(std::isnan(y[0]) && std::isnan(y.back()));
      }
  }
}

// The gradient of a gate that is nearly open has all its digits: 1 - y has none in f32.
TEST(Activation, GradientOfANearlyOpenGate) {
  const Tensor x = Tensor::full({40}, 15, {.dtype = DType::f32});
  x.set_requires_grad();
  Tape tape;
  Tensor y;
  {
    const Tape::Scope scope(&tape);
    y = sigmoid(x);
  }
  tape.backward(y, Tensor::full({40}, 1, {.dtype = DType::f32}));
  const double expected = 1 / (1 + std::exp(-15.0)) / (1 + std::exp(15.0));
  for (const double dx : x.grad().values()) EXPECT_NEAR(dx, expected, 1e-5 * expected);
}

TEST(Activation, BatchOfNoneAndErrors) {
  for (const auto op : {relu, relu6, sigmoid, silu, hardswish}) {
    const Tensor x = Tensor::zeros({0, 3, 4, 4});
    x.set_requires_grad();
    Tape tape;
    const Tape::Scope scope(&tape);
    const Tensor y = op(x);
    tape.backward(y, Tensor::zeros(y.shape()));
    EXPECT_EQ(x.grad().shape(), x.shape());
  }
  EXPECT_EQ(error_of([] { relu(Tensor::zeros({2}, {DType::i64})); }),
            "[relu] expected an input of f32, f64 or bf16, got i64");
  EXPECT_EQ(error_of([] { activation(Tensor::zeros({2}, {DType::u8}), Act::relu6); }),
            "[relu6] expected an input of f32, f64 or bf16, got u8");
  EXPECT_EQ(error_of([] { hardswish(Tensor::zeros({2}, {DType::i64})); }),
            "[hardswish] expected an input of f32, f64 or bf16, got i64");
}

// -- dropout ---------------------------------------------------------------------------------------------------------

TEST(Dropout, Battery) {
  for (const Dims& shape : {Dims{6, 37}, Dims{2, 5, 3, 7}, Dims{3, 40, 9, 7}, Dims{2, 3, 3, 4, 5}}) {
    Case c;
    c.name = shape.str();
    c.inputs = {normal(shape, 1)};
    c.op = [](const std::vector<Tensor>& t) { return dropout(t[0], 0.25, 7, 11); };
    c.reference = [=](const std::vector<Values>& in, const Values& dy) {
      const int64_t channels = shape[1], positions = shape.product() / shape[0] / channels;
      std::vector<Values> r{dy, dy};
      for (int64_t i = 0; i < shape.product(); ++i) {
        const int64_t n = i / (channels * positions), ch = i / positions % channels, position = i % positions;
        const auto number = static_cast<uint64_t>((n * positions + position) * channels + ch);
        const uint32_t word = random_words(7, 0x64726F7000000000u ^ 11u, number / 4)[number % 4];
        const double factor = word >> 8 >= (1u << 22) ? 4.0 / 3 : 0;  // a quarter of 2^24
        r[0][static_cast<size_t>(i)] = in[0][static_cast<size_t>(i)] * factor;
        r[1][static_cast<size_t>(i)] = dy[static_cast<size_t>(i)] * factor;
      }
      return r;
    };
    believe(c);
  }
}

TEST(Dropout, RateSeedsAndSteps) {
  const Tensor x = Tensor::full({100, 1000}, 1);
  const auto kept = [&](double p, uint64_t seed, uint64_t step) {
    const Values y = dropout(x, p, seed, step).values();
    double n = 0;
    for (double v : y) n += v != 0;
    return n / 1e5;
  };
  EXPECT_NEAR(kept(0.5, 1, 0), 0.5, 0.008);  // five standard errors
  EXPECT_NEAR(kept(0.1, 1, 0), 0.9, 0.005);
  EXPECT_TRUE(same_bits(dropout(x, 0.0, 1, 0), x));
  EXPECT_FALSE(same_bits(dropout(x, 0.5, 1, 0), dropout(x, 0.5, 2, 0)));
  EXPECT_FALSE(same_bits(dropout(x, 0.5, 1, 0), dropout(x, 0.5, 1, 1)));
}

TEST(Dropout, KeepsNothingAndPassesNan) {
  const Tensor x = Tensor::full({2, 64}, NAN);
  x.set_requires_grad();
  Tape tape;
  const Tape::Scope scope(&tape);
  for (double v : dropout(x, 0.5, 1, 2).values()) EXPECT_TRUE(std::isnan(v));
  EXPECT_EQ(tape.saved_bytes().at(0).bytes, 0u);
  EXPECT_EQ(dropout(Tensor::zeros({0, 3}), 0.5, 1, 2).shape(), Dims({0, 3}));
}

TEST(Dropout, ErrorsAtTheDoor) {
  EXPECT_EQ(error_of([] { dropout(Tensor::zeros({2, 3}), 1.0, 0, 0); }), "[dropout] expected p in [0, 1), got 1");
  EXPECT_EQ(error_of([] { dropout(Tensor::zeros({2, 3}), -0.5, 0, 0); }), "[dropout] expected p in [0, 1), got -0.5");
  EXPECT_EQ(error_of([] { dropout(Tensor::zeros({2, 3}), NAN, 0, 0); }), "[dropout] expected p in [0, 1), got nan");
}

// -- global average --------------------------------------------------------------------------------------------------

TEST(GlobalAvg, Battery) {
  for (const Dims& shape :
       {Dims{3, 5, 4, 7}, Dims{2, 83, 1, 1}, Dims{2, 20, 33, 41}, Dims{3, 18, 9}, Dims{2, 17, 2, 3, 5}}) {
    Case c;
    c.name = shape.str();
    c.inputs = {normal(shape, 1, 1, 0.5)};
    c.op = [](const std::vector<Tensor>& t) { return global_avg(t[0]); };
    c.reference = [=](const std::vector<Values>& in, const Values& dy) {
      Values y(dy.size()), dx(in[0].size());
      const size_t positions = in[0].size() / dy.size();
      for (size_t i = 0; i < dx.size(); ++i) {
        y[i / positions] += in[0][i] / static_cast<double>(positions);
        dx[i] = dy[i / positions] / static_cast<double>(positions);
      }
      return std::vector<Values>{y, dx};
    };
    believe(c);
  }
}

TEST(GlobalAvg, NanBatchOfNoneAndErrors) {
  const Tensor x = Tensor::full({2, 3, 2, 2}, 1);
  x.slice(0, 1, 1).slice(1, 2, 1).slice(2, 0, 1).slice(3, 0, 1).fill(NAN);
  const Values y = global_avg(x).values();
  for (size_t i = 0; i < 6; ++i) EXPECT_EQ(std::isnan(y[i]), i == 5);
  EXPECT_EQ(global_avg(Tensor::zeros({0, 3, 2, 2})).shape(), Dims({0, 3}));
  EXPECT_EQ(error_of([] {
              global_avg(Tensor::zeros({2, 3}));
            }),
            "[global_avg] expected an input N x C x spatial, got the shape 2x3");
  EXPECT_EQ(error_of([] {
              global_avg(Tensor::zeros({2, 3, 0, 4}));
            }),
            "[global_avg] an input of shape 2x3x0x4 has no positions");
}

// -- loss ------------------------------------------------------------------------------------------------------------

constexpr int64_t kIgnored = 255;

// Logits [n, k, spatial]; with `ignore`, every third label is ignored, and all of the last image.
Case loss_case(const Dims& shape, double smoothing, double scale, bool ignore = false) {
  Case c;
  const int64_t n = shape[0], k = shape[1], positions = shape.product() / (n * k);
  c.name = fmt::format("{}, smoothing {}, scale {}{}", shape.str(), smoothing, scale, ignore ? ", some ignored" : "");
  c.inputs = {normal(shape, 1, scale)};
  Random random(5, 5);
  std::vector<int64_t> labels;
  int64_t counted = 0;
  for (int64_t i = 0; i < n * positions; ++i) {
    labels.push_back(random.below(static_cast<uint32_t>(k)));
    if (ignore && (i % 3 == 1 || (n > 1 && i >= (n - 1) * positions))) labels.back() = kIgnored;
    counted += labels.back() != kIgnored;
  }
  Dims label_shape = Dims::filled(shape.rank() - 1, n);
  for (int i = 2; i < shape.rank(); ++i) label_shape[i - 1] = shape[i];
  Tensor label = Tensor::from<int64_t>(std::span<const int64_t>(labels), label_shape);
  if (ignore) label = label.to(DType::i32);
  const std::optional<int64_t> ignored = ignore ? std::optional(kIgnored) : std::nullopt;
  c.op = [=](const std::vector<Tensor>& t) { return cross_entropy(t[0], label.to(t[0].device()), smoothing, ignored); };
  c.reference = [=](const std::vector<Values>& in, const Values& dy) {
    Values loss(1), dx(in[0].size());
    const auto count = static_cast<double>(counted);
    for (int64_t i = 0; i < n * positions; ++i) {
      const int64_t own = labels[static_cast<size_t>(i)];
      if (own == kIgnored) continue;
      const auto at = [&](int64_t j) {
        return static_cast<size_t>((i / positions * k + j) * positions + i % positions);
      };
      double most = -INFINITY, sum = 0;
      for (int64_t j = 0; j < k; ++j) most = std::max(most, in[0][at(j)]);
      for (int64_t j = 0; j < k; ++j) sum += std::exp(in[0][at(j)] - most);
      for (int64_t j = 0; j < k; ++j) {
        const double target = (j == own ? 1 - smoothing : 0) + smoothing / static_cast<double>(k);
        loss[0] -= target * (in[0][at(j)] - most - std::log(sum)) / count;
        dx[at(j)] = (std::exp(in[0][at(j)] - most) / sum - target) * dy[0] / count;
      }
    }
    return std::vector<Values>{loss, dx};
  };
  c.differences = scale < 100;
  return c;
}

TEST(CrossEntropy, Battery) {
  believe(loss_case({6, 5}, 0, 1));
  believe(loss_case({6, 10}, 0.1, 2));
  believe(loss_case({5, 100}, 0.2, 3));
  believe(loss_case({4, 7}, 0.1, 1e4));
  believe(loss_case({3, 16}, 1.0, 1));
  believe(loss_case({128, 100}, 0, 1));
  believe(loss_case({2, 1}, 0.1, 1));
}

TEST(CrossEntropy, BatteryOfMaps) {
  believe(loss_case({2, 5, 3, 4}, 0, 1));
  believe(loss_case({2, 21, 5, 3}, 0, 2, true));
  believe(loss_case({3, 6, 4, 4}, 0.1, 1, true));
  believe(loss_case({2, 1, 3, 3}, 0.1, 1, true));
  believe(loss_case({2, 7, 1, 1}, 0, 1e4, true));
  believe(loss_case({2, 4, 9}, 0, 1, true));
  believe(loss_case({1, 3, 2, 3, 2}, 0.2, 1, true));
}

// A mean over many pixels: in f32 a running sum of 2^20 terms would be off by more.
TEST(CrossEntropy, LongMapsAreSummedExactly) {
  const Tensor x = normal({1, 4, 1024, 1024}, 3).contiguous(MemoryFormat::channels_last);
  const Tensor label = Tensor::full({1, 1024, 1024}, 2, {.dtype = DType::i32});
  const double exact = cross_entropy(x, label, 0, kIgnored).item();
  EXPECT_NEAR(cross_entropy(x.to(DType::f32), label, 0, kIgnored).item(), exact, 2e-7 * exact);
}

TEST(CrossEntropy, AllIgnoredIsZero) {
  for (const DType t : kTypes) {
    const Tensor x = Tensor::full({2, 3, 4, 4}, NAN, {t, MemoryFormat::channels_last});
    x.set_requires_grad();
    Tape tape;
    Tensor loss;
    {
      const Tape::Scope scope(&tape);
      loss = cross_entropy(x, Tensor::full({2, 4, 4}, kIgnored, {.dtype = DType::i32}), 0.1, kIgnored);
    }
    EXPECT_EQ(loss.item(), 0);
    tape.backward(loss);
    for (const double g : x.grad().values()) ASSERT_EQ(g, 0);
  }
}

TEST(CrossEntropy, TypesNanAndNone) {
  const Tensor label = Tensor::from<int64_t>({0, 1}, {2});
  for (const DType t : kTypes) {
    EXPECT_EQ(cross_entropy(Tensor::zeros({2, 4}, {t}), label).dtype(), parameters_of(t));
    EXPECT_NEAR(cross_entropy(Tensor::zeros({2, 4}, {t}), label).item(), std::log(4.0), 1e-6);
    EXPECT_TRUE(std::isnan(cross_entropy(Tensor::full({2, 40}, NAN, {t}), label).item()));
  }
  EXPECT_TRUE(std::isnan(cross_entropy(Tensor::zeros({0, 4}), Tensor::zeros({0}, {DType::i64})).item()));
}

// Without smoothing only the label's logit counts: another may be -inf.
TEST(CrossEntropy, LogitsThatAreNotFinite) {
  const Tensor label = Tensor::from<int64_t>({0}, {1});
  for (const DType t : kTypes) {
    const Tensor x = Tensor::from<double>({1, 1, -INFINITY}, {1, 3}).to(t).to(battery_device);
    EXPECT_NEAR(cross_entropy(x, label.to(battery_device)).item(), std::log(2.0), 1e-6);
  }
}

TEST(CrossEntropy, ErrorsAtTheDoor) {
  const Tensor x = Tensor::zeros({2, 4});
  EXPECT_EQ(error_of([&] {
              cross_entropy(x, Tensor::from<int64_t>({0, 4}, {2}));
            }),
            "[cross_entropy] label 4 at index 1 is out of range: expected 0 to 3");
  EXPECT_EQ(error_of([&] {
              cross_entropy(x, Tensor::from<int64_t>({-1, 0}, {2}));
            }),
            "[cross_entropy] label -1 at index 0 is out of range: expected 0 to 3");
  EXPECT_EQ(error_of([&] { cross_entropy(x, Tensor::from<int64_t>({0}, {1})); }),
            "[cross_entropy] labels: expected the shape 2, got 1");
  EXPECT_EQ(error_of([&] { cross_entropy(x, Tensor::zeros({2})); }),
            "[cross_entropy] expected labels of i32 or i64, got f32");
  EXPECT_EQ(error_of([&] {
              cross_entropy(Tensor::zeros({2, 4, 1}), Tensor::from<int64_t>({0, 1}, {2}));
            }),
            "[cross_entropy] labels: expected the shape 2x1, got 2");
  EXPECT_EQ(error_of([&] { cross_entropy(Tensor::zeros({2}), Tensor::zeros({2}, {DType::i64})); }),
            "[cross_entropy] expected logits N x K or N x K x spatial, got the shape 2");
  EXPECT_EQ(error_of([&] {
              const Tensor label = Tensor::from<int32_t>({0, 255, 1, 3, 4, 0}, {1, 2, 3});
              cross_entropy(Tensor::zeros({1, 4, 2, 3}), label, 0, kIgnored);
            }),
            "[cross_entropy] label 4 at index (0, 1, 1) is out of range: expected 0 to 3, or 255, which is ignored");
  EXPECT_EQ(error_of([&] {
              cross_entropy(x, Tensor::from<int64_t>({0, 1}, {2}), 1.5);
            }),
            "[cross_entropy] expected a label smoothing in [0, 1], got 1.5");
}

TEST(CorrectTop, RanksTiesAndNan) {
  const Tensor x = Tensor::from<double>({3,   2,   1, 0,  // label 1: rank 1
                                         1,   1,   1, 1,  // label 2, tied with lower indices 0 and 1: rank 2
                                         0,   1,   2, 3,  // label 0: rank 3
                                         5,   NAN, 0, 0,  // wrong, whatever the label
                                         NAN, 5,   0, 0},
                                        {5, 4});
  const Tensor label = Tensor::from<int64_t>({1, 2, 0, 0, 0}, {5});
  const Tensor every = Tensor::from<int64_t>({0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, {10});
  for (const DType t : kTypes) {
    EXPECT_EQ(correct_top(x.to(t), label, 1), 0);
    EXPECT_EQ(correct_top(x.to(t), label, 2), 1);
    EXPECT_EQ(correct_top(x.to(t), label, 3), 2);
    EXPECT_EQ(correct_top(x.to(t), label, 4), 3);
    EXPECT_EQ(correct_top(x.to(t), label, 9), 3);
    EXPECT_EQ(correct_top(Tensor::full({10, 10}, -INFINITY).to(t), every, 1), 1) << "one prediction per image";
    EXPECT_EQ(correct_top(Tensor::full({10, 10}, 0.5).to(t), every, 5), 5);
    EXPECT_EQ(correct_top(Tensor::full({10, 10}, NAN).to(t), every, 10), 0);
  }
  EXPECT_EQ(correct_top(Tensor::zeros({0, 4}), Tensor::zeros({0}, {DType::i64}), 1), 0);
  EXPECT_EQ(error_of([&] { correct_top(x, label, 0); }), "[correct_top] expected k >= 1, got 0");
}

TEST(PredictedClasses, FirstOfTheLargestInEveryLayout) {
  const Tensor x = Tensor::from<double>({0, 5, 1, NAN,  // class 0 at four positions
                                         2, 5, 0, 9,    //
                                         1, 5, 3, 9},
                                        {1, 3, 2, 2});
  for (const DType t : kTypes)
    for (const Layout l :
         {Layout::plain, Layout::channels_last, Layout::strided_plain, Layout::strided_channels_last}) {
      const Tensor y = predicted_classes(laid_out(x.to(t), l));
      EXPECT_EQ(y.shape(), (Dims{1, 2, 2}));
      EXPECT_EQ(y.values(), (Values{1, 0, 2, -1})) << name_of(t) << ", " << name_of(l);
    }
  EXPECT_EQ(predicted_classes(Tensor::from<double>({1, 2, 3, 0}, {2, 2})).values(), (Values{1, 0}));
}

}  // namespace
}  // namespace tidepool::testing
