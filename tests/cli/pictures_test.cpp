// Data sets of picture files on made folders, from the command line: training, fine-tuning from a state dict, the
// configs for ImageNet and PASCAL VOC, and requests that do not fit the files.
#include "tests/cli/cli.h"

namespace tidepool {
namespace {

namespace fs = std::filesystem;

class Pictures : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    for (const char* split : {"train", "val"}) {
      picture("rgb8.png", fmt::format("images/{}/cat/1.png", split));
      picture("exif1.jpg", fmt::format("images/{}/cat/2.jpg", split));
      picture("progressive.jpg", fmt::format("images/{}/dog/1.jpg", split));
      picture("grey8.png", fmt::format("images/{}/dog/2.png", split));
    }
    for (const char* name : {"a", "b", "c"}) {  // a picture is told by its first bytes; labels are 0 and 1
      picture("rgb8.png", fmt::format("voc/JPEGImages/{}.jpg", name));
      picture("grey1.png", fmt::format("voc/SegmentationClass/{}.png", name));
    }
    write("voc/ImageSets/Segmentation/train.txt", "a\nb\n");
    write("voc/ImageSets/Segmentation/val.txt", "c\n");
    write("folder.json", R"({
      "data": {"name": "folder", "root": "images", "size": 32, "workers": 1},
      "model": {"name": "resnet18", "width": 0.0625},
      "optim": {"lr": 0.01}, "train": {"epochs": 1, "batch": 2}
    })");
    write("voc.json", R"({
      "extends": "voc_hrnet_w48_dynopool.json",
      "data": {"root": "voc", "size": 64, "workers": 1},
      "model": {"name": "hrnet_w18_small", "width": 0.25},
      "train": {"epochs": 2, "batch": 2}
    })");
  }
  void picture(const std::string& golden, const std::string& to) const {
    write(to, text_of(fs::path(TIDEPOOL_SOURCE_DIR) / "tests/golden/pictures" / golden));
  }
  // Refused with the change `set`; `words` are in the message.
  void refuse(const std::string& config, const std::vector<std::string>& sets, const std::vector<std::string>& words,
              const std::string& command = "train") const {
    std::vector<std::string> call{command, config};
    for (const std::string& set : sets) call.insert(call.end(), {"--set", set});
    expect_refused(call, words);
  }
};

TEST_F(Pictures, ANetworkTrainsOnAFolder) {
  const nlohmann::json result = done({"train", "folder.json", "--out", "a", "--json"}).json();
  EXPECT_EQ(result["steps"], 2);
  EXPECT_EQ(done({"eval", "a", "--json"}).json()["images"], 4);
  const nlohmann::json info = done({"data", "info", "folder", "--data", "images", "--json"}).json()["data"][0];
  EXPECT_EQ(info["found"], true);
  EXPECT_EQ(info["train_images"], 4);
  done({"data", "preview", "folder", "--data", "images", "--images", "2", "--output", "sheet.png"});
  EXPECT_TRUE(fs::exists(file("sheet.png")));
}

TEST_F(Pictures, HrnetTrainsOnAVocFolder) {
  const nlohmann::json result = done({"train", "voc.json", "--out", "a", "--json"}).json();
  EXPECT_EQ(result["steps"], 2);
  EXPECT_TRUE(result["mean_iou_last"].is_number());
  EXPECT_EQ(result["shapes"]["transition3"], (std::vector<int>{2, 2}));
  done({"eval", "a", "--output", "maps"});
  EXPECT_TRUE(fs::exists(file("maps/000000.png")));
  done({"data", "preview", "voc", "--data", "voc", "--images", "1", "--output", "sheet.png"});
}

// The README's example: a network of torchvision with other classes, on a folder.
TEST_F(Pictures, FineTuningIsOneConfig) {
  done({"train", "folder.json", "--out", "pretrained", "--seed", "7", "--set", "data.name=random", "--set",
        "data.size=32", "--set", "data.classes=10", "--set", "train.max_steps=1", "--set", "data.test_images=2"});
  auto state = weights("pretrained/last.safetensors");
  const auto pretrained = state;
  for (const auto& [name, tensor] : pretrained)  // as PyTorch saves it
    if (const size_t at = name.find("running_mean"); at != std::string::npos)
      state[name.substr(0, at) + "num_batches_tracked"] = Tensor::from<int64_t>({1}, {});
  write("resnet18.safetensors", state);
  write("tuned.json", R"({
    "extends": "folder.json", "name": "tuned",
    "model": {"init": "resnet18.safetensors", "strict": false, "pool": {"stage4": {"type": "dynopool"}}}
  })");
  done({"train", "tuned.json", "--out", "start", "--set", "train.max_steps=0"});
  for (const auto& [name, tensor] : weights("start/last.safetensors")) {
    if (name == "stage4.alpha") continue;
    if (name.starts_with("fc.")) {
      EXPECT_EQ(tensor.size(0), 2) << name;
      continue;
    }
    EXPECT_EQ(tensor.values(), pretrained.at(name).values()) << name;
  }
  EXPECT_EQ(done({"train", "tuned.json", "--out", "tuned", "--json"}).json()["steps"], 2);
  refuse("tuned.json", {"model.strict=true"},
         {"model.init: resnet18.safetensors", "tensor 'fc.weight': expected the shape 2x32, got 10x32",
          "missing: stage4.alpha", "model.strict=false"});
}

