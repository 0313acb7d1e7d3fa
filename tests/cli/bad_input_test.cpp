// Wrong requests, against the real binary. A case is a row: the call, and words that its one line on stderr must have.
#include "tests/cli/cli.h"

namespace tidepool {
namespace {

struct Case {
  std::vector<std::string> call, words;
};

class BadInput : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    const Tensor x = Tensor::full({1, 2, 4, 4}, 1);
    write("x.st", {{"x", x}});
    write("dy.st", {{"dy", Tensor::full({1, 2, 2, 2}, 1)}});
    write("dy_shape.st", {{"dy", Tensor::full({1, 2, 4, 4}, 1)}});
    write("dy_type.st", {{"dy", Tensor::full({1, 2, 2, 2}, 1).to(DType::f64)}});
    write("dy_more.st", {{"dy", Tensor::full({1, 2, 2, 2}, 1)}, {"dx", x}});
    write("no_x.st", {{"X", x}});
    write("whole.st", {{"x", x.to(DType::i64)}});
    write("more.st", {{"x", x}, {"alhpa", Tensor::full({2}, 2)}});
    write("alpha_type.st", {{"x", x}, {"alpha", Tensor::full({2}, 2).to(DType::f64)}});
    write("alpha_shape.st", {{"x", x}, {"alpha", Tensor::full({3}, 2)}});
    write("flat.st", {{"x", Tensor::full({2, 3}, 1)}});
    write("cut.st", text_of(file("x.st")).substr(0, 100));
    write("text.st", "this is no tensor");
    write("broken.json", "{\"kernel\": }");
    write(
        "run.json",
        R"({"extends": "cifar100_vgg16.json", "data": {"name": "procedural", "train_images": 200, "test_images": 100}, "model": {"width": 0.125}})");
    write("unknown_key.json", R"({"extends": "run.json", "optim": {"larning_rate": 0.1}})");
    write("loop.json", R"({"extends": "loop.json"})");
    std::filesystem::create_directories(file("empty"));
  }
  void refuse(const std::vector<Case>& cases) const {
    for (const Case& c : cases) expect_refused(c.call, c.words);
  }
};

TEST_F(BadInput, CommandsAndOptions) {
  refuse({
      {{}, {"command is missing", "--help"}},
      {{""}, {"command is missing"}},
      {{"trian"}, {"unknown command 'trian'", "did you mean 'train'"}},
      {{"--json"}, {"unknown option '--json'"}},
      {{"ops", "--jsno"}, {"unknown option '--jsno'", "did you mean '--json'"}},
      {{"ops", "--jsno=1"}, {"unknown option '--jsno'", "did you mean '--json'"}},
      {{"ops", "-x"}, {"unknown option '-x'"}},
      {{"ops", "soft", "max"}, {"unexpected argument 'max'", "usage"}},
      {{"ops", "sofft"}, {"unknown operator 'sofft'", "did you mean 'soft'"}},
      {{"ops", "sofft", "--json"}, {"did you mean 'soft'"}},
      {{"ops", "--json=perhaps"}, {"perhaps"}},
      {{"ops", "--json", "--markdown"}, {"--json, --markdown and --schema"}},
      {{"ops", "--schema", "--markdown"}, {"--json, --markdown and --schema"}},
      {{"ops", "soft", "--schema"}, {"all operators", "soft"}},
      {{"ops", "sofft", "--markdown"}, {"did you mean 'soft'"}},
      {{"ops", "--markdwon"}, {"unknown option '--markdwon'", "did you mean '--markdown'"}},
      {{"doctor", "here"}, {"unexpected argument 'here'"}},
  });
}

