// VGG-16: its counts, its state, and DynOPool at r = 1/2 beside 2x2 max pooling, in EfficientNet-B0 too.
#include <cmath>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/philox.h"
#include "layers/loss.h"
#include "models/network.h"
#include "tests/golden/golden.h"
#include "tests/models/hashed_weights.h"
#include "train/step.h"

namespace tidepool {
namespace {

const Json kMax{{"default", {{"type", "max"}, {"kernel", 2}}}};
const Json kDyno{{"default", {{"type", "dynopool"}}}};

Tensor images(int64_t n, DType dtype) {
  const Tensor x = Tensor::empty({n, 3, 32, 32}, {.format = MemoryFormat::channels_last});
  Random random(5, 0);
  for (int64_t i = 0; i < x.numel(); ++i) x.mutable_data<float>()[i] = static_cast<float>(random.normal());
  return x.to(dtype);
}

bool same_bits(const Tensor& a, const Tensor& b) {
  if (a.shape() != b.shape() || a.dtype() != b.dtype()) return false;
  const Tensor x = a.contiguous(MemoryFormat::plain), y = b.contiguous(MemoryFormat::plain);
  return std::memcmp(x.raw(), y.raw(), static_cast<size_t>(x.numel()) * size_of(x.dtype())) == 0;
}

TEST(Vgg16, AnEmptySlotIsMaxPooling) {
  const Tensor x = images(2, DType::f32);
  const Tensor human = make_network({.width = 0.25}, kMax)->forward(x, {});
  for (const Json& pool : {Json::object(), Json{{"pool1", nullptr}}, Json{{"default", nullptr}}})
    EXPECT_TRUE(same_bits(make_network({.width = 0.25}, pool)->forward(x, {}), human)) << pool;
}

TEST(Vgg16, CountsAtFullWidth) {
  const auto network = make_network({}, kMax);
  const Trace trace = network->trace();
  EXPECT_EQ(trace.parameters(), 14'770'212);  // 14.77 M
  EXPECT_EQ(trace.macs(), 313'247'744);
}

TEST(Vgg16, GmacsOfAFixedNetworkAreTheCountedOnes) {
  const auto network = make_network({.width = 0.25}, kMax);
  const Trace trace = network->trace();
  EXPECT_EQ(trace.gmacs(), static_cast<double>(trace.macs()) / 1e9);
  EXPECT_TRUE(trace.gmacs_gradient().empty());
  const Trace dyno = make_network({.width = 0.25}, kDyno)->trace();
  EXPECT_EQ(dyno.gmacs(), trace.gmacs());
  EXPECT_EQ(dyno.gmacs_gradient().size(), 8u);  // two axes at four places
}

TEST(Vgg16, NamesAreTorchvisions) {
  const auto network = make_network({.width = 0.125, .conv_bias = true}, kDyno);
  std::set<std::string> names;
  for (const auto& [name, value] : network->state()) EXPECT_TRUE(names.insert(name).second) << name;
  for (const int k : {0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40}) {
    for (const char* of : {".weight", ".bias"}) EXPECT_TRUE(names.contains(fmt::format("features.{}{}", k, of))) << k;
    for (const char* of : {".weight", ".bias", ".running_mean", ".running_var"})
      EXPECT_TRUE(names.contains(fmt::format("features.{}{}", k + 1, of))) << k;
  }
  for (const char* name : {"classifier.weight", "classifier.bias", "pool1.alpha", "pool4.alpha"})
    EXPECT_TRUE(names.contains(name)) << name;
  EXPECT_EQ(names.size(), 13u * 6 + 2 + 4);
}

TEST(Vgg16, FcnHeadScoresThreeResolutions) {
  for (const Json& pool : {kMax, kDyno}) {
    const NetworkOptions options{.width = 0.125, .classes = 6, .input = {1, 3, 48, 32}, .head = "fcn"};
    const auto network = make_network(options, pool);
    EXPECT_TRUE(network->gives_map());
    std::map<std::string, Dims> shapes;
    for (const auto& [name, value] : network->state()) shapes[name] = value.shape();
    EXPECT_EQ(shapes.at("classifier.weight"), (Dims{6, 64, 1, 1}));
    EXPECT_EQ(shapes.at("score_pool3.weight"), (Dims{6, 32, 1, 1}));
    EXPECT_EQ(shapes.at("score_pool2.weight"), (Dims{6, 16, 1, 1}));
    Random random(3, 0);
    for (const Parameter& p : network->parameters())  // skips start at zero, and would hide what they add
      if (p.name.starts_with("score")) p.value.copy_from(hashed_tensor(p.name, p.value.shape(), 0, 0.25));
    const Tensor x = Tensor::empty({2, 3, 48, 32}, {.format = MemoryFormat::channels_last});
    for (int64_t i = 0; i < x.numel(); ++i) x.mutable_data<float>()[i] = static_cast<float>(random.normal());
    const Tensor labels = Tensor::full({2, 12, 8}, 3, {.dtype = DType::i32});
    std::vector<Tensor> maps;
    std::vector<std::vector<double>> gradients;
    for (const bool fuse : {true, false}) {
      Tape tape;
      Tensor loss;
      {
        const Tape::Scope scope(&tape);
        maps.push_back(network->forward(x, {.training = true, .fuse = fuse}));
        loss = cross_entropy(maps.back(), labels, 0);
      }
      ASSERT_EQ(maps.back().shape(), (Dims{2, 6, 12, 8}));
      for (const Parameter& p : network->parameters()) p.value.set_grad({});
      tape.backward(loss);
      gradients.emplace_back();
      for (const Parameter& p : network->parameters()) {
        ASSERT_TRUE(p.value.grad()) << p.name;
        const auto g = p.value.grad().values();
        gradients.back().insert(gradients.back().end(), g.begin(), g.end());
      }
    }
    const auto expect_near = [](const std::vector<double>& a, const std::vector<double>& b) {
      double most = 0;
      for (const double v : b) most = std::max(most, std::abs(v));
      for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 1e-4 * most);
    };
    expect_near(maps[0].values(), maps[1].values());
    expect_near(gradients[0], gradients[1]);
  }
}

TEST(Vgg16, HeadsByName) {
  EXPECT_FALSE(make_network({.width = 0.125, .head = "linear"}, kMax)->gives_map());
  const auto error = [](const NetworkOptions& options) -> std::string {
    try {
      make_network(options, Json::object());
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  };
  EXPECT_EQ(error({.width = 0.125, .head = "fnc"}),
            "model.head: vgg16 has no head \"fnc\" (did you mean 'fcn'?); its heads are linear, torchvision, fcn");
  EXPECT_EQ(error({.name = "efficientnet_b0", .head = "fcn"}),
            "model.head: efficientnet_b0 has one head alone, got \"fcn\"");
}

class SameAsMax : public testing::TestWithParam<std::tuple<const char*, DType>> {};

TEST_P(SameAsMax, LogitsAndWeightGradientsBitForBit) {
  const auto [name, dtype] = GetParam();
  const NetworkOptions options{.name = name, .width = 0.25, .dtype = dtype, .seed = 3};
  const auto human = make_network(options, kMax), dyno = make_network(options, kDyno);
  const Tensor x = images(8, options.dtype);
  const Tensor labels = Tensor::from<int64_t>({1, 2, 3, 4, 50, 60, 70, 99}, {8});
  std::vector<Tensor> logits;
  for (Network* network : {human.get(), dyno.get()}) {
    Tape tape;
    Tensor loss;
    {
      const Tape::Scope scope(&tape);
      logits.push_back(network->forward(x, {.training = true}));
      loss = cross_entropy(logits.back(), labels, 0);
    }
    tape.backward(loss);
  }
  EXPECT_TRUE(same_bits(logits[0], logits[1]));
  size_t compared = 0;
  for (const Parameter& p : human->parameters())
    for (const Parameter& q : dyno->parameters())
      if (p.name == q.name) {
        EXPECT_TRUE(same_bits(p.value.grad(), q.value.grad())) << p.name;
        ++compared;
      }
  EXPECT_EQ(compared, human->parameters().size());
  for (const Parameter& q : dyno->parameters())
    if (q.kind == ParameterKind::shape) {
      EXPECT_NE(q.value.grad().values()[0], 0) << q.name;
    }
  const Tensor a = human->forward(x, {}), b = dyno->forward(x, {});
  EXPECT_TRUE(same_bits(a, b)) << "evaluation";
}

INSTANTIATE_TEST_SUITE_P(DTypes, SameAsMax,
                         testing::Combine(testing::Values("vgg16", "efficientnet_b0"),
                                          testing::Values(DType::f32, DType::bf16, DType::f64)),
                         [](const auto& one) {
                           return fmt::format("{}_{}", std::get<0>(one.param), name_of(std::get<1>(one.param)));
                         });

TEST(Vgg16, ShapeAdaptorsStartAtAQuarterOfTheLength) {
  const auto network = make_network({.width = 0.125}, {{"default", {{"type", "shape_adaptor"}}}});
  std::vector<Dims> shapes;
  for (const auto& [place, size] : network->slot_shapes()) shapes.push_back(size);
  EXPECT_EQ(shapes, (std::vector<Dims>{{22, 22}, {15, 15}, {10, 10}, {7, 7}}));
  for (const Parameter& p : network->parameters())
    if (p.kind == ParameterKind::shape) {
      EXPECT_NEAR(p.value.item(), -0.346, 1e-3);
    }
}

// Ten steps of a narrow network in f64, recorded from PyTorch: data, loss, gradients, decay, momentum, and shapes that
// change from step to step. A shape parameter is held to 1e-3 only: where one live pixel stands between two that ReLU
// put to 0, two queries at mirrored places tie in exact arithmetic, the last bit of the pixel decides, and the slope
// along the other axis differs.
TEST(Vgg16, TenStepsAsPyTorchTakesThem) {
  const SafetensorsFile start = read_golden("vgg16_start.safetensors");
  const Json losses = read_json(std::string(TIDEPOOL_SOURCE_DIR) + "/tests/golden/vgg16_losses.json");
  for (const char* pool : {"max", "dynopool"}) {
    const Json& expected = losses.at("runs").at(pool);
    const auto network = make_network({.width = 1.0 / 16, .classes = 10, .dtype = DType::f64},
                                      std::string(pool) == "max" ? kMax : kDyno);
    for (const auto& [name, value] : network->state())
      if (start.tensors.contains(name)) value.copy_from(start.tensors.at(name));
    if (expected.contains("alpha_start"))
      for (const Parameter& p : network->parameters())
        if (p.kind == ParameterKind::shape)
          for (int64_t axis = 0; axis < 2; ++axis)
            p.value.mutable_data<double>()[axis] =
                expected.at("alpha_start").at(p.name).at(static_cast<size_t>(axis)).get<double>();
    OptimConfig optim;
    optim.lr = 0.05;
    optim.schedule.type = ScheduleType::kConstant;
    if (std::string(pool) == "dynopool") {
      ParamGroupConfig shapes;
      shapes.match = "*.alpha";
      shapes.lr = 0.01;
      shapes.weight_decay = 0;
      shapes.schedule = optim.schedule;
      optim.groups.push_back(shapes);
    }
    LossConfig loss;
    loss.gmacs_lambda = expected.at("gmacs_lambda").get<double>();
    Optimizer optimizer(optim, network->parameters(), 10, 10);
    const auto task = find_task("classification").make({.classes = network->options().classes});
    Stepper stepper(*network, *task, optimizer, loss, 1);

    const Tensor pixels = start.tensors.at("x_u8").to(DType::f64);
    for (int64_t i = 0; i < pixels.numel(); ++i) pixels.mutable_data<double>()[i] = pixels.data<double>()[i] / 128 - 1;
    const TensorBatch batch{pixels.contiguous(MemoryFormat::channels_last), start.tensors.at("labels")};
    for (int64_t step = 0; step < 10; ++step) {
      const auto i = static_cast<size_t>(step);
      const StepLosses got = stepper.step(batch, step);
      EXPECT_NEAR(got.total, expected.at("loss").at(i).get<double>(), 1e-9) << pool << " step " << step;
      EXPECT_NEAR(got.gmacs, expected.at("gmacs_loss").at(i).get<double>(), 1e-15) << pool << " step " << step;
      if (!expected.contains("alpha")) continue;
      for (const Parameter& p : network->parameters())
        for (size_t axis = 0; p.kind == ParameterKind::shape && axis < 2; ++axis)
          EXPECT_NEAR(p.value.values()[axis], expected.at("alpha").at(i).at(p.name).at(axis).get<double>(), 1e-3)
              << pool << " step " << step << ", " << p.name << " " << axis;
    }
    const SafetensorsFile end = read_golden(std::string("vgg16_") + pool + "_end.safetensors");
    for (const Parameter& p : network->parameters())
      EXPECT_LE(relative_error(p.value, end.tensors.at(p.name)), p.kind == ParameterKind::shape ? 1e-3 : 1e-6)
          << pool << " " << p.name;
  }
}

TEST(Vgg16, WrongRequests) {
  const auto message = [](const NetworkOptions& options, const Json& pool) -> std::string {
    try {
      make_network(options, pool);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  };
  EXPECT_EQ(message({.name = "vgg61"}, kMax),
            "model.name: there is no network 'vgg61' (did you mean 'vgg16'?); there are: efficientnet_b0, "
            "hrnet_w18_small, hrnet_w48, mobilenet_v2, resnet18, resnet34, resnet50, resnet101, vgg16");
  EXPECT_EQ(message({.width = 0}, kMax), "model.width: expected a number in (0, 64], got 0");
  EXPECT_EQ(
      message({}, {{"default", {{"type", "max"}}}, {"pool5", {{"type", "avg"}}}}),
      "model.pool.pool5: vgg16 has no such slot (did you mean 'pool1'?); its slots are pool1, pool2, pool3, pool4");
  EXPECT_EQ(message({}, {{"pool1", "max"}}),
            "model.pool.pool1: expected an object with a \"type\", or null, got \"max\"");
  EXPECT_NE(message({}, {{"default", {{"type", "max"}, {"kernel", 3}, {"padding", 2}}}})
                .find("model.pool.pool1 (default): [max]"),
            std::string::npos);
  EXPECT_NE(message({.input = {1, 3, 8, 8}}, {{"default", {{"type", "max"}, {"kernel", 3}, {"stride", 3}}}})
                .find("model.pool.pool"),
            std::string::npos);
}

}  // namespace
}  // namespace tidepool