// Of every shipped config for large images, without any of them. Two images per step, and HRNet's small, for the time.
TEST_F(Pictures, InfoOfTheConfigsNeedsNoImages) {
  const std::map<std::string, int64_t> parameters{{"imagenet_resnet18", 11689512},
                                                  {"imagenet_resnet50", 25557032},
                                                  {"imagenet_mobilenet_v2", 3504872},
                                                  {"imagenet_efficientnet_b0", 5288548},
                                                  {"voc_hrnet_w48", 65860821}};
  for (const auto& [name, count] : parameters) {
    SCOPED_TRACE(name);
    std::vector<std::string> more{"--json", "--set", "train.batch=2"};
    if (name == "voc_hrnet_w48") more.insert(more.end(), {"--set", "data.size=64"});
    const auto info = [&](const std::string& config) {
      std::vector<std::string> call{"info", config};
      call.insert(call.end(), more.begin(), more.end());
      return done(call).json();
    };
    const nlohmann::json published = info(name + ".json"), learned = info(name + "_dynopool.json");
    EXPECT_EQ(published["parameters"], count);
    EXPECT_EQ(learned["macs"], published["macs"]) << "at the start";
    EXPECT_GT(learned["parameters"].get<int64_t>(), count);
    EXPECT_LT(learned["parameters"].get<int64_t>(), count + 20);
    EXPECT_GT(published["peak_bytes"].get<int64_t>(), published["saved_bytes"].get<int64_t>());
    EXPECT_EQ(published["normalize"]["from"], "imagenet");
    // Every slot, whether it is filled or not.
    EXPECT_GE(published["slots"].size(), 4u);
    ASSERT_EQ(published["slots"].size(), learned["slots"].size());
    int64_t dynopool = 0;
    for (size_t i = 0; i < published["slots"].size(); ++i) {
      const nlohmann::json &own = published["slots"][i], &other = learned["slots"][i];
      EXPECT_EQ(own["name"], other["name"]);
      EXPECT_EQ(own["output"], other["output"]) << own["name"];
      EXPECT_NE(own["kind"], "dynopool");
      EXPECT_NE(own["kind"], "") << own["name"];
      dynopool += other["kind"] == "dynopool";
    }
    EXPECT_GE(dynopool, 2);
  }
}

// The memory of a large batch follows from two smaller steps: it grows by so much an image.
TEST_F(Pictures, MemoryOfALargeBatch) {
  const auto info = [&](const std::string& batch) {
    return done({"info", "imagenet_resnet18.json", "--json", "--set", "model.width=0.25", "--set", "data.size=128",
                 "--set", "train.batch=" + batch})
        .json();
  };
  const nlohmann::json half = info("50"), whole = info("100"), extended = info("2000");
  EXPECT_EQ(whole["measured_batches"], (std::vector<int>{100}));
  ASSERT_EQ(extended["measured_batches"].size(), 2u);
  EXPECT_EQ(extended["measured_batches"][1].get<int>(), 2 * extended["measured_batches"][0].get<int>());
  EXPECT_EQ(extended["batch"], 2000);
  for (const char* key : {"saved_bytes", "peak_bytes"}) {
    const double expected = whole[key].get<double>() + 38 * (whole[key].get<double>() - half[key].get<double>());
    EXPECT_NEAR(extended[key].get<double>(), expected, 0.02 * expected) << key;
  }
}

