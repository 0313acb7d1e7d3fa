// What a user writes and means otherwise: numbers too large, bytes that are no text, names of other frameworks, and
// which of several configs of one name is read.
#include <fmt/format.h>

#include "tests/cli/cli.h"

namespace tidepool {
namespace {

namespace fs = std::filesystem;

class ConfigInput : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    write_tiny_config();
    write("x.st", {{"x", Tensor::full({1, 2, 4, 4}, 1)}});
  }
  // A run of tiny.json that must be refused for a --set.
  void refuse_set(const std::string& set, const std::vector<std::string>& words) const {
    expect_refused({"train", "tiny.json", "--set", set}, words);
  }
};

const std::string kByte = "\xFF";

TEST_F(ConfigInput, LargeIntegers) {
  const std::string largest = "9223372036854775807";
  for (const char* key : {"train.batch", "train.epochs", "data.workers", "data.prefetch", "data.padding",
                          "data.train_images", "data.test_images", "data.val_images", "model.classes"}) {
    for (const std::string& value : {largest, std::string("9223372036854775808"), std::string("18446744073709551615")})
      refuse_set(fmt::format("{}={}", key, value), {key, "<= ", value});
    refuse_set(fmt::format("{}=-{}", key, largest), {key, ">= ", "-" + largest});
    refuse_set(fmt::format("{}=18446744073709551616", key), {key, "<= "});
  }
  for (const char* key : {"data.workers", "data.padding"})
    refuse_set(fmt::format("{}=4294967296", key), {key, "<= ", "4294967296"});
  for (const char* key : {"train.max_steps", "train.log_every", "train.checkpoint_every"})
    refuse_set(fmt::format("{}=9223372036854775808", key), {key, "up to " + largest, "9223372036854775808"});
  refuse_set(R"(data.variant={"type": "tile", "grid": 4294967300})", {"data.variant.grid", "4294967300"});
  refuse_set(R"(data.variant={"type": "large", "size": 4294967304})", {"data.variant.size", "4294967304"});
  refuse_set(R"(optim.groups=[{"match": "*", "first_epoch": 4611686018427387904}])",
             {"optim.groups.0.first_epoch", "4611686018427387904"});
  refuse_set(R"(optim.schedule={"type": "step", "milestones": [1e300]})", {"optim.schedule.milestones.0", "1e+300"});
  refuse_set("optim.groups=" + largest, {"optim.groups: expected a list of objects, got " + largest});
  expect_refused({"train", "tiny.json", "--batch-size", largest}, {"--batch-size", largest});
  expect_refused({"train", "tiny.json", "--epochs", "9223372036854775808"}, {"--epochs", "9223372036854775808"});
  expect_refused({"info", "tiny.json", "--set", "train.batch=2147483647"}, {"train.batch", "2147483647", "memory"});
  expect_refused(
      {"op", "soft", "--input", "x.st", "--output", "y.st", "--config", R"({"kernel": 9223372036854775807})"},
      {"kernel", largest});
  expect_refused({"op", "soft", "--input", "x.st", "--output", "y.st", "--config", R"({"kernel": 9007199254740991})"},
                 {"kernel", "9007199254740991"});
  // What is large and right: seeds of 64 bits, limits that are never reached.
  done({"train", "tiny.json", "--out", "a", "--seed", "18446744073709551615", "--set", "train.max_steps=1"});
  const nlohmann::json saved = nlohmann::json::parse(text_of(file("a/config.json")));
  EXPECT_EQ(saved["train"]["seed"].get<uint64_t>(), ~uint64_t{0});
  done({"train", "tiny.json", "--out", "b", "--set", "train.epochs=2147483647", "--set", "train.max_steps=1", "--set",
        "train.log_every=" + largest, "--set", "train.checkpoint_every=" + largest});
}

