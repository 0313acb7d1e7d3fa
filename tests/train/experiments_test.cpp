// Tables: their rows at every scale, and that a table which was cut off goes on. Runs are a stand-in's.
#include "train/experiments.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <fstream>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <thread>

#include "core/error.h"
#include "core/safetensors.h"
#include "layers/pool/prepared.h"
#include "tests/train/twelve_rows.h"
#include "train/image_fidelity.h"
#include "train/setup.h"

namespace tidepool {
namespace {

namespace fs = std::filesystem;

class ExperimentsTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(testing::TempDir()) / (std::string("tidepool_experiments_") + info->name());
    fs::remove_all(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  PlanOptions options() const { return {.scale = "smoke", .data_set = "procedural", .sets = {}, .out = folder_}; }

  static RunResult made_up(const PlannedRun& run) {
    RunResult r;
    r.finished = true;
    const double top1 = 0.1 + 0.01 * static_cast<double>(run.seed) + 0.001 * static_cast<double>(run.row);
    r.last = {{"top1", top1}};
    r.best = top1 + 0.01;
    r.loss_last = 2;
    r.gmacs = 0.02;
    r.parameters = 1000;
    r.steps = 32;
    r.seconds = 1.6;
    r.peak_bytes = 1 << 20;
    r.shapes = {{"pool1", Dims{16, 16}}, {"pool2", Dims{8, 7}}};
    return r;
  }

  // What train_run leaves behind.
  static void save(const PlannedRun& run, bool finished) {
    fs::create_directories(run.folder);
    std::ofstream(run.folder / "config.json") << run.config.resolved.dump();
    if (finished) std::ofstream(run.folder / "result.json") << made_up(run).json().dump();
  }

  // A runner that writes such a folder and says which rows it ran.
  Runner runner() {
    return [this](const PlannedRun& run, const RunOptions& run_options) {
      EXPECT_EQ(run_options.resume, fs::exists(run.folder / "config.json"));
      EXPECT_EQ(run_options.out, run.folder);
      {
        const std::lock_guard lock(mutex_);
        ran_.push_back(run.folder.filename().string());
      }
      save(run, true);
      run_options.progress({.step = 32, .steps = 32, .epoch = 0, .epochs = 1, .metric = {}});
      return made_up(run);
    };
  }

  static std::string error_of(const std::function<void()>& call) {
    try {
      call();
    } catch (const Error& error) {
      return error.what();
    }
    return "no Error";
  }

  fs::path folder_;
  std::mutex mutex_;
  std::vector<std::string> ran_;
};

TablePlan plan_of(const std::string& table, const PlanOptions& options) {
  return make_plan(load_table(table), options);
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// Tables whose data sets need files of the user's, and networks that come with them.
bool needs_pictures(const std::string& table) {
  return table == "3" || table == "4";
}

TEST_F(ExperimentsTest, EveryTableLoadsAtEveryScaleOnBothDataSets) {
  EXPECT_EQ(table_names(), (std::vector<std::string>{"1", "2", "3", "4", "ablation", "landscape", "method", "pareto",
                                                     "pooling", "softpool"}));
  for (const std::string& name : table_names()) {
    if (needs_pictures(name)) continue;
    for (const Scale& scale : scales())
      for (const char* data_set : {"cifar100", "procedural"}) {
        SCOPED_TRACE(name + " " + scale.name + " " + data_set);
        PlanOptions o = options();
        o.scale = scale.name;
        o.data_set = data_set;
        o.seeds = 2;
        const TableFile table = load_table(name);
        const TablePlan plan = make_plan(table, o);
        EXPECT_EQ(plan.runs.size(), 2 * plan.rows.size());
        std::set<std::string> names, baselines;
        for (const Row& row : plan.rows) {
          EXPECT_TRUE(names.insert(row.name).second) << row.name;
          if (row.baseline.empty()) baselines.insert(row.name);
        }
        for (const Row& row : plan.rows)
          EXPECT_TRUE(row.baseline.empty() || baselines.contains(row.baseline)) << row.baseline;
        size_t selected = 0;
        for (const PlannedRun& run : plan.runs) {
          selected += run.selected;
          const Row& row = plan.rows[run.row];
          EXPECT_EQ(run.config.data.name, data_set);
          EXPECT_EQ(run.config.train.seed, run.seed);
          EXPECT_EQ(run.config.name, row.name + "-seed" + std::to_string(run.seed));
          EXPECT_EQ(run.config.data.val_images, run.config.data.train_images.value_or(50000) / 10);
          if (row.learns_shape && run.selected) {
            EXPECT_LT(run.config.optim.shape->first_epoch, run.config.train.epochs) << "the shapes get to move";
          }
          // What a scale says holds in every row, but for what the row decides itself.
          for (const Setting& setting : scale.settings) {
            const std::string path = "/" + std::regex_replace(setting.key, std::regex("\\."), "/");
            if (std::any_of(row.settings.begin(), row.settings.end(),
                            [&](const Setting& own) { return own.key == setting.key; }))
              continue;
            EXPECT_EQ(run.config.resolved.at(Json::json_pointer(path)), setting.value) << row.name;
          }
        }
        EXPECT_EQ(selected, 2 * rows_at_scale(table, scale.name));
      }
  }
}

TEST_F(ExperimentsTest, Scales) {
  std::vector<std::string> names;
  for (const Scale& scale : scales()) names.push_back(scale.name);
  EXPECT_EQ(names, (std::vector<std::string>{"smoke", "quick", "toy", "small", "full"}));
  EXPECT_EQ(find_scale("toy").seeds, 1);
  for (const char* claims : {"small", "full"}) EXPECT_EQ(find_scale(claims).seeds, 5);
  PlanOptions o = options();
  o.scale = "small";
  const Config small = plan_of("1", o).runs[0].config;
  EXPECT_EQ(small.model.width, 0.25);
  EXPECT_FALSE(small.data.train_images.has_value());
  EXPECT_EQ(small.data.val_images, 5000);
  EXPECT_EQ(small.train.epochs, 20);
}

TEST_F(ExperimentsTest, Table1) {
  const auto rows = [&](const char* scale) {
    PlanOptions o = options();
    o.scale = scale;
    std::vector<Row> selected;
    const TablePlan plan = plan_of("1", o);
    for (const PlannedRun& run : plan.runs)
      if (run.selected) selected.push_back(plan.rows[run.row]);
    return selected;
  };
  EXPECT_EQ(rows("quick").size(), 8U);   // 4 data sets x 2 pools of VGG-16
  EXPECT_EQ(rows("toy").size(), 36U);    // three networks, and the penalty
  EXPECT_EQ(rows("small").size(), 48U);  // of VGG-16: equal costs, other learners and other operators too
  EXPECT_EQ(rows("quick")[0].name, "plain-vgg16-human");
  EXPECT_EQ(rows("quick")[5].name, "tile-vgg16-dynopool");
  EXPECT_EQ(rows("quick")[5].baseline, "tile-vgg16-human");
  const Row penalised = rows("full")[2];
  EXPECT_EQ(penalised.name, "plain-vgg16-dynopool-gmacs");
  EXPECT_EQ(penalised.lambda, 0.03);
  EXPECT_TRUE(penalised.learns_shape);
  EXPECT_FALSE(rows("full")[0].learns_shape);

  // full is the recipe of the shipped configs, with a validation part
  PlanOptions o = options();
  o.scale = "full";
  o.data_set = "cifar100";
  const TablePlan plan = plan_of("1", o);
  const auto tile = std::find_if(plan.runs.begin(), plan.runs.end(), [&](const PlannedRun& run) {
    return plan.rows[run.row].name == "tile-vgg16-dynopool";
  });
  Json shipped = load_config_text(R"({"extends": "cifar100_tile_vgg16_dynopool.json"})").resolved;
  Json planned = tile->config.resolved;
  EXPECT_EQ(planned["data"]["val_images"], 5000);
  planned["model"]["pool"]["default"]["r"] = 0.5;  // its default, which the shipped config says
  planned["optim"]["shape"]["momentum"] = 0.9;     // that of optim
  for (Json* config : {&shipped, &planned}) {
    config->erase("name");
    (*config)["data"].erase("val_images");
  }
  EXPECT_EQ(nlohmann::json(planned), nlohmann::json(shipped));
  const auto resnet = std::find_if(plan.runs.begin(), plan.runs.end(), [&](const PlannedRun& run) {
    return plan.rows[run.row].name == "tile-resnet50-human";
  });
  EXPECT_EQ(resnet->config.model.name, "resnet50");
  EXPECT_TRUE(resnet->config.model.pool.empty()) << "extends takes the place of the base";
  EXPECT_EQ(resnet->config.data.variant.type, "tile");
}

TEST_F(ExperimentsTest, Table2ComparesEachNetworkWithItsOwn) {
  const TablePlan plan = plan_of("2", options());
  for (const Row& row : plan.rows) {
    const std::string network = row.name.substr(0, row.name.rfind('-'));
    EXPECT_EQ(row.baseline, row.name.ends_with("-human") ? "" : network + "-human");
    EXPECT_EQ(row.model, network);
  }
  // Shape Adaptors start at a final length of 8 from 32, by the number of slots.
  for (const PlannedRun& run : plan.runs)
    if (plan.rows[run.row].name.ends_with("shape_adaptor")) {
      const auto slots = make_run_network(run.config)->slot_shapes();
      const Json& pool = run.config.model.pool.at("default");
      const double alpha = pool.value("alpha", -0.34657359027997264);
      const double scale = 0.5 + 0.5 / (1 + std::exp(-alpha));
      EXPECT_NEAR(32 * std::pow(scale, static_cast<double>(slots.size())), 8, 0.01) << plan.rows[run.row].name;
    }
}

// Every fixed shape has the maps of its name and stays there; every cost has a human-designed network beside it.
TEST_F(ExperimentsTest, LandscapesAreFixed) {
  PlanOptions o = options();
  o.scale = "small";
  const TablePlan plan = plan_of("landscape", o);
  std::map<std::string, double> costs;
  for (const PlannedRun& run : plan.runs) {
    const Row& row = plan.rows[run.row];
    EXPECT_FALSE(row.learns_shape);
    if (row.data != "plain" || run.seed != 1) continue;
    const auto network = make_run_network(run.config);
    costs[row.name] = network->trace().gmacs();
    if (has(row.name, "human") || has(row.name, "width")) continue;
    EXPECT_EQ(run.config.optim.shape->lr, 0) << "a scale does not overwrite what the grid says";
    std::string text;
    for (const auto& [slot, size] : network->slot_shapes())
      text += "-" + (size[0] == size[1] ? std::to_string(size[0]) : fmt::format("{}x{}", size[0], size[1]));
    const std::string named = std::regex_replace(row.name, std::regex("plain-|costly-"), "");
    EXPECT_TRUE(text == "-" + named || std::regex_replace(text, std::regex("-(\\d+)(?=-|$)"), "-$1x$1") == "-" + named)
        << row.name << " has " << text;
  }
  EXPECT_EQ(costs.size(), 22U);
  for (const auto& [name, cost] : costs) {
    if (has(name, "human") || has(name, "width")) continue;
    EXPECT_TRUE(std::any_of(costs.begin(), costs.end(),
                            [&](const auto& other) {
                              return (has(other.first, "human") || has(other.first, "width")) &&
                                     std::abs(other.second / cost - 1) < 0.17;
                            }))
        << name << " costs " << cost;
  }
}

// Every operator is a row, as its paper proposes it, or the caption says why not; and no two rows are one function.
TEST_F(ExperimentsTest, ThePoolingTableIsTheRegistrys) {
  const TablePlan plan = plan_of("pooling", options());
  std::set<std::string> pools;
  std::map<std::string, std::string> outputs;
  EXPECT_EQ(plan.rows[0].name, "max");
  for (const PlannedRun& run : plan.runs) {
    const Row& row = plan.rows[run.row];
    EXPECT_EQ(row.baseline, row.name == "max" ? "" : "max");
    const Json& pool = run.config.model.pool.at("default");
    EXPECT_TRUE(row.name.starts_with(pool.at("type").get<std::string>())) << row.name;
    pools.insert(pool.at("type").get<std::string>());
    const auto op = make_pool_operator(nlohmann::json(pool));
    const Tensor x = made_up_map({2, 8, 16, 16}, {});
    std::string text;
    for (const bool training : {false, true})
      for (const double v :
           op->forward(x, initial_values(*op, x.shape(), DType::f32, 1), {.training = training, .seed = 3}).values())
        text += fmt::format("{:.6g} ", v);
    if (row.learns_shape || has(row.name, "learned")) text += row.name;  // it starts as another, and leaves it
    const auto [other, fresh] = outputs.emplace(text, row.name);
    EXPECT_TRUE(fresh) << row.name << " is " << other->second;
  }
  const std::string& caption = plan.table.caption;
  const size_t left_out = caption.find("Left out: ");
  ASSERT_NE(left_out, std::string::npos);
  for (const PoolDescription* op : pool_operators())
    EXPECT_NE(pools.contains(op->name),
              std::regex_search(caption.substr(left_out), std::regex("\\b" + std::string(op->name) + "\\b.*")) &&
                  !pools.contains(op->name))
        << op->name;
  EXPECT_EQ(plan.runs[0].config.model.pool.at("default").at("kernel"), 2);
}

TEST_F(ExperimentsTest, ImageFidelity) {
  DataConfig data;
  data.name = "procedural";
  data.test_images = 40;
  const Fidelity max = image_fidelity({{"type", "max"}}, data, {}), mean = image_fidelity({{"type", "avg"}}, data, {});
  EXPECT_EQ(max.values, 40 * 3 * 32 * 32);
  EXPECT_EQ(max.windows, 40 * 3 * 22 * 22);
  EXPECT_GT(mean.psnr(), max.psnr());  // the maximum shifts what is not flat
  EXPECT_GT(mean.psnr(), 10);
  EXPECT_LT(mean.psnr(), 60);
  // One image by hand: the mean of 2x2, enlarged.
  const auto dataset = open_dataset("procedural", {.split = Split::kTest, .images = 1});
  Sample sample;
  dataset->read(0, sample);
  Fidelity one;
  for (int64_t c = 0; c < 3; ++c) {
    std::vector<float> plane, half;
    for (int64_t i = 0; i < 1024; ++i) plane.push_back(static_cast<float>(sample.pixels[c * 1024 + i]) / 255);
    for (size_t y = 0; y < 32; y += 2)
      for (size_t x = 0; x < 32; x += 2)
        half.push_back((plane[y * 32 + x] + plane[y * 32 + x + 1] + plane[y * 32 + 32 + x] + plane[y * 32 + 33 + x]) /
                       4);
    one += compare_enlarged({plane.data(), 32, 32}, {half.data(), 16, 16});
  }
  data.test_images = 1;
  const Fidelity first = image_fidelity({{"type", "avg"}}, data, {});
  EXPECT_NEAR(first.psnr(), one.psnr(), 1e-4);
  EXPECT_NEAR(first.ssim().value(), one.ssim().value(), 1e-5);
}

TEST_F(ExperimentsTest, WrongRequests) {
  EXPECT_TRUE(has(error_of([&] { plan_of("poling", options()); }), "did you mean 'pooling'"));
  EXPECT_TRUE(has(error_of([&] { plan_of("5", options()); }), "no table 5; there is: 1, 2, 3, 4, ablation, "));
  PlanOptions o = options();
  o.scale = "quik";
  const std::string scale = error_of([&] { plan_of("1", o); });
  EXPECT_TRUE(has(scale, "smoke, quick, toy, small, full") && has(scale, "did you mean 'quick'")) << scale;
  o = options();
  o.only = "tiel-*";
  const std::string only = error_of([&] { plan_of("1", o); });
  EXPECT_TRUE(has(only, "'tiel-*'") && has(only, "tile-vgg16-dynopool") && has(only, "plain-vgg16-human")) << only;
  o = options();
  o.sets = {"optim.learnrate=1"};
  EXPECT_TRUE(has(error_of([&] { plan_of("1", o); }), "optim.learnrate"));
}

TEST_F(ExperimentsTest, TheValidationPartIsATenthOfWhatTheFilesHold) {
  const TableFile table =
      load_table_text(R"({"title": "t", "base": "voc_hrnet_w48.json", "rows": {"a": {}, "b": {"data.val_images": 7}}})",
                      "mine.json", {});
  PlanOptions o = options();
  o.scale = "full";
  EXPECT_EQ(make_plan(table, o).runs[0].config.data.val_images, 0) << "nobody counts";
  o.count = [](const DataConfig& data) { return data.name == "voc" ? 10582 : 0; };
  const TablePlan plan = make_plan(table, o);
  EXPECT_EQ(plan.runs[0].config.data.val_images, 1058);
  EXPECT_EQ(plan.runs[0].config.resolved.at("data").at("val_images"), 1058);
  EXPECT_EQ(plan.runs[0].images, 10582);
  EXPECT_EQ(plan.runs[1].config.data.val_images, 7);
}

TEST_F(ExperimentsTest, SetsWinOverTheScale) {
  PlanOptions o = options();
  o.sets = {"train.epochs=3", "model.width=0.5"};
  for (const PlannedRun& run : make_plan(twelve_rows(), o).runs) {
    EXPECT_EQ(run.config.train.epochs, 3);
    EXPECT_EQ(run.config.model.width, 0.5);
  }
}

TEST_F(ExperimentsTest, LabelsAreThoseOfTheConfig) {
  PlanOptions o = options();
  o.sets = {"data.variant.type=tile", "data.variant.grid=2", "loss.gmacs_lambda=0.5", "model.width=0.5"};
  for (const Row& row : plan_of("pooling", o).rows) {
    EXPECT_EQ(row.data, "tile (grid 2)");
    EXPECT_EQ(row.lambda, 0.5);
    EXPECT_EQ(row.model, "vgg16");  // one width in all rows: the caption has it
    EXPECT_EQ(row.name, row.pool);
  }
  o.sets = {"data.variant.type=none"};
  for (const Row& row : plan_of("1", o).rows) EXPECT_EQ(row.data, "plain");
  o.sets = {"data.variant.type=stretch_h"};
  EXPECT_EQ(plan_of("1", o).rows[0].data, "stretch_h");
  EXPECT_EQ(plan_of("1", o).rows[0].labels[0].second, "stretch_h");
  o.sets = {R"(model.pool={"default": {"type": "dynopool", "r": 0.5}})"};
  for (const Row& row : plan_of("1", o).rows) {
    EXPECT_TRUE(row.pool == "dynopool" || row.pool == "dynopool-gmacs") << row.name << row.pool;
    EXPECT_TRUE(row.learns_shape) << row.name;
  }
  o.sets = {R"(model.pool={"default": {"type": "avg", "kernel": 3, "stride": 2, "padding": 1}, "pool2": {"type": "max",
            "kernel": 2}})"};
  o.only = "*-vgg16-*";
  const Row changed = plan_of("1", o).rows[1];
  EXPECT_EQ(changed.title, changed.name + " (" + changed.pool + ")");
  EXPECT_EQ(changed.pool, "avg (kernel 3, stride 2, padding 1), pool2 max");
  EXPECT_FALSE(changed.learns_shape);
  o.sets = {"model.conv_bias=true"};
  EXPECT_EQ(plan_of("1", o).rows[0].model, "vgg16 (conv_bias true), width 0.125");  // rows differ in it
}

TEST_F(ExperimentsTest, TheSameFunctionIsToldByTheWeights) {
  TablePlan plan = make_plan(twelve_rows(), options());
  const PlannedRun &a = plan.runs[0], &b = plan.runs[1];
  const RunResult result = made_up(a);
  const auto weights = [](const PlannedRun& run, float weight, float momentum) {
    fs::create_directories(run.folder);
    write_safetensors(run.folder / "last.safetensors", {.tensors = {{"w", Tensor::full({3}, weight)},
                                                                    {"state/optimizer/w", Tensor::full({3}, momentum)}},
                                                        .metadata = {}});
  };
  EXPECT_FALSE(same_function(a, result, b, result)) << "no weights: equal metrics alone may be chance";
  weights(a, 1, 2);
  weights(b, 1, 3);
  EXPECT_TRUE(same_function(a, result, b, result));
  RunResult other = result;
  other.loss_last = 3;
  EXPECT_FALSE(same_function(a, result, b, other));
  weights(b, 1.5F, 2);
  EXPECT_FALSE(same_function(a, result, b, result)) << "equal metrics by chance";
  std::ofstream(b.folder / "last.safetensors") << "no checkpoint";
  EXPECT_FALSE(same_function(a, result, b, result));
  plan.runs[1].config = plan.runs[0].config;
  EXPECT_TRUE(same_function(plan.runs[0], result, plan.runs[1], result)) << "one config";
}

TEST_F(ExperimentsTest, PlannedSteps) {
  PlanOptions o = options();
  o.sets = {"train.batch=300", "train.epochs=2"};
  EXPECT_EQ(planned_steps(make_plan(twelve_rows(), o).runs[0].config, 7),
            6);  // 3 per 900 images: 100 are the validation part
  o.sets.push_back("train.max_steps=5");
  EXPECT_EQ(planned_steps(make_plan(twelve_rows(), o).runs[0].config, 7), 5);
  o.sets.push_back("data.train_images=null");
  o.sets.push_back("data.val_images=0");
  o.sets.push_back("train.max_steps=null");
  EXPECT_EQ(planned_steps(make_plan(twelve_rows(), o).runs[0].config, 600), 4);
  o.sets.push_back("data.drop_last=true");
  EXPECT_EQ(planned_steps(make_plan(twelve_rows(), o).runs[0].config, 800), 4);
}

TEST_F(ExperimentsTest, RunsWhatIsMissingAndReadsTheRest) {
  PlanOptions o = options();
  o.seeds = 2;
  const TablePlan plan = make_plan(twelve_rows(), o);
  save(plan.runs[0], true);
  save(plan.runs[1], false);  // cut off
  int started = 0, ended = 0;
  const auto outcomes = execute(plan, {.run = runner(),
                                       .started = [&](size_t) { ++started; },
                                       .ended = [&](size_t, const std::vector<RunOutcome>&) { ++ended; }});
  EXPECT_EQ(ran_.size(), plan.runs.size() - 1);
  EXPECT_EQ(ran_[0], plan.runs[1].folder.filename());
  EXPECT_EQ(started, static_cast<int>(ran_.size()));
  EXPECT_EQ(ended, started);
  EXPECT_TRUE(outcomes[0].read);
  EXPECT_FALSE(outcomes[1].read);
  for (const RunOutcome& outcome : outcomes) EXPECT_TRUE(outcome.result);
  EXPECT_EQ(outcomes[0].result->shapes[1].second, (Dims{8, 7}));

  ran_.clear();
  execute(plan, {.run = runner()});
  EXPECT_TRUE(ran_.empty());
}

TEST_F(ExperimentsTest, OnlyRunsItsRowsAndReadsTheOthers) {
  const TablePlan whole = make_plan(twelve_rows(), options());
  save(whole.runs[0], true);   // plain-vgg16-max
  save(whole.runs[1], false);  // neither run nor there
  PlanOptions o = options();
  o.only = "*-dynopool";
  const auto outcomes = execute(make_plan(twelve_rows(), o), {.run = runner()});
  EXPECT_EQ(ran_.size(), 4U);
  EXPECT_TRUE(outcomes[0].read);
  EXPECT_FALSE(outcomes[1].result);
  EXPECT_TRUE(outcomes[2].result);
}

TEST_F(ExperimentsTest, AFolderOfAnotherRunIsAnErrorBeforeAnythingRuns) {
  PlanOptions o = options();
  o.sets = {"train.epochs=2"};
  const TablePlan other = make_plan(twelve_rows(), o);
  save(other.runs[5], true);
  const TablePlan plan = make_plan(twelve_rows(), options());
  const std::string error = error_of([&] { execute(plan, {.run = runner()}); });
  EXPECT_TRUE(has(error, other.runs[5].folder.string()) && has(error, "train.epochs was 2, is 1")) << error;
  EXPECT_TRUE(ran_.empty());
  // What decides nothing may differ.
  o.sets = {"data.workers=0", "data.root=/elsewhere"};
  fs::remove_all(folder_);
  save(make_plan(twelve_rows(), o).runs[5], true);
  EXPECT_TRUE(saved_result(plan.runs[5]));
  std::ofstream(plan.runs[5].folder / "result.json") << "{}";
  EXPECT_THROW(saved_result(plan.runs[5]), Error);
}

TEST_F(ExperimentsTest, AFailureLeavesTheOthersRunning) {
  const TablePlan plan = make_plan(twelve_rows(), options());
  const auto usual = runner();
  for (const int jobs : {1, 3}) {
    fs::remove_all(folder_);
    const auto outcomes = execute(plan, {.run =
                                             [&](const PlannedRun& run, const RunOptions& run_options) {
                                               if (run.row == 2) throw Failure("the loss is not finite");
                                               return usual(run, run_options);
                                             },
                                         .jobs = jobs});
    for (size_t i = 0; i < outcomes.size(); ++i) {
      EXPECT_EQ(outcomes[i].result.has_value(), i != 2);
      EXPECT_EQ(outcomes[i].failure, i == 2 ? "the loss is not finite" : "");
    }
  }
}

TEST_F(ExperimentsTest, AWrongRequestEndsTheTable) {
  const TablePlan plan = make_plan(twelve_rows(), options());
  const auto usual = runner();
  for (const int jobs : {1, 3}) {
    ran_.clear();
    fs::remove_all(folder_);
    const std::string error = error_of([&] {
      execute(plan, {.run =
                         [&](const PlannedRun& run, const RunOptions& run_options) {
                           if (run.row == 1) throw Error("no such key");
                           while (jobs > 1 && run.row != 0 && !run_options.stop()) std::this_thread::yield();
                           return usual(run, run_options);
                         },
                     .jobs = jobs});
    });
    EXPECT_EQ(error, "plain-vgg16-soft: no such key");
    EXPECT_LE(ran_.size(), 3U);
  }
}

TEST_F(ExperimentsTest, ATableThatCannotBeWrittenEndsIt) {
  const TablePlan plan = make_plan(twelve_rows(), options());
  for (const int jobs : {1, 3}) {
    fs::remove_all(folder_);
    const std::string error = error_of([&] {
      execute(plan, {.run = runner(), .jobs = jobs, .ended = [](size_t, const std::vector<RunOutcome>&) {
                       throw Error("no room");
                     }});
    });
    EXPECT_EQ(error, "no room");
  }
}

TEST_F(ExperimentsTest, StopEndsAfterTheRunThatRuns) {
  const TablePlan plan = make_plan(twelve_rows(), options());
  std::atomic<bool> stop{false};
  const auto usual = runner();
  const auto outcomes = execute(plan, {.run =
                                           [&](const PlannedRun& run, const RunOptions& run_options) {
                                             if (run.row < 3) return usual(run, run_options);
                                             EXPECT_FALSE(run_options.stop());
                                             stop = true;
                                             EXPECT_TRUE(run_options.stop());
                                             save(run, false);
                                             return RunResult{};  // not finished
                                           },
                                       .stop = [&] { return stop.load(); }});
  EXPECT_EQ(ran_.size(), 3U);
  EXPECT_TRUE(outcomes[2].result);
  EXPECT_FALSE(outcomes[3].result);
  EXPECT_EQ(outcomes[3].failure, "");

  ran_.clear();
  const auto rest = execute(plan, {.run = usual});
  EXPECT_EQ(ran_.size(), plan.runs.size() - 3);
  EXPECT_TRUE(rest.back().result);
}

TEST_F(ExperimentsTest, JobsRunEveryRowOnceAndCallBackOneAtATime) {
  PlanOptions o = options();
  o.seeds = 3;
  const TablePlan plan = make_plan(twelve_rows(), o);
  int inside = 0, calls = 0;
  const auto alone = [&] {
    EXPECT_EQ(++inside, 1);
    std::this_thread::yield();
    ++calls;
    --inside;
  };
  execute(plan, {.run = runner(),
                 .jobs = 4,
                 .started = [&](size_t) { alone(); },
                 .progress = [&](size_t, const RunProgress&) { alone(); },
                 .ended = [&](size_t, const std::vector<RunOutcome>&) { alone(); }});
  EXPECT_EQ(std::set<std::string>(ran_.begin(), ran_.end()).size(), plan.runs.size());
  EXPECT_EQ(ran_.size(), plan.runs.size());
  EXPECT_EQ(calls, 3 * static_cast<int>(plan.runs.size()));
}

}  // namespace
}  // namespace tidepool