TEST_F(BadInput, Op) {
  const auto op = [](std::vector<std::string> more) {
    std::vector<std::string> call = {"op", "soft", "--input", "x.st", "--output", "y.st"};
    call.insert(call.end(), more.begin(), more.end());
    return call;
  };
  const auto on = [](const std::string& name, const std::string& input, std::vector<std::string> more = {}) {
    std::vector<std::string> call = {"op", name, "--input", input, "--output", "y.st"};
    call.insert(call.end(), more.begin(), more.end());
    return call;
  };
  refuse({
      {{"op"}, {"NAME is missing", "usage"}},
      {{"op", "soft"}, {"--input FILE is missing"}},
      {{"op", "soft", "--input", "x.st"}, {"--output FILE is missing"}},
      {{"op", "soft", "--output", "y.st", "--input"}, {"--input wants a value"}},
      {{"op", "soft", "--input", "--output", "y.st"}, {"--input wants a value"}},
      {{"op", "soft", "--input", "", "--output", "y.st"}, {"--input", "got nothing"}},
      {{"op", "sotf", "--input", "x.st", "--output", "y.st"}, {"unknown operator 'sotf'", "did you mean 'soft'"}},
      {on("soft", "none.st"), {"none.st", "no such file"}},
      {on("soft", "empty"), {"empty", "a folder"}},
      {on("soft", "text.st"), {"text.st", "not a safetensors file"}},
      {on("soft", "cut.st"), {"cut.st", "tensor 'x'", "outside the file's 28 bytes"}},
      {on("soft", "no_x.st"), {"no_x.st", "tensor 'x' is missing"}},
      {on("soft", "whole.st"), {"whole.st", "expected F32, F64 or BF16", "i64"}},
      {on("soft", "flat.st"), {"soft", "2x3"}},
      {on("dynopool", "more.st"), {"does not know the tensor 'alhpa'", "did you mean 'alpha'"}},
      {on("soft", "alpha_shape.st"), {"soft", "does not know the tensor 'alpha'"}},
      {on("dynopool", "alpha_type.st"), {"'alpha'", "expected f32", "got f64"}},
      {on("dynopool", "alpha_shape.st"), {"'alpha'", "expected the shape 2", "got 3"}},
      {op({"--config", "{\"kernel\": 2"}), {"--config:1:"}},
      {op({"--config", "[]"}), {"--config", "expected an object"}},
      {op({"--config", "@none.json"}), {"none.json", "no such file"}},
      {op({"--config", "@broken.json"}), {"broken.json:1:12"}},
      {op({"--config", R"({"kernle": 2})"}), {"[soft]", "'kernle'", "did you mean 'kernel'"}},
      {op({"--config", R"({"kernel": 2, "kernel": 3})"}), {"kernel", "twice"}},
      {op({"--config", R"({"kernel": "two"})"}), {"kernel", "two"}},
      {op({"--config", R"({"kernel": 0})"}), {"kernel", "0"}},
      {op({"--config", R"({"kernel": 2, "padding": 2})"}), {"padding"}},
      {op({"--config", R"({"kernel": 5})"}), {"[soft]", "kernel 5", "4"}},
      {op({"--config", R"({"kernel": [2, 2, 2]})"}), {"kernel"}},
      {op({"--config", R"({"type": "max"})"}), {"expected 'soft'", "max"}},
      {op({"--config", R"({"training": "yes"})"}), {"training", "yes"}},
      {op({"--grad", "none.st"}), {"none.st", "no such file"}},
      {op({"--grad", "no_x.st"}), {"no_x.st", "tensor 'dy' is missing"}},
      {op({"--grad", "dy_shape.st"}), {"'dy'", "1x2x2x2", "1x2x4x4"}},
      {op({"--grad", "dy_type.st"}), {"'dy'", "expected f32", "got f64"}},
      {op({"--grad", "dy_more.st"}), {"does not know the tensor 'dx'"}},
      {op({"--seed", "-1"}), {"--seed", "'-1'"}},
      {op({"--seed", "1.5"}), {"--seed", "'1.5'"}},
      {op({"--seed", "1", "--seed", "2"}), {"--seed is given twice"}},
      {op({"--device", "gpu"}), {"--device", "'gpu'", "cpu"}},
      {{"op", "soft", "--input", "x.st", "--output", "x.st"}, {"x.st", "would replace"}},
      {{"op", "soft", "--input", "x.st", "--output", "dy.st", "--grad", "dy.st"}, {"dy.st", "would replace"}},
      {{"op", "soft", "--input", "x.st", "--output", "none/y.st"}, {"none", "does not exist"}},
      {{"op", "soft", "--input", "x.st", "--output", "empty"}, {"empty", "a folder"}},
      {op({"--json", "--config", R"({"kernle": 2})"}), {"did you mean 'kernel'"}},
  });
  EXPECT_EQ(read("x.st").size(), 1u);  // unharmed
}

