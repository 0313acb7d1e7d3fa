// The fused operator against its parts, `convolution` and `batch_norm`, in f64.
#include "layers/fused/conv_norm.h"

#include <omp.h>

#include <cmath>

#include "core/cpu/winograd/convolve.h"
#include "core/tape.h"
#include "tests/layers/battery.h"

namespace tidepool::testing {
namespace {

constexpr auto kLast = MemoryFormat::channels_last;

// Two layers: the second reads through the first one's norm, which itself reads the images.
struct Net {
  Tensor x;
  std::vector<ConvNorm> layers;
  std::vector<Tensor> leaves;  // everything with a gradient

  Net(DType maps, const Dims& images, std::vector<int64_t> channels, bool bias) {
    const DType weights = maps == DType::f64 ? DType::f64 : DType::f32;
    x = normal(images, 1).contiguous(kLast).to(maps);
    leaves.push_back(x);
    int64_t in = images[1];
    uint64_t seed = 2;
    for (const int64_t out : channels) {
      const auto leaf = [&](const Dims& shape, double scale, double shift) {
        Tensor t = normal(shape, seed++);
        for (int64_t i = 0; i < t.numel(); ++i) t.mutable_data<double>()[i] = t.data<double>()[i] * scale + shift;
        t = t.to(DType::f32).to(weights);
        leaves.push_back(t);
        return t;
      };
      ConvNorm l;
      l.weight = leaf({out, in, 3, 3}, 0.2, 0);
      if (bias) l.bias = leaf({out}, 1, 0);
      l.gamma = leaf({out}, 0.3, 1);
      l.beta = leaf({out}, 0.3, 0.1);
      l.running_mean = Tensor::full({out}, 0.25, {weights});
      l.running_var = Tensor::full({out}, 1.5, {weights});
      layers.push_back(l);
      in = out;
    }
    for (const Tensor& t : leaves) t.set_requires_grad();
  }
};

struct Result {
  std::vector<Values> values;
  size_t kept = 0;
};

// Output, gradients of all leaves, running statistics.
Result run(const Net& net, bool fused, bool training, const ConvOptions& o, Act act = Act::relu) {
  poison();
  Tape tape;
  Tensor z;
  {
    const Tape::Scope scope(&tape);
    if (fused) {
      NormedMap map = net.x;
      for (const ConvNorm& l : net.layers) {
        EXPECT_TRUE(conv_norm_serves(map, l));
        map = conv_norm(map, l, o, {.training = training, .act = act});
      }
      z = map.tensor();
    } else {
      z = net.x;
      for (const ConvNorm& l : net.layers)
        z = batch_norm(convolution(z, l.weight, l.bias, o), l.gamma, l.beta, l.running_mean, l.running_var,
                       {.training = training, .act = act});
    }
  }
  Result r;
  for (const SavedBytes& s : tape.saved_bytes()) r.kept += s.bytes;
  r.values.push_back(z.values());
  tape.backward(z, normal(z.shape(), 99).contiguous(kLast).to(z.dtype()));
  for (const Tensor& t : net.leaves) r.values.push_back(t.grad().values());
  for (const ConvNorm& l : net.layers)
    r.values.insert(r.values.end(), {l.running_mean.values(), l.running_var.values()});
  return r;
}

struct Case {
  Dims images;
  std::vector<int64_t> channels;
  int64_t padding;
  bool bias, exact;
};
const std::vector<Case> kCases{{{4, 16, 12, 12}, {32, 24}, 1, false, false},
                               {{3, 20, 9, 13}, {33, 17}, 1, false, false},
                               {{2, 3, 10, 10}, {40, 32}, 1, false, false},   // the first layer is the library's
                               {{2, 16, 10, 11}, {24, 16}, 0, true, false},   // biases: the gradient in passes
                               {{5, 32, 2, 2}, {64, 160}, 1, false, false},   // F(2x2), wide layers
                               {{2, 16, 12, 12}, {24, 16}, 1, false, true}};  // no Winograd at all

TEST(ConvNorm, AgreesWithItsParts) {
  for (const Act act : {Act::relu, Act::none, Act::relu6, Act::silu})
    for (const Case& c : kCases)
      for (const bool training : {true, false}) {
        if (act != Act::relu && c.images[0] > 3) continue;
        const ConvOptions o{.padding = {c.padding, c.padding, 0}, .exact = c.exact};
        const Net reference(DType::f64, c.images, c.channels, c.bias);
        const Result expected = run(reference, false, training, o, act);
        const Net net(DType::f32, c.images, c.channels, c.bias);
        const Result got = run(net, true, training, o, act);
        for (size_t i = 0; i < got.values.size(); ++i) {
          // In training a norm takes its input's mean away again: a bias has no gradient but rounding.
          // So has what the activation does not bend, and no padding cuts off.
          const bool nothing = c.bias && training && (i == 3 || i == 7 || (act == Act::none && i == 5));
          if (nothing) continue;
          EXPECT_LE(error(got.values[i], expected.values[i]), 1e-4)
              << c.images.str() << (training ? " training " : " ") << i;
        }
      }
}

TEST(ConvNorm, ServesMapsOfBf16) {
  for (const Case& c : kCases) {
    const ConvOptions o{.padding = {c.padding, c.padding, 0}, .exact = c.exact};
    const Result expected = run(Net(DType::f64, c.images, c.channels, c.bias), false, false, o);
    const Result got = run(Net(DType::bf16, c.images, c.channels, c.bias), true, false, o);
    EXPECT_LE(error(got.values[0], expected.values[0]), 3e-2) << c.images.str();
  }
}

// |got - expected| over |expected|.
double distance(const Values& got, const Values& expected) {
  double difference = 0, size = 0;
  for (size_t k = 0; k < got.size(); ++k) {
    difference += (got[k] - expected[k]) * (got[k] - expected[k]);
    size += expected[k] * expected[k];
  }
  return std::sqrt(difference / size);
}

// In training rounding moves values over the ReLU's edge, so no error is small; the fused operator, which rounds less
// often, must not be much further from f64 than its parts are: which values lie at an edge changes with every build.
TEST(ConvNorm, GradientsOfBf16AreAsGoodAsItsParts) {
  for (const Case& c : kCases) {
    if (c.bias) continue;
    const ConvOptions o{.padding = {c.padding, c.padding, 0}, .exact = c.exact};
    const auto result = [&](DType t, bool fused) { return run(Net(t, c.images, c.channels, false), fused, true, o); };
    const Result expected = result(DType::f64, false), parts = result(DType::bf16, false),
                 got = result(DType::bf16, true);
    for (size_t i = 1; i <= 7; ++i) {  // x, then weight, gamma and beta of both layers
      const double of_parts = distance(parts.values[i], expected.values[i]);
      EXPECT_LT(of_parts, 0.3);
      EXPECT_LE(distance(got.values[i], expected.values[i]), 2 * of_parts) << c.images.str() << " " << i;
    }
  }
}

TEST(ConvNorm, AppliesTheNormWhileItStoresWhenNothingIsRecorded) {
  for (const Case& c : kCases) {
    const ConvOptions o{.padding = {c.padding, c.padding, 0}, .exact = c.exact};
    const Net net(DType::f32, c.images, c.channels, c.bias);
    const Values recorded = run(net, true, false, o).values[0];
    NormedMap map = net.x;
    for (const ConvNorm& l : net.layers) map = conv_norm(map, l, o, {.training = false, .act = Act::relu});
    EXPECT_LE(error(map.tensor().values(), recorded), 1e-5) << c.images.str();
  }
}

TEST(ConvNorm, KeepsOneMapLessALayer) {
  const Case& c = kCases[0];
  const ConvOptions o{.padding = {1, 1, 0}};
  const Result parts = run(Net(DType::f32, c.images, c.channels, false), false, true, o);
  const Result fused = run(Net(DType::f32, c.images, c.channels, false), true, true, o);
  const size_t map = 4 * 32 * 12 * 12 * sizeof(float);  // between the two layers
  EXPECT_LT(fused.kept, parts.kept - map / 2);
}

TEST(ConvNorm, AMapMayBeReadTwice) {  // as a residual network does
  const auto gradient = [](bool fused) {
    const Net net(DType::f32, {2, 16, 8, 8}, {16}, false);
    const ConvNorm& l = net.layers[0];
    const ConvOptions o{.padding = {1, 1, 0}};
    Tape tape;
    Tensor sum;
    {
      const Tape::Scope scope(&tape);
      NormedMap map = net.x;
      if (fused)
        map = conv_norm(map, l, o, {.act = Act::relu});
      else
        map = batch_norm(convolution(net.x, l.weight, {}, o), l.gamma, l.beta, l.running_mean, l.running_var,
                         {.act = Act::relu});
      const Tensor a = conv_norm(map, l, o, {.act = Act::relu}).tensor(), b = map.tensor();
      sum = Tensor::empty(a.shape(), a.options());
      for (int64_t i = 0; i < sum.numel(); ++i) sum.mutable_data<float>()[i] = a.data<float>()[i] + b.data<float>()[i];
      Tape::record("sum", {a, b}, {sum}, {}, [](BackwardContext& ctx) { ctx.dx(0) = ctx.dx(1) = ctx.dy(); });
    }
    tape.backward(sum, normal(sum.shape(), 7).contiguous(kLast).to(DType::f32));
    return net.x.grad().values();
  };
  EXPECT_LE(error(gradient(true), gradient(false)), 1e-4);
}

TEST(ConvNorm, Refuses) {
  const Net net(DType::f32, {2, 16, 8, 8}, {16}, false);
  ConvNorm l = net.layers[0];
  EXPECT_FALSE(conv_norm_serves(Tensor::empty({2, 16, 8, 8}), l)) << "plain maps";
  EXPECT_FALSE(conv_norm_serves(Tensor::empty({0, 16, 8, 8}, {.format = kLast}), l)) << "no image";
  l.gamma = Tensor::full({15}, 1);
  EXPECT_THROW(conv_norm(net.x, l, {.padding = {1, 1, 0}}, {}), Error);
  l = net.layers[0];
  l.weight = Tensor::full({16, 15, 3, 3}, 1);
  EXPECT_THROW(conv_norm(net.x, l, {.padding = {1, 1, 0}}, {}), Error);
}

// Blocks of pointwise and depthwise convolutions, each reading through the norm of the one before.
struct BlockLayer {
  int64_t out, kernel, stride;
  bool depthwise;
};
struct BlockCase {
  Dims images;
  std::vector<BlockLayer> layers;
};
// Channels of whole and of broken vectors, several chunks of rows, both kernels and strides, few images (bands) and
// many.
const std::vector<BlockCase> kBlocks{
    {{3, 16, 9, 13}, {{48, 1, 1, false}, {48, 3, 1, true}, {32, 1, 1, false}, {33, 1, 1, false}}},
    {{2, 20, 11, 6}, {{37, 1, 1, false}, {37, 5, 2, true}, {21, 1, 1, false}, {8, 1, 1, false}}},
    {{17, 8, 8, 8}, {{16, 1, 1, false}, {16, 3, 2, true}, {16, 5, 1, true}, {40, 1, 1, false}}},
    {{1, 24, 40, 30}, {{64, 1, 1, false}, {64, 5, 1, true}, {64, 3, 2, true}, {24, 1, 1, false}}}};

// The first output is z, then come the gradients of x and of every weight, gamma and beta.
std::vector<Values> run_block(const BlockCase& c, DType maps, Act act, bool training, bool fused,
                              bool recorded = true) {
  const DType weights = maps == DType::f64 ? DType::f64 : DType::f32;
  uint64_t seed = 1;
  std::vector<Tensor> leaves;
  const auto leaf = [&](const Dims& shape, double scale, double shift, DType t) {
    Tensor v = normal(shape, seed++);
    for (int64_t i = 0; i < v.numel(); ++i) v.mutable_data<double>()[i] = v.data<double>()[i] * scale + shift;
    v = v.to(DType::f32).to(t);
    if (leaves.empty()) v = v.contiguous(kLast);  // the images
    v.set_requires_grad(recorded);
    leaves.push_back(v);
    return v;
  };
  poison();
  Tape tape;
  Tensor z;
  {
    const Tape::Scope scope(recorded ? &tape : nullptr);
    const Tensor x = leaf(c.images, 1, 0, maps);
    NormedMap map = x;
    for (const BlockLayer& l : c.layers) {
      const int64_t in = map.shape()[1], groups = l.depthwise ? in : 1, pad = l.kernel / 2;
      const ConvNorm p{.weight = leaf({l.out, in / groups, l.kernel, l.kernel}, 0.3, 0, weights),
                       .bias = {},
                       .gamma = leaf({l.out}, 0.3, 1, weights),
                       .beta = leaf({l.out}, 0.3, 0.1, weights),
                       .running_mean = Tensor::full({l.out}, 0.25, {weights}),
                       .running_var = Tensor::full({l.out}, 1.5, {weights})};
      const ConvOptions o{.stride = {l.stride, l.stride, 1}, .padding = {pad, pad, 0}, .groups = groups};
      const BatchNormOptions n{.training = training, .act = act};
      if (fused) {
        EXPECT_EQ(static_cast<bool>(fused_conv(map.raw(), p.weight, o)), l.depthwise) << c.images.str();
        map = conv_norm(map, p, o, n);
      } else {
        map = batch_norm(convolution(map.tensor(), p.weight, {}, o), p.gamma, p.beta, p.running_mean, p.running_var, n);
      }
    }
    z = map.tensor();
  }
  std::vector<Values> all{z.values()};
  if (!recorded) return all;
  tape.backward(z, normal(z.shape(), 99).contiguous(kLast).to(z.dtype()));
  for (const Tensor& t : leaves) all.push_back(t.grad().values());
  return all;
}

TEST(ConvNorm, BlocksAgreeWithTheirParts) {
  for (const BlockCase& c : kBlocks)
    for (const Act act : {Act::silu, Act::relu6, Act::relu, Act::none})
      for (const bool training : {true, false}) {
        const auto expected = run_block(c, DType::f64, act, training, false),
                   got = run_block(c, DType::f32, act, training, true);
        for (size_t i = 0; i < got.size(); ++i) {
          // What no activation bends has no gradient in training but rounding: the next norm takes mean and scale away.
          if (training && act == Act::none && i > 2 && i % 3 != 2 && i + 2 < got.size()) continue;
          EXPECT_LE(error(got[i], expected[i]), 1e-4)
              << c.images.str() << ' ' << name_of(act) << (training ? " training " : " ") << i;
        }
        EXPECT_LE(
            error(run_block(c, DType::f32, act, false, true, false)[0], run_block(c, DType::f32, act, false, true)[0]),
            1e-5)
            << c.images.str() << ' ' << name_of(act) << " without a tape";
      }
}

TEST(ConvNorm, BlocksHaveTheSameBitsForAnyNumberOfThreads) {
  const int before = omp_get_max_threads();
  for (const BlockCase& c : kBlocks) {
    omp_set_num_threads(1);
    const auto one = run_block(c, DType::f32, Act::silu, true, true);
    for (const int threads : {2, 5}) {
      omp_set_num_threads(threads);
      const auto many = run_block(c, DType::f32, Act::silu, true, true);
      for (size_t i = 0; i < one.size(); ++i) {
        const bool librarys = i > 1 && i % 3 == 2 && !c.layers[i / 3].depthwise;  // a 1x1 weight's gradient
        EXPECT_TRUE(librarys || many[i] == one[i]) << c.images.str() << ' ' << threads << ' ' << i;
      }
    }
  }
  omp_set_num_threads(before);
}

}  // namespace
}  // namespace tidepool::testing
