// Configs: loading, extends, --set, the checks and what they say, the shipped configs, the learning rate.
#include "train/config.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <numbers>
#include <set>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/json.h"
#include "train/lr_schedule.h"
#include "train/optimizers/rule.h"

namespace tidepool {
namespace {

namespace fs = std::filesystem;
using Sets = std::vector<std::string>;

// A config with every part in it.
constexpr const char* kExample = R"json({
  "extends": "cifar100_vgg16.json",
  "name": "cifar100-tile-vgg16-dynopool",
  "data": {"name": "cifar100", "root": "~/data/cifar-100-binary", "variant": {"type": "tile", "grid": 4},
           "augment": "standard", "shuffle": true, "train_images": 50000, "test_images": 10000},
  "model": {"name": "vgg16", "width": 1.0, "pool": {"default": {"type": "dynopool", "r": 0.5}}},
  "loss": {"gmacs_lambda": 0.1},
  "optim": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": true, "weight_decay": 5e-4,
            "groups": [{"match": "*.alpha", "lr": 0.001, "weight_decay": 0, "first_epoch": 3}],
            "schedule": {"type": "cosine", "warmup_epochs": 1}},
  "train": {"epochs": 200, "batch": 128, "dtype": "bf16", "max_steps": null, "seed": 1}
})json";

class ConfigTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(testing::TempDir()) / (std::string("tidepool_config_") + info->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path write(const std::string& name, const std::string& text) const {
    const fs::path file = folder_ / name;
    fs::create_directories(file.parent_path());
    std::ofstream(file) << text;
    return file;
  }

  fs::path folder_;
};