TEST_F(Pictures, FoldersThatDoNotFit) {
  refuse("folder.json", {"data.root=none"}, {"none"});
  refuse("folder.json", {"data.classes=3"}, {"data.classes: expected 2, the number of folders in images/train", "3"});
  refuse("folder.json", {"model.classes=1"}, {"model.classes", "2 classes", "1"});
  refuse("folder.json", {"data.train_images=5"}, {"data.train_images: expected 1 to 4", "5"});
  refuse("folder.json", {"data.test_images=9"}, {"data.test_images: expected 1 to 4", "9"});
  refuse("folder.json", {"data.val_images=4"}, {"data.val_images", "4"});
  refuse("folder.json", {"data.size=[32,32,32]"}, {"data.size"});
  refuse("folder.json", {"task=segmentation"}, {"task segmentation", "folder"});
  write("images/classes.txt", "cat a cat\nhorse a horse\n");
  refuse("folder.json", {}, {"images/classes.txt:2", "horse a horse"});
  fs::remove(file("images/classes.txt"));

  write("images/train/dog/1.jpg", "no picture");
  refuse("folder.json", {}, {"images/train/dog/1.jpg: expected a PNG or JPEG", "\"damaged\": \"skip\""});
  fs::create_directories(file("images/val/horse"));  // seen before any picture is decoded
  refuse("folder.json", {}, {"images/val/horse: no class", "images/train"});
  fs::create_directories(file("images/train/horse"));
  refuse("folder.json", {}, {"images/train/horse: expected pictures of this class", "found none"});
  picture("rgb8.png", "images/train/horse/1.png");
  refuse("folder.json", {}, {"images/val/horse: expected pictures of this class", "found none"});
  fs::remove_all(file("images/train/horse"));
  fs::remove_all(file("images/val/horse"));
  fs::remove_all(file("images/val/dog"));
  refuse("folder.json", {}, {"images/val/dog: no such folder"});
  fs::remove_all(file("images/val"));
  refuse("folder.json", {}, {"images", "train without val beside it"});
}

// A damaged picture that training meets only late ends it by key, or is left out, named and counted.
TEST_F(Pictures, ADamagedPictureIsLeftOutByKey) {
  const std::string jpeg = text_of(file("images/train/cat/2.jpg"));
  write("images/train/cat/2.jpg", jpeg.substr(0, jpeg.size() / 2));
  refuse("folder.json", {}, {"images/train/cat/2.jpg: a damaged JPEG", "\"damaged\": \"skip\""});
  const Outcome outcome = done({"train", "folder.json", "--out", "a", "--set", "data.damaged=skip"});
  EXPECT_NE(outcome.err.find("images/train/cat/2.jpg: a damaged JPEG"), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.err.find("left out (1 so far)"), std::string::npos) << outcome.err;
}

TEST_F(Pictures, PredictionsKeepTheirNumbersBehindADamagedPicture) {
  write("voc/ImageSets/Segmentation/val.txt", "c\nb\n");
  done({"train", "voc.json", "--out", "a", "--set", "train.max_steps=0", "--set", "data.damaged=skip"});
  const std::string png = text_of(file("voc/JPEGImages/c.jpg"));
  write("voc/JPEGImages/c.jpg", png.substr(0, png.size() / 2));
  EXPECT_EQ(done({"eval", "a", "--output", "maps", "--json"}).json()["images"], 1);
  EXPECT_FALSE(fs::exists(file("maps/000000.png")));
  EXPECT_TRUE(fs::exists(file("maps/000001.png")));
}

// Rows on two folders train on their own; the validation part is a tenth of what each holds.
TEST_F(Pictures, RowsOfATableHaveTheirOwnFolders) {
  for (const char* of : {"train/cat", "train/dog", "val/cat", "val/dog"})
    for (int i = 0; i < 6; ++i) picture("rgb8.png", fmt::format("more/{}/{}.png", of, i));
  write("two.json", R"({
    "title": "Two folders", "base": "folder.json", "baseline": {"*": "a"}, "columns": ["top1_last", "forward_ms", "psnr"],
    "rows": {"a": {"model.pool": {"default": {"type": "max"}}},
             "b": {"data.root": "more", "model.pool": {"default": {"type": "max"}}}},
    "scales": {"full": {"settings": {"train.batch": 2}}}
  })");
  const nlohmann::json report = done({"table", "two.json", "--scale", "full", "--seeds", "1", "--set",
                                      "train.max_steps=1", "--out", "t", "--json"})
                                    .json();
  EXPECT_EQ(report["rows"][1]["data_set"], "folder");
  EXPECT_TRUE(report["rows"][1]["forward_ms"].is_number());
  const auto data_of = [&](const char* run) {
    return nlohmann::json::parse(text_of(file(fmt::format("t/runs/{}-seed1/config.json", run))))["data"];
  };
  EXPECT_EQ(data_of("a")["root"], file("images").string());
  EXPECT_EQ(data_of("b")["root"], file("more").string());
  EXPECT_EQ(data_of("a")["val_images"], 0);
  EXPECT_EQ(data_of("b")["val_images"], 1);
}

