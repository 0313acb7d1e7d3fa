// Compares a network with what torchvision's network of that name (HRNet: a reference written from the paper) computes
// from the same weights: the files tests/golden/network_NAME.* (README.md there). torchvision_test.cpp lists them.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "core/tape.h"
#include "layers/loss.h"
#include "models/network.h"
#include "tests/golden/golden.h"
#include "tests/models/hashed_weights.h"
#include "train/step.h"

namespace tidepool {

class NetworkGolden {
 public:
  /// `options`: those in which the network differs from the defaults; width, classes, input and type come from the
  /// files. Options that draw random numbers (dropout, stochastic depth) must be 0.
  /// `gradient_jump`: of f32 gradients, for deep networks of ReLUs: a pre-activation within rounding of the kink
  /// decides a gradient by jumps (PyTorch's own f32 gradients differ from its f64 ones by up to 0.18 there, its logits
  /// by 1e-6).
  /// `variant`: of the files' name, where a network has several: "_torchvision".
  explicit NetworkGolden(NetworkOptions options, Json pool = Json::object(), double gradient_jump = 0,
                         const std::string& variant = "")
      : options_(std::move(options)),
        pool_(std::move(pool)),
        gradient_jump_(gradient_jump),
        facts_(
            read_json(std::string(TIDEPOOL_SOURCE_DIR) + "/tests/golden/network_" + options_.name + variant + ".json")),
        tensors_(read_golden("network_" + options_.name + variant + ".safetensors")),
        small_(facts_.at("forms").begin().key()) {
    options_.width = facts_.at("width").get<double>();
  }

  bool has(const std::string& form) const { return facts_.at("forms").contains(form); }

  /// Parameters and multiply-adds of every form, exactly; names of all tensors, and their shapes in the small form.
  void expect_counts() const {
    for (const auto& [form, facts] : facts_.at("forms").items()) {
      const auto network = make(form, DType::f32);
      const Trace trace = network->trace();
      EXPECT_EQ(trace.parameters(), facts.at("parameters").template get<int64_t>()) << form;
      EXPECT_EQ(trace.macs(), facts.at("macs").template get<int64_t>()) << form;
      std::set<std::string> names;
      for (const auto& [name, value] : network->state()) {
        EXPECT_TRUE(facts_.at("tensors").contains(name)) << form << ": the reference has no " << name;
        names.insert(name);
        if (form != small_ || !facts_.at("tensors").contains(name)) continue;
        Dims shape = Dims::filled(static_cast<int>(facts_.at("tensors").at(name).at(0).size()), 0);
        for (int i = 0; i < shape.rank(); ++i)
          shape[i] = facts_.at("tensors").at(name).at(0).at(static_cast<size_t>(i)).get<int64_t>();
        EXPECT_EQ(value.shape(), shape) << name;
      }
      for (const auto& [name, unused] : facts_.at("tensors").items())
        EXPECT_TRUE(names.contains(name)) << form << ": the network has no " << name;
    }
  }

  /// Evaluation or training mode in the small form, f64 beside the reference and f32 beside the f64 network.
  void expect_mode(bool training, double tolerance = 1e-9, double tolerance_f32 = 1e-4) const {
    const ForwardBackward wide = run(small_, training, DType::f64);
    expect_f64(wide, training, tolerance);
    expect_f32(wide, training, tolerance_f32);
  }

  /// Logits at 224x224 in evaluation mode, 1000 classes, f64 and f32.
  void expect_imagenet_logits(double tolerance = 1e-9, double tolerance_f32 = 1e-4) const {
    const Tensor& want = tensors_.tensors.at("imagenet/evaluation/logits");
    const double pytorch = facts_.at("forms").at("imagenet").at("evaluation").at("logits_f32_error").get<double>();
    EXPECT_LE(relative_error(logits("imagenet", DType::f64), want), tolerance);
    EXPECT_LE(relative_error(logits("imagenet", DType::f32), want), std::max(tolerance_f32, 2 * pytorch));
  }