TEST_F(ConfigInput, SizesAndClassesOfDataSets) {
  const auto refuse = [&](const char* name, const std::string& set, const std::vector<std::string>& words) {
    for (const char* command : {"info", "train"})
      expect_refused({command, "tiny.json", "--set", std::string("data.name=") + name, "--set", set}, words);
  };
  refuse("random", "data.size=0", {"data.size", ">= 1", "got 0"});
  refuse("random", "data.size=-32", {"data.size", "-32"});
  refuse("random", "data.size=65537", {"data.size", "<= 65536"});
  refuse("random", "data.size=65536", {"data.size", "1073741824 numbers", "3x65536x65536"});
  refuse("random", "data.size=[32]", {"data.size", "a list of 2", "[32]"});
  refuse("random", "data.size=[32,32,32]", {"data.size", "a list of 2"});
  refuse("random", "data.size=[32,0]", {"data.size", ">= 1", "got 0"});
  refuse("random", "data.size=big", {"data.size", "integer or a list of 2", "big"});
  refuse("random", "data.size=32.5", {"data.size", "32.5"});
  refuse("random", "data.classes=0", {"data.classes", ">= 1"});
  refuse("random", "data.classes=16777217", {"data.classes", "<= 16777216"});
  refuse("random", "data.train_images=0", {"data.train_images"});
  refuse("shapes", "data.size=15", {"data.size", "16 pixels", "15x15"});
  for (const char* variant : {"stretch_v", "tile", "large"})
    refuse("shapes", fmt::format(R"(data.variant={{"type": "{}"}})", variant),
           {"data.variant.type: " + std::string(variant), "shapes has a label for each pixel"});
  refuse("shapes", "data.classes=3", {"data.classes: shapes has no such key, but", "random"});
  refuse("procedural", "data.size=64", {"data.size: procedural has no such key, but", "random", "shapes"});
  refuse("cifar100", "data.classes=100", {"data.classes: cifar100 has no such key"});
  refuse("folder", "data.damaged=ignore", {"data.damaged", "fail", "skip", "ignore"});
  refuse("folder", "data.size=0", {"data.size", ">= 1"});
  refuse("voc", "data.classes=256", {"data.classes", "<= 255"});
  refuse("random", "data.damaged=skip", {"data.damaged: random has no such key, but", "folder", "voc"});
  refuse("randm", "data.size=3", {"randm", "did you mean 'random'"});
  expect_refused({"data", "info", "shape"}, {"shape", "did you mean 'shapes'"});
}

TEST_F(ConfigInput, ValidationParts) {  // of 40 training images
  refuse_set("data.val_images=-1", {"data.val_images", ">= 0", "-1"});
  refuse_set("data.val_images=40", {"data.val_images: expected 0 to 39 of 40 training images, got 40"});
  refuse_set("data.val_images=50000", {"data.val_images", "got 50000"});
  refuse_set("data.val_images=0.1", {"data.val_images", "integer", "0.1"});
  refuse_set("data.val_images=null", {"data.val_images", "null"});
  refuse_set("data.val_seed=-1", {"data.val_seed", ">= 0"});
  refuse_set("data.val_image=4", {"data.val_image", "did you mean 'data.val_images'"});
  refuse_set(R"(data={"name": "procedural", "val_images": 3, "train_images": 3})",
             {"data.val_images: expected 0 to 2"});
  expect_refused({"train", "tiny.json", "--set", "data.val_images=39", "--set", "data.drop_last=true"},
                 {"data.drop_last: 1 training images make no batch"});
}

