#include "layers/norm.h"

#include "layers/activation.h"
#include "tests/layers/battery.h"

namespace tidepool::testing {
namespace {

struct Running {
  Values mean, var;
};

// The textbook, two passes a channel, all in f64.
std::vector<Values> reference(const Dims& shape, const BatchNormOptions& o, const Running& running,
                              const std::vector<Values>& in, const Values& dy, Running* after = nullptr) {
  const int64_t batch = shape[0], channels = shape[1];
  int64_t positions = 1;
  for (int i = 2; i < shape.rank(); ++i) positions *= shape[i];
  const double n = static_cast<double>(batch * positions);
  Values y(in[0].size()), dx(in[0].size()), dg(in[1].size()), db(in[1].size());
  for (int64_t c = 0; c < channels; ++c) {
    const auto ch = static_cast<size_t>(c);
    const auto each = [&](auto f) {
      for (int64_t b = 0; b < batch; ++b)
        for (int64_t p = 0; p < positions; ++p) f(static_cast<size_t>((b * channels + c) * positions + p));
    };
    double mean = running.mean[ch], var = running.var[ch];
    if (o.training) {
      mean = var = 0;
      each([&](size_t i) { mean += in[0][i] / n; });
      each([&](size_t i) { var += (in[0][i] - mean) * (in[0][i] - mean) / n; });
      if (after) {
        after->mean[ch] = (1 - o.momentum) * running.mean[ch] + o.momentum * mean;
        after->var[ch] = (1 - o.momentum) * running.var[ch] + o.momentum * var * n / (n - 1);
      }
    }
    const double inv = 1 / std::sqrt(var + o.eps);
    double sum_g = 0, sum_gx = 0;
    each([&](size_t i) {
      const double hat = (in[0][i] - mean) * inv;
      y[i] = hat * in[1][ch] + in[2][ch];
      const double v = y[i], s = 1 / (1 + std::exp(-v));
      double g = dy[i];
      if (o.act == Act::relu || o.act == Act::relu6) {
        const bool over = o.act == Act::relu6 && v >= 6;
        if (v <= 0 || over) g = 0;
        y[i] = v <= 0 ? 0 : over ? 6 : v;
      } else if (o.act == Act::silu) {
        g *= s * (1 + v * (1 - s));
        y[i] = v * s;
      }
      sum_g += g, sum_gx += g * hat;
      dx[i] = g;
    });
    each([&](size_t i) {
      const double hat = (in[0][i] - mean) * inv;
      dx[i] = in[1][ch] * inv * (o.training ? dx[i] - sum_g / n - hat * sum_gx / n : dx[i]);
    });
    dg[ch] = sum_gx, db[ch] = sum_g;
  }
  return {y, dx, dg, db};
}

Running running_of(int64_t channels) {
  Running r;
  for (int64_t c = 0; c < channels; ++c) {
    r.mean.push_back(0.25 * static_cast<double>(c % 5) - 0.5);
    r.var.push_back(0.5 + 0.125 * static_cast<double>(c % 7));
  }
  return r;
}

Tensor buffer(const Values& v, DType t) {
  return Tensor::from<double>(v, {static_cast<int64_t>(v.size())}).to(t);
}

Case norm_case(const std::string& name, const Dims& shape, const BatchNormOptions& o) {
  Case c;
  c.name = name;
  c.inputs = {normal(shape, 1, 2, 3), normal({shape[1]}, 2, 0.5, 1), normal({shape[1]}, 3, 0.5)};
  const Running running = running_of(shape[1]);
  c.op = [=](const std::vector<Tensor>& t) {
    const auto there = [&](const Values& v) { return buffer(v, t[1].dtype()).to(t[0].device()); };
    return batch_norm(t[0], t[1], t[2], there(running.mean), there(running.var), o);
  };
  c.reference = [=](const std::vector<Values>& in, const Values& dy) { return reference(shape, o, running, in, dy); };
  c.differences =
      o.act == Act::none || o.act == Act::silu;  // among thousands of values some stand within a step of the kink
  return c;
}

TEST(BatchNorm, Battery) {
  for (const bool training : {true, false})
    for (const Act act : {Act::none, Act::relu, Act::relu6, Act::silu}) {
      const BatchNormOptions o{.eps = 1e-3, .training = training, .act = act};
      const std::string how = std::string(training ? "training" : "evaluation") + ", " + name_of(act);
      believe(norm_case("odd, " + how, {3, 5, 7, 9}, o));
      believe(norm_case("many channels, " + how, {4, 83, 3, 5}, o));
      believe(norm_case("several chunks, " + how, {5, 17, 13, 11}, o));
      believe(norm_case("rank 1, " + how, {4, 6, 11}, o));
      believe(norm_case("rank 3, " + how, {2, 20, 3, 4, 5}, o));
      believe(norm_case("one position, " + how, {9, 37, 1, 1}, o));
      believe(norm_case("one channel, " + how, {3, 1, 6, 5}, o));
    }
}

TEST(BatchNorm, Vectors) {
  const Dims shape{12, 37};
  const Tensor x = normal(shape, 1, 2, 3), g = normal({37}, 2, 0.5, 1), b = normal({37}, 3);
  const Running r = running_of(37);
  const Tensor y = batch_norm(x, g, b, buffer(r.mean, DType::f64), buffer(r.var, DType::f64));
  EXPECT_LE(error(y.values(), reference(shape, {}, r, {x.values(), g.values(), b.values()}, Values(12 * 37))[0]),
            1e-10);
}

TEST(BatchNorm, RunningStatistics) {
  for (const DType t : {DType::f64, DType::f32, DType::bf16})
    for (const MemoryFormat f : {MemoryFormat::plain, MemoryFormat::channels_last}) {
      const Dims shape{4, 18, 5, 3};
      const DType kept = t == DType::f64 ? t : DType::f32;
      const BatchNormOptions o{.momentum = 0.25};
      const Running r = running_of(18);
      Running after = r;
      const Tensor x = normal(shape, 1, 2, 3), g = normal({18}, 2), b = normal({18}, 3);
      reference(shape, o, r, {x.values(), g.values(), b.values()}, Values(4 * 18 * 15), &after);
      const Tensor mean = buffer(r.mean, kept), var = buffer(r.var, kept);
      const uint64_t version = mean.version();
      batch_norm(x.to(t).contiguous(f), g.to(kept), b.to(kept), mean, var, o);
      EXPECT_LE(error(mean.values(), after.mean), tolerance(kept));
      EXPECT_LE(error(var.values(), after.var), tolerance(kept));
      EXPECT_GT(mean.version(), version);
      const Values still = mean.values();
      batch_norm(x.to(t).contiguous(f), g.to(kept), b.to(kept), mean, var, {.training = false});
      EXPECT_EQ(mean.values(), still);
    }
}

TEST(BatchNorm, FusedReluIsBitEqualToTheTwo) {
  for (const DType t : {DType::f64, DType::f32, DType::bf16})
    for (const MemoryFormat f : {MemoryFormat::plain, MemoryFormat::channels_last})
      for (const bool training : {true, false})
        for (const int64_t channels : {5, 16, 67, 128}) {
          const DType p = t == DType::f64 ? t : DType::f32;
          const Dims shape{6, channels, 9, 7};
          std::vector<Outcome> outcomes;
          for (const bool fused : {true, false}) {
            const Tensor x = normal(shape, 1, 1.7, 0.3).to(t).contiguous(f);
            const Tensor g = normal({channels}, 2).to(p), b = normal({channels}, 3).to(p);
            for (const Tensor& leaf : {x, g, b}) leaf.set_requires_grad();
            const Running r = running_of(channels);
            Tape tape;
            const Tape::Scope scope(&tape);
            Tensor y = batch_norm(x, g, b, buffer(r.mean, p), buffer(r.var, p),
                                  {.training = training, .act = fused ? Act::relu : Act::none});
            if (!fused) y = relu(y);
            tape.backward(y, normal(shape, 9).to(t).contiguous(f));
            outcomes.push_back({y, {x.grad(), g.grad(), b.grad()}});
          }
          SCOPED_TRACE(fmt::format("{} {} channels, {}, training {}", tidepool::name_of(t), channels,
                                   f == MemoryFormat::plain ? "plain" : "channels-last", training));
          EXPECT_TRUE(same_bits(outcomes[0].y, outcomes[1].y));
          for (size_t i = 0; i < 3; ++i)
            EXPECT_TRUE(same_bits(outcomes[0].gradients[i], outcomes[1].gradients[i])) << i;
        }
}

TEST(BatchNorm, LargeMeansCostNoDigits) {
  for (const double mean : {100.0, 1e4})
    for (const MemoryFormat f : {MemoryFormat::plain, MemoryFormat::channels_last})
      for (const Dims& shape : {Dims{8, 20, 16, 16}, Dims{16, 64, 6, 5}}) {
        Values v = normal(shape, 1).values();
        for (double& e : v) e = static_cast<double>(static_cast<float>(e + mean));
        const int64_t c = shape[1];
        const Tensor x = Tensor::from<double>(v, shape), g = normal({c}, 2), b = normal({c}, 3), dy = normal(shape, 4);
        const Running r = running_of(c);
        Running after = r;
        const auto expected = reference(shape, {.act = Act::relu}, r, {v, g.values(), b.values()}, dy.values(), &after);
        const Tensor xf = x.to(DType::f32).contiguous(f), gf = g.to(DType::f32), bf = b.to(DType::f32);
        for (const Tensor& leaf : {xf, gf, bf}) leaf.set_requires_grad();
        const Tensor rm = buffer(r.mean, DType::f32), rv = buffer(r.var, DType::f32);
        Tape tape;
        const Tape::Scope scope(&tape);
        const Tensor y = batch_norm(xf, gf, bf, rm, rv, {.act = Act::relu});
        tape.backward(y, dy.to(DType::f32));
        EXPECT_LE(error(y.values(), expected[0]), 3e-6) << mean;
        EXPECT_LE(error(xf.grad().values(), expected[1]), 3e-6) << mean;
        EXPECT_LE(error(gf.grad().values(), expected[2]), 3e-6) << mean;
        EXPECT_LE(error(bf.grad().values(), expected[3]), 3e-6) << mean;
        EXPECT_LE(error(rv.values(), after.var), 3e-6) << mean;
      }
}

TEST(BatchNorm, AFirstValueFarOutCostsNoDigits) {
  const Dims shape{16, 32, 8, 8};
  Values v = normal(shape, 1).values();
  for (size_t i = 0; i < v.size(); i += 64) v[i] = 300;  // the first position of every map
  const Tensor x = Tensor::from<double>(v, shape), g = normal({32}, 2), b = normal({32}, 3);
  const Running r = running_of(32);
  const auto expected = reference(shape, {}, r, {v, g.values(), b.values()}, Values(v.size()));
  for (const MemoryFormat f : {MemoryFormat::plain, MemoryFormat::channels_last}) {
    const Tensor y = batch_norm(x.to(DType::f32).contiguous(f), g.to(DType::f32), b.to(DType::f32),
                                buffer(r.mean, DType::f32), buffer(r.var, DType::f32));
    EXPECT_LE(error(y.values(), expected[0]), 1e-6);
  }
}

TEST(BatchNorm, BatchOfNone) {
  const Tensor x = Tensor::zeros({0, 3, 4, 4}), one = Tensor::full({3}, 1);
  const Tensor mean = Tensor::full({3}, 2), var = Tensor::full({3}, 4);
  x.set_requires_grad(), one.set_requires_grad();
  poison();
  Tape tape;
  const Tape::Scope scope(&tape);
  const Tensor y = batch_norm(x, one, one, mean, var, {.act = Act::relu});
  tape.backward(y, Tensor::zeros(y.shape()));
  EXPECT_EQ(y.shape(), x.shape());
  EXPECT_EQ(x.grad().shape(), x.shape());
  EXPECT_EQ(one.grad().values(), Values(3, 0.0));
  EXPECT_EQ(mean.values(), Values(3, 2.0));
  EXPECT_EQ(var.values(), Values(3, 4.0));
}

TEST(BatchNorm, NanStaysInItsChannel) {
  for (const DType t : {DType::f64, DType::f32, DType::bf16})
    for (const MemoryFormat f : {MemoryFormat::plain, MemoryFormat::channels_last})
      for (const Act act : {Act::none, Act::relu, Act::relu6, Act::silu}) {
        const Tensor x = normal({3, 20, 4, 5}, 1).to(t).contiguous(f);
        x.slice(0, 1, 1).slice(1, 7, 1).slice(2, 2, 1).slice(3, 3, 1).fill(NAN);
        const DType p = t == DType::f64 ? t : DType::f32;
        const Tensor one = Tensor::full({20}, 1, {p}), var = Tensor::full({20}, 1, {p});
        const Values y = batch_norm(x, one, one, one.clone(), var, {.act = act}).values();
        for (size_t i = 0; i < y.size(); ++i) EXPECT_EQ(std::isnan(y[i]), i / 20 % 20 == 7) << i;
        EXPECT_TRUE(std::isnan(var.values()[7]));
      }
}

TEST(BatchNorm, KeepsItsInputAndFiveNumbersAChannel) {
  const Tensor x = normal({4, 8, 16, 16}, 1).to(DType::f32);
  const Tensor one = Tensor::full({8}, 1);
  one.set_requires_grad();
  Tape tape;
  const Tape::Scope scope(&tape);
  batch_norm(x, one, one, one.clone(), one.clone(), {.act = Act::relu});
  ASSERT_EQ(tape.saved_bytes().size(), 1u);
  EXPECT_EQ(tape.saved_bytes()[0].op, "batch_norm");
  EXPECT_EQ(tape.saved_bytes()[0].bytes, x.storage().bytes + 8 * (2 * sizeof(double) + 3 * sizeof(float)));
}

TEST(BatchNorm, ErrorsAtTheDoor) {
  const Tensor x = Tensor::zeros({2, 3, 4, 4}), c = Tensor::full({3}, 1), d = Tensor::full({4}, 1);
  EXPECT_EQ(error_of([&] { batch_norm(x, d, c, c, c); }), "[batch_norm] gamma: expected the shape 3, got 4");
  EXPECT_EQ(error_of([&] { batch_norm(x, c, d, c, c); }), "[batch_norm] beta: expected the shape 3, got 4");
  EXPECT_EQ(error_of([&] { batch_norm(x, c, c, d, c); }), "[batch_norm] running_mean: expected the shape 3, got 4");
  EXPECT_EQ(error_of([&] { batch_norm(x, c, c, c, {}); }), "[batch_norm] running_var is missing");
  EXPECT_EQ(error_of([&] { batch_norm(x, c.to(DType::f64), c, c, c); }),
            "[batch_norm] gamma: expected f32 with an input of f32, got f64");
  EXPECT_EQ(error_of([&] {
              batch_norm(Tensor::zeros({1, 3, 1, 1}), c, c, c, c);
            }),
            "[batch_norm] training needs more than one value per channel, got an input of shape 1x3x1x1");
  EXPECT_EQ(error_of([&] { batch_norm(Tensor::zeros({1, 3, 1, 1}), c, c, c, c, {.training = false}); }), "no error");
  EXPECT_EQ(error_of([&] { batch_norm(Tensor::zeros({3}), c, c, c, c); }),
            "[batch_norm] expected an input N x C x spatial, got the shape 3");
  EXPECT_EQ(error_of([&] {
              batch_norm(Tensor::zeros({2, 3}, {.dtype = DType::u8}), c, c, c, c);
            }),
            "[batch_norm] expected an input of f32, f64 or bf16, got u8");
}

}  // namespace
}  // namespace tidepool::testing