  /// Steps of SGD in f64 in the small form, images and labels new in each: the losses.
  void expect_steps(double tolerance = 1e-8) const {
    const Json& steps = facts_.at("steps");
    const auto network = make(small_, DType::f64);
    fill(*network);
    OptimConfig optim;
    optim.name = "sgd";
    optim.lr = steps.at("lr").get<double>();
    optim.options = {{"momentum", steps.at("momentum")}, {"nesterov", steps.at("nesterov")}};
    optim.weight_decay = steps.at("weight_decay").get<double>();
    optim.schedule.type = ScheduleType::kConstant;
    const auto count = steps.at("count").get<int64_t>();
    Optimizer optimizer(optim, network->parameters(), count, count);
    const auto task = task_of(small_);
    Stepper stepper(*network, *task, optimizer, LossConfig{}, 1);
    for (int64_t step = 0; step < count; ++step) {
      const TensorBatch batch = hashed_batch(fmt::format("step{}", step), steps.at("batch").get<int64_t>(),
                                             facts_.at("forms").at(small_), DType::f64);
      EXPECT_NEAR(stepper.step(batch, step).total, steps.at("losses").at(static_cast<size_t>(step)).get<double>(),
                  tolerance)
          << "step " << step;
    }
  }

  /// The network of `form` ("cifar": 32x32, "imagenet": 224x224, ...), with its own initial values.
  std::unique_ptr<Network> make(const std::string& form, DType dtype) const {
    const Json& facts = facts_.at("forms").at(form);
    const auto size = facts.at("size").get<int64_t>();
    NetworkOptions options = options_;
    options.classes = facts.at("classes").get<int64_t>();
    options.input = {1, 3, size, size};
    options.dtype = dtype;
    return make_network(options, pool_);
  }

  /// Puts the golden weights and running statistics into a network. A tensor that torchvision does not have is a
  /// failure of expect_counts and keeps its value.
  void fill(const Network& network) const {
    for (const auto& [name, value] : network.state()) {
      if (!facts_.at("tensors").contains(name)) continue;
      const Json& tensor = facts_.at("tensors").at(name);
      const auto center = tensor.at(1).get<double>(), scale = tensor.at(2).get<double>();
      const auto bytes = tensors_.tensors.find("init/" + name);
      if (bytes == tensors_.tensors.end()) {
        value.copy_from(hashed_tensor(name, value.shape(), center, scale));
      } else {
        const Tensor t = Tensor::empty(value.shape(), {.dtype = DType::f64});
        for (int64_t i = 0; i < t.numel(); ++i)
          t.mutable_data<double>()[i] = static_cast<float>(center + scale * bytes->second.data<uint8_t>()[i] / 256);
        value.copy_from(t);
      }
    }
  }

 private:
  struct ForwardBackward {
    std::unique_ptr<Network> network;  ///< with gradients
    Tensor logits;
    double loss = 0;
  };

  /// Logits, loss, the gradient of every parameter, and in training the
  /// running statistics. Errors are relative to a tensor's largest magnitude, those of a fingerprint to its L2 norm.
  void expect_f64(const ForwardBackward& pass, bool training, double tolerance) const {
    const std::string mode = training ? "training" : "evaluation", stored = small_ + "/" + mode + "/";
    const Json& facts = facts_.at("forms").at(small_).at(mode);
    EXPECT_LE(relative_error(pass.logits, tensors_.tensors.at(stored + "logits")), tolerance);
    EXPECT_NEAR(pass.loss, facts.at("loss").get<double>(), tolerance * facts.at("loss").get<double>());
    const double zero = tolerance * facts.at("largest_gradient").get<double>();
    size_t compared = 0;
    for (const Parameter& p : pass.network->parameters()) {
      ASSERT_TRUE(p.value.grad()) << p.name;
      ++compared;
      if (is_zero(facts, p.name)) {
        EXPECT_LE(largest(p.value.grad()), zero) << p.name << ": 0 in exact arithmetic";
        continue;
      }
      expect_fingerprint(p.name, p.value.grad(), facts.at("gradients").at(p.name), tolerance);
      const auto whole = tensors_.tensors.find(stored + "d_" + p.name);
      if (whole != tensors_.tensors.end()) {
        EXPECT_LE(relative_error(p.value.grad(), whole->second), tolerance) << p.name;
      }
    }
    EXPECT_EQ(compared, facts.at("gradients").size() + facts.at("zero_gradients").size());
    if (!training) return;
    EXPECT_EQ(pass.network->buffers().size(), facts.at("buffers").size());
    for (const Buffer& b : pass.network->buffers())
      expect_fingerprint(b.name, b.value, facts.at("buffers").at(b.name), tolerance);
  }