TEST_F(ConfigInput, BytesThatAreNoText) {
  write("nul.json", std::string("{\"train\": {\"epochs\": 1}}\0rubbish", 33));
  write("spaces.json", std::string("{\"train\": {\"epochs\": 1}}\n\0", 26));
  write("inside.json", std::string("{\"train\": \0{\"epochs\": 1}}", 25));
  write("name.json", fmt::format(R"({{"name": "a{}b"}})", kByte));
  write("key.json", fmt::format(R"({{"name": "a", "opt{}im": {{}}}})", kByte));
  write("escaped.json", R"({"data": {"root": "a\u0000b"}})");
  write("surrogate.json", "{\"name\": \"a\xED\xA0\x80\"}");
  write("begin.json", kByte + "{}");
  write("cut.json", "{\"name\": \"\xE2\x82");
  expect_refused({"info", "nul.json"}, {"nul.json:1:25", "0x00"});
  expect_refused({"info", "spaces.json"}, {"spaces.json:2:1", "0x00"});
  expect_refused({"info", "inside.json"}, {"inside.json:1:11", "train", "0x00"});
  expect_refused({"info", "name.json"}, {"name.json:1:12: name: expected UTF-8 text", "0xFF"});
  expect_refused({"info", "key.json"}, {"key.json:1:19", "0xFF"});
  expect_refused({"info", "escaped.json"}, {"escaped.json:1:", "data.root", "\\u0000"});
  expect_refused({"info", "surrogate.json"}, {"surrogate.json", "name", "0xED"});
  expect_refused({"info", "begin.json"}, {"begin.json:1:1", "0xFF"});
  expect_refused({"info", "cut.json"}, {"cut.json", "name", "0xE2"});
  const std::vector<std::string> op{"op", "soft", "--input", "x.st", "--output", "y.st"};
  const auto with = [](std::vector<std::string> call, const std::vector<std::string>& more) {
    call.insert(call.end(), more.begin(), more.end());
    return call;
  };
  for (const char* name : {"nul.json", "name.json", "begin.json"})
    expect_refused(with(op, {"--config", fmt::format("@{}", name)}), {name});
  expect_refused(with(op, {"--config", fmt::format(R"({{"{}": 1}})", kByte)}), {"--config", "\\xFF"});

  for (const char* key : {"name", "data.root", "train.epochs", "model.pool.default.type"})
    refuse_set(std::string(key) + "=a" + kByte, {std::string("--set ") + key, "UTF-8", "a\\xFF"});
  refuse_set("nam" + kByte + "=a", {"--set nam\\xFF", "UTF-8"});
  refuse_set(kByte, {"--set", "UTF-8"});
  refuse_set(R"(name="a\u0000")", {"--set", "\\u0000"});
  expect_refused({"train", "tiny.json", "--set=name=a" + kByte}, {"--set name", "a\\xFF"});
  const std::vector<std::vector<std::string>> options{
      {"train", "tiny.json", "--out"},   {"train", "tiny.json", "--seed"},  {"train", "tiny.json", "--data"},
      {"table", "1", "--only"},          {"table", "1", "--scale"},         {"table", "1", "--out"},
      {"op", "soft", "--input"},         {"pool", "a.png", "--op"},         {"doctor", "--data"},
      {"data", "preview", "--output"},   {"eval", "tiny.json", "--output"}, {"bench", "ops", "--size"},
      {"train", "tiny.json", "--epochs"}};
  for (const auto& call : options) {
    expect_refused(with(call, {"a" + kByte}), {call.back(), "UTF-8", "a\\xFF"});
    std::vector<std::string> joined = call;
    joined.back() += "=a" + kByte;
    expect_refused(joined, {call.back(), "UTF-8", "a\\xFF"});
  }
  for (const char* command : {"train", "eval", "info", "table", "ops", "pool", "data"})
    expect_refused({command, "a" + kByte}, {"an argument", "UTF-8", "a\\xFF"});
  expect_refused({"tr" + kByte}, {"the command", "UTF-8", "tr\\xFF"});
  for (const auto& call : std::vector<std::vector<std::string>>{
           {"doctor"}, {"data", "info"}, {"train", "tiny.json", "--set", "data.name=cifar100"}})
    expect_refused(call, {"$TIDEPOOL_DATA", "UTF-8", "a\\xFF"}, {"TIDEPOOL_DATA=a" + kByte});
}

TEST_F(ConfigInput, NamesThatNoFolderHas) {
  const std::string longest(300, 'x');
  expect_refused({"train", "tiny.json", "--set", "name=" + longest}, {"name", "255", "300"});
  expect_refused({"train", "tiny.json", "--out", longest}, {"--out", "File name too long"});
  expect_refused({"train", longest}, {longest});
  expect_refused({"eval", longest}, {longest});
  expect_refused({"table", "1", "--out", longest, "--scale", "smoke"}, {longest, "File name too long"});
  expect_refused({"train", ""}, {"the name of a config"});
  expect_refused({"info", ""}, {"the name of a config"});
  write("nothing.json", R"({"extends": ""})");
  expect_refused({"info", "nothing.json"}, {"nothing.json:1:2: extends", "the name of a config"});
}

