// tidepool export, op --onnx, and weights of torch.save in model.init: what is written and refused here; what others
// make of it, by their own packages, in export_check.py.
#include <cstdlib>

#include <zlib.h>

#include "tests/cli/cli.h"

namespace tidepool {
namespace {

class Export : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    write_tiny_config();
  }
  void train(const std::string& out = "run", const std::vector<std::string>& sets = {}) const {
    std::vector<std::string> call{"train", "tiny.json", "--out", out, "--set", "train.max_steps=1"};
    for (const std::string& set : sets) call.insert(call.end(), {"--set", set});
    done(call);
  }
  bool holds(const std::string& name, const std::string& text) const {
    return text_of(file(name)).find(text) != std::string::npos;
  }
};

TEST_F(Export, Onnx) {
  train("run", {"model.pool.pool2.type=dynopool", "model.pool.pool2.r=0.7"});
  EXPECT_EQ(done({"export", "run", "net.onnx", "--to", "onnx"}).out, "");
  for (const char* word : {"features.0.weight", "features.1.running_var", "pool2/Gather", "classifier.bias", "input",
                           "logits", "BatchNormalization", "normalize", "classes"})
    EXPECT_TRUE(holds("net.onnx", word)) << word;
  EXPECT_FALSE(holds("net.onnx", "normalize/Sub"));
  // A moving average is what is evaluated, and what is written: not one number of the other weights.
  train("averaged", {"optim.ema=0.5"});
  done({"export", "averaged", "averaged.onnx", "--to", "onnx"});
  const auto tensors = read("averaged/last.safetensors");
  const auto bytes = [&](const std::string& name) {
    const Tensor& t = tensors.at(name);
    return std::string(static_cast<const char*>(t.raw()), static_cast<size_t>(t.numel()) * sizeof(float));
  };
  EXPECT_TRUE(holds("averaged.onnx", bytes("state/average/features.0.weight")));
  EXPECT_FALSE(holds("averaged.onnx", bytes("features.0.weight")));
}

TEST_F(Export, PixelsAndWhatIsSaid) {
  train();
  const auto said = done({"export", "run", "net.onnx", "--to", "onnx", "--pixels", "--json"}).json();
  EXPECT_TRUE(holds("net.onnx", "normalize/Sub"));
  EXPECT_EQ(said["to"], "onnx");
  EXPECT_EQ(said["bytes"], std::filesystem::file_size(file("net.onnx")));
  EXPECT_EQ(said["input"], (std::vector<int>{3, 32, 32}));
  EXPECT_EQ(said["normalize"]["mean"].size(), 3u);
  EXPECT_EQ(said["classes"].size(), 20u);
  const SafetensorsFile checkpoint = read_safetensors(file("run/last.safetensors"));
  EXPECT_EQ(nlohmann::json::parse(checkpoint.metadata.at("classes")), said["classes"]);
}

// Weights come back as they were, by either file.
TEST_F(Export, StateDictsComeBack) {
  train();
  for (const auto& [to, name] : {std::pair("torch", "state.pt"), {"safetensors", "state.safetensors"}}) {
    done({"export", "run", name, "--to", to});
    const std::string out = std::string("from-") + to;
    done(
        {"train", "tiny.json", "--out", out, "--set", std::string("model.init=") + name, "--set", "train.max_steps=0"});
    const auto expected = weights("run/last.safetensors"), found = weights(out + "/last.safetensors");
    ASSERT_EQ(found.size(), expected.size());
    for (const auto& [tensor, value] : expected) EXPECT_EQ(found.at(tensor).values(), value.values()) << tensor;
  }
  const SafetensorsFile state = read_safetensors(file("state.safetensors"));
  EXPECT_EQ(state.tensors.at("features.1.num_batches_tracked").values(), std::vector<double>{1});
  EXPECT_EQ(state.metadata.at("format"), "pt");
  EXPECT_EQ(nlohmann::json::parse(state.metadata.at("normalize"))["std"].size(), 3u);
  EXPECT_EQ(nlohmann::json::parse(state.metadata.at("classes")).size(), 20u);
  EXPECT_FALSE(state.tensors.contains("state/position"));
}