  /// Element by element: an error of `tolerance` or twice PyTorch's own, whichever is
  /// larger. expect_f64 holds the f64 network itself.
  void expect_f32(const ForwardBackward& want, bool training, double tolerance) const {
    const Json& facts = facts_.at("forms").at(small_).at(training ? "training" : "evaluation");
    const ForwardBackward got = run(small_, training, DType::f32);
    const auto limit = [&](const Json& pytorch) { return std::max(tolerance, 2 * pytorch.get<double>()); };
    double jump = gradient_jump_;
    if (jump > 0)
      for (const auto& [name, error] : facts.at("gradients_f32_error").items())
        jump = std::max(jump, 2 * error.get<double>());
    EXPECT_LE(relative_error(got.logits, want.logits), limit(facts.at("logits_f32_error")));
    EXPECT_NEAR(got.loss, want.loss, std::max(tolerance * want.loss, 2 * facts.at("loss_f32_error").get<double>()));
    const double zero = tolerance * facts.at("largest_gradient").get<double>();
    for (size_t i = 0; i < want.network->parameters().size(); ++i) {
      const Parameter &p = got.network->parameters()[i], &q = want.network->parameters()[i];
      ASSERT_EQ(p.name, q.name);
      ASSERT_TRUE(p.value.grad()) << p.name;
      if (is_zero(facts, p.name)) {
        EXPECT_LE(largest(p.value.grad()), zero) << p.name << ": 0 in exact arithmetic";
      } else {
        EXPECT_LE(relative_error(p.value.grad(), q.value.grad()),
                  std::max(jump, limit(facts.at("gradients_f32_error").at(p.name))))
            << p.name;
      }
    }
    if (!training) return;
    for (size_t i = 0; i < want.network->buffers().size(); ++i) {
      const Buffer &b = got.network->buffers()[i], &c = want.network->buffers()[i];
      EXPECT_LE(relative_error(b.value, c.value), limit(facts.at("buffers_f32_error").at(b.name))) << b.name;
    }
  }

  /// With a label for each image, or where the form has maps, for each pixel.
  static TensorBatch hashed_batch(const std::string& name, int64_t batch, const Json& form, DType dtype) {
    const auto size = form.at("size").get<int64_t>();
    const Dims labels = form.contains("maps") ? Dims{batch, size, size} : Dims{batch};
    return {
        hashed_tensor(name + "/images", {batch, 3, size, size}, 0, 2).to(dtype).contiguous(MemoryFormat::channels_last),
        hashed_labels(name + "/labels", labels.product(), form.at("classes").get<int64_t>()).reshape(labels)};
  }
  std::unique_ptr<Task> task_of(const std::string& form) const {
    const Json& facts = facts_.at("forms").at(form);
    return find_task(facts.contains("maps") ? "segmentation" : "classification")
        .make({.classes = facts.at("classes").get<int64_t>()});
  }

  ForwardBackward run(const std::string& form, bool training, DType dtype) const {
    ForwardBackward pass{make(form, dtype), {}, 0};
    fill(*pass.network);
    const Json& facts = facts_.at("forms").at(form);
    const TensorBatch batch = hashed_batch(form, facts.at("batch").get<int64_t>(), facts, dtype);
    Tape tape;
    Tensor loss;
    {
      const Tape::Scope scope(&tape);
      pass.logits = pass.network->forward(batch.images, {.training = training});
      loss = task_of(form)->loss(pass.logits, batch.labels);
    }
    pass.loss = loss.item();
    tape.backward(loss);
    return pass;
  }

  Tensor logits(const std::string& form, DType dtype) const {
    const auto network = make(form, dtype);
    fill(*network);
    const Json& facts = facts_.at("forms").at(form);
    return network->forward(hashed_batch(form, facts.at("batch").get<int64_t>(), facts, dtype).images, {});
  }

  static bool is_zero(const Json& facts, const std::string& name) {
    const Json& zero = facts.at("zero_gradients");
    return std::find(zero.begin(), zero.end(), name) != zero.end();
  }

  static double largest(const Tensor& t) {
    double most = 0;
    for (const double v : t.values()) most = std::isnan(v) ? INFINITY : std::max(most, std::abs(v));
    return most;
  }

  static void expect_fingerprint(const std::string& name, const Tensor& got, const Json& expected, double tolerance) {
    const Fingerprint f = fingerprint(name, got);
    const double numbers[] = {f.sum, f.norm, f.probe};
    const char* const words[] = {"sum", "L2 norm", "product with the probe"};
    for (size_t i = 0; i < 3; ++i) {
      const auto want = expected.at(i).get<double>();
      const double unit = std::max(std::abs(want), expected.at(1).get<double>());
      EXPECT_NEAR(numbers[i], want, tolerance * unit) << name << ": " << words[i];
    }
  }

  NetworkOptions options_;
  Json pool_;
  double gradient_jump_;
  Json facts_;
  SafetensorsFile tensors_;
  std::string small_;  // the form in which everything is compared
};

}  // namespace tidepool
