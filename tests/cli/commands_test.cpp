// Help, ops, doctor, data: what they print.
#include <map>

#include "tests/cli/cli.h"

namespace tidepool {
namespace {

class Commands : public CliTest {};

TEST_F(Commands, HelpOfEveryCommand) {
  const Outcome help = done({"--help"});
  EXPECT_EQ(help.err, "");
  for (const std::string name :
       {"train", "eval", "info", "table", "op", "ops", "keys", "data", "bench", "doctor", "pool"}) {
    EXPECT_NE(help.out.find("\n  " + name + " "), std::string::npos) << name;
    const Outcome one = done({name, "--help"});
    EXPECT_EQ(one.err, "");
    EXPECT_TRUE(one.out.starts_with("tidepool " + name)) << one.out;
    EXPECT_NE(one.out.find("\nOptions:\n"), std::string::npos);
    EXPECT_NE(one.out.find("--json"), std::string::npos);
    for (size_t at = 0; at < one.out.size();) {  // fits a terminal
      const size_t end = one.out.find('\n', at);
      EXPECT_LE(end - at, 120u) << one.out.substr(at, end - at);
      at = end + 1;
    }
  }
  EXPECT_NE(done({"op", "--help"}).out.find("(default: {})"), std::string::npos);
  EXPECT_TRUE(done({"--version"}).out.starts_with("tidepool 0."));
}

// glibc can be told that the processor lacks an instruction; the test is compiled with those that the program is.
TEST_F(Commands, HelpTakesACommandToo) {
  EXPECT_EQ(done({"help", "train"}).out, done({"train", "--help"}).out);
  EXPECT_EQ(done({"help"}).out, done({"--help"}).out);
  expect_refused({"help", "trian"}, {"trian", "did you mean 'train'"});
}

TEST_F(Commands, AProcessorThatItWasNotCompiledForIsNamed) {
#ifndef __AVX2__
  GTEST_SKIP() << "compiled for every x86-64 processor, or for another kind";
#else
  const Outcome ended = run({"--version"}, {"GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX2,-FMA"});
  EXPECT_EQ(ended.status, 1);
  EXPECT_EQ(ended.out, "");
  EXPECT_NE(ended.err.find("this one lacks AVX2, FMA\nhint: build it on this machine"), std::string::npos) << ended.err;
  done({"--version"}, {"GLIBC_TUNABLES=glibc.cpu.hwcaps=-ERMS"});
#endif
}

TEST_F(Commands, OpsAsJson) {
  const nlohmann::json ops = done({"ops", "--json"}).json();
  ASSERT_TRUE(ops.is_array());
  std::set<std::string> names;
  for (const auto& op : ops) {
    names.insert(op["name"]);
    EXPECT_FALSE(op["ranks"].empty()) << op["name"];
    EXPECT_TRUE(op["parameters"].is_array());
    EXPECT_FALSE(op["source"].get<std::string>().empty()) << op["name"];
    for (const auto& key : op["keys"]) {
      EXPECT_FALSE(key["name"].get<std::string>().empty());
      EXPECT_FALSE(key["type"].get<std::string>().empty());
      EXPECT_TRUE(key.contains("default"));
    }
    for (const char* dtype : {"f32", "bf16"})  // it was measured, so there is a number
      EXPECT_TRUE(op["kept_bytes_per_element"][dtype].is_number()) << op["name"];
    EXPECT_EQ(done({"ops", op["name"], "--json"}).json(), op);
    EXPECT_NE(done({"ops"}).out.find(op["source"]), std::string::npos);
  }
  for (const char* name : {"max", "avg", "soft", "dynopool", "shape_adaptor", "conv"})
    EXPECT_TRUE(names.contains(name)) << name;
}

TEST_F(Commands, OpsSaysWhatIsKept) {
  const auto kept = [&](const char* op, const char* dtype) {
    return done({"ops", op, "--json"}).json()["kept_bytes_per_element"][dtype].get<double>();
  };
  EXPECT_EQ(kept("avg", "f32"), 0);
  EXPECT_EQ(kept("max", "f32"), 0.25);  // a byte per output, of which there are a quarter as many
  EXPECT_EQ(kept("max", "bf16"), 0.25);
  EXPECT_EQ(kept("soft", "f32"), 4);
  EXPECT_EQ(kept("soft", "bf16"), 2);
  EXPECT_NE(done({"ops", "soft"}).out.find("4 in f32, 2 in bf16 kept per element of x"), std::string::npos);
}

TEST_F(Commands, TheDocumentationPageIsTheProgramsOwn) {
  const std::string page = text_of(std::filesystem::path(TIDEPOOL_SOURCE_DIR) / "docs/operators.md");
  const std::string now = done({"ops", "--markdown"}).out;
  EXPECT_TRUE(page == now) << "docs/operators.md is not what the program prints: build/tidepool ops --markdown > "
                              "docs/operators.md";
  for (const auto& op : done({"ops", "--json"}).json())
    EXPECT_NE(now.find("## `" + op["name"].get<std::string>() + "`\n"), std::string::npos);
  EXPECT_NE(now.find(done({"ops", "soft", "--markdown"}).out), std::string::npos);
}

TEST_F(Commands, EditorsKnowTheOperatorsKeys) {
  const std::string schema = text_of(std::filesystem::path(TIDEPOOL_SOURCE_DIR) / "configs/operators.schema.json");
  EXPECT_TRUE(schema == done({"ops", "--schema"}).out)
      << "configs/operators.schema.json is not what the program prints: build/tidepool ops --schema > "
         "configs/operators.schema.json";
  const nlohmann::json rules = nlohmann::json::parse(schema).at("allOf");
  const auto soft = std::find_if(rules.begin(), rules.end(), [](const nlohmann::json& rule) {
    return rule.at("if").at("properties").at("type").at("const") == "soft";
  });
  ASSERT_NE(soft, rules.end());
  const nlohmann::json keys = soft->at("then").at("properties");
  EXPECT_EQ(keys.at("grad").at("enum"), nlohmann::json({"full", "frozen_weights"}));
  EXPECT_EQ(keys.at("ceil_mode").at("type"), "boolean");
  EXPECT_EQ(keys.at("beta").at("type"), "number");
}

TEST_F(Commands, TheKeysOfAConfigAreTheProgramsOwn) {
  const std::filesystem::path source = TIDEPOOL_SOURCE_DIR;
  EXPECT_TRUE(text_of(source / "docs/config.md") == done({"keys", "--markdown"}).out)
      << "docs/config.md is not what the program prints: build/tidepool keys --markdown > docs/config.md";
  EXPECT_TRUE(text_of(source / "configs/schema.json") == done({"keys", "--schema"}).out)
      << "configs/schema.json is not what the program prints: build/tidepool keys --schema > configs/schema.json";
  std::map<std::string, nlohmann::json> keys;
  for (const auto& key : done({"keys", "--json"}).json()) {
    EXPECT_GT(key["help"].get<std::string>().size(), 5u) << key;
    keys[key["key"].get<std::string>() + (key.contains("option") ? " " + key["option"].get<std::string>() : "")] = key;
  }
  EXPECT_EQ(keys.at("optim.lr")["default"], 0.1);
  EXPECT_EQ(keys.at("optim.lr")["type"], "number >= 0");
  EXPECT_EQ(keys.at("optim.groups.N.lr")["default"], "as in optim");
  EXPECT_EQ(keys.at("optim.momentum sgd")["default"], 0.9);
  EXPECT_EQ(keys.at("optim.momentum rmsprop")["default"], 0);
  EXPECT_EQ(keys.at("data.variant.grid tile")["type"], "integer >= 1, <= 65536");
  EXPECT_EQ(keys.at("train.dtype")["type"], R"("f32" or "bf16" or "f64")");
  EXPECT_EQ(keys.at("train.device")["decides_weights"], false);
  EXPECT_EQ(keys.at("train.batch")["decides_weights"], true);
  const std::string text = done({"keys"}).out, part = done({"keys", "data.variant"}).out;
  for (const char* name : {"optim.lr", "optim.groups.N.match", "data.variant.grid (tile)", "model.pool"})
    EXPECT_NE(text.find(name), std::string::npos) << name;
  EXPECT_NE(part.find("Copies along each axis"), std::string::npos) << part;
  EXPECT_NE(part.find("stretch_v: Stretched downwards"), std::string::npos) << part;
  EXPECT_EQ(part.find("optim.lr"), std::string::npos) << part;
  expect_refused({"keys", "optim.lrr"}, {"'optim.lrr'", "did you mean 'optim.lr'"});
  expect_refused({"keys", "optim", "--schema"}, {"--schema describes all keys", "optim"});
  expect_refused({"keys", "--json", "--markdown"}, {"one of them at a time"});
}

TEST_F(Commands, InfoOfARunShowsWhatItHasLearned) {
  write_tiny_config();
  done({"train", "tiny.json", "--out", "a", "--set", R"(model.pool={"default": {"type": "dynopool"}})", "--set",
        "train.max_steps=1"});
  const SafetensorsFile saved = read_safetensors(file("a/last.safetensors"));
  saved.tensors.at("pool1.alpha").copy_from(Tensor::from<double>({3, 4}, {2}));
  write_safetensors(file("a/last.safetensors"), saved);
  const auto pool1 = [](const nlohmann::json& info) {
    for (const auto& layer : info["layers"])
      if (layer["name"] == "pool1") return layer["output"];
    return nlohmann::json();
  };
  for (const char* subject : {"a", "a/last.safetensors"}) {
    const nlohmann::json info = done({"info", subject, "--json"}).json();
    EXPECT_EQ(pool1(info), (nlohmann::json{1, 4, 11, 8})) << subject;
    EXPECT_EQ(info["batch"], 8);
    EXPECT_TRUE(info["normalize"].contains("mean"));
  }
  EXPECT_EQ(pool1(done({"info", "a/config.json", "--json"}).json()), (nlohmann::json{1, 4, 16, 16})) << "at the start";
  EXPECT_EQ(done({"info", "a", "--set", "train.batch=16", "--json"}).json()["batch"], 16);
}

TEST_F(Commands, Pool) {
  const std::filesystem::path golden = std::filesystem::path(TIDEPOOL_SOURCE_DIR) / "tests/golden/pictures";
  const auto path = [&](const char* name) { return (golden / name).string(); };
  const nlohmann::json json = done({"pool", path("rgb16.png"), path("exif6.jpg"), path("grey_alpha8.png"), "--op",
                                    "max,soft,dynopool", "--factor", "3", "--json"})
                                  .json();
  EXPECT_EQ(json["factor"], 3);
  ASSERT_EQ(json["pictures"].size(), 3u);
  std::set<std::string> expected = {"pooled", "pooled/sheet.png"};
  for (const char* stem : {"rgb16", "exif6", "grey_alpha8"})
    for (const char* op : {"max", "soft", "dynopool"})
      expected.insert(std::string("pooled/") + stem + "." + op + ".png");
  EXPECT_EQ(files(), expected);
  const nlohmann::json turned = json["pictures"][1];  // 40 x 24 in the file
  EXPECT_EQ(turned["width"], 24);
  EXPECT_EQ(turned["height"], 40);
  EXPECT_EQ(turned["results"][0]["width"], 8);
  EXPECT_EQ(turned["results"][0]["height"], 13);
  EXPECT_GT(turned["results"][0]["psnr"].get<double>(), 20);  // slow waves
  EXPECT_GT(turned["results"][0]["ssim"].get<double>(), 0.8);
  EXPECT_EQ(turned["results"][0]["parameters_at_start"], nlohmann::json::array());
  EXPECT_EQ(turned["results"][2]["parameters_at_start"], (std::vector<std::string>{"alpha"}));
  EXPECT_EQ(json["pictures"][0]["bits"], 16);
  EXPECT_TRUE(json["pictures"][0]["results"][0]["ssim"].is_null());  // 13 x 9: no window fits
  // PNG's header: width, height, bits, kind
  EXPECT_EQ(text_of(file("pooled/rgb16.max.png")).substr(16, 10), std::string("\0\0\0\x04\0\0\0\x03\x10\x02", 10));
  EXPECT_EQ(text_of(file("pooled/grey_alpha8.soft.png")).substr(16, 10),
            std::string("\0\0\0\x04\0\0\0\x03\x08\x04", 10));

  const std::string text = done({"pool", path("exif1.jpg"), "--op", "max,dynopool", "--out", "p2"}).out;
  EXPECT_NE(text.find("alpha at the start"), std::string::npos) << text;
  EXPECT_NE(text.find("dynopool: untrained: shown at its initial value"), std::string::npos) << text;
  EXPECT_NE(text.find("20x12"), std::string::npos) << text;
  // DynOPool starts as 2x2 max pooling, bit for bit.
  EXPECT_EQ(text_of(file("p2/exif1.max.png")), text_of(file("p2/exif1.dynopool.png")));
  const std::string sheet = text_of(file("p2/sheet.png"));
  done({"pool", path("exif1.jpg"), "--op", "max,dynopool", "--out", "p2"});  // over the old ones
  EXPECT_EQ(text_of(file("p2/sheet.png")), sheet);
  const nlohmann::json wide = done({"pool", path("exif1.jpg"), "--op", "avg,max", "--config",
                                    R"({"avg": {"kernel": 3, "padding": 1}})", "--json"})
                                  .json();
  EXPECT_EQ(wide["pictures"][0]["results"][0]["config"]["stride"], 2);  // the factor's
  EXPECT_EQ(wide["pictures"][0]["results"][0]["width"], 20);
}

TEST_F(Commands, EveryOperatorPoolsAPicture) {
  const std::string picture = (std::filesystem::path(TIDEPOOL_SOURCE_DIR) / "tests/golden/pictures/exif1.jpg").string();
  for (const auto& op : done({"ops", "--json"}).json()) {
    const std::vector<int> ranks = op["ranks"];
    if (std::find(ranks.begin(), ranks.end(), 2) == ranks.end()) continue;
    if (op["name"] == "spp") {
      expect_refused({"pool", picture, "--op", "spp"}, {"[spp]", "no picture"});
      continue;
    }
    const Outcome outcome = done({"pool", picture, "--op", op["name"], "--json"});
    if (outcome.status != 0) continue;
    const nlohmann::json result = outcome.json()["pictures"][0]["results"][0];
    EXPECT_LE(result["width"].get<int>(), 40) << op["name"];
    EXPECT_TRUE(result["ssim"].is_number()) << op["name"];
  }
}

TEST_F(Commands, TablePooling) {
  const auto table = [&](const std::string& only) {
    std::vector<std::string> call = {"table", "pooling", "--scale", "smoke", "--only", only, "--out", "t", "--json"};
    for (const char* set : {"train.max_steps=1", "data.train_images=64", "data.test_images=16"})
      call.insert(call.end(), {"--set", set});
    return done(call).json();
  };
  EXPECT_EQ(table("max")["rows"].size(), 1u);
  const nlohmann::json both = table("avg");  // reads the first
  ASSERT_EQ(both["rows"].size(), 2u);
  for (const auto& row : both["rows"]) {
    EXPECT_EQ(row["seeds"], 1);
    for (const char* key : {"psnr", "ssim", "step_ms", "peak_bytes", "top1_mean"})
      EXPECT_TRUE(row[key].is_number()) << key;
  }
  EXPECT_GT(both["rows"][1]["psnr"].get<double>(), both["rows"][0]["psnr"].get<double>());
  for (const char* ending : {".md", ".csv", ".tex", ".html"})
    EXPECT_NE(text_of(file(std::string("t/pooling") + ending)).find("SSIM") +
                  text_of(file(std::string("t/pooling") + ending)).find("ssim"),
              2 * std::string::npos)
        << ending;
}

TEST_F(Commands, BenchOps) {
  const nlohmann::json list = done({"bench", "ops", "--size", "2x8x6x6", "--repeats", "2", "--json"}).json();
  std::map<std::string, int> seen;
  for (const auto& row : list) {
    ++seen[row["op"]];
    EXPECT_TRUE(row["layout"] == "plain" || row["layout"] == "channels_last");
    EXPECT_EQ(row["dtype"], "f32");
    for (const char* key : {"forward_ms", "both_ms", "forward_gbps", "both_gbps", "copy_gbps", "forward_share"})
      EXPECT_GT(row[key].get<double>(), 0) << key;
    const double bytes = row["forward_gbps"].get<double>() * row["forward_ms"].get<double>() * 1e6;
    if (row["op"] == "max") {
      EXPECT_NEAR(bytes, 4 * 2 * 8 * (36 + 9), 1e-3);
      EXPECT_EQ(row["kept_bytes"], 2 * 8 * 9);
      EXPECT_EQ(row["output"], (std::vector<int>{2, 8, 3, 3}));
    }
  }
  for (const auto& op : done({"ops", "--json"}).json()) EXPECT_EQ(seen[op["name"]], 2) << op["name"];  // both layouts
  EXPECT_EQ(seen["oneDNN max"], 2);
  EXPECT_EQ(seen["oneDNN avg"], 2);
  const std::string text = done({"bench", "ops", "--op", "soft,shape_adaptor", "--size", "1x2x8x8"}).out;
  EXPECT_NE(text.find("a plain copy moves"), std::string::npos);
  EXPECT_NE(done({"bench", "ops", "--size", "1x2x8", "--repeats", "1"}).out.find("left out: shape_adaptor"),
            std::string::npos);  // it is for maps of two axes
}

TEST_F(Commands, DoctorAsJson) {
  const nlohmann::json json = done({"doctor", "--json"}).json();
  for (const char* key : {"version", "devices", "libraries", "data", "problems"})
    EXPECT_TRUE(json.contains(key)) << key;
  EXPECT_EQ(json["devices"][0]["name"], "cpu");
  for (const char* library : {"oneDNN", "libpng", "libjpeg"})
    EXPECT_FALSE(json["libraries"][library].get<std::string>().empty()) << library;
  bool told = false;  // CIFAR-100 is not in this home
  for (const auto& problem : json["problems"]) told = told || problem["command"] == "tidepool data fetch cifar100";
  EXPECT_TRUE(told);
  EXPECT_NE(done({"doctor"}).out.find("fixed by: tidepool data fetch cifar100"), std::string::npos);
}

// The driver is asked at run time, whether CUDA was compiled in or not; see fake_cuda_driver.cpp.
TEST_F(Commands, DoctorSaysWhatCudaCanDoHere) {
  const auto with = [](const std::string& answer) {
    return std::vector<std::string>{std::string("LD_LIBRARY_PATH=") + TIDEPOOL_FAKE_CUDA_DRIVER, "FAKE_CUDA=" + answer};
  };
  const auto cuda = [&](const std::vector<std::string>& environment) {
    return done({"doctor", "--json"}, environment).json()["cuda"];
  };
  const auto text = [&](const std::vector<std::string>& environment) { return done({"doctor"}, environment).out; };

  const nlohmann::json without_device = cuda(with("none"));
  EXPECT_EQ(without_device["driver"], true);
  EXPECT_EQ(without_device["driver_version"], "12.4");
  EXPECT_EQ(without_device["devices"], nlohmann::json::array());
  EXPECT_EQ(without_device["usable"], false);
  EXPECT_EQ(without_device["problem"],
            "the CUDA driver finds no device: cuInit fails with 100 (no device is detected)");
  EXPECT_NE(text(with("none")).find("usable         no: the CUDA driver finds no device"), std::string::npos);

  const nlohmann::json with_device = cuda(with("one"));
  EXPECT_EQ(
      with_device["devices"],
      (nlohmann::json{{{"model", "Fake H1"}, {"memory_bytes", int64_t{1} << 33}, {"compute_capability", "9.1"}}}));
  EXPECT_EQ(with_device["usable"], false);  // the runtime does not know this driver
  const std::string device = text(with("one"));
  EXPECT_NE(device.find("driver         present, for CUDA up to 12.4\n"), std::string::npos) << device;
  EXPECT_NE(device.find("Fake H1, 8.6 GB, compute capability 9.1\n"), std::string::npos) << device;
  if (with_device["compiled"] == false) {
    EXPECT_EQ(with_device["problem"], "this build has no CUDA");
    EXPECT_NE(device.find("fixed by: apt-get install nvidia-cuda-toolkit"), std::string::npos) << device;
  }

  // Without the stand-in: what this machine has.
  const nlohmann::json here = cuda({});
  EXPECT_EQ(here["usable"], here["problem"].is_null());
  if (here["driver"] == false) {
    EXPECT_EQ(here["problem"], "no CUDA driver (libcuda.so.1) on this machine");
    EXPECT_NE(text({}).find("driver         none\n"), std::string::npos);
  }
}

TEST_F(Commands, DoctorTellsOfAVariableThatLeadsNowhere) {
  const nlohmann::json json = run({"doctor", "--json"}, {"TIDEPOOL_DATA=/nowhere"}).json();
  EXPECT_NE(json["problems"].dump().find("$TIDEPOOL_DATA names /nowhere"), std::string::npos);
}

TEST_F(Commands, DataInfo) {
  const nlohmann::json json = done({"data", "info", "--json"}).json();
  std::map<std::string, nlohmann::json> rows;
  for (const auto& row : json["data"]) rows[row["name"]] = row;
  EXPECT_EQ(rows["cifar100"]["found"], false);
  EXPECT_EQ(rows["procedural"]["found"], true);
  EXPECT_EQ(rows["procedural"]["train_images"], 50000);
  EXPECT_EQ(rows["procedural"]["shape"], (std::vector<int>{3, 32, 32}));
  EXPECT_EQ(rows["procedural"]["label_maps"], false);
  EXPECT_EQ(rows["shapes"]["label_maps"], true);
  EXPECT_EQ(rows["shapes"]["classes"], 6);
  EXPECT_EQ(rows["random"]["train_images"], 1024);
  EXPECT_EQ(done({"data", "info", "shapes", "--json"}).json()["data"].size(), 1u);
}

TEST_F(Commands, DataPreviewShowsLabelMaps) {
  const nlohmann::json shapes =
      done({"data", "preview", "shapes", "--images", "4", "--scale", "2", "--output", "s.png", "--json"}).json();
  EXPECT_EQ(shapes["images"], (std::vector<int>{0, 1, 2, 3}));
  EXPECT_EQ(shapes["height"], 4 + 2 * (64 + 4));  // images and maps
  EXPECT_EQ(shapes["width"], 4 + 4 * (64 + 4));
  EXPECT_NE(done({"data", "preview", "shapes", "--output", "t.png"}).out.find("label maps"), std::string::npos);
  EXPECT_EQ(done({"data", "preview", "random", "--scale", "1", "--output", "r.png", "--json"}).json()["height"],
            4 + 4 * 36);
}

// A network at any size without a file.
TEST_F(Commands, InfoOnNoise) {
  const auto info = [&](std::vector<std::string> sets) {
    std::vector<std::string> call{"info", "cifar100_efficientnet_b0.json", "--json"};
    sets.insert(sets.end(), {"data.name=random", "train.batch=1"});
    for (const std::string& set : sets) call.insert(call.end(), {"--set", set});
    return done(call).json();
  };
  const nlohmann::json imagenet = info({"data.size=224", "model.classes=1000"});
  EXPECT_EQ(imagenet["parameters"], 5288548);
  EXPECT_EQ(imagenet["layers"][0]["output"], (std::vector<int>{1, 32, 112, 112}));
  const nlohmann::json wide = info({"data.size=[32, 64]", "data.classes=7", "train.batch=2"});
  EXPECT_EQ(wide["layers"].back()["output"], (std::vector<int>{1, 7}));
}

TEST_F(Commands, BenchData) {
  const nlohmann::json bench =
      done({"bench", "data", "toy_procedural.json", "--set", "data.name=random", "--set", "data.train_images=200",
            "--set", "data.test_images=1", "--set", "data.size=[8, 24]", "--set", "train.dtype=bf16", "--set",
            "data.workers=3", "--steps", "2", "--json"})
          .json();
  EXPECT_EQ(bench["data"], "random");
  EXPECT_EQ(bench["shape"], (std::vector<int>{3, 8, 24}));
  EXPECT_EQ(bench["images"], 200);
  ASSERT_EQ(bench["loader"].size(), 3u);
  for (const auto& row : bench["loader"]) EXPECT_GT(row["images_per_second"].get<double>(), 0);
  EXPECT_EQ(bench["loader"][2]["workers"], 3);
  const Outcome table = done({"bench", "data", "--set", "data.train_images=100", "--steps", "1"});
  EXPECT_NE(table.out.find("us per image"), std::string::npos);
}

TEST_F(Commands, DataIsFoundInTheOrderOfThePlaces) {
  // A data set of one image a file in each of the three places; the first place asked wins.
  std::string record(3074, '\x05');
  for (const char* place : {"option/", "variable/cifar-100-binary/", ".cache/tidepool/cifar-100-binary/"})
    for (const char* name : {"train.bin", "test.bin"}) write(std::string(place) + name, record);
  const std::string variable = "TIDEPOOL_DATA=" + file("variable").string();
  const auto place = [&](std::vector<std::string> call, const std::vector<std::string>& environment) {
    call.emplace_back("--json");
    const Outcome outcome = done(call, environment);
    return outcome.json()["data"][0]["said_by"].get<std::string>();
  };
  EXPECT_EQ(place({"data", "info", "cifar100"}, {}), "the default");
  EXPECT_EQ(place({"data", "info", "cifar100"}, {variable}), "$TIDEPOOL_DATA");
  EXPECT_EQ(place({"data", "info", "cifar100", "--data", "option"}, {variable}), "--data");
  EXPECT_EQ(place({"data", "info", "cifar100", "--data=~/option"}, {variable}), "--data");
}

TEST_F(Commands, DataPreview) {
  const nlohmann::json json = done({"data", "preview", "--images", "3", "--scale", "2", "--json"}).json();
  EXPECT_EQ(json["file"], "preview.png");
  EXPECT_EQ(json["images"].size(), 3u);
  EXPECT_EQ(text_of(file("preview.png")).substr(1, 3), "PNG");
  const std::string first = text_of(file("preview.png"));
  done({"data", "preview", "--images", "3", "--scale", "2"});
  EXPECT_EQ(text_of(file("preview.png")), first);
  EXPECT_EQ(files(), (std::set<std::string>{"preview.png"}));
}

TEST_F(Commands, FetchThatCannotConnectFails) {
  const Outcome outcome = run({"data", "fetch", "--data", "d", "--url", "http://127.0.0.1:9/x.tar.gz"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  EXPECT_NE(outcome.err.find("127.0.0.1:9"), std::string::npos) << outcome.err;
}

TEST_F(Commands, AFullDiskUnderStdoutIsAFailure) {
  const std::string command = std::string("'") + TIDEPOOL_BINARY + "' ops >/dev/full 2>'" + file("err").string() + "'";
  const int status = std::system(command.c_str());
  EXPECT_EQ(WEXITSTATUS(status), 1);
  EXPECT_NE(text_of(file("err")).find("stdout"), std::string::npos);
}

}  // namespace
}  // namespace tidepool