TEST_F(BadInput, BenchOps) {
  const auto ops = [](std::vector<std::string> more) {
    std::vector<std::string> call = {"bench", "ops"};
    call.insert(call.end(), more.begin(), more.end());
    return call;
  };
  refuse({
      {{"bench"}, {"is missing", "usage"}},
      {{"bench", "opps"}, {"'opps'", "did you mean 'ops'"}},
      {{"bench", "step", "--size", "1x1x4x4"}, {"--size means nothing to `bench step`"}},
      {{"bench", "step", "--op", "max"}, {"--op means nothing to `bench step`"}},
      {ops({"soft"}), {"unexpected argument 'soft'", "--op"}},
      {ops({"--steps", "3"}), {"--steps means nothing to `bench ops`"}},
      {ops({"--set", "optim.lr=1"}), {"--set means nothing to `bench ops`"}},
      {ops({"--op", "sotf"}), {"unknown operator 'sotf'", "did you mean 'soft'"}},
      {ops({"--op", "soft,"}), {"--op", "'soft,'"}},
      {ops({"--op", "soft,max,soft"}), {"--op", "'soft' is given twice"}},
      {ops({"--op", ""}), {"--op"}},
      {ops({"--size", "32x64"}), {"--size", "'32x64'"}},
      {ops({"--size", "1x1x4x4x4x4"}), {"--size", "32x64x64x64"}},
      {ops({"--size", "0x1x4x4"}), {"--size", "'0x1x4x4'"}},
      {ops({"--size", "1x-1x4x4"}), {"--size", "'1x-1x4x4'"}},
      {ops({"--size", "1x1x4x"}), {"--size", "'1x1x4x'"}},
      {ops({"--size", "65536x65536x4x4"}), {"--size", "2^31"}},
      {ops({"--size", "99999999999x1x4x4"}), {"--size", "2^31"}},
      {ops({"--dtype", "f16"}), {"--dtype", "'f16'", "bf16"}},
      {ops({"--repeats", "0"}), {"--repeats", "'0'"}},
      {ops({"--config", "{"}), {"--config:1:"}},
      {ops({"--config", "[1]"}), {"--config", "expected an object"}},
      {ops({"--op", "soft", "--config", R"({"kernle": 2})"}), {"[soft]", "did you mean 'kernel'"}},
      {ops({"--op", "soft", "--config", R"({"type": "max"})"}), {"expected 'soft'", "max"}},
      {ops({"--op", "soft,max", "--config", R"({"kernel": 2})"}), {"'kernel'", "under its name"}},
      {ops({"--op", "soft,max", "--config", R"({"sotf": {}})"}), {"'sotf'", "did you mean 'soft'"}},
      {ops({"--op", "soft,max", "--config", R"({"soft": 2})"}), {"soft", "expected an object"}},
      {ops({"--op", "soft", "--size", "1x1x1x1"}), {"[soft]", "does not fit"}},
      {ops({"--op", "shape_adaptor", "--size", "1x1x8"}), {"[shape_adaptor]", "2 spatial axes"}},
  });
}