TEST_F(Pictures, VocFoldersThatDoNotFit) {
  const std::string list = "voc/ImageSets/Segmentation/train.txt";
  refuse("voc.json", {"data.root=none"}, {"none"});
  refuse("voc.json", {"data.classes=1"}, {"voc/SegmentationClass/", "label 1 at row", "expected 0 to 0"});
  refuse("voc.json", {"data.classes=0"}, {"data.classes", ">= 1"});
  refuse("voc.json", {"model.classes=20"}, {"model.classes", "21 classes", "20"});
  refuse("voc.json", {"task=classification"}, {"task classification", "voc"});
  refuse("voc.json", {"data.variant.type=tile"}, {"data.variant.type: tile", "voc"});
  refuse("voc.json", {"data.train_images=3"}, {"data.train_images: expected 1 to 2", "3"});
  refuse("voc.json", {"data.train_split=trainaug"}, {"voc/ImageSets/Segmentation/trainaug.txt: no such file"});
  write(list, "a\n\nlost\n");
  refuse("voc.json", {}, {list + ":3: 'lost'", "voc/JPEGImages/lost.jpg: no such file"});
  picture("rgb8.png", "voc/JPEGImages/lost.jpg");
  refuse("voc.json", {}, {list + ":3: 'lost'", "voc/SegmentationClass/lost.png: no such file"});
  write(list, "\n");
  refuse("voc.json", {}, {list, "expected a name of a picture per line, found none"});
  write(list, "a\nb\n");
  picture("grey.jpg", "voc/JPEGImages/b.jpg");
  refuse("voc.json", {}, {"voc/SegmentationClass/b.png has 9x13 pixels, expected 24x40"});
  picture("rgb8.png", "voc/JPEGImages/b.jpg");
  picture("rgb8.png", "voc/SegmentationClass/b.png");
  refuse("voc.json", {}, {"voc/SegmentationClass/b.png: expected a PNG with a palette"});
  picture("grey1.png", "voc/SegmentationClass/b.png");
  fs::remove(file("voc/ImageSets/Segmentation/val.txt"));
  refuse("voc.json", {}, {"voc", "ImageSets/Segmentation/val.txt"});
}

TEST_F(Pictures, NetworksThatDoNotFit) {
  refuse("voc.json", {"data.size=16"}, {"images of 16x16 are too small for hrnet_w18_small", "data.size"}, "info");
  refuse("folder.json", {"data.size=8", "model.name=vgg16"}, {"pool4", "[max] kernel 2 does not fit"});
  refuse("folder.json", {"data.size=16", "model.stem=imagenet"},
         {"images of 16x16 are too small for resnet18", "stride 2", "data.size"});
  refuse("folder.json", {"model.dropout=0.5"}, {"model.dropout: resnet18 has none, got 0.5"});
  refuse("folder.json", {"model.stochastic_depth=0.2"}, {"model.stochastic_depth: resnet18 has none, got 0.2"});
  refuse("folder.json", {"model.conv_bias=true"}, {"model.conv_bias: the convolutions of resnet18 have no biases"});
  refuse("folder.json", {"model.name=vgg16", "model.dropout=0.5"}, {"model.dropout: vgg16 has none with this head"});
  refuse("folder.json", {"model.name=vgg16", "model.stem=cifar"}, {"model.stem: vgg16 has one stem alone", "cifar"});
  refuse("folder.json", {"model.name=hrnet_w48", "data.classes=2"}, {"task classification", "network hrnet_w48"});
  refuse("voc.json", {"model.name=resnet18", "model.pool={}"}, {"task segmentation", "network resnet18"}, "info");
  refuse("voc.json", {"model.pool.transition4.type=soft"},
         {"model.pool.transition4: hrnet_w18_small has no such slot", "stem1, stem2, transition1"}, "info");
  refuse("voc.json", {"model.strides={\"transition2\": 1}"}, {"model.strides.transition2", "filled"}, "info");
  refuse("voc.json", {"model.head=ocr"}, {"model.head", "hrnet_w18_small has one head alone"}, "info");
  refuse("folder.json", {"model.head=torchvision"}, {"model.head", "resnet18 has one head alone"});
  refuse("folder.json", {"model.name=vgg16", "model.head=torchvison"}, {"model.head", "did you mean 'torchvision'"});
  refuse("folder.json", {"model.name=vgg16", "model.pool.pool5.type=soft"}, {"model.pool.pool5", "no such slot"});
  refuse("folder.json", {"model.name=hrnet_w84"}, {"model.name", "did you mean 'hrnet_w48'"});
  refuse("folder.json", {"optim.schedule={\"type\": \"exponential\"}"}, {"optim.schedule.type: needs a key 'gamma'"});
  refuse("voc.json", {"optim.schedule.power=0"}, {"optim.schedule.power", "> 0"}, "info");
  refuse("folder.json", {"optim.schedule={\"type\": \"exponential\", \"gamma\": 0.9, \"every_epochs\": 0}"},
         {"optim.schedule.every_epochs", "> 0"});
}

}  // namespace
}  // namespace tidepool