TEST_F(ConfigInput, HintsKnowTheNamesOfOthers) {
  expect_refused({"train", "tiny.json", "--gpu"}, {"did you mean '--device cuda'?"});
  expect_refused({"train", "tiny.json", "--cpu"}, {"did you mean '--device cpu'?"});
  expect_refused({"train", "tiny.json", "--set", "optim.type=adamw"}, {"did you mean 'optim.name'?"});
  expect_refused({"train", "tiny.json", "--set", "data.dataset=cifar10"}, {"did you mean 'data.name'?"});
  const auto op = [](const std::string& name, const std::string& config = "{}") {
    return std::vector<std::string>{"op", name, "--input", "x.st", "--output", "y.st", "--config", config};
  };
  const std::vector<std::pair<std::string, std::string>> operators{{"softpool", "soft"},
                                                                   {"SoftPool2d", "soft"},
                                                                   {"AvgPool2d", "avg"},
                                                                   {"MaxPool2d", "max"},
                                                                   {"max_pool2d", "max"},
                                                                   {"AdaptiveAvgPool2d", "adaptive_avg"},
                                                                   {"MAX", "max"},
                                                                   {"LPPool2d", "lp"},
                                                                   {"FractionalMaxPool3d", "fractional_max"},
                                                                   {"BlurPool", "blur"},
                                                                   {"GeMPool", "gem"},
                                                                   {"DynOPool", "dynopool"},
                                                                   {"max-blur", "max_blur"},
                                                                   {"PixelUnshuffle", "space_to_depth"}};
  for (const auto& [word, name] : operators) {
    expect_refused({"ops", word}, {"'" + word + "' (did you mean '" + name + "'?)"});
    refuse_set("model.pool.default.type=" + word, {"did you mean '" + name + "'"});
  }
  for (const char* key : {"kernel_size", "kernelSize", "pool_size"})
    expect_refused(op("soft", fmt::format(R"({{"{}": 2}})", key)), {key, "did you mean 'kernel'"});
  expect_refused(op("max", R"({"strides": 2})"), {"did you mean 'stride'"});
  const std::vector<std::string> call = op("soft");
  std::vector<std::string> gpu = call;
  gpu.insert(gpu.end(), {"--device", "gpu"});
  expect_refused(gpu, {"--device", "'gpu'", "did you mean 'cuda'"});
  refuse_set("train.device=gpu", {"train.device", "did you mean 'cuda'"});
  for (const char* command : {"train", "info"})
    expect_refused({command, "tiny.json", "--set", "data.name=imagefolder"},
                   {"data.name", "imagefolder", "one of cifar10, cifar100, folder, procedural, random, shapes, voc"});
  expect_refused({"data", "info", "imagefolder"}, {"'imagefolder'", "there are: cifar10, cifar100, folder"});
  refuse_set("data.name=CIFAR-100", {"did you mean 'cifar100'"});
  refuse_set("optim.name=adam", {"did you mean 'adamw'"});
  refuse_set("train.dtype=float32", {"did you mean 'f32'"});
  refuse_set("optim.learning_rate=1", {"did you mean 'optim.lr'"});
  refuse_set("train.batch_size=1", {"did you mean 'train.batch'"});
  refuse_set("train.num_epochs=1", {"did you mean 'train.epochs'"});
  refuse_set("data.num_workers=1", {"did you mean 'data.workers'"});
  refuse_set("model.name=VGG16_bn", {"did you mean 'vgg16'"});
  // A word that is no slip of any name has no hint.
  const Outcome other = run({"ops", "attention"});
  EXPECT_EQ(other.err.find("did you mean"), std::string::npos) << other.err;
}

TEST_F(ConfigInput, KeysOfAnotherOptimizer) {
  refuse_set("optim.alpha=0.9", {"optim.alpha: sgd has no such key, but rmsprop", "momentum, nesterov"});
  refuse_set(R"(optim={"name": "rmsprop", "betas": [0.9, 0.99]})", {"optim.betas: rmsprop has no such key, but adamw"});
  refuse_set(R"(optim={"name": "rmsprop", "momentum": -1})", {"optim.momentum", ">= 0"});
  refuse_set("optim.name=rmspop", {"did you mean 'rmsprop'"});
  EXPECT_FALSE(std::filesystem::exists(file("runs")));
}

TEST_F(ConfigInput, RmspropTrainsAndResumes) {
  const std::vector<std::string> sets{"--set", "optim.name=rmsprop", "--set", "optim.lr=0.001",
                                      "--set", "optim.momentum=0.9", "--set", "optim.centered=true",
                                      "--set", "train.max_steps=4"};
  const auto train = [&](std::vector<std::string> more) {
    std::vector<std::string> call{"train", "tiny.json"};
    call.insert(call.end(), sets.begin(), sets.end());
    call.insert(call.end(), more.begin(), more.end());
    done(call);
  };
  train({"--out", "whole"});
  train({"--out", "parts", "--set", "train.max_steps=2"});
  train({"--out", "parts", "--resume"});
  const auto whole = read("whole/last.safetensors"), parts = read("parts/last.safetensors");
  for (const char* kept : {"square_average", "momentum", "gradient_average"})
    EXPECT_TRUE(whole.contains(std::string("state/optimizer/features.0.weight/") + kept)) << kept;
  ASSERT_EQ(whole.size(), parts.size());
  for (const auto& [name, value] : whole) EXPECT_EQ(value.values(), parts.at(name).values()) << name;
}

