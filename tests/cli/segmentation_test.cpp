// Segmentation from the command line: metrics by name in every place that speaks of them, pictures of predictions.
#include "tests/cli/cli.h"

namespace tidepool {
namespace {

class SegmentationCommand : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    write("run.json", R"({
      "task": "segmentation",
      "data": {"name": "shapes", "train_images": 56, "val_images": 8, "test_images": 10, "workers": 1},
      "model": {"width": 0.0625, "head": "fcn", "pool": {"default": {"type": "dynopool"}}},
      "train": {"epochs": 2, "batch": 8, "log_every": 2}
    })");
  }
};

TEST_F(SegmentationCommand, TrainsEvaluatesAndResumes) {
  const nlohmann::json result = done({"train", "run.json", "--out", "a", "--json"}).json();
  for (const char* key : {"mean_iou_last", "mean_iou_best", "pixel_accuracy_last", "loss_last", "gmacs", "shapes"})
    EXPECT_TRUE(result[key].is_number() || result[key].is_object()) << key;
  EXPECT_FALSE(result.contains("top1_last"));
  EXPECT_EQ(nlohmann::json::parse(text_of(file("a/result.json"))), result);
  EXPECT_NE(text_of(file("a/log.jsonl")).find("\"val_mean_iou\":"), std::string::npos);

  const nlohmann::json evaluated = done({"eval", "a", "--json", "--output", "maps"}).json();
  EXPECT_EQ(evaluated["mean_iou"], result["mean_iou_last"]);
  EXPECT_EQ(evaluated["pixel_accuracy"], result["pixel_accuracy_last"]);
  EXPECT_EQ(evaluated["loss"], result["loss_last"]);
  EXPECT_EQ(evaluated["images"], 10);
  ASSERT_EQ(evaluated["classes"].size(), 6u);
  EXPECT_EQ(evaluated["classes"][1]["name"], "disc");
  double sum = 0;
  int64_t present = 0, pixels = 0;
  for (const auto& row : evaluated["classes"]) {
    sum += row["iou"].is_null() ? 0 : row["iou"].get<double>();
    present += !row["iou"].is_null();
    pixels += row["pixels"].get<int64_t>();
  }
  EXPECT_NEAR(sum / static_cast<double>(present), evaluated["mean_iou"].get<double>(), 1e-12);
  EXPECT_LT(pixels, 10 * 32 * 32) << "outlines are ignored";
  for (int i = 0; i < 10; ++i) {
    const std::string png = text_of(file("maps/00000" + std::to_string(i) + ".png"));
    ASSERT_GT(png.size(), 26u);
    EXPECT_EQ(png[25], 3) << "indices into a palette";
  }
  const std::string text = done({"eval", "a"}).out;
  done({"train", "run.json", "--out", "more", "--set", "train.max_steps=0", "--set", "model.classes=8"});
  const nlohmann::json classes = done({"eval", "more", "--json"}).json()["classes"];
  ASSERT_EQ(classes.size(), 8u);
  EXPECT_EQ(classes[7]["name"], "") << "a class that the data do not have";
  for (const char* word : {"disc", "background", "iou", "mean IoU ", "pixel accuracy ", "loss "})
    EXPECT_NE(text.find(word), std::string::npos) << text;

  // Interrupted after three of twelve steps, it ends with the same numbers.
  done({"train", "run.json", "--out", "b", "--set", "train.max_steps=3"});
  nlohmann::json resumed = done({"train", "--resume", "b", "--set", "train.max_steps=null", "--json"}).json(),
                 whole = result;
  // The best may be the weights after three steps: it was evaluated once more.
  for (const char* key : {"seconds", "images_per_second", "peak_bytes", "mean_iou_best", "val_mean_iou_best"}) {
    resumed.erase(key);
    whole.erase(key);
  }
  EXPECT_EQ(resumed, whole);
}

TEST_F(SegmentationCommand, TablesAndMeasurementsSpeakOfItsMetric) {
  const std::vector<std::string> sets{"--set", "task=segmentation", "--set", "data.name=shapes",
                                      "--set", "model.head=fcn",    "--set", "train.max_steps=2",
                                      "--set", "model.width=0.0625"};
  std::vector<std::string> table{"table",  "1",     "--scale", "smoke", "--only", "plain-vgg16-human",
                                 "--json", "--out", "t"};
  table.insert(table.end(), sets.begin(), sets.end());
  const nlohmann::json report = done(table).json();
  EXPECT_EQ(report["metric"], "mean_iou");
  for (const char* key : {"mean_iou_mean", "mean_iou_std", "mean_iou_best_mean"})
    EXPECT_TRUE(report["rows"][0].contains(key)) << key;
  EXPECT_FALSE(report["rows"][0].contains("top1_mean"));
  EXPECT_NE(text_of(file("t/table1.md")).find("mean IoU last, %"), std::string::npos);
  EXPECT_NE(text_of(file("t/table1.csv")).find("mean_iou_last_mean"), std::string::npos);

  const nlohmann::json info = done({"info", "run.json", "--json"}).json();
  EXPECT_EQ(info["layers"].back()["name"], "fuse_pool2");
  EXPECT_EQ(info["layers"].back()["output"], (std::vector<int64_t>{1, 6, 8, 8}));
}

TEST_F(SegmentationCommand, RefusesWhatDoesNotFit) {
  expect_refused({"train", "run.json", "--set", "task=segmentaton"},
                 {"--set task=segmentaton", "task: expected one of classification, segmentation; got \"segmentaton\"",
                  "did you mean 'segmentation'", "classification, segmentation"});
  expect_refused({"train", "run.json", "--set", "task=3"}, {"task"});
  expect_refused({"train", "run.json", "--set", "task=classification"}, {"task classification", "data set shapes"});
  expect_refused({"train", "run.json", "--set", "data.name=procedural"}, {"task segmentation", "data set procedural"});
  expect_refused({"train", "run.json", "--set", "model.head=linear"}, {"task segmentation", "network vgg16"});
  expect_refused({"info", "run.json", "--set", "model.head=null"}, {"task segmentation", "network vgg16"});
  expect_refused({"train", "run.json", "--set", "model.head=fnc"},
                 {"model.head", "did you mean 'fcn'", "linear, torchvision, fcn"});
  expect_refused({"train", "run.json", "--set", "model.name=efficientnet_b0"}, {"model.head", "efficientnet_b0"});
  expect_refused({"train", "run.json", "--set", "model.classes=256"}, {"model.classes", "255"});
  done({"train", "run.json", "--out", "a", "--set", "train.max_steps=0"});
  expect_refused({"eval", "a", "--output", "run.json"}, {"--output", "run.json"});
  expect_refused({"eval", "a", "--set", "task=classification"}, {"task classification"});
}

}  // namespace
}  // namespace tidepool