TEST_F(BadInput, Pool) {
  const std::filesystem::path golden = std::filesystem::path(TIDEPOOL_SOURCE_DIR) / "tests/golden/pictures";
  const std::string png = text_of(golden / "rgb8.png"), jpeg = text_of(golden / "exif1.jpg");
  write("a.png", png);
  write("a.jpg", jpeg);
  write("b/a.png", png);
  write("cut.png", png.substr(0, png.size() / 2));
  write("cut.jpg", jpeg.substr(0, jpeg.size() / 2));
  write("noend.png", png.substr(0, png.size() - 12));
  write("none.png", "");
  write("cmyk.jpg", text_of(golden / "cmyk.jpg"));
  std::string flipped = png;
  flipped[60] = static_cast<char>(flipped[60] ^ 1);
  write("flipped.png", flipped);
  std::string huge = png;  // its header's own checksum no longer fits, and so many pixels would not either
  huge[16] = '\x7f';
  write("huge.png", huge);
  write("pooled.txt", "no folder");
  write("out/a.max.png", png);
  const auto pool = [](const std::string& image, std::vector<std::string> more) {
    std::vector<std::string> call = {"pool", image};
    call.insert(call.end(), more.begin(), more.end());
    return call;
  };
  refuse({
      {{"pool"}, {"IMAGE... is missing", "usage"}},
      {{"pool", "--op", "max"}, {"IMAGE... is missing"}},
      {pool("a.png", {}), {"--op NAME[,NAME...] is missing"}},
      {pool("a.png", {"--op"}), {"--op wants a value"}},
      {pool("a.png", {"--op", ""}), {"--op"}},
      {pool("a.png", {"--op", ",max"}), {"--op", "',max'"}},
      {pool("a.png", {"--op", "mx"}), {"unknown operator 'mx'", "did you mean 'max'"}},
      {pool("a.png", {"--op", "max,max"}), {"'max' is given twice"}},
      {pool("none", {"--op", "max"}), {"none: no such file"}},
      {pool("empty", {"--op", "max"}), {"empty", "is a folder, not a picture"}},
      {pool("none.png", {"--op", "max"}), {"none.png", "expected a PNG or JPEG"}},
      {pool("text.st", {"--op", "max"}), {"text.st", "expected a PNG or JPEG"}},
      {pool("cut.png", {"--op", "max"}), {"cut.png: a damaged PNG"}},
      {pool("noend.png", {"--op", "max"}), {"noend.png: a damaged PNG"}},
      {pool("flipped.png", {"--op", "max"}), {"flipped.png: a damaged PNG"}},
      {pool("huge.png", {"--op", "max"}), {"huge.png: a damaged PNG"}},
      {pool("cut.jpg", {"--op", "max"}), {"cut.jpg: a damaged JPEG"}},
      {pool("cmyk.jpg", {"--op", "max"}), {"cmyk.jpg", "CMYK"}},
      {{"pool", "a.png", "cut.jpg", "--op", "max"}, {"cut.jpg: a damaged JPEG"}},  // and a.png is not written either
      {{"pool", "a.png", "none", "--op", "max", "--json"}, {"none: no such file"}},
      {{"pool", "a.png", "a.jpg", "--op", "max"}, {"a.png and a.jpg", "pooled/a.max.png"}},
      {{"pool", "a.png", "a.png", "--op", "max"}, {"would both be written"}},
      {{"pool", "a.png", "b/a.png", "--op", "max"}, {"a.png and b/a.png would both be written"}},
      {{"pool", "out/a.max.png", "a.png", "--op", "max", "--out", "out"}, {"out/a.max.png: would be replaced"}},
      {pool("a.png", {"--op", "max", "--factor", "1"}), {"--factor", "'1'"}},
      {pool("a.png", {"--op", "max", "--factor", "2.5"}), {"--factor", "'2.5'"}},
      {pool("a.png", {"--op", "max", "--factor", "-2"}), {"--factor", "'-2'"}},
      {pool("a.png", {"--op", "max", "--factor", "10"}), {"a.png: [max] kernel 10 does not fit", "9"}},
      {pool("a.png", {"--op", "max,soft", "--config", R"({"soft": {"betta": 1}})"}), {"[soft]", "unknown key 'betta'"}},
      {pool("a.png", {"--op", "soft", "--config", R"({"beat": 1})"}), {"[soft]", "did you mean 'beta'"}},
      {pool("a.png", {"--op", "soft", "--config", R"({"kernel": [2, 2, 2]})"}), {"[soft]", "kernel", "2 axes"}},
      {pool("a.png", {"--op", "soft", "--config", R"({"padding": 2})"}), {"[soft]", "padding 2"}},
      {pool("a.png", {"--op", "soft", "--config", "@none.json"}), {"none.json", "no such file"}},
      {pool("a.png", {"--op", "soft", "--config", "@broken.json"}), {"broken.json:1:12"}},
      {pool("a.png", {"--op", "soft,max", "--config", R"({"avg": {}})"}), {"'avg'", "none of the operators"}},
      {pool("a.png", {"--op", "conv", "--config", R"({"channels": 5})"}), {"[conv]", "5 channels", "keeps its own"}},
      {pool("a.png", {"--op", "max", "--out", "pooled.txt"}), {"pooled.txt", "it is a file"}},
      {pool("a.png", {"--op", "max", "--out", "pooled.txt/x"}), {"pooled.txt/x", "cannot be made"}},
      {pool("a.png", {"--op", "max", "--out", ""}), {"--out", "got nothing"}},
      {pool("a.png", {"--op", "max", "--seed", "x"}), {"--seed", "'x'"}},
      {pool("a.png", {"--op", "max", "--facter", "2"}), {"'--facter'", "did you mean '--factor'"}},
  });
}