TEST_F(Export, BadRequests) {
  train();
  std::filesystem::create_directories(file("folder"));
  write("text.safetensors", "these are no tensors");
  write("weights.safetensors", {{"a", Tensor::full({2}, 1)}});
  expect_refused({"export"}, {"export", "RUN_OR_CHECKPOINT"});
  expect_refused({"export", "run"}, {"FILE"});
  expect_refused({"export", "run", "net.onnx"}, {"--to"});
  expect_refused({"export", "run", "net.onnx", "--to", "tflite"}, {"--to", "tflite", "onnx", "torch", "safetensors"});
  expect_refused({"export", "none", "net.onnx", "--to", "onnx"}, {"none: no such run directory or checkpoint"});
  expect_refused({"export", "folder", "net.onnx", "--to", "onnx"}, {"folder", "holds no last.safetensors"});
  expect_refused({"export", "text.safetensors", "net.onnx", "--to", "onnx"}, {"not a safetensors file"});
  expect_refused({"export", "weights.safetensors", "net.onnx", "--to", "onnx"}, {"expected a checkpoint of tidepool"});
  expect_refused({"export", "run", "run/last.safetensors", "--to", "safetensors"}, {"is the checkpoint itself"});
  for (const char* to : {"onnx", "torch", "safetensors"}) {
    expect_refused({"export", "run", "folder", "--to", to}, {"folder"});
    expect_refused({"export", "run", "none/net", "--to", to}, {"none"});
  }
  expect_refused({"export", "run", "net.pt", "--to", "torch", "--pixels"}, {"--pixels", "onnx"});
  expect_refused({"export", "run", "net.onnx", "--to", "onnx", "--set", "model.width=0.5"}, {"do not fit the network"});
  expect_refused({"export", "run", "net.onnx", "--to", "onnx", "--set", "model.pool.pool1.type=sotf"},
                 {"sotf", "soft"});
}

TEST_F(Export, OneOperator) {
  write("x.safetensors", {{"x", Tensor::full({2, 3, 8, 8}, 1)}});
  const std::vector<std::string> call{"op", "soft", "--input", "x.safetensors", "--output", "y.safetensors"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), call.begin(), call.end());
    return more;
  };
  done(with({"--onnx", "soft.onnx"}));
  for (const char* word : {"ReduceMax", "Exp", "batch"}) EXPECT_TRUE(holds("soft.onnx", word)) << word;
  std::filesystem::remove(file("y.safetensors"));
  expect_refused(with({"--onnx", "none/soft.onnx"}), {"none"});
  expect_refused(with({"--onnx", "more.onnx", "--config", R"({"training": true})"}), {"--onnx", "training"});
}

TEST_F(Export, EveryOperatorSaysWhetherItCanBe) {
  std::map<std::string, std::vector<std::string>> made_of;
  for (const auto& op : done({"ops", "--json"}).json()) made_of[op["name"]] = op["onnx"];
  for (const auto& [name, standard] : made_of) EXPECT_FALSE(standard.empty()) << name;
  EXPECT_EQ(made_of.at("max"), std::vector<std::string>{"MaxPool"});
  EXPECT_EQ(made_of.at("spectral"), std::vector<std::string>{"MatMul"});
}

