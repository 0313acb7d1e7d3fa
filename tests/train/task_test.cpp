// Tasks: what they count, what they write, and what does not fit them.
#include "train/task.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/safetensors.h"
#include "core/tape.h"
#include "data/picture.h"
#include "data/voc_colours.h"
#include "train/run.h"
#include "train/setup.h"

namespace tidepool {
namespace {

namespace fs = std::filesystem;

// Logits (1, classes, height, width) in channels-last that predict these classes.
Tensor predicting(const std::vector<int64_t>& classes, int64_t height, int64_t width, int64_t count) {
  const Tensor logits = Tensor::zeros({1, count, height, width}, {.format = MemoryFormat::channels_last});
  for (size_t i = 0; i < classes.size(); ++i)
    logits.mutable_data<float>()[static_cast<int64_t>(i) * count + classes[i]] = 2;
  return logits;
}

std::unique_ptr<Task> task_of(const char* name, int64_t classes, double smoothing = 0) {
  return find_task(name).make({.classes = classes, .label_smoothing = smoothing});
}

std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no Error";
}

TEST(Segmentation, CountsByHand) {
  //             right  wrong  right  right  wrong  -    -    right
  const Tensor labels = Tensor::from<int32_t>({0, 0, 1, 1, 2, 255, 255, 0}, {1, 2, 4});
  const Tensor logits = predicting({0, 1, 1, 1, 0, 2, 2, 0}, 2, 4, 4);
  const auto task = task_of("segmentation", 4);
  const auto evaluator = task->evaluator();
  for (int batch = 0; batch < 3; ++batch) evaluator->add(logits, labels);  // sums over all, not a mean of batches
  evaluator->add(logits, Tensor::full({1, 2, 4}, 255, {.dtype = DType::i32}));
  const Evaluation e = evaluator->result();
  EXPECT_EQ(e.images, 4);
  // Class 0: 2 of 3 + 3 - 2 pixels; 1: 2 of 2 + 3 - 2; 2: 0 of 1 + 0 - 0; 3 is absent from both and left out.
  ASSERT_EQ(e.metrics.size(), 2u);
  EXPECT_NEAR(e.metrics[0], (0.5 + 2.0 / 3 + 0) / 3, 1e-12);
  EXPECT_NEAR(e.metrics[1], 4.0 / 6, 1e-12);
  const double right = -std::log(std::exp(2.0) / (std::exp(2.0) + 3)), wrong = right + 2;
  EXPECT_NEAR(e.loss, (4 * right + 2 * wrong) / 6, 1e-6);
  const Json& rows = e.tables.at("classes");
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[0].at("iou"), 0.5);
  EXPECT_EQ(rows[0].at("pixels"), 9);
  EXPECT_NEAR(rows[0].at("accuracy").get<double>(), 2.0 / 3, 1e-12);
  EXPECT_EQ(rows[2].at("iou"), 0);
  EXPECT_TRUE(rows[3].at("iou").is_null());
  EXPECT_TRUE(rows[3].at("accuracy").is_null());
}

TEST(Segmentation, NothingToCount) {
  const auto task = task_of("segmentation", 3);
  EXPECT_EQ(task->evaluator()->result().metrics, (std::vector<double>{0, 0}));
  const Tensor ignored = Tensor::full({2, 4, 4}, 255, {.dtype = DType::i32});
  const Tensor x = Tensor::full({2, 3, 2, 2}, 0.5, {.format = MemoryFormat::channels_last});
  x.set_requires_grad();
  Tape tape;
  Tensor loss;
  {
    const Tape::Scope scope(&tape);
    loss = task->loss(x, ignored);
  }
  tape.backward(loss);
  EXPECT_EQ(loss.item(), 0);
  for (const double g : x.grad().values()) EXPECT_EQ(g, 0);
}