TEST_F(ConfigInput, ShortOptions) {
  done({"train", "tiny.json", "--out", "a", "--epochs", "1", "--lr", ".025", "--batch-size", "20"});
  const nlohmann::json saved = nlohmann::json::parse(text_of(file("a/config.json")));
  EXPECT_EQ(saved["train"]["epochs"], 1);
  EXPECT_EQ(saved["train"]["batch"], 20);
  EXPECT_EQ(saved["optim"]["lr"], 0.025);
  EXPECT_EQ(nlohmann::json::parse(text_of(file("a/result.json")))["steps"], 2);
  const nlohmann::json provenance = nlohmann::json::parse(text_of(file("a/provenance.json")));
  EXPECT_NE(provenance["command"].dump().find("train.epochs=1"), std::string::npos);
  const std::string help = done({"train", "--help"}).out;
  for (const char* option : {"--epochs N", "--lr RATE", "--batch-size N"})
    EXPECT_NE(help.find(option), std::string::npos) << option;
  expect_refused({"train", "tiny.json", "--epochs", "two"}, {"--epochs", "'two'"});
  expect_refused({"train", "tiny.json", "--epochs", "1", "--set", "train.epochs=2"},
                 {"--epochs and --set train.epochs=2", "one of them"});
  expect_refused({"train", "tiny.json", "--seed", "1", "--set", "train.seed=2"}, {"--seed and --set train.seed=2"});
  expect_refused({"train", "tiny.json", "--lr", "-1"}, {"--lr", "'-1'"});
  expect_refused({"train", "tiny.json", "--batch-size", "0"}, {"--batch-size", "'0'"});
  expect_refused({"train", "tiny.json", "--learning-rate", "1"}, {"did you mean '--lr'"});
  expect_refused({"train", "tiny.json", "--weight-decay", "1"}, {"did you mean '--set optim.weight_decay=...'"});
  expect_refused({"info", "tiny.json", "--batch_size=1"}, {"'--batch_size'", "did you mean '--set train.batch=...'"});
  expect_refused({"table", "1", "--epochs", "1"}, {"'--epochs'", "did you mean '--set train.epochs=...'"});
}

// A shipped config of the working directory's configs/ wins over the one beside the source and the one compiled in.
TEST_F(ConfigInput, AnEditedConfigIsRead) {
  const std::vector<std::string> few{"--set", "data.train_images=40", "--set", "data.test_images=20",
                                     "--set", "train.max_steps=0"};
  const auto train = [&](const std::string& config, const std::string& out) {
    std::vector<std::string> call{"train", config, "--out", out};
    call.insert(call.end(), few.begin(), few.end());
    return done(call);
  };
  const auto width = [&](const std::string& out) {
    return nlohmann::json::parse(text_of(file(out + "/config.json")))["model"]["width"].get<double>();
  };
  const Outcome shipped = train("toy_procedural.json", "a");
  EXPECT_EQ(width("a"), 0.25);
  EXPECT_NE(shipped.err.find("configs/toy_procedural.json, which extends "), std::string::npos) << shipped.err;

  write("configs/toy_procedural.json", R"({"extends": "cifar100_vgg16.json", "data": {"name": "procedural"},
                                           "model": {"width": 0.0625}})");
  for (const char* name : {"toy_procedural", "toy_procedural.json"}) {
    fs::create_directories(file(name));  // a folder of the name is no config
    const Outcome edited = train(name, std::string(name) + ".run");
    EXPECT_EQ(width(std::string(name) + ".run"), 0.0625);
    fs::remove(file(name));
    EXPECT_NE(edited.err.find("config: configs/toy_procedural.json, which extends "), std::string::npos) << edited.err;
  }
  // The base too.
  write("configs/cifar100_vgg16.json", R"({"loss": {"label_smoothing": 0.25}})");
  train("toy_procedural.json", "b");
  EXPECT_EQ(nlohmann::json::parse(text_of(file("b/config.json")))["loss"]["label_smoothing"], 0.25);
  write("mine.json", R"({"extends": "toy_procedural.json"})");
  const Outcome mine = train("mine.json", "c");
  EXPECT_EQ(width("c"), 0.0625);
  EXPECT_NE(mine.err.find("config: mine.json, which extends configs/toy_procedural.json, configs/cifar100_vgg16.json"),
            std::string::npos)
      << mine.err;
  const nlohmann::json provenance = nlohmann::json::parse(text_of(file("c/provenance.json")));
  EXPECT_EQ(provenance["config_files"].size(), 3u) << provenance;
  // A file of that name where one is asked for wins over all.
  write("toy_procedural.json", R"({"extends": "configs/toy_procedural.json", "model": {"width": 0.125}})");
  train("toy_procedural.json", "d");
  EXPECT_EQ(width("d"), 0.125);
  // An edited config that is broken is an error, and names the file.
  write("configs/toy_procedural.json", R"({"model": {"widht": 1}})");
  fs::remove(file("toy_procedural.json"));
  expect_refused({"info", "toy_procedural.json"}, {"configs/toy_procedural.json:1:12: model.widht"});
}