// Files that no torch.save wrote.
TEST_F(Export, DamagedStateDicts) {
  train();
  done({"export", "run", "state.pt", "--to", "torch"});
  const std::string whole = text_of(file("state.pt"));
  const auto refuse = [&](const std::string& bytes, const std::vector<std::string>& words) {
    write("bad.pt", bytes);
    expect_refused({"train", "tiny.json", "--set", "model.init=bad.pt"}, words);
  };
  refuse(whole.substr(0, whole.size() / 2), {"model.init", "bad.pt", "directory"});
  refuse(whole.substr(0, 4), {"bad.pt", "not a file of torch.save"});
  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string bytes = whole;
    for (size_t at = 0; (at = bytes.find(from, at)) != std::string::npos; at += to.size())
      bytes.replace(at, from.size(), to);
    return bytes;
  };
  refuse(replaced("FloatStorage", "ShortStorage"), {"data.pkl", "checksum"});
  refuse(replaced("archive/data.pkl", "archive/date.pkl"), {"no data.pkl"});
  refuse(replaced("archive/data/3", "archive/dada/3"), {"data/3", "is missing"});
  const size_t last = whole.find("archive/version");  // behind the elements of the last tensor
  ASSERT_NE(last, std::string::npos);
  std::string flipped = whole;
  flipped[last - 40] = static_cast<char>(flipped[last - 40] ^ 1);
  refuse(flipped, {"checksum"});
  const auto pickled = [](const std::string& pickle) {  // an archive of this data.pkl alone
    const auto number = [](size_t v, int bytes) {
      std::string text;
      for (; bytes > 0; --bytes, v >>= 8) text += static_cast<char>(v & 255);
      return text;
    };
    const std::string name = "a/data.pkl";
    const size_t checksum = ::crc32(0, reinterpret_cast<const Bytef*>(pickle.data()), static_cast<uInt>(pickle.size()));
    const std::string facts = number(0, 2) + number(0, 2) + number(0, 4) + number(checksum, 4) +
                              number(pickle.size(), 4) + number(pickle.size(), 4) + number(name.size(), 2);
    const std::string local = "PK\3\4" + number(20, 2) + facts + number(0, 2) + name + pickle;
    const std::string central = "PK\1\2" + number(20, 2) + number(20, 2) + facts + std::string(16, '\0') + name;
    return local + central + "PK\5\6" + number(0, 2) + number(0, 2) + number(1, 2) + number(1, 2) +
           number(central.size(), 4) + number(local.size(), 4) + number(0, 2);
  };
  const std::string head("\x80\x02N", 3);
  refuse(pickled(head + std::string(3000000, '\x85') + "."), {"nested deeper than 100"});
  std::string doubled = head + std::string("q\0", 2);
  for (int i = 0; i < 40; ++i) doubled += std::string("h\0h\0\x86q\0", 7);
  refuse(pickled(doubled + "."), {"repeats itself"});
  refuse(std::string("\x80\x02\x8a\x0a", 4) + std::string(300, 'l'), {"before PyTorch 1.6"});
}

// Other people's packages.
class ExportWithPython : public CliTest {
 protected:
  void check(const std::string& part, const std::string& modules) {
    std::vector<std::string> candidates;
    if (const char* given = std::getenv("TIDEPOOL_PYTHON")) candidates.emplace_back(given);
    if (const std::string built = TIDEPOOL_PYTHON; !built.empty()) candidates.push_back(built);
    candidates.emplace_back("python3");
    for (const std::string& python : candidates) {
      if (shell("'" + python + "' -c 'import " + modules + "'").status != 0) continue;
      const Ended ended =
          shell("'" + python + "' '" TIDEPOOL_SOURCE_DIR "/tests/cli/export_check.py' '" TIDEPOOL_BINARY "' " + part);
      EXPECT_EQ(ended.status, 0) << ended.out;
      return;
    }
    GTEST_SKIP() << "no python with the packages " << modules << "; name one by TIDEPOOL_PYTHON";
  }
};

TEST_F(ExportWithPython, OnnxruntimeComputesOperators) {
  check("operators", "onnx, onnxruntime, safetensors.numpy");
}
TEST_F(ExportWithPython, OnnxruntimeComputesNetworks) {
  check("networks", "onnx, onnxruntime, safetensors.numpy, PIL, torch");
}
TEST_F(ExportWithPython, OnnxruntimeNormalisesPixels) {
  check("pixels", "onnx, onnxruntime, safetensors.numpy");
}
TEST_F(ExportWithPython, TorchvisionTakesOurWeights) {
  check("weights", "safetensors.torch, torchvision");
}
TEST_F(ExportWithPython, WeAreGivenTorchsWeights) {
  check("init", "safetensors.numpy, torchvision");
}

}  // namespace
}  // namespace tidepool
