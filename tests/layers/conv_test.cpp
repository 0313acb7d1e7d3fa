#include "layers/conv.h"

#include "core/allocator.h"
#include "core/backend/caches.h"
#include "tests/layers/battery.h"

namespace tidepool::testing {
namespace {

// The reference, written apart: every product of the convolution once, scattered to y, dx and dw.
std::vector<Values> reference(const Dims& x, const Dims& w, const ConvOptions& o, const std::vector<Values>& in,
                              const Values& dy) {
  const int spatial = x.rank() - 2;
  std::array<int64_t, 3> n{1, 1, 1}, k{1, 1, 1}, m{1, 1, 1}, s{1, 1, 1}, p{}, d{1, 1, 1};
  for (int i = 0; i < spatial; ++i) {
    const auto a = static_cast<size_t>(i), b = static_cast<size_t>(i + 3 - spatial);
    n[b] = x[2 + i], k[b] = w[2 + i], s[b] = o.stride[a], p[b] = o.padding[a], d[b] = o.dilation[a];
    m[b] = (n[b] + 2 * p[b] - d[b] * (k[b] - 1) - 1) / s[b] + 1;
  }
  const int64_t batch = x[0], channels = x[1], outs = w[0], per = w[1], positions = n[0] * n[1] * n[2],
                taps = k[0] * k[1] * k[2], cells = m[0] * m[1] * m[2];
  const bool bias = in.size() > 2;
  Values y(static_cast<size_t>(batch * outs * cells)), dx(in[0].size()), dw(in[1].size()),
      db(static_cast<size_t>(outs));
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t out = 0; out < outs; ++out)
      for (int64_t cell = 0; cell < cells; ++cell) {
        const auto at = static_cast<size_t>((b * outs + out) * cells + cell);
        if (bias) y[at] += in[2][static_cast<size_t>(out)];
        db[static_cast<size_t>(out)] += dy.empty() ? 0 : dy[at];
        const std::array<int64_t, 3> c{cell / (m[1] * m[2]), cell / m[2] % m[1], cell % m[2]};
        for (int64_t tap = 0; tap < taps; ++tap) {
          const std::array<int64_t, 3> t{tap / (k[1] * k[2]), tap / k[2] % k[1], tap % k[2]};
          int64_t position = 0;
          bool there = true;
          for (size_t a = 0; a < 3; ++a) {
            const int64_t q = c[a] * s[a] - p[a] + t[a] * d[a];
            there = there && q >= 0 && q < n[a];
            position = position * n[a] + q;
          }
          if (!there) continue;
          for (int64_t i = 0; i < per; ++i) {
            const int64_t channel = out / (outs / o.groups) * per + i;
            const auto xi = static_cast<size_t>((b * channels + channel) * positions + position);
            const auto wi = static_cast<size_t>((out * per + i) * taps + tap);
            y[at] += in[0][xi] * in[1][wi];
            dx[xi] += dy[at] * in[1][wi];
            dw[wi] += dy[at] * in[0][xi];
          }
        }
      }
  std::vector<Values> result{y, dx, dw};
  if (bias) result.push_back(db);
  return result;
}

Case conv_case(const std::string& name, const Dims& x, const Dims& w, bool bias, const ConvOptions& o) {
  Case c;
  c.name = name;
  c.inputs = {normal(x, 1), normal(w, 2, 0.3)};
  if (bias) c.inputs.push_back(normal({w[0]}, 3));
  c.op = [=](const std::vector<Tensor>& t) { return convolution(t[0], t[1], t.size() > 2 ? t[2] : Tensor(), o); };
  c.reference = [=](const std::vector<Values>& in, const Values& dy) { return reference(x, w, o, in, dy); };
  c.own_kernels = false;
  return c;
}

TEST(Conv, Battery) {
  believe(conv_case("3x3", {2, 3, 7, 9}, {5, 3, 3, 3}, false, {.padding = {1, 1, 0}}));
  // A map of one channel lies alike in both formats, its result does not.
  believe(conv_case("from one channel", {2, 1, 7, 6}, {5, 1, 3, 3}, true, {.padding = {1, 1, 0}}));
  believe(conv_case("to one channel", {2, 5, 7, 6}, {1, 5, 3, 3}, true, {.padding = {1, 1, 0}}));
  believe(conv_case("a row, from one channel", {2, 1, 1, 8}, {5, 1, 3, 3}, true, {.padding = {1, 1, 0}}));
  believe(conv_case("a column, to one channel", {2, 8, 8, 1}, {1, 8, 3, 3}, true, {.padding = {1, 1, 0}}));
  believe(conv_case("one place to many", {2, 17, 1, 1}, {17, 17, 3, 3}, true, {.padding = {1, 2, 0}}));
  believe(conv_case("depthwise, one place to many", {2, 17, 1, 1}, {17, 1, 3, 3}, true,
                    {.padding = {2, 2, 0}, .groups = 17}));
  believe(conv_case("3x3 of many channels", {2, 33, 5, 4}, {48, 33, 3, 3}, true, {.padding = {1, 1, 0}}));
  believe(conv_case("1x1", {3, 16, 4, 5}, {32, 16, 1, 1}, true, {}));
  believe(conv_case("1x1 to an odd number of channels", {2, 4, 5, 6}, {7, 4, 1, 1}, true, {}));
  believe(conv_case("stride, uneven", {2, 4, 9, 8}, {6, 4, 3, 2}, true, {.stride = {2, 3, 1}, .padding = {1, 0, 0}}));
  believe(conv_case("dilation", {2, 3, 9, 11}, {4, 3, 3, 3}, true, {.padding = {2, 3, 0}, .dilation = {2, 3, 1}}));
  believe(conv_case("groups", {2, 6, 7, 6}, {4, 3, 3, 3}, true, {.padding = {1, 1, 0}, .groups = 2}));
  believe(conv_case("depthwise", {2, 17, 7, 6}, {17, 1, 3, 3}, false, {.padding = {1, 1, 0}, .groups = 17}));
  believe(conv_case("depthwise, twice the channels, stride", {2, 5, 9, 8}, {10, 1, 5, 5}, true,
                    {.stride = {2, 2, 1}, .padding = {2, 2, 0}, .groups = 5}));
  believe(conv_case("map of one place", {3, 8, 1, 1}, {4, 8, 3, 3}, false, {.padding = {1, 1, 0}}));
  believe(conv_case("stride that skips places", {1, 2, 8, 8}, {3, 2, 1, 1}, false, {.stride = {3, 3, 1}}));
  believe(conv_case("padding wider than the kernel", {1, 2, 3, 3}, {3, 2, 2, 2}, true, {.padding = {3, 4, 0}}));
  believe(conv_case("rank 1", {2, 4, 11}, {5, 4, 3}, true, {.stride = {2, 1, 1}, .padding = {1, 0, 0}}));
  believe(conv_case("rank 3", {2, 3, 4, 5, 3}, {4, 3, 2, 3, 3}, true,
                    {.stride = {1, 2, 1}, .padding = {0, 1, 1}, .dilation = {2, 1, 1}}));
}

TEST(Conv, Bf16WeightsOfItsOwnType) {
  const ConvOptions o{.padding = {1, 1, 0}};
  const Tensor x = normal({2, 3, 5, 5}, 1), w = normal({4, 3, 3, 3}, 2), dy = normal({2, 4, 5, 5}, 3);
  const Tensor xb = x.to(DType::bf16), wb = w.to(DType::bf16);
  xb.set_requires_grad(), wb.set_requires_grad();
  Tape tape;
  const Tape::Scope scope(&tape);
  const Tensor y = convolution(xb, wb, {}, o);
  tape.backward(y, dy.to(DType::bf16));
  const auto expected = reference(x.shape(), w.shape(), o, {x.values(), w.values()}, dy.values());
  EXPECT_LE(error(y.values(), expected[0]), tolerance(DType::bf16));
  EXPECT_LE(error(xb.grad().values(), expected[1]), tolerance(DType::bf16));
  EXPECT_LE(error(wb.grad().values(), expected[2]), tolerance(DType::bf16));
  EXPECT_EQ(wb.grad().dtype(), DType::bf16);
}

TEST(Conv, Bf16GradientOfF32WeightsIsNotRounded) {
  const ConvOptions o{.padding = {1, 1, 0}};
  for (const MemoryFormat f : {MemoryFormat::plain, MemoryFormat::channels_last}) {
    const Tensor x = normal({4, 16, 8, 8}, 1), w = normal({32, 16, 3, 3}, 2), dy = normal({4, 32, 8, 8}, 3);
    const Tensor xb = x.to(DType::bf16).contiguous(f), wf = w.to(DType::f32);
    wf.set_requires_grad();
    Tape tape;
    const Tape::Scope scope(&tape);
    tape.backward(convolution(xb, wf, {}, o), dy.to(DType::bf16));
    const auto expected = reference(x.shape(), w.shape(), o, {x.values(), w.values()}, dy.values());
    EXPECT_LE(error(wf.grad().values(), expected[2]), 1e-5) << tidepool::name_of(f);
  }
}

TEST(Conv, BatchOfNone) {
  for (const DType t : {DType::f64, DType::f32, DType::bf16}) {
    const Tensor x = Tensor::zeros({0, 3, 5, 5}, {t}),
                 w = Tensor::full({4, 3, 3, 3}, 1, {t == DType::bf16 ? DType::f32 : t});
    const Tensor b = Tensor::zeros({4}, {w.dtype()});
    x.set_requires_grad(), w.set_requires_grad(), b.set_requires_grad();
    poison();
    Tape tape;
    const Tape::Scope scope(&tape);
    const Tensor y = convolution(x, w, b);
    EXPECT_EQ(y.shape(), Dims({0, 4, 3, 3}));
    tape.backward(y, Tensor::zeros(y.shape(), {t}));
    EXPECT_EQ(x.grad().shape(), x.shape());
    EXPECT_EQ(w.grad().values(), Values(108, 0.0));
    EXPECT_EQ(b.grad().values(), Values(4, 0.0));
  }
}

TEST(Conv, NanReachesWhatItTouchesAndNothingElse) {
  for (const DType t : {DType::f64, DType::f32, DType::bf16})
    for (const MemoryFormat f : {MemoryFormat::plain, MemoryFormat::channels_last}) {
      const Tensor x = Tensor::full({1, 16, 7, 7}, 1, {t, f}), w = Tensor::full({16, 16, 3, 3}, 0.5, {t});
      x.slice(1, 3, 1).slice(2, 0, 1).slice(3, 0, 1).fill(NAN);
      const Values y = convolution(x, w, {}, {.padding = {1, 1, 0}, .exact = true}).values();
      for (size_t i = 0; i < y.size(); ++i) EXPECT_EQ(std::isnan(y[i]), i / 7 % 7 < 2 && i % 7 < 2) << i;
    }
}

TEST(Conv, AFastNanReachesItsTile) {  // and is not lost
  const Tensor x = Tensor::full({1, 16, 8, 8}, 1, {.format = MemoryFormat::channels_last});
  const Tensor w = Tensor::full({16, 16, 3, 3}, 0.5);
  x.slice(1, 3, 1).slice(2, 0, 1).slice(3, 0, 1).fill(NAN);
  const Values y = convolution(x, w, {}, {.padding = {1, 1, 0}}).values();
  for (size_t i = 0; i < y.size(); ++i) {
    const size_t row = i / 8 % 8, column = i % 8;
    if (row < 2 && column < 2) {
      EXPECT_TRUE(std::isnan(y[i])) << i;
    } else if (row > 4 || column > 4) {
      EXPECT_TRUE(std::isfinite(y[i])) << i;
    }
  }
}

TEST(Conv, WeightsThatChangeAreSeen) {
  const Tensor x = normal({2, 16, 6, 6}, 1).to(DType::f32).contiguous(MemoryFormat::channels_last);
  const ConvOptions o{.padding = {1, 1, 0}};
  Tensor w = normal({32, 16, 3, 3}, 2).to(DType::f32);
  const auto check = [&] {
    const Tensor fresh = w.clone();
    EXPECT_TRUE(same_bits(convolution(x, w, {}, o), convolution(x, fresh, {}, o)));
  };
  check();
  for (int i = 0; i < 100; ++i) w.mutable_data<float>()[i] += 1;
  check();
  w.fill(0.25);  // marks by itself
  check();
  w.copy_from(normal({32, 16, 3, 3}, 5));
  check();
  for (uint64_t i = 0; i < 20; ++i) {  // memory that is used again at the same address and version
    w = Tensor();
    w = normal({32, 16, 3, 3}, 20 + i).to(DType::f32);
    check();
  }
}

TEST(Conv, ThreadsOfAnyNumberRepeatTheirBits) {
  const Tensor x = normal({4, 16, 9, 7}, 1).to(DType::f32).contiguous(MemoryFormat::channels_last);
  const Tensor w = normal({32, 16, 3, 3}, 2).to(DType::f32), dy = normal({4, 32, 9, 7}, 3).to(DType::f32);
  const int threads = cpu_threads();
  for (int n : {1, 2, 3}) {
    set_cpu_threads(n);
    Tensor first;
    for (int repeat = 0; repeat < 3; ++repeat) {
      w.set_grad({});
      w.set_requires_grad();
      Tape tape;
      const Tape::Scope scope(&tape);
      tape.backward(convolution(x, w, {}, {.padding = {1, 1, 0}}), dy);
      if (repeat == 0) first = w.grad();
      EXPECT_TRUE(same_bits(first, w.grad())) << n;
    }
  }
  set_cpu_threads(threads);
}

TEST(Conv, SteadyStepsTakeNothingFromTheSystem) {
  const Tensor w = normal({32, 16, 3, 3}, 2).to(DType::f32);
  w.set_requires_grad();
  const auto sweep = [&] {
    for (int64_t h = 3; h < 12; ++h) {
      const Tensor x = Tensor::full({4, 16, h, h + 1}, 0.5, {.format = MemoryFormat::channels_last});
      x.set_requires_grad();
      Tape tape;
      const Tape::Scope scope(&tape);
      const Tensor y = convolution(x, w, {}, {.padding = {1, 1, 0}});
      tape.backward(y, Tensor::full(y.shape(), 1.0, y.options()));
      w.mutable_raw();
      w.set_grad({});
    }
  };
  sweep();
  sweep();
  const uint64_t calls = Allocator::of(kCpu).stats().system_calls;
  const int64_t made = backend_cache_stats().primitives_made;
  for (int i = 0; i < 3; ++i) sweep();
  EXPECT_EQ(Allocator::of(kCpu).stats().system_calls, calls);
  EXPECT_EQ(backend_cache_stats().primitives_made, made);
}

TEST(Conv, KeepsItsInputAlone) {
  const Tensor x = Tensor::full({2, 3, 8, 8}, 1), w = Tensor::full({4, 3, 3, 3}, 1);
  w.set_requires_grad();
  Tape tape;
  const Tape::Scope scope(&tape);
  convolution(x, w, {});
  ASSERT_EQ(tape.saved_bytes().size(), 1u);
  EXPECT_EQ(tape.saved_bytes()[0].op, "conv");
  EXPECT_EQ(tape.saved_bytes()[0].bytes, x.storage().bytes);
}

TEST(Conv, ErrorsAtTheDoor) {
  const auto shape = [](const Dims& x, const Dims& w, const ConvOptions& o = {}) {
    return error_of([&] { convolution_shape(x, w, o); });
  };
  EXPECT_EQ(convolution_shape({2, 3, 32, 32}, {8, 3, 3, 3}, {.stride = {2, 2, 1}, .padding = {1, 1, 0}}),
            Dims({2, 8, 16, 16}));
  EXPECT_EQ(shape({2, 3}, {4, 3}), "[conv] expected an input N x C x 1 to 3 spatial axes, got the shape 2x3");
  EXPECT_EQ(shape({2, 3, 5}, {4, 3, 3, 3}),
            "[conv] expected a weight of rank 3 for an input of shape 2x3x5, got the shape 4x3x3x3");
  EXPECT_EQ(shape({2, 5, 7, 7}, {4, 3, 3, 3}),
            "[conv] a weight of shape 4x3x3x3 in 1 group expects 3 channels, got an input of shape 2x5x7x7");
  EXPECT_EQ(shape({2, 5, 7, 7}, {4, 3, 3, 3}, {.groups = 2}),
            "[conv] a weight of shape 4x3x3x3 in 2 groups expects 6 channels, got an input of shape 2x5x7x7");
  EXPECT_EQ(shape({2, 9, 7, 7}, {4, 3, 3, 3}, {.groups = 3}),
            "[conv] 4 output channels cannot be divided into 3 groups");
  EXPECT_EQ(shape({2, 3, 2, 7}, {4, 3, 3, 3}), "[conv] kernel 3 does not fit an input of length 2 (padding 0)");
  EXPECT_EQ(shape({2, 3, 4, 7}, {4, 3, 3, 3}, {.dilation = {2, 2, 1}}),
            "[conv] kernel 3 with dilation 2 does not fit an input of length 4 (padding 0)");
  EXPECT_EQ(shape({2, 3, 7, 7}, {4, 3, 3, 3}, {.stride = {1, 0, 1}}), "[conv] expected stride >= 1, got 0 on axis 1");
  EXPECT_EQ(shape({2, 3, 7, 7}, {4, 3, 3, 3}, {.padding = {-1, 0, 0}}),
            "[conv] expected padding >= 0, got -1 on axis 0");
  EXPECT_EQ(shape({2, 3, 7, 7}, {4, 3, 3, 3}, {.dilation = {0, 1, 1}}),
            "[conv] expected dilation >= 1, got 0 on axis 0");
  EXPECT_EQ(shape({2, 3, 7, 7}, {4, 3, 3, 3}, {.groups = 0}), "[conv] expected groups >= 1, got 0");
  EXPECT_EQ(shape({2, 3, 0, 7}, {4, 3, 1, 1}), "[conv] an input of shape 2x3x0x7 has no positions");
  const Tensor x = Tensor::zeros({2, 3, 7, 7});
  EXPECT_EQ(error_of([&] {
              convolution(x, Tensor::zeros({4, 3, 3, 3}, {.dtype = DType::f64}), {});
            }),
            "[conv] expected a weight of f32 for an input of f32, got f64");
  EXPECT_EQ(error_of([&] {
              convolution(x.to(DType::bf16), Tensor::zeros({4, 3, 3, 3}, {.dtype = DType::f64}), {});
            }),
            "[conv] expected a weight of f32 or bf16 for an input of bf16, got f64");
  EXPECT_EQ(error_of([&] {
              convolution(x, Tensor::zeros({4, 3, 3, 3}), Tensor::zeros({3}));
            }),
            "[conv] bias: expected the shape 4, got 3");
  EXPECT_EQ(error_of([&] {
              convolution(Tensor::zeros({2, 3, 7, 7}, {.dtype = DType::i64}), Tensor::zeros({4, 3, 3, 3}), {});
            }),
            "[conv] expected an input of f32, f64 or bf16, got i64");
}

}  // namespace
}  // namespace tidepool::testing