// A pixel with a NaN among its logits is wrong, whatever its label.
TEST(Segmentation, NanIsWrong) {
  const Tensor logits = predicting({0, 1}, 1, 2, 2);
  logits.mutable_data<float>()[1] = NAN;
  const auto evaluator = task_of("segmentation", 2)->evaluator();
  evaluator->add(logits, Tensor::from<int32_t>({0, 1}, {1, 1, 2}));
  EXPECT_EQ(evaluator->result().metrics, (std::vector<double>{0.5, 0.5}));
}

// Logits are resized to the labels, and their gradient comes back through the resize.
TEST(Segmentation, LossAtTheSizeOfTheLabels) {
  const auto task = task_of("segmentation", 3, 0.1);
  const Tensor x = Tensor::empty({2, 3, 2, 3}, {.dtype = DType::f64, .format = MemoryFormat::channels_last});
  Random random(1, 1);
  for (int64_t i = 0; i < x.numel(); ++i) x.mutable_data<double>()[i] = random.normal();
  const Tensor labels = Tensor::empty({2, 5, 7}, {.dtype = DType::i32});
  for (int64_t i = 0; i < labels.numel(); ++i)
    labels.mutable_data<int32_t>()[i] = i % 4 == 3 ? 255 : static_cast<int32_t>(random.below(3));
  x.set_requires_grad();
  Tape tape;
  Tensor loss;
  {
    const Tape::Scope scope(&tape);
    loss = task->loss(x, labels);
  }
  tape.backward(loss);
  const Tensor gradient = x.grad().contiguous(MemoryFormat::channels_last);
  constexpr double kStep = 1e-6;
  for (int64_t i = 0; i < x.numel(); ++i) {
    double* const at = x.mutable_data<double>() + i;
    const double before = *at;
    *at = before + kStep;
    const double above = task->loss(x, labels).item();
    *at = before - kStep;
    const double below = task->loss(x, labels).item();
    *at = before;
    EXPECT_NEAR(gradient.data<double>()[i], (above - below) / (2 * kStep), 1e-8);
  }
}

TEST(Classification, ThePredictionOfAnImageStandsInItsRow) {
  const fs::path file = fs::path(testing::TempDir()) / fmt::format("tidepool-logits-{}.safetensors", getpid());
  const auto predictions = task_of("classification", 2)->predictions(file, 4, "last.safetensors");
  const std::vector<int64_t> first{0, 2}, last{3};  // image 1 was left out
  predictions->add(Tensor::from<float>({1, 2, 3, 4}, {2, 2}), Tensor::zeros({2}, {.dtype = DType::i32}), first);
  predictions->add(Tensor::from<float>({5, 6}, {1, 2}), Tensor::zeros({1}, {.dtype = DType::i32}), last);
  predictions->finish();
  const std::vector<double> logits = read_safetensors(file).tensors.at("logits").values();
  ASSERT_EQ(logits.size(), 8u);
  for (const auto& [at, expected] :
       std::vector<std::pair<size_t, double>>{{0, 1}, {1, 2}, {4, 3}, {5, 4}, {6, 5}, {7, 6}})
    EXPECT_EQ(logits[at], expected) << at;
  EXPECT_TRUE(std::isnan(logits[2]) && std::isnan(logits[3]));
  fs::remove(file);
}

TEST(Segmentation, PredictionsArePalettePictures) {
  const fs::path folder = fs::path(testing::TempDir()) / fmt::format("tidepool-predictions-{}", getpid());
  fs::remove_all(folder);
  const auto task = task_of("segmentation", 4);
  const auto predictions = task->predictions(folder / "maps", 2, "last.safetensors");
  const Tensor labels = Tensor::full({1, 1, 4}, 255, {.dtype = DType::i32});
  const std::vector<int64_t> first_image{0}, third_image{2};  // that between them was left out
  predictions->add(predicting({0, 1, 2, 3}, 1, 4, 4), labels, first_image);
  predictions->add(predicting({3}, 1, 1, 4), labels, third_image);
  predictions->finish();
  const Picture first = read_picture(folder / "maps/000000.png"), second = read_picture(folder / "maps/000002.png");
  EXPECT_FALSE(fs::exists(folder / "maps/000001.png"));
  ASSERT_EQ(first.width, 4);
  ASSERT_EQ(second.width, 4) << "at the size of the labels";
  for (size_t i = 0; i < 4; ++i)
    for (size_t c = 0; c < 3; ++c) {
      EXPECT_EQ(first.bytes[3 * i + c], kVocColours[i][c]);
      EXPECT_EQ(second.bytes[3 * i + c], kVocColours[3][c]);
    }
  EXPECT_NE(error_of([&] { task->predictions(folder / "maps/000000.png", 1, ""); }).find("--output"),
            std::string::npos);
  fs::remove_all(folder);
}