// What load_config_text says of a text that is wrong.
std::string error_of(const std::string& text, const Sets& sets = {}) {
  try {
    load_config_text(text, "c.json", sets);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

std::string file_error(const fs::path& file, const Sets& sets = {}) {
  try {
    load_config(file, sets);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

testing::AssertionResult says(const std::string& message, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) {
    if (message.find(part) == std::string::npos) {
      return testing::AssertionFailure() << "'" << message << "' does not say '" << part << "'";
    }
  }
  if (message.find('\n') != std::string::npos) return testing::AssertionFailure() << "more than one line: " << message;
  return testing::AssertionSuccess();
}

TEST_F(ConfigTest, SpecExampleLoads) {
  const Config config = load_config(write("example.json", kExample));
  EXPECT_EQ(config.name, "cifar100-tile-vgg16-dynopool");
  EXPECT_EQ(config.data.root, "~/data/cifar-100-binary");
  EXPECT_EQ(config.data.variant.type, "tile");
  EXPECT_EQ(config.data.variant.grid, 4);
  EXPECT_TRUE(config.data.augment);
  EXPECT_EQ(config.data.train_images, 50000);
  EXPECT_EQ(config.model.pool.dump(), R"({"default":{"type":"dynopool","r":0.5}})");
  EXPECT_EQ(config.loss.gmacs_lambda, 0.1);
  ASSERT_EQ(config.optim.groups.size(), 1U);
  const ParamGroupConfig& group = config.optim.groups[0];
  EXPECT_EQ(group.match, "*.alpha");
  EXPECT_EQ(group.lr, 0.001);
  EXPECT_FALSE(group.options.contains("momentum"));  // the optimizer's
  EXPECT_EQ(group.weight_decay, 0.0);
  EXPECT_EQ(group.first_epoch, 3);
  EXPECT_EQ(group.schedule.type, ScheduleType::kCosine);
  EXPECT_EQ(group.schedule.warmup_epochs, 1);
  EXPECT_EQ(config.train.dtype, "bf16");
  EXPECT_FALSE(config.train.max_steps.has_value());
  EXPECT_FALSE(config.resolved.contains("extends"));
}

TEST_F(ConfigTest, EmptyConfigIsTheRecipe) {
  const Config config = load_config_text("{}", "mine.json");
  EXPECT_EQ(config.name, "mine");
  EXPECT_EQ(config.model.pool.dump(), ModelConfig().pool.dump());
  EXPECT_EQ(config.optim.schedule.warmup_epochs, 1);
  EXPECT_FALSE(config.data.train_images.has_value());
  EXPECT_TRUE(config.optim.groups.empty());
}

// The structs' own values are those of the schema, but for the schedule, whose warm-up is the recipe's.
TEST_F(ConfigTest, StructDefaultsAreTheSchemas) {
  const Config config = load_config_text("{}");
  const Config plain;
  EXPECT_EQ(config.data.name, plain.data.name);
  EXPECT_EQ(config.data.root, plain.data.root);
  EXPECT_EQ(config.data.augment, plain.data.augment);
  EXPECT_EQ(config.data.padding, plain.data.padding);
  EXPECT_EQ(config.data.shuffle, plain.data.shuffle);
  EXPECT_EQ(config.data.seed, plain.data.seed);
  EXPECT_EQ(config.data.workers, plain.data.workers);
  EXPECT_EQ(config.data.prefetch, plain.data.prefetch);
  EXPECT_EQ(config.model.name, plain.model.name);
  EXPECT_EQ(config.model.width, plain.model.width);
  EXPECT_EQ(config.model.conv_bias, plain.model.conv_bias);
  EXPECT_EQ(config.loss.label_smoothing, plain.loss.label_smoothing);
  EXPECT_EQ(config.loss.gmacs_lambda, plain.loss.gmacs_lambda);
  EXPECT_EQ(config.optim.name, plain.optim.name);
  EXPECT_EQ(config.optim.lr, plain.optim.lr);
  EXPECT_EQ(config.optim.weight_decay, plain.optim.weight_decay);
  EXPECT_EQ(config.optim.grad_clip, plain.optim.grad_clip);
  EXPECT_EQ(config.optim.ema, plain.optim.ema);
  EXPECT_EQ(config.optim.schedule.type, plain.optim.schedule.type);
  EXPECT_EQ(config.optim.schedule.end_lr, plain.optim.schedule.end_lr);
  EXPECT_EQ(config.train.epochs, plain.train.epochs);
  EXPECT_EQ(config.train.batch, plain.train.batch);
  EXPECT_EQ(config.train.dtype, plain.train.dtype);
  EXPECT_EQ(config.train.max_steps, plain.train.max_steps);
  EXPECT_EQ(config.train.seed, plain.train.seed);
  EXPECT_EQ(config.train.log_every, plain.train.log_every);
  EXPECT_EQ(config.train.checkpoint_every, plain.train.checkpoint_every);
  EXPECT_EQ(config.train.eval_every, plain.train.eval_every);
  EXPECT_EQ(config.train.device, plain.train.device);
  for (const char* type : {"stretch_v", "tile", "large"}) {
    const VariantOptions variant =
        load_config_text("{}", "c", Sets{std::string("data.variant.type=") + type}).data.variant;
    EXPECT_EQ(variant.type, type);
    EXPECT_EQ(variant.factor, plain.data.variant.factor);
    EXPECT_EQ(variant.grid, plain.data.variant.grid);
    EXPECT_EQ(variant.size, plain.data.variant.size);
  }
}

TEST_F(ConfigTest, ShapeParametersHaveAGroup) {
  const Config plain = load_config_text(R"({"optim": {"lr": 0.25, "schedule": {"type": "constant"}}})");
  EXPECT_EQ(plain.optim.shape->lr, 0.25);
  EXPECT_EQ(plain.optim.shape->schedule.type, ScheduleType::kConstant);
  EXPECT_EQ(plain.optim.shape->first_epoch, 0);
  EXPECT_FALSE(plain.optim.shape->weight_decay.has_value());
  const Config config = load_config_text(
      R"({"optim": {"shape": {"lr": 0.01, "momentum": 0.5, "warmup_epochs": 2, "every": 4}}, "loss": {"gmacs_unit": "initial"}})",
      "c", Sets{"optim.shape.first_epoch=7"});
  EXPECT_EQ(config.optim.shape->lr, 0.01);
  EXPECT_EQ(config.optim.shape->options, Json({{"momentum", 0.5}}));
  EXPECT_EQ(config.optim.shape->first_epoch, 7);
  EXPECT_EQ(config.optim.shape->every, 4);
  EXPECT_EQ(config.optim.shape->schedule.warmup_epochs, 2);
  EXPECT_EQ(config.loss.gmacs_unit, GmacsUnit::kInitial);
  EXPECT_EQ(load_config_text(config.resolved.dump()).resolved.dump(), config.resolved.dump());
  EXPECT_EQ(plain.optim.shape->learner.type, "gradient");
  EXPECT_FALSE(plain.optim.shape->last_epoch || plain.optim.shape->normalize || plain.optim.shape->retrain_after);
  EXPECT_FALSE(plain.loss.gmacs_target);
  const Config budget = load_config_text(R"({"loss": {"gmacs_target": "initial"}})", "c", Sets{"loss.gmacs_rate=0.5"});
  EXPECT_TRUE(budget.loss.target_is_initial());
  EXPECT_EQ(budget.resolved["loss"]["gmacs_target"], "initial");
  EXPECT_EQ(load_config_text("{}", "c", Sets{"loss.gmacs_target=initial"}).resolved["loss"]["gmacs_target"], "initial");
  EXPECT_EQ(load_config_text("{}", "c", Sets{"loss.gmacs_target=0.02"}).loss.gmacs_target, 0.02);
  EXPECT_TRUE(says(error_of(R"({"loss": {"gmacs_target": "initia"}})"),
                   {"loss.gmacs_target: expected \"initial\" or number > 0 or null; got \"initia\"", "'initial'"}));
  EXPECT_TRUE(says(error_of(R"({"loss": {"gmacs_target": 0}})"), {"loss.gmacs_target: expected", "got 0"}));
  EXPECT_TRUE(says(error_of(R"({"loss": {"gmacs_target": 1, "gmacs_lambda": 0.5}})"),
                   {"c.json:1:11: loss.gmacs_target", "gmacs_lambda 0, got 0.5"}));
  EXPECT_TRUE(says(error_of(R"({"optim": {"shape": {"learner": {"type": "spsa"}}}})"),
                   {"optim.shape.learner.type: expected one of differences, gradient, stochastic"}));
  EXPECT_TRUE(says(error_of(R"({"optim": {"shape": {"learner": {"type": "gradient", "pairs": 2}}}})"),
                   {"optim.shape.learner.pairs: gradient has no such key, but differences"}));
  EXPECT_TRUE(says(error_of(R"({"optim": {"shape": {"learner": {"type": "stochastic", "sigma": 0}}}})"),
                   {"optim.shape.learner.sigma: expected number > 0"}));
  EXPECT_TRUE(says(error_of(R"({"optim": {"shape": {"first_epoch": 3, "last_epoch": 3}}})"),
                   {"optim.shape.last_epoch: expected more than first_epoch, 3, got 3"}));
  EXPECT_TRUE(says(error_of(R"({"optim": {"shape": {"retrain_after": 8}}, "train": {"epochs": 8}})"),
                   {"optim.shape.retrain_after: expected fewer epochs than train.epochs, 8", "got 8"}));
  EXPECT_TRUE(says(error_of(R"({"optim": {"shape": {"match": "*"}}})"), {"c.json:1:22: optim.shape.match: unknown"}));
  EXPECT_TRUE(says(error_of(R"({"optim": {"shape": {"lr": -1}}})"), {"optim.shape.lr: expected number >= 0"}));
  EXPECT_TRUE(says(error_of(R"({"optim": {"name": "adamw", "shape": {"momentum": 0.5}}})"),
                   {"optim.shape.momentum: adamw has no such key"}));
  EXPECT_TRUE(says(error_of(R"({"optim": {"shape": {"warmup_epochs": 300}}})"), {"optim.shape.warmup_epochs", "300"}));
  EXPECT_TRUE(says(error_of(R"({"loss": {"gmacs_unit": "tera"}})"), {"loss.gmacs_unit", "giga, initial", "\"tera\""}));
}

TEST_F(ConfigTest, UnknownKeysAtEachDepth) {
  EXPECT_TRUE(says(error_of("{\n  \"trian\": {}}"), {"c.json:2:3: trian: unknown key", "'train'"}));
  EXPECT_TRUE(says(error_of(R"({"optim": {"momentun": 0.9}})"), {"c.json:1:12", "optim.momentun", "'optim.momentum'"}));
  EXPECT_TRUE(says(error_of(R"({"data": {"variant": {"type": "tile", "gird": 4}}})"),
                   {"data.variant.gird", "'data.variant.grid'"}));
  EXPECT_TRUE(says(error_of(R"({"optim": {"groups": [{"match": "*", "frist_epoch": 3}]}})"),
                   {"optim.groups.0.frist_epoch", "'optim.groups.0.first_epoch'"}));
  EXPECT_TRUE(says(error_of(R"({"optim": {"schedule": {"type": "cosine", "warmup": 1}}})"),
                   {"optim.schedule.warmup", "unknown key"}));
  // in the wrong section
  EXPECT_TRUE(says(error_of(R"({"lr": 0.1})"), {"lr: unknown key here", "'optim.lr'"}));
  // of another type
  EXPECT_TRUE(says(error_of(R"({"data": {"variant": {"type": "tile", "factor": 2}}})"), {"data.variant.factor"}));
  // nothing near: what there is
  EXPECT_TRUE(says(error_of(R"({"loss": {"quux_zork": 1}})"), {"loss has label_smoothing, gmacs_lambda"}));
}

TEST_F(ConfigTest, WrongTypes) {
  EXPECT_TRUE(says(error_of(R"({"optim": {"lr": "fast"}})"), {"optim.lr: expected number >= 0, got \"fast\""}));
  EXPECT_TRUE(says(error_of(R"({"train": 3})"), {"train: expected an object, got 3"}));
  EXPECT_TRUE(
      says(error_of(R"({"train": {"epochs": 1.5}})"), {"train.epochs: expected integer >= 0, <= 2147483647, got 1.5"}));
  EXPECT_TRUE(says(error_of(R"({"train": {"epochs": null}})"),
                   {"train.epochs: expected integer >= 0, <= 2147483647, got null"}));
  EXPECT_TRUE(
      says(error_of(R"({"data": {"name": 1}})"), {"data.name: expected one of cifar10, cifar100, folder", "; got 1"}));
  EXPECT_TRUE(says(error_of(R"({"data": {"shuffle": 1}})"), {"data.shuffle: expected true or false, got 1"}));
  EXPECT_TRUE(says(error_of(R"({"data": {"variant": "tile"}})"), {"data.variant: expected an object, got \"tile\""}));
  EXPECT_TRUE(says(error_of(R"({"data": {"variant": {"grid": 4}}})"), {"data.variant", "'type'", "stretch_h"}));
  EXPECT_TRUE(says(error_of(R"({"optim": {"groups": {}}})"), {"optim.groups: expected a list of objects, got {}"}));
  EXPECT_TRUE(says(error_of(R"({"optim": {"groups": [{"lr": 1}]}})"), {"optim.groups.0", "needs a key 'match'"}));
  EXPECT_TRUE(says(error_of(R"({"optim": {"name": "adamw", "betas": [0.9]}})"),
                   {"optim.betas: expected a list of 2 numbers >= 0, < 1, got [0.9]"}));
  EXPECT_TRUE(says(error_of(R"({"model": {"pool": {"default": {"r": 1}}}})"), {"model.pool.default", "'type'"}));
  EXPECT_TRUE(says(error_of(R"({"model": {"pool": {"pool2": "max"}}})"), {"model.pool.pool2: expected an object"}));
  EXPECT_TRUE(says(error_of("[]"), {"c.json: expected an object, got []"}));
  EXPECT_TRUE(says(error_of(R"({"extends": 3})"), {"c.json:1:2: extends:", "got 3"}));
}

TEST_F(ConfigTest, Enums) {
  EXPECT_TRUE(says(error_of(R"({"train": {"dtype": "fp32"}})"), {"train.dtype", "f32, bf16, f64", "'f32'"}));
  EXPECT_TRUE(says(error_of(R"({"optim": {"name": "sdg"}})"), {"optim.name", "did you mean 'sgd'"}));
  EXPECT_TRUE(says(error_of(R"({"data": {"variant": {"type": "stretchv"}}})"),
                   {"data.variant.type", "did you mean 'stretch_v'"}));
  EXPECT_TRUE(says(error_of(R"({"optim": {"schedule": {"type": 3}}})"), {"optim.schedule.type", "cosine", "got 3"}));
  EXPECT_TRUE(says(error_of(R"({"train": {"device": true}})"), {"train.device", "auto, cpu, cuda", "got true"}));
}

TEST_F(ConfigTest, Ranges) {
  EXPECT_TRUE(
      says(error_of(R"({"train": {"batch": 0}})"), {"train.batch: expected integer >= 1, <= 2147483647, got 0"}));
  EXPECT_TRUE(says(error_of(R"({"train": {"epochs": -1}})"), {"train.epochs", ">= 0", "got -1"}));
  EXPECT_TRUE(says(error_of(R"({"model": {"width": 0}})"), {"model.width: expected number > 0, got 0"}));
  EXPECT_TRUE(says(error_of(R"({"optim": {"momentum": 1}})"), {"optim.momentum: expected number >= 0, < 1, got 1"}));
  EXPECT_TRUE(says(error_of(R"({"optim": {"schedule": {"type": "step", "milestones": [3], "gamma": 2}}})"),
                   {"optim.schedule.gamma: expected number > 0, <= 1, got 2"}));
  EXPECT_TRUE(says(error_of(R"({"train": {"seed": 1e400}})"), {"c.json:1:", "1e400"}));
  EXPECT_TRUE(says(error_of(R"({"train": {"seed": 1e300}})"),
                   {"train.seed: expected an integer up to 18446744073709551615, in digits, got 1e+300"}));
  EXPECT_TRUE(says(error_of(R"({"train": {"epochs": 18446744073709551615}})"),
                   {"train.epochs", "<= 2147483647", "18446744073709551615"}));
  EXPECT_EQ(load_config_text(R"({"train": {"epochs": 0, "max_steps": 0}})").train.max_steps, 0);
}

TEST_F(ConfigTest, KeysTogether) {
  EXPECT_TRUE(says(error_of(R"({"optim": {"momentum": 0}})"), {"optim.nesterov", "optim.momentum 0"}));
  EXPECT_EQ(load_config_text(R"({"optim": {"momentum": 0, "nesterov": false}})").optim.options["momentum"], 0);
  EXPECT_TRUE(
      says(error_of(R"({"optim": {"schedule": {"type": "cosine", "warmup_epochs": 3}}, "train": {"epochs": 2}})"),
           {"c.json:1:43: optim.schedule.warmup_epochs", "3 epochs", "train.epochs is 2"}));
  EXPECT_TRUE(says(error_of(R"({"optim": {"groups": [{"match": "*", "warmup_epochs": 300}]}})"),
                   {"optim.groups.0.warmup_epochs", "300"}));
  EXPECT_EQ(load_config_text(R"({"train": {"epochs": 0}})").train.epochs, 0);
  EXPECT_EQ(load_config_text(R"({"train": {"epochs": 1}})").train.epochs, 1);
  EXPECT_TRUE(says(error_of(R"({"optim": {"schedule": {"type": "step", "milestones": [60, 30]}}})"),
                   {"optim.schedule.milestones", "30 after 60"}));
  EXPECT_TRUE(says(error_of(R"({"optim": {"schedule": {"type": "step"}}})"), {"optim.schedule", "'milestones'"}));
  EXPECT_TRUE(says(error_of(R"({"optim": {"groups": [{"match": "a"}, {"match": "a"}]}})"), {"optim.groups.1.match"}));
  EXPECT_TRUE(says(error_of(R"({"optim": {"groups": [{"match": ""}]}})"), {"optim.groups.0.match"}));
  EXPECT_TRUE(says(error_of(R"({"name": "a/b"})"), {"name: expected a name that a folder can have, got \"a/b\""}));
}

TEST_F(ConfigTest, Syntax) {
  EXPECT_EQ(load_config_text("// a\n{ /* b\n */ \"data\": {\"root\": \"a // b\"} } // c").data.root, "a // b");
  EXPECT_TRUE(says(error_of("{\n  \"name\": oops}"), {"c.json:2:1", "syntax error"}));
  EXPECT_TRUE(says(error_of("{\"name\": \"a\","), {"c.json:1:", "unexpected end of input"}));
  EXPECT_TRUE(says(error_of(""), {"c.json:1:1: ", "unexpected end of input"}));
  EXPECT_TRUE(says(error_of("{} {}"), {"c.json:1:4: "}));
  EXPECT_TRUE(says(error_of("{ /* "), {"c.json:1:", "comment"}));
  EXPECT_TRUE(says(error_of("{\"train\": {\"seed\": 1,\n \"seed\": 2}}"), {"c.json:2:2: train.seed", "given twice"}));
  EXPECT_TRUE(says(error_of("{\"a\\\"b\": 1, \"a\\\"b\": 2}"), {"c.json:1:13: a\"b", "given twice"}));
  EXPECT_TRUE(says(error_of(std::string(100000, '[')), {"c.json:1:101: nested deeper than 100"}));
}

TEST_F(ConfigTest, ExtendsChain) {
  write("base/a.json", R"({"train": {"epochs": 7, "batch": 3}, "model": {"width": 0.5}})");
  write("base/b.json", R"({"extends": "a.json", "train": {"batch": 5}})");
  const Config config = load_config(write("c.json", R"({"extends": "base/b.json", "train": {"seed": 9}})"));
  EXPECT_EQ(config.name, "c");
  EXPECT_EQ(config.train.epochs, 7);
  EXPECT_EQ(config.train.batch, 5);
  EXPECT_EQ(config.train.seed, 9U);
  EXPECT_EQ(config.model.width, 0.5);
}

TEST_F(ConfigTest, ExtendsNamesTheFileAtFault) {
  write("a.json", "{\"train\": {\n  \"epochz\": 7}}");
  EXPECT_TRUE(says(file_error(write("b.json", R"({"extends": "a.json"})")),
                   {(folder_ / "a.json").string() + ":2:3: train.epochz", "'train.epochs'"}));
}

TEST_F(ConfigTest, ExtendsCycleAndMissing) {
  write("a.json", R"({"extends": "b.json"})");
  const fs::path b = write("b.json", R"({"extends": "a.json"})");
  EXPECT_TRUE(says(file_error(b), {"a.json:1:2: extends: a config extends itself: b.json -> a.json -> b.json"}));
  EXPECT_TRUE(says(file_error(write("self.json", R"({"extends": "self.json"})")), {"extends itself"}));
  EXPECT_TRUE(says(file_error(write("d.json", R"({"extends": "cifar100_vg16.json"})")),
                   {"d.json:1:2: extends: ", "no such file", "did you mean 'cifar100_vgg16.json'"}));
  EXPECT_TRUE(says(file_error(folder_ / "none.json"), {"none.json: no such file"}));
  EXPECT_TRUE(says(file_error("cifar100_vgg61"), {"no such file", "did you mean 'cifar100_vgg16.json'"}));
  EXPECT_TRUE(says(file_error(folder_), {"is a folder"}));
}

TEST_F(ConfigTest, ExtendsPrefersTheFileBeside) {
  write("cifar100_vgg16.json", R"({"train": {"epochs": 2}})");
  EXPECT_EQ(load_config(write("c.json", R"({"extends": "cifar100_vgg16.json"})")).train.epochs, 2);
}

TEST_F(ConfigTest, AnotherTypeReplacesTheObject) {
  write("a.json",
        R"({"model": {"pool": {"default": {"type": "dynopool", "r": 0.5}, "pool1": {"type": "max", "kernel": 2}}},
                      "optim": {"schedule": {"type": "cosine", "warmup_epochs": 2, "end_lr": 0.01}}})");
  const Config other = load_config(write("b.json", R"({"extends": "a.json",
      "model": {"pool": {"default": {"type": "soft"}, "pool1": {"kernel": 3}}},
      "optim": {"schedule": {"type": "constant"}}})"));
  EXPECT_EQ(other.model.pool.dump(), R"({"default":{"type":"soft"},"pool1":{"type":"max","kernel":3}})");
  EXPECT_EQ(other.optim.schedule.warmup_epochs, 0);
  const Config same = load_config(
      write("c.json", R"({"extends": "a.json", "optim": {"schedule": {"type": "cosine", "warmup_epochs": 3}}})"));
  EXPECT_EQ(same.optim.schedule.end_lr, 0.01);
  EXPECT_EQ(same.optim.schedule.warmup_epochs, 3);
}

TEST_F(ConfigTest, SetForms) {
  const fs::path file = write("example.json", kExample);
  const Config config =
      load_config(file, Sets{"optim.lr=1e-3", "train.max_steps=1e3", "train.epochs=12", "data.root=/data/x",
                             "data.train_images=null", "data.shuffle=false", "name=5", "optim.groups.0.lr=0.25",
                             "optim.name=adamw", "optim.betas=[0.8, 0.9]", "optim.betas.1=0.95",
                             "model.pool.pool3.type=soft", "optim.groups.1.match=*.bias", "train.epochs=13"});
  EXPECT_EQ(config.optim.lr, 1e-3);
  EXPECT_EQ(config.train.max_steps, 1000);
  EXPECT_TRUE(config.resolved["train"]["max_steps"].is_number_integer());
  EXPECT_EQ(config.data.root, "/data/x");
  EXPECT_FALSE(config.data.train_images.has_value());
  EXPECT_FALSE(config.data.shuffle);
  EXPECT_EQ(config.name, "5");  // a string key takes a number's text
  ASSERT_EQ(config.optim.groups.size(), 2U);
  EXPECT_EQ(config.optim.groups[0].lr, 0.25);
  EXPECT_EQ(config.optim.groups[1].match, "*.bias");
  EXPECT_FALSE(config.optim.groups[1].weight_decay.has_value());
  EXPECT_EQ(config.optim.options.dump(), R"({"betas":[0.8,0.95],"eps":1e-08})");
  EXPECT_EQ(config.model.pool["pool3"].dump(), R"({"type":"soft"})");
  EXPECT_EQ(config.model.pool["default"]["type"], "dynopool");
  EXPECT_EQ(config.train.epochs, 13);  // the last one holds
  EXPECT_EQ(load_config_text("{}", "c", Sets{"optim.name=adamw", "optim.betas.0=0.5"}).optim.options["betas"].dump(),
            "[0.5,0.999]");  // part of a default
  EXPECT_EQ(load_config_text("{}", "c", Sets{R"(name="a=b")"}).name, "a=b");
}

TEST_F(ConfigTest, SetAnotherType) {
  const fs::path file = write("example.json", kExample);
  const char* kSoft = R"({"type":"soft","beta":2})";
  // in either order, the old type's keys go and the new one's stay
  EXPECT_EQ(
      load_config(file, Sets{"model.pool.default.type=soft", "model.pool.default.beta=2"}).model.pool["default"].dump(),
      kSoft);
  EXPECT_EQ(
      load_config(file, Sets{"model.pool.default.beta=2", "model.pool.default.type=soft"}).model.pool["default"].dump(),
      kSoft);
  EXPECT_EQ(load_config(file, Sets{R"(model.pool.default={"type": "soft", "beta": 2})"}).model.pool["default"].dump(),
            kSoft);
  EXPECT_EQ(load_config(file, Sets{"model.pool.default.type=dynopool"}).model.pool["default"]["r"], 0.5);
  const Config config = load_config(file, Sets{"data.variant.type=large", "optim.schedule.type=linear"});
  EXPECT_EQ(config.data.variant.size, 8);
  EXPECT_FALSE(config.resolved["data"]["variant"].contains("grid"));
  EXPECT_EQ(config.optim.schedule.type, ScheduleType::kLinear);
}

TEST_F(ConfigTest, SetErrors) {
  EXPECT_TRUE(says(error_of("{}", {"optim.lrr=1"}), {"--set optim.lrr=1: optim.lrr: unknown key", "'optim.lr'"}));
  EXPECT_TRUE(says(error_of("{}", {"opitm.lr=1"}), {"--set opitm.lr=1: opitm: unknown key", "'optim'"}));
  EXPECT_TRUE(says(error_of("{}", {"optim.lr"}), {"--set optim.lr: expected KEY=VALUE"}));
  EXPECT_TRUE(says(error_of("{}", {"=1"}), {"expected KEY=VALUE"}));
  EXPECT_TRUE(says(error_of("{}", {"optim..lr=1"}), {"empty part"}));
  EXPECT_TRUE(says(error_of("{}", {"optim.lr.x=1"}), {"optim.lr is 0.1, which has no key 'x'"}));
  EXPECT_TRUE(
      says(error_of("{}", {"optim.lr=fast"}), {"--set optim.lr=fast: optim.lr: expected number >= 0, got \"fast\""}));
  EXPECT_TRUE(says(error_of("{}", {"optim.lr="}), {"expected number >= 0, got \"\""}));
  EXPECT_TRUE(says(error_of("{}", {"train.epochs=2.5"}), {"expected integer >= 0, <= 2147483647, got 2.5"}));
  EXPECT_TRUE(says(error_of("{}", {"optim.groups.x.lr=1"}), {"optim.groups is a list", "'x'"}));
  EXPECT_TRUE(says(error_of("{}", {"optim.groups.3.lr=1"}), {"optim.groups has 0 elements, no index 3"}));
  EXPECT_TRUE(says(error_of("{}", {"optim.groups.0.lr=1"}), {"optim.groups.0", "needs a key 'match'"}));
  EXPECT_TRUE(says(error_of("{}", {"optim.betas=[0.9,"}), {"--set optim.betas=[0.9,:1:"}));
  EXPECT_TRUE(says(error_of("{}", {"extends=a.json"}), {"--set cannot"}));
  EXPECT_TRUE(says(error_of("{}", {"train.dtype=bf61"}), {"--set train.dtype=bf61: train.dtype", "'bf16'"}));
}

TEST_F(ConfigTest, ShippedConfigsLoad) {
  const std::vector<std::string> names = embedded_configs();
  ASSERT_GE(names.size(), 9U);
  for (const std::string& name : names) {
    SCOPED_TRACE(name);
    const Config config = load_config(name);
    const Config again = load_config_text(config.resolved.dump(), name);
    EXPECT_EQ(again.resolved.dump(), config.resolved.dump());
    EXPECT_EQ(load_config(fs::path(name).stem()).name, config.name);  // the ending may be left out
    const bool dynopool = name.find("dynopool") != std::string::npos;
    if (config.model.name == "vgg16" || dynopool) {  // elsewhere empty slots are the network's own layers
      EXPECT_EQ(config.model.pool.at("default").at("type"), dynopool ? "dynopool" : "max");
    }
    for (const char* variant : {"stretch_v", "tile", "large"}) {
      if (name.find(variant) != std::string::npos) {
        EXPECT_EQ(config.data.variant.type, variant);
      }
    }
    if (dynopool) {
      EXPECT_TRUE(config.optim.groups.empty());
      EXPECT_EQ(config.optim.shape->lr, config.optim.name == "rmsprop" ? 1e-5 : 0.001);
      EXPECT_GE(config.optim.shape->first_epoch, 3);
    }
  }
  EXPECT_FALSE(embedded_config("none.json").has_value());
}

TEST_F(ConfigTest, EmbeddedFilesAreTheFiles) {
  for (const auto& entry : fs::directory_iterator(fs::path(TIDEPOOL_SOURCE_DIR) / "configs")) {
    SCOPED_TRACE(entry.path().string());
    if (entry.is_directory() || entry.path().string().ends_with("schema.json")) continue;  // tables; for editors
    std::ifstream in(entry.path(), std::ios::binary);
    const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    const auto embedded = embedded_config(entry.path().filename().string());
    ASSERT_TRUE(embedded.has_value());
    EXPECT_EQ(*embedded, text);
  }
}

// Every property says what it is: a text of its own, or that of the definition it refers to.
void expect_descriptions(const Json& node, const std::string& path) {
  if (node.is_object()) {
    if (node.contains("properties") && node["properties"].is_object() && path.find("/if") == std::string::npos) {
      for (const auto& item : node["properties"].items()) {
        const Json& property = item.value();
        const bool said = property.contains("description") && property["description"].get<std::string>().size() > 5;
        EXPECT_TRUE(said) << path << "/" << item.key();
      }
    }
    for (const auto& item : node.items()) expect_descriptions(item.value(), path + "/" + item.key());
  } else if (node.is_array()) {
    for (const Json& each : node) expect_descriptions(each, path);
  }
}

TEST_F(ConfigTest, SchemaDescribesEveryProperty) {
  // nlohmann's own strict parser: an editor allows no comments there
  std::ifstream in(fs::path(TIDEPOOL_SOURCE_DIR) / "configs/schema.json");
  const Json schema = Json::parse(in);
  ASSERT_TRUE(schema.contains("properties"));
  expect_descriptions(schema, "");
}

// A key of a run that stands in its struct's list alone is in the schema, and its default is the struct's.
TEST_F(ConfigTest, SchemaHasEveryKey) {
  std::ifstream in(fs::path(TIDEPOOL_SOURCE_DIR) / "configs/schema.json");
  const Json schema = Json::parse(in), config = load_config_text("{}").resolved;
  for (const auto& section : config.items())
    if (section.value().is_object()) {
      for (const auto& key : section.value().items())
        EXPECT_TRUE(schema["properties"][section.key()]["properties"].contains(key.key())) << key.key();
    } else {
      EXPECT_TRUE(schema["properties"].contains(section.key())) << section.key();
    }
  const Json& optim = schema["properties"]["optim"]["properties"];
  for (const OptimizerDescription* each : optimizers())
    for (const Key& key : each->keys) {
      EXPECT_TRUE(optim.contains(key.name)) << key.name;
      EXPECT_TRUE(optim["groups"]["items"]["properties"].contains(key.name)) << key.name;
    }
}

TEST_F(ConfigTest, KeysOfTheChosenOptimizer) {
  const auto options = [](const std::string& text, const Sets& sets = {}) {
    return load_config_text(text, "c.json", sets).optim.options.dump();
  };
  const std::string sgd = R"({"momentum":0.9,"nesterov":true})", adamw = R"({"betas":[0.9,0.999],"eps":1e-08})",
                    rmsprop = R"({"alpha":0.99,"eps":1e-08,"momentum":0,"centered":false})";
  EXPECT_EQ(options("{}"), sgd);
  EXPECT_EQ(options(R"({"optim": {"name": "adamw"}})"), adamw);
  EXPECT_EQ(options(R"({"optim": {"name": "rmsprop"}})"), rmsprop);
  EXPECT_EQ(options("{}", {"optim.name=rmsprop"}), rmsprop);
  // Another optimizer: keys of the old one go, in the base and in the file, but not those that a --set gives.
  EXPECT_EQ(options(R"({"extends": "cifar100_vgg16.json", "optim": {"name": "rmsprop"}})"), rmsprop);
  EXPECT_EQ(options(R"({"optim": {"momentum": 0.8}})", {"optim.name=rmsprop"}), rmsprop);
  for (const Sets& sets :
       {Sets{"optim.name=rmsprop", "optim.momentum=0.8"}, {"optim.momentum=0.8", "optim.name=rmsprop"}})
    EXPECT_EQ(options("{}", sets), R"({"alpha":0.99,"eps":1e-08,"momentum":0.8,"centered":false})");
  EXPECT_EQ(options(R"({"extends": "toy_procedural.json"})", {"optim.name=adamw"}), adamw);
  EXPECT_EQ(options(R"({"extends": "cifar100_vgg16.json", "optim": {"name": "sgd", "momentum": 0.8}})"),
            R"({"momentum":0.8,"nesterov":true})");
  const Config config = load_config_text(R"({"extends": "toy_procedural.json", "optim": {"name": "adamw"}})");
  EXPECT_EQ(config.optim.shape->options, Json::object());
  EXPECT_FALSE(config.resolved["optim"].contains("momentum"));
  // Written for an optimizer that has no such key.
  EXPECT_TRUE(says(error_of(R"({"optim": {"name": "adamw", "momentum": 0}})"),
                   {"c.json:1:29: optim.momentum: adamw has no such key, but rmsprop and sgd", "betas, eps"}));
  EXPECT_TRUE(says(error_of(R"({"optim": {"betas": [0.9, 0.99]}})"), {"optim.betas: sgd has no such key, but adamw"}));
  EXPECT_TRUE(says(error_of("{}", {"optim.name=rmsprop", "optim.nesterov=true"}),
                   {"--set optim.nesterov=true: optim.nesterov: rmsprop has no such key, but sgd", "alpha"}));
  EXPECT_TRUE(says(error_of("{}", {"optim.nesterov=true", "optim.name=rmsprop"}), {"optim.nesterov: rmsprop"}));
  EXPECT_TRUE(says(error_of(R"({"optim": {"name": "adamw", "groups": [{"match": "*", "momentum": 0.5}]}})"),
                   {"optim.groups.0.momentum: adamw has no such key"}));
  EXPECT_TRUE(says(error_of(R"({"optim": {"name": "rmsprop", "alpha": 1}})"), {"optim.alpha", "< 1, got 1"}));
  EXPECT_TRUE(says(error_of(R"({"optim": {"name": "rmsprop", "centered": 1}})"), {"optim.centered", "true or false"}));
  EXPECT_TRUE(says(error_of(R"({"optim": {"name": "RMSProp"}})"), {"optim.name", "did you mean 'rmsprop'"}));
}

// A run that an older version saved has the keys of all optimizers.
TEST_F(ConfigTest, SavedKeysOfOtherOptimizersGo) {
  const std::string saved = R"({"optim": {"name": "adamw", "lr": 0.01, "momentum": 0.9, "nesterov": true,
      "betas": [0.8, 0.99], "eps": 1e-6, "groups": [{"match": "*.alpha", "momentum": 0.9, "lr": 0.1}]}})";
  write("run/provenance.json", "{}");
  const fs::path file = write("run/config.json", saved);
  const Config config = load_config(file);
  const std::string options = R"({"betas":[0.8,0.99],"eps":1e-06})";
  EXPECT_EQ(config.optim.options.dump(), options);
  EXPECT_EQ(config.optim.groups.at(0).options, Json::object());
  EXPECT_EQ(load_config(write("mine.json", R"({"extends": "run/config.json"})")).optim.options.dump(), options);
  const Json completed = completed_config(Json::parse(saved));
  EXPECT_FALSE(completed["optim"].contains("momentum"));
  EXPECT_EQ(completed["optim"], config.resolved["optim"]);
  EXPECT_TRUE(says(error_of(saved), {"optim.momentum: adamw has no such key"}));
}