TEST_F(BadInput, TablePooling) {
  const auto table = [](std::vector<std::string> more) {
    std::vector<std::string> call = {"table", "pooling", "--scale", "smoke"};
    call.insert(call.end(), more.begin(), more.end());
    return call;
  };
  refuse({
      {{"table", "poling"}, {"no table poling", "did you mean 'pooling'"}},
      {{"table", ""}, {"no table", "pooling"}},
      {{"table", "1", "pooling"}, {"unexpected argument 'pooling'"}},
      {{"table", "1.5"}, {"no table 1.5"}},
      {table({"--scale", "toy"}), {"--scale is given twice"}},
      {table({"--only", "sotf"}), {"'sotf' matches no row", "did you mean 'soft'"}},
      {table({"--only", ""}), {"--only", "got nothing"}},
      {table({"--seeds", "0"}), {"--seeds", "'0'"}},
      {table({"--seeds", "two"}), {"--seeds", "'two'"}},
      {table({"--first-seed", "-1"}), {"--first-seed", "'-1'"}},
      {table({"--first-seed", "1.5"}), {"--first-seed", "'1.5'"}},
      {table({"--jobs", "0"}), {"--jobs", "'0'"}},
      {table({"--out", ""}), {"--out", "got nothing"}},
      {table({"--out", "text.st"}), {"text.st", "it is a file"}},
      {table({"--out", "text.st/x"}), {"text.st/x", "cannot be made"}},
      {table({"--data", "none"}), {"none"}},
      {table({"--set", "optim.lrr=1"}), {"lrr", "did you mean 'optim.lr'"}},
      {table({"--set", "train.seed=7"}), {"train.seed=7", "--first-seed"}},
      {table({"--set", "name=mine"}), {"name=mine", "a table names its runs"}},
      {table({"--set", "model.pool.default.type=sotf"}), {"sotf", "soft"}},
      {table({"--set", "model.pool.default.kernle=3"}), {"kernle", "did you mean 'model.pool.default.kernel'"}},
      {table({"--set", "data.test_images=0"}), {"test_images"}},
      {table({"--set", "train.device=cuda"}), {"cuda"}},
      {table({"--markdown"}), {"'--markdown'"}},
  });
}

TEST_F(BadInput, NoCardMeansNoCuda) {
  const Outcome doctor = done({"doctor", "--json"});
  if (doctor.json()["devices"].size() > 1) GTEST_SKIP() << "there is a card here";
  expect_refused({"op", "soft", "--input", "x.st", "--output", "y.st", "--device", "cuda"}, {"cuda"});
  expect_refused({"pool", "a.png", "--op", "soft", "--device", "cuda"}, {"cuda"});
}

TEST_F(BadInput, Data) {
  refuse({
      {{"data"}, {"is missing"}},
      {{"data", "fecth"}, {"'fecth'", "did you mean 'fetch'"}},
      {{"data", "info", "cifar1000"}, {"'cifar1000'", "did you mean 'cifar100'"}},
      {{"data", "info", "cifar100", "--data", "empty"}, {"empty", "cifar100"}},
      {{"data", "info", "cifar100", "--data", "none"}, {"none", "no such folder"}},
      {{"data", "info", "--scale", "2"}, {"--scale means nothing to `data info`"}},
      {{"data", "preview", "cifar100"}, {"cifar100 was not found", "tidepool data fetch cifar100"}},
      {{"data", "preview", "folder"}, {"folder was not found", "expected train/CLASS/*.jpg"}},
      {{"data", "preview", "voc"}, {"voc was not found", "expected JPEGImages/NAME.jpg"}},
      {{"data", "info", "folder", "--data", "empty"}, {"empty", "folder"}},
      {{"data", "fetch", "voc"}, {"voc cannot be fetched", "expected JPEGImages/NAME.jpg"}},
      {{"train", "run.json", "--set", "data.name=folder"}, {"folder was not found", "expected train/CLASS/*.jpg"}},
      {{"info", "run.json", "--set", "data.name=folder"}, {"model.classes", "folder", "data.classes"}},
      {{"data", "preview", "--images", "0"}, {"--images", "from 1", "'0'"}},
      {{"data", "preview", "--scale", "x"}, {"--scale", "'x'"}},
      {{"data", "preview", "--images", "1000", "--scale", "64"}, {"at most 2^28 pixels", "smaller scale"}},
      {{"data", "preview", "--split", "tset"}, {"--split", "did you mean 'test'"}},
      {{"data", "preview", "--output", "none/sheet.png"}, {"none", "does not exist"}},
      {{"data", "fetch", "procedural"}, {"procedural", "nothing to fetch"}},
      {{"data", "fetch", "--images", "3"}, {"--images means nothing to `data fetch`"}},
  });
}