// Background everywhere gives 0.13; seeds 1 to 4 end at 0.59 to 0.61, after about three seconds.
TEST(Segmentation, ARunOnShapesLearns) {
  const fs::path folder = fs::path(testing::TempDir()) / fmt::format("tidepool-shapes-{}", getpid());
  fs::remove_all(folder);
  const Config config = load_config_text(R"({
    "task": "segmentation",
    "data": {"name": "shapes", "train_images": 256, "test_images": 64, "workers": 1},
    "model": {"width": 0.125, "head": "fcn"},
    "optim": {"lr": 0.05},
    "train": {"epochs": 8, "batch": 16, "eval_every": 8}
  })",
                                         "test");
  RunOptions options;
  options.out = folder;
  const RunResult result = train_run(config, options);
  fs::remove_all(folder);
  EXPECT_EQ(result.metric.name, "mean_iou");
  ASSERT_TRUE(result.metric_last());
  EXPECT_GT(*result.metric_last(), 0.45);
}

TEST(Tasks, AreOptionsOfTheKey) {
  std::vector<std::string> names;
  for (const TaskDescription* each : tasks()) {
    names.push_back(each->name);
    EXPECT_FALSE(each->help.empty());
    EXPECT_FALSE(each->metrics.empty());
  }
  EXPECT_EQ(find_key(config_keys(), nullptr, "task")->words, names);
  EXPECT_EQ(error_of([] { find_task("segmentaton"); }),
            "there is no task 'segmentaton' (did you mean 'segmentation'?); there are: classification, segmentation");
}

TEST(Tasks, FitTheirNetworkAndData) {
  const auto error = [](const std::string& text) {
    const Config config = load_config_text(text, "test");
    const auto network = make_run_network(config);
    return error_of([&] { make_task(config, *network); });
  };
  EXPECT_EQ(error(R"({"task": "segmentation", "data": {"name": "shapes"}, "model": {"width": 0.1, "head": "fcn"}})"),
            "no Error");
  EXPECT_EQ(error(R"({"data": {"name": "procedural"}, "model": {"width": 0.1}})"), "no Error");
  EXPECT_EQ(
      error(R"({"task": "segmentation", "data": {"name": "procedural"}, "model": {"width": 0.1, "head": "fcn"}})"),
      "task segmentation and data set procedural do not fit: the task needs a label for every pixel, the data set "
      "has one for every image");
  EXPECT_EQ(error(R"({"data": {"name": "shapes"}, "model": {"width": 0.1}})"),
            "task classification and data set shapes do not fit: the task needs a label for every image, the data set "
            "has one for every pixel");
  EXPECT_EQ(
      error(R"({"task": "segmentation", "data": {"name": "shapes"}, "model": {"width": 0.1}})"),
      "task segmentation and network vgg16 do not fit: the task needs a map of logits, the network gives one vector "
      "per image (model.head may change that)");
  EXPECT_EQ(
      error(R"({"data": {"name": "procedural"}, "model": {"width": 0.1, "head": "fcn"}})"),
      "task classification and network vgg16 do not fit: the task needs one vector of logits per image, the network "
      "gives a map (model.head may change that)");
  EXPECT_EQ(error(R"({"task": "segmentation", "data": {"name": "shapes"},
                      "model": {"width": 0.1, "head": "fcn", "classes": 256}})"),
            "model.classes: task segmentation serves at most 255, as label 255 is ignored; got 256");
}

}  // namespace
}  // namespace tidepool
