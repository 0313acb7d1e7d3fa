// Operators that read a map through its batch norm and ReLU, beside the same operators on the written map.
#include "layers/pool/behind_norm.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <memory>

#include "layers/fused/conv_norm.h"
#include "layers/fused/pool.h"
#include "layers/pool/operator.h"
#include "tests/layers/battery.h"

namespace tidepool::testing {
namespace {

constexpr auto kLast = MemoryFormat::channels_last;

struct Result {
  Tensor y;
  std::vector<Values> gradients;
  bool written = false;  // the map behind the norm
  bool summed = false;   // the operator left the gradient's sums
};

// Sees whether the operator took the reductions of its gradient.
struct SumsTaken final : Observer {
  explicit SumsTaken(std::string name) : op(std::move(name)) {}
  void output(const char*, std::span<const Tensor>, std::span<const Tensor>) override {}
  void gradients_computed(const char* name, const std::string&, std::span<const Tensor> dx) override {
    taken = taken || (op == name && dx.size() > 1 && dx[1] && dx[1].dtype() == DType::f64);
  }
  std::string op;
  bool taken = false;
};

// A convolution with its norm, then the operator.
Result run(const std::string& name, const PoolOperator& op, DType maps, const Dims& shape, bool behind,
           bool training = true, Act act = Act::relu, const std::vector<Tensor>& parameters = {}) {
  const auto leaf = [&](const Dims& s, uint64_t seed, double scale, double mean) {
    const Tensor t = normal(s, seed, scale, mean).to(DType::f32);
    t.set_requires_grad();
    return t;
  };
  const int64_t channels = shape[1];
  const Tensor x = normal({shape[0], 16, shape[2], shape[3]}, 1).contiguous(kLast).to(maps);
  x.set_requires_grad();
  const ConvNorm tensors{leaf({channels, 16, 3, 3}, 2, 0.1, 0),
                         {},
                         leaf({channels}, 3, 0.5, 0),  // scales of both signs
                         leaf({channels}, 4, 0.3, 0.1),
                         Tensor::zeros({channels}),
                         Tensor::full({channels}, 1)};
  poison();
  Tape tape;
  Result r;
  {
    const Tape::Scope scope(&tape);
    const NormedMap map = conv_norm(x, tensors, {.padding = {1, 1, 0}}, {.training = training, .act = act});
    const PoolMode mode{.training = true, .seed = 5, .step = 6};
    r.y = behind ? pool_forward(op, map, parameters, mode) : op.forward(map.tensor(), parameters, mode);
  }
  for (const SavedBytes& s : tape.saved_bytes()) r.written = r.written || s.op == "norm";
  SumsTaken watch(name);
  {
    const Observer::Scope watching(&watch);
    tape.backward(r.y, normal(r.y.shape(), 9).contiguous(kLast).to(r.y.dtype()));
  }
  r.summed = watch.taken;
  for (const Tensor& t : {x, tensors.weight, tensors.gamma, tensors.beta}) r.gradients.push_back(t.grad().values());
  for (const Tensor& t : parameters) {
    r.gradients.push_back(t.grad().values());
    t.set_grad({});
  }
  return r;
}

void expect_same(const Result& got, const Result& expected, DType dtype, const std::string& what) {
  EXPECT_TRUE(same_bits(got.y, expected.y)) << what;
  for (size_t i = 0; i < got.gradients.size(); ++i)  // sums are taken in other chunks
    EXPECT_LE(error(got.gradients[i], expected.gradients[i]), dtype == DType::f32 ? 2e-5 : 2e-2) << what << " " << i;
}

TEST(BehindNorm, EveryOperatorGivesWhatItGivesOfTheWrittenMap) {
  int reading = 0;
  for (const PoolDescription* d : pool_operators()) {
    if (!d->resizes || std::find(d->ranks.begin(), d->ranks.end(), 2) == d->ranks.end()) continue;
    std::unique_ptr<PoolOperator> op;
    try {
      op = d->make({{"type", d->name}});
    } catch (const Error&) {  // adaptive ones
      op = d->make({{"type", d->name}, {"output_size", 4}});
    }
    for (const DType dtype : {DType::f32, DType::bf16})
      for (const Dims& shape : {Dims{3, 32, 8, 8}, Dims{2, 19, 9, 7}}) {
        if (!op->parameters(shape).empty()) continue;
        const std::string what = d->name + " " + name_of(dtype) + " " + shape.str();
        Result expected;
        try {
          expected = run(d->name, *op, dtype, shape, false);
        } catch (const Error&) {
          EXPECT_THROW(run(d->name, *op, dtype, shape, true), Error) << what;
          continue;
        }
        const Result got = run(d->name, *op, dtype, shape, true);
        expect_same(got, expected, dtype, what);
        EXPECT_TRUE(expected.written);
        reading += !got.written;
      }
  }
  EXPECT_GE(reading, 40) << "operators of windows read through the norm";
}

TEST(BehindNorm, WindowsOfAllKinds) {
  struct Kind {
    const char* config;
    Dims shape;
    bool reads, sums;
  };
  for (const Kind& k :
       {Kind{R"({"type": "max"})", {3, 32, 8, 6}, true, true}, Kind{R"({"type": "max"})", {3, 33, 9, 8}, true, false},
        Kind{R"({"type": "max", "kernel": 3})", {2, 17, 9, 12}, true, true},
        Kind{R"({"type": "avg", "kernel": [1, 4]})", {2, 48, 5, 8}, true, true},
        Kind{R"({"type": "soft", "kernel": 2, "stride": 3})", {2, 16, 8, 9}, true, false},
        Kind{R"({"type": "max", "kernel": 3, "stride": 2})", {2, 16, 9, 9}, false, false},
        Kind{R"({"type": "max", "kernel": 2, "padding": 1})", {2, 16, 8, 8}, false, false},
        Kind{R"({"type": "max", "kernel": 2, "stride": 4, "dilation": 2})", {2, 16, 8, 8}, false, false},
        Kind{R"({"type": "soft", "kernel": 2})", {40, 64, 16, 16}, true, true}}) {
    const nlohmann::json config = nlohmann::json::parse(k.config);
    const auto op = make_pool_operator(config);
    const auto name = config.at("type").get<std::string>();
    for (const Act act : {Act::relu, Act::none, Act::silu})
      for (const DType dtype : {DType::f32, DType::bf16})
        for (const bool training : {true, false}) {
          const std::string what = fmt::format("{} {} {}", k.config, k.shape.str(), name_of(dtype));
          const Result got = run(name, *op, dtype, k.shape, true, training, act);
          expect_same(got, run(name, *op, dtype, k.shape, false, training, act), dtype, what);
          EXPECT_EQ(got.written, !k.reads) << what;
          EXPECT_EQ(got.summed, k.sums) << what;
        }
  }
}

TEST(BehindNorm, ShapesLearnTheSame) {
  const auto op = make_pool_operator({{"type", "dynopool"}, {"offset", "learned"}});
  for (const double scale : {2.0, 1.7})  // at 2 samples are windows' pixels
    for (const DType dtype : {DType::f32, DType::bf16})
      for (const Dims& shape : {Dims{3, 32, 8, 6}, Dims{2, 19, 10, 4}, Dims{2, 16, 2, 2}}) {
        const std::vector<Tensor> parameters{Tensor::full({2}, scale), Tensor::full({2}, 0.25)};
        for (const Tensor& p : parameters) p.set_requires_grad();
        const Result got = run("dynopool", *op, dtype, shape, true, true, Act::relu, parameters);
        const std::string what = fmt::format("{} {} {}", scale, name_of(dtype), shape.str());
        expect_same(got, run("dynopool", *op, dtype, shape, false, true, Act::relu, parameters), dtype, what);
        const bool windows = 2 * got.y.size(2) == shape[2] && 2 * got.y.size(3) == shape[3];
        EXPECT_EQ(got.written, !windows) << what;
        EXPECT_EQ(got.summed, windows) << what;
      }
}

TEST(GradientSums, OfManyRowsAreExact) {
  const int64_t rows = 20000, channels = 3;
  const Tensor x = normal({rows, channels}, 1, 1, 2).to(DType::f32),
               dz = normal({rows, channels}, 2, 1, 1).to(DType::f32);
  const Tensor constants = Tensor::from<float>({2, 2, 2, 1, 0.5, 2, 0.25, 0, 10}, {3, channels});
  std::vector<double> sums(2 * channels, 1e9), expected(2 * channels, 0.0);
  norm::gradient_sums_of_rows(x.data<float>(), dz.data<float>(), rows, channels, constants.data<float>(), Act::relu,
                              sums.data());
  const float* const k = constants.data<float>();
  for (int64_t i = 0; i < rows * channels; ++i) {
    const int64_t c = i % channels;
    const double centred = static_cast<double>(x.data<float>()[i]) - 2;
    if (centred * static_cast<double>(k[3 + c]) + static_cast<double>(k[6 + c]) <= 0) continue;
    const auto g = static_cast<double>(dz.data<float>()[i]);
    expected[static_cast<size_t>(c)] += g;
    expected[static_cast<size_t>(channels + c)] += g * centred;
  }
  EXPECT_LE(error(sums, expected), 1e-7);
}

}  // namespace
}  // namespace tidepool::testing