// The keys of operators are checked with the rest, and their place is named.
TEST_F(ConfigTest, KeysOfOperators) {
  EXPECT_TRUE(says(error_of("{\"model\": {\"pool\": {\n \"pool1\": {\"type\": \"soft\", \"kernle\": 2}}}}"),
                   {"c.json:2:28: model.pool.pool1.kernle", "did you mean 'model.pool.pool1.kernel'"}));
  EXPECT_TRUE(says(error_of(R"({"model": {"pool": {"default": {"type": "soft", "beta": -1}}}})"),
                   {"model.pool.default.beta: expected number >= 0, <= 1000000, got -1"}));
  EXPECT_TRUE(says(error_of("{}", {"model.pool.default.type=sotf"}), {"--set", "did you mean 'soft'"}));
  EXPECT_TRUE(says(error_of(R"({"model": {"pool": {"default": {"type": "max", "beta": 1}}}})"),
                   {"model.pool.default.beta: max has no such key, but", "soft", "its own keys are kernel"}));
}

// Newer keys have the old behaviour.
TEST_F(ConfigTest, SavedConfigWithoutNewerKeys) {
  const Json completed = completed_config(Json::parse(R"({"model": {"name": "vgg16"}})"));
  EXPECT_TRUE(completed["model"]["init"].is_null());
  EXPECT_EQ(completed["model"]["strict"], true);
  EXPECT_EQ(completed["data"]["drop_last"], false);
}