// The program that was copied elsewhere has its own configs.
TEST_F(ConfigInput, ConfigsAreCompiledIn) {
  fs::copy_file(TIDEPOOL_BINARY, file("tidepool"));
  const pid_t child = fork();
  if (child == 0) {
    if (chdir(folder().c_str()) != 0) _exit(126);
    const int out = open("said", O_CREAT | O_WRONLY, 0600);
    dup2(out, 1);
    dup2(out, 2);
    execl("./tidepool", "./tidepool", "info", "cifar100_vgg16.json", "--set", "model.width=0.0625", nullptr);
    _exit(127);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0) << text_of(file("said"));
  EXPECT_NE(text_of(file("said")).find("config: cifar100_vgg16.json (compiled in)"), std::string::npos)
      << text_of(file("said"));
}

TEST_F(ConfigInput, OnlyTheUsersOwnGroupsAreWarnedOf) {
  const auto warning = [&](const std::vector<std::string>& call) {
    std::vector<std::string> whole{"train"};
    whole.insert(whole.end(), call.begin(), call.end());
    whole.insert(whole.end(), {"--set", "data.train_images=40", "--set", "data.test_images=20", "--set",
                               "model.width=0.0625", "--set", "train.max_steps=0"});
    const std::string err = done(whole).err;
    return err.find("matches no parameter") != std::string::npos;
  };
  EXPECT_FALSE(warning({"toy_procedural.json", "--out", "a"}));
  EXPECT_FALSE(warning({"toy_procedural.json", "--out", "a", "--resume"}));
  write("base.json", R"({"data": {"name": "procedural"}, "optim": {"groups": [{"match": "*.alpha", "lr": 0.1}]}})");
  write("mine.json", R"({"extends": "base.json"})");
  EXPECT_FALSE(warning({"mine.json", "--out", "b"}));
  EXPECT_FALSE(warning({"b/config.json", "--out", "c"}));
  write("own.json", R"({"extends": "base.json", "optim": {"groups": [{"match": "*.alhpa", "lr": 0.1}]}})");
  EXPECT_TRUE(warning({"own.json", "--out", "d"}));
  EXPECT_TRUE(warning({"base.json", "--out", "e"}));
  EXPECT_TRUE(warning({"mine.json", "--out", "f", "--set", R"(optim.groups=[{"match": "*.alhpa"}])"}));
  EXPECT_TRUE(warning({"mine.json", "--out", "g", "--set", "optim.groups.0.match=*.alhpa"}));
}

TEST_F(ConfigInput, WhatIsMissingIsNamed) {
  expect_refused({"op", "soft", "--input", "x.st", "--output", "y.st", "--config", "@"}, {"--config", "file", "'@'"});
  expect_refused({"bench", "ops", "--op", "soft", "--config", "@"}, {"--config", "file", "'@'"});
  write("half/train.bin", "");
  write("other/cifar-100-binary/test.bin", "");
  const std::vector<std::string> cifar{"train", "tiny.json", "--set", "data.name=cifar100"};
  const auto with = [&](const std::vector<std::string>& more) {
    std::vector<std::string> call = cifar;
    call.insert(call.end(), more.begin(), more.end());
    return call;
  };
  expect_refused(with({"--data", "half"}), {"--data half", "half/train.bin without test.bin"});
  expect_refused(with({"--set", "data.root=half"}), {"data.root", "half/train.bin without test.bin", "data fetch"});
  expect_refused(with({"--data", "other"}), {"other/cifar-100-binary/test.bin without train.bin"});
  expect_refused(cifar, {"$TIDEPOOL_DATA", "half/train.bin without test.bin"}, {"TIDEPOOL_DATA=half"});
  expect_refused({"data", "info", "cifar100", "--data", "half"}, {"half/train.bin without test.bin"});
  EXPECT_NE(run({"doctor", "--data", "half"}).out.find("half/train.bin without test.bin"), std::string::npos);
}

}  // namespace
}  // namespace tidepool