TEST_F(BadInput, Configs) {
  refuse({
      {{"train"}, {"CONFIG is missing"}},
      {{"train", "none.json"}, {"none.json"}},
      {{"train", "cifar100_vg16.json"}, {"cifar100_vg16.json", "did you mean 'cifar100_vgg16"}},
      {{"train", "broken.json"}, {"broken.json:1:12"}},
      {{"train", "unknown_key.json"}, {"unknown_key.json:1:", "larning_rate"}},
      {{"train", "loop.json"}, {"loop.json"}},
      {{"train", "run.json", "--set", "optim.lrr=1"}, {"lrr", "did you mean 'optim.lr'"}},
      {{"train", "run.json", "--set", "optim.lr"}, {"optim.lr"}},
      {{"train", "run.json", "--set", "optim.lr=fast"}, {"optim.lr", "fast"}},
      {{"train", "run.json", "--set", "train.batch=0"}, {"batch"}},
      {{"train", "run.json", "--set", "model.name=vgg61"}, {"vgg61", "vgg16"}},
      {{"train", "run.json", "--set", "model.pool.default.type=sotf"}, {"sotf", "soft"}},
      {{"train", "run.json", "--set", "data.name=cifar10"}, {"cifar10"}},
      {{"train", "run.json", "--seed", "one"}, {"--seed", "'one'"}},
      {{"train", "run.json", "--device", "tpu"}, {"device", "tpu", "cpu"}},
      {{"train", "run.json", "--set", "data.name=cifar100"}, {"cifar100", "tidepool data fetch cifar100"}},
      {{"info"}, {"CONFIG_OR_RUN is missing"}},
      {{"info", "empty"}, {"empty", "no config.json"}},
      {{"info", "none.safetensors"}, {"none.safetensors"}},
      {{"train", "run.json", "--set", "model.pool.default.kernel=9223372036854775808"},
       {"model.pool.default.kernel", ">= 1, <= 1048576", "9223372036854775808"}},
      {{"train", "run.json", "--set", "model.pool.default.kernel=1e300"},
       {"model.pool.default.kernel", ">= 1, <= 1048576", "1e+300"}},
      {{"info", "none.json"}, {"none.json"}},
      {{"info", "run.json", "--set", "model.widht=1", "--json"}, {"widht", "did you mean 'model.width'"}},
      {{"eval"}, {"is missing"}},
      {{"eval", "none"}, {"none"}},
      {{"eval", "empty"}, {"empty"}},
      {{"table", "99"}, {"99"}},
      {{"table", "1", "--scale", "smal"}, {"smal", "small"}},
      {{"table", "1", "--seeds", "0"}, {"--seeds", "'0'"}},
      {{"bench", "stpe"}, {"stpe", "step"}},
      {{"bench", "cnov"}, {"cnov", "conv"}},
      {{"bench", "conv", "run.json", "--steps", "0"}, {"--steps", "'0'"}},
      {{"bench", "conv", "run.json", "--size", "1x1x4x4"}, {"--size means nothing to `bench conv`"}},
      {{"bench", "conv", "run.json", "--set", "train.dtype=f64"}, {"train.dtype", "f64", "bf16"}},
      {{"train", "run.json", "--set", "math=exakt"}, {"math", "exakt", "exact"}},
  });
}

}  // namespace
}  // namespace tidepool