constexpr int64_t kEpoch = 10, kTotal = 100;

double rate(const ScheduleConfig& schedule, int64_t step, int64_t first = 0) {
  return learning_rate(schedule, 0.1, step, kEpoch, kTotal, first);
}

TEST(LearningRate, WarmUpThenCosine) {
  const ScheduleConfig schedule{.type = ScheduleType::kCosine, .warmup_epochs = 1, .end_lr = 0.02, .milestones = {}};
  EXPECT_DOUBLE_EQ(rate(schedule, 0), 0.01);
  EXPECT_DOUBLE_EQ(rate(schedule, 4), 0.05);
  EXPECT_DOUBLE_EQ(rate(schedule, 9), 0.1);
  EXPECT_DOUBLE_EQ(rate(schedule, 10), 0.1);
  EXPECT_DOUBLE_EQ(rate(schedule, 55), 0.06);  // half-way
  EXPECT_DOUBLE_EQ(rate(schedule, 99), 0.02 + 0.08 * 0.5 * (1 + std::cos(std::numbers::pi * 89 / 90)));
  EXPECT_DOUBLE_EQ(rate(schedule, 100), 0.02);
  EXPECT_DOUBLE_EQ(rate(schedule, 1000), 0.02);
}

TEST(LearningRate, OtherTypes) {
  ScheduleConfig schedule{.type = ScheduleType::kConstant, .milestones = {}};
  EXPECT_DOUBLE_EQ(rate(schedule, 0), 0.1);
  EXPECT_DOUBLE_EQ(rate(schedule, 99), 0.1);
  schedule.type = ScheduleType::kLinear;
  EXPECT_DOUBLE_EQ(rate(schedule, 0), 0.1);
  EXPECT_DOUBLE_EQ(rate(schedule, 25), 0.075);
  EXPECT_DOUBLE_EQ(rate(schedule, 100), 0.0);
  schedule.type = ScheduleType::kStep;
  schedule.milestones = {3, 6.5};
  schedule.gamma = 0.2;
  EXPECT_DOUBLE_EQ(rate(schedule, 29), 0.1);
  EXPECT_DOUBLE_EQ(rate(schedule, 30), 0.02);
  EXPECT_DOUBLE_EQ(rate(schedule, 64), 0.02);
  EXPECT_DOUBLE_EQ(rate(schedule, 65), 0.004);
  schedule = {.type = ScheduleType::kPolynomial, .end_lr = 0.02, .milestones = {}, .power = 2};
  EXPECT_DOUBLE_EQ(rate(schedule, 0), 0.1);
  EXPECT_DOUBLE_EQ(rate(schedule, 50), 0.02 + 0.08 * 0.25);
  EXPECT_DOUBLE_EQ(rate(schedule, 100), 0.02);
  schedule = {.type = ScheduleType::kExponential, .warmup_epochs = 1, .milestones = {}, .gamma = 0.5};
  schedule.every_epochs = 2.4;  // 24 steps, from the first one on
  EXPECT_DOUBLE_EQ(rate(schedule, 4), 0.05);
  EXPECT_DOUBLE_EQ(rate(schedule, 23), 0.1);
  EXPECT_DOUBLE_EQ(rate(schedule, 24), 0.05);
  EXPECT_DOUBLE_EQ(rate(schedule, 47), 0.05);
  EXPECT_DOUBLE_EQ(rate(schedule, 48), 0.025);
}

TEST(LearningRate, LateGroupWarmsUpWhenItBegins) {
  const ScheduleConfig schedule{.type = ScheduleType::kCosine, .warmup_epochs = 1, .milestones = {}};
  EXPECT_EQ(rate(schedule, 29, 30), 0.0);
  EXPECT_DOUBLE_EQ(rate(schedule, 30, 30), 0.01);
  EXPECT_DOUBLE_EQ(rate(schedule, 40, 30), 0.1);
  EXPECT_DOUBLE_EQ(rate(schedule, 70, 30), 0.05);
  EXPECT_DOUBLE_EQ(rate(schedule, 100, 30), 0.0);
}

TEST(LearningRate, WarmUpOfTheWholeRunAndFractions) {
  ScheduleConfig schedule{.type = ScheduleType::kCosine, .warmup_epochs = 10, .milestones = {}};
  EXPECT_DOUBLE_EQ(rate(schedule, 99), 0.1);
  EXPECT_DOUBLE_EQ(rate(schedule, 100), 0.0);
  schedule.warmup_epochs = 0.25;  // 2.5 steps are rounded to 3
  EXPECT_DOUBLE_EQ(rate(schedule, 0), 0.1 / 3);
  EXPECT_DOUBLE_EQ(rate(schedule, 2), 0.1);
}

}  // namespace
}  // namespace tidepool
