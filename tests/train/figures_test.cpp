// Figures: ticks, text, the SVG of a drawing, and what is drawn of runs.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "core/error.h"
#include "data/png.h"
#include "tests/scratch_folder.h"
#include "train/figures/chart.h"
#include "train/figures/curves.h"
#include "train/figures/learned_shapes.h"
#include "train/figures/pareto.h"
#include "train/figures/raster.h"
#include "train/figures/run_record.h"
#include "train/statistics.h"

namespace tidepool::figures {
namespace {

using Texts = std::vector<std::string>;

TEST(Ticks, AreRoundNumbersWithinTheRange) {
  EXPECT_EQ(tick_texts(nice_ticks(0, 10)), (Texts{"0", "2", "4", "6", "8", "10"}));
  EXPECT_EQ(tick_texts(nice_ticks(-0.04, 0.17)), (Texts{"0.00", "0.05", "0.10", "0.15"}));
  EXPECT_EQ(tick_texts(nice_ticks(1, 3, 8, true)), (Texts{"1", "2", "3"}));
  EXPECT_EQ(tick_texts(nice_log_ticks(0.03, 1.2)), (Texts{"0.05", "0.10", "0.20", "0.50", "1.00"}));
  for (const double length : {1e-7, 0.013, 1., 7.7, 123456.})
    for (const double low : {-3 * length, 0., 17.3 * length}) {
      const auto ticks = nice_ticks(low, low + length);
      EXPECT_GE(ticks.size(), 2u) << low << " " << length;
      EXPECT_LE(ticks.size(), 8u) << low << " " << length;
      EXPECT_GE(ticks.front(), low - 1e-6 * length);
      EXPECT_LE(ticks.back(), low + length * (1 + 1e-6));
    }
}

TEST(Svg, EscapesTextAndEmbedsPictures) {
  Drawing drawing{.width = 100, .height = 50, .title = "a < b & \"c\""};
  drawing.add(Text{.text = "<&> \u00b1", .at = {10.5, 20.126}, .anchor = Anchor::middle});
  drawing.add(Path{{{0, 0}, {1.5, 2}}, true, Stroke{{255, 0, 16}, 1.25, {2, 1}}, Colour{0, 0, 0, 0.5}});
  drawing.add(Bitmap{{.height = 1, .width = 2, .pixels = {255, 0, 0, 0, 0, 255}}, {0, 0, 20, 10}});
  const std::string text = svg(drawing);
  for (const char* part :
       {R"(viewBox="0 0 100 50")", R"(aria-label="a &lt; b &amp; &quot;c&quot;")", ">&lt;&amp;&gt; \u00b1</text>",
        R"(x="10.5" y="20.13")", R"(text-anchor="middle")", R"(d="M0 0L1.5 2Z")", R"(stroke="#ff0010")",
        R"(stroke-dasharray="2 1")", R"(fill-opacity="0.5")", "href=\"data:image/png;base64,iVBORw0KGgo"})
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
}

TEST(Svg, TextThatIsTooWideIsCut) {
  EXPECT_EQ(fitted_text("short", 100, 10), "short");
  const std::string cut =
      fitted_text("a long name of a row \u00e4\u00f6\u00fc\u00e4\u00f6\u00fc\u00e4\u00f6\u00fc", 120, 10);
  EXPECT_TRUE(cut.ends_with("\u2026")) << cut;
  EXPECT_LE(text_width(cut, 10), 120);
}

TEST(Raster, DrawsWhereTheDrawingSays) {
  Drawing drawing{.width = 20, .height = 10};
  drawing.box({0, 0, 10, 10}, Colour{0, 114, 178});
  drawing.add(Bitmap{{.height = 1, .width = 2, .pixels = {255, 0, 0, 0, 0, 255}}, {12, 2, 8, 4}});
  if (!has_raster()) {
    EXPECT_THROW(png(drawing), Error);
    return;
  }
  const Picture picture = decode_png(png(drawing, 2), "a test");
  ASSERT_EQ(picture.width, 40);
  ASSERT_EQ(picture.height, 20);
  const auto pixel = [&](int64_t x, int64_t y) {
    const uint8_t* at = picture.bytes.data() + (y * picture.width + x) * picture.channels;
    return std::array<int, 3>{at[0], at[1], at[2]};
  };
  EXPECT_EQ(pixel(5, 5), (std::array{0, 114, 178}));
  EXPECT_EQ(pixel(22, 5), (std::array{255, 255, 255}));
  EXPECT_EQ(pixel(26, 6), (std::array{255, 0, 0}));
  EXPECT_EQ(pixel(36, 6), (std::array{0, 0, 255}));
}

// Runs as a training run leaves them, in a folder of their own.
class FigureRuns : public ScratchFolder {
 protected:
  void write(const fs::path& file, const std::string& text) const {
    fs::create_directories((folder_ / file).parent_path());
    std::ofstream(folder_ / file, std::ios::binary) << text;
  }
  // Four steps of two epochs; top-1 at the end `top1`, the loss of step k is `loss` / k.
  void write_run(const std::string& name, int seed, const std::string& pool, double loss, double top1, double gmacs,
                 const std::string& task = "classification") const {
    write(name + "/config.json", fmt::format(R"({{"task": "{}", "data": {{"name": "procedural", "train_images": 16}},
      "model": {{"name": "vgg16", "width": 0.0625, "pool": {}}}, "train": {{"seed": {}, "batch": 8, "epochs": 2}}}})",
                                             task, pool, seed));
    std::string log;
    for (int step = 1; step <= 4; ++step) {
      log += fmt::format(R"({{"step":{},"epoch":{},"loss":{},"task_loss":{},"gmacs_loss":0.5,"lr":0.1}})", step,
                         (step - 1) / 2, loss / step, loss / step) +
             "\n";
      if (step % 2 == 0)
        log += fmt::format(R"({{"step":{},"epoch":{},"test_top1":{},"test_loss":2.5}})", step, (step - 1) / 2,
                           top1 * step / 4) +
               "\n";
    }
    write(name + "/log.jsonl", log);
    write(name + "/result.json",
          fmt::format(R"({{"top1_last": {}, "gmacs": {}, "shapes": {{"pool1": [16, 16], "pool2": [9, 7]}}}})", top1,
                      gmacs));
    write(name + "/shapes.csv",
          "step,epoch,name,index,value\n0,0,pool1.alpha,0,2\n0,0,pool1.alpha,1,2\n0,0,pool1.size,0,16\n"
          "0,0,pool1.size,1,16\n4,2,pool1.alpha,0,2.5\n4,2,pool1.alpha,1,1.75\n4,2,pool1.size,0,13\n4,2,pool1.size,1,"
          "18\n");
  }
  std::vector<RunGroup> groups(std::vector<std::string> names, const RecordParts& parts = {}) const {
    std::vector<fs::path> paths;
    for (const std::string& name : names) paths.push_back(folder_ / name);
    return read_groups(paths, parts);
  }
  std::string error_of(std::vector<std::string> names) const {
    try {
      groups(std::move(names));
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
  static bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
};

const std::string kDyno = R"({"default": {"type": "dynopool"}})";

TEST_F(FigureRuns, RunsThatDifferInTheirSeedAreOneRow) {
  write_run("t/runs/max-seed1", 1, "{}", 4, 0.5, 0.1);
  write_run("t/runs/max-seed2", 2, "{}", 6, 0.7, 0.1);
  write_run("t/runs/dyno-seed1", 1, kDyno, 4, 0.6, 0.2);
  const auto rows = groups({"t"});
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].label, "dyno");
  EXPECT_EQ(rows[1].label, "max");
  ASSERT_EQ(rows[1].runs.size(), 2u);
  EXPECT_EQ(rows[1].runs[0].seed, 1u);
  EXPECT_EQ(rows[1].runs[0].steps.size(), 4u);
  EXPECT_EQ(rows[1].runs[0].steps_per_epoch(), 2);
  EXPECT_EQ(rows[1].runs[1].evaluations.back().values.at("test_top1"), 0.7);
  EXPECT_EQ(rows[0].runs[0].shapes.front().points, (std::vector<std::pair<int64_t, double>>{{0, 2}, {4, 2.5}}));
  EXPECT_EQ(pool_text(rows[0].runs[0].config), "DynOPool");
  EXPECT_EQ(pool_text(rows[1].runs[0].config), "human-designed");
}

TEST_F(FigureRuns, RowsOfOneConfigKeepTheirSeeds) {
  write_run("t/runs/aa-seed1", 1, "{}", 4, 0.5, 0.1);
  for (const int seed : {1, 2, 3}) write_run(fmt::format("t/runs/bb-seed{}", seed), seed, "{}", 4, 0.5, 0.1);
  auto rows = groups({"t"});
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].label, "aa");
  EXPECT_EQ(rows[0].runs.size(), 1u);
  EXPECT_EQ(rows[1].runs.size(), 3u);
  // The same names in two tables are told apart by the folder that differs.
  write_run("u/runs/aa-seed1", 1, R"({"default": {"type": "soft"}})", 4, 0.5, 0.1);
  rows = groups({"t/runs/aa-seed1", "u"});
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].label, "t/runs/aa");
  EXPECT_EQ(rows[1].label, "u/runs/aa");
}

TEST_F(FigureRuns, ACutLastLineIsLeftOutAndADamagedOneIsNamed) {
  write_run("a", 1, "{}", 4, 0.5, 0.1);
  std::ofstream(folder_ / "a/log.jsonl", std::ios::app) << R"({"step":5,"epo)";
  std::ofstream(folder_ / "a/shapes.csv", std::ios::app) << "5,2,pool1.al";
  EXPECT_EQ(groups({"a"})[0].runs[0].steps.size(), 4u);
  std::ofstream(folder_ / "a/log.jsonl", std::ios::app) << "\n"
                                                        << R"({"step":6,"epoch":2,"test_top1":0})"
                                                        << "\n";
  EXPECT_TRUE(has(error_of({"a"}), "a/log.jsonl:7: damaged: expected a JSON object")) << error_of({"a"});
  write_run("b", 1, "{}", 4, 0.5, 0.1);
  std::ofstream(folder_ / "b/shapes.csv", std::ios::app) << "5,2,pool1.alpha,0,two\n";
  EXPECT_TRUE(has(error_of({"b"}), "b/shapes.csv:10: damaged: expected step,epoch,name,index,value"));
  EXPECT_TRUE(has(error_of({"b"}), "pool1.alpha,0,two"));
}

TEST_F(FigureRuns, WhatIsNoRunIsNamed) {
  fs::create_directories(folder_ / "empty");
  EXPECT_TRUE(has(error_of({"empty"}), "empty: holds no run"));
  EXPECT_TRUE(has(error_of({"absent"}), "absent: no such run directory"));
  write_run("a", 1, "{}", 4, 0.5, 0.1);
  write_run("b", 1, "{}", 4, 0.5, 0.1, "segmentation");
  EXPECT_TRUE(has(error_of({"a", "b"}), "b has segmentation")) << error_of({"a", "b"});
  EXPECT_TRUE(has(error_of({"a", "a"}), "named twice"));
}

// The y value of a point of the first series, from its pixels: two ticks give the scale.
TEST_F(FigureRuns, ACurveIsTheMeanOverTheSeeds) {
  write_run("r/max-seed1", 1, "{}", 4, 0.5, 0.1);
  write_run("r/max-seed2", 2, "{}", 6, 0.7, 0.1);
  const auto rows = groups({"r"});
  const Drawing drawing = draw_curves(rows, {.title = "t", .panels = {"loss"}, .steps = true});
  // The thick line of the training loss: 5, 2.5, 5/3, 1.25.
  for (const Shape& shape : drawing.shapes) {
    const Path* path = std::get_if<Path>(&shape);
    if (!path || path->closed || path->points.size() != 4) continue;
    const auto& p = path->points;
    EXPECT_NEAR((p[1].y - p[0].y) / (p[3].y - p[0].y), 2.5 / 3.75, 1e-9);
    EXPECT_NEAR((p[2].y - p[0].y) / (p[3].y - p[0].y), (5 - 5. / 3) / 3.75, 1e-9);
    EXPECT_NEAR((p[1].x - p[0].x) / (p[3].x - p[0].x), 1. / 3, 1e-9);
    EXPECT_TRUE(has(svg(drawing), "Mean over 2 seeds"));
    return;
  }
  FAIL() << "no line of four points";
}

TEST_F(FigureRuns, PanelsThatWereAskedForHaveToBeThere) {
  write_run("a", 1, "{}", 4, 0.5, 0.1);
  const auto rows = groups({"a"});
  const std::string all = svg(draw_curves(rows, {}));
  for (const char* part :
       {"Training loss", "Test loss", "top-1, test images", "Learning rate", "pool1.alpha", "pool1.size"})
    EXPECT_TRUE(has(all, part)) << part;
  EXPECT_FALSE(has(all, "Validation"));
  EXPECT_FALSE(has(all, "GMACs term")) << "it does not move";
  EXPECT_THROW(draw_curves(rows, {.panels = {"penalty"}}), Error);
  write("a/log.jsonl", "");
  EXPECT_THROW(draw_curves(groups({"a"}), {}), Error);
}

TEST_F(FigureRuns, ParetoHasIntervalsAndLeavesOutWhatHasNotEnded) {
  write_run("r/max-seed1", 1, "{}", 4, 0.5, 0.1);
  write_run("r/max-seed2", 2, "{}", 4, 0.6, 0.1);
  write_run("r/dyno-seed1", 1, kDyno, 4, 0.6, 0.9);
  write_run("r/open-seed1", 1, R"({"default": {"type": "soft"}})", 4, 0.6, 0.2);
  fs::remove(folder_ / "r/open-seed1/result.json");
  const auto rows = groups({"r"}, {.log = false, .shapes = false});
  const std::string text = svg(draw_pareto(rows));
  for (const char* part : {"human-designed", "DynOPool", "95% intervals", "GMACs"})
    EXPECT_TRUE(has(text, part)) << part;
  EXPECT_FALSE(has(text, "SoftPool"));
  fs::remove(folder_ / "r/max-seed1/result.json");
  fs::remove(folder_ / "r/max-seed2/result.json");
  fs::remove(folder_ / "r/dyno-seed1/result.json");
  EXPECT_THROW(draw_pareto(groups({"r"}, {.log = false, .shapes = false})), Error);
}

// A mean over seeds of one cost is that cost but for rounding.
TEST_F(FigureRuns, CostsThatAreEqualButForRounding) {
  write_run("r/max-seed1", 1, "{}", 4, 0.5, 0.1);
  write_run("r/soft-seed1", 1, R"({"default": {"type": "soft"}})", 4, 0.6, std::nextafter(0.1, 1));
  EXPECT_TRUE(has(svg(draw_pareto(groups({"r"}, {.log = false, .shapes = false}))), "SoftPool"));
}

TEST_F(FigureRuns, MapsAreDrawnToOneScale) {
  write_run("r/max-seed1", 1, "{}", 4, 0.5, 0.1);
  write_run("r/dyno-seed1", 1, kDyno, 4, 0.6, 0.2);
  write("r/max-seed1/shapes.csv", "step,epoch,name,index,value\n0,0,pool1.size,0,16\n0,0,pool1.size,1,16\n");
  const Drawing drawing = draw_learned_shapes(groups({"r"}, {.log = false}));
  double pool1 = 1e9, pool2 = 0;  // widths; the squares are the input and pool1's map
  for (const Shape& shape : drawing.shapes) {
    const Path* path = std::get_if<Path>(&shape);
    if (!path || !path->closed || !path->fill || !path->stroke) continue;
    const double width = path->points[1].x - path->points[0].x, height = path->points[2].y - path->points[1].y;
    if (std::abs(height / width - 9. / 7) < 1e-6) pool2 = width;
    if (std::abs(height - width) < 1e-9) pool1 = std::min(pool1, width);
  }
  EXPECT_NEAR(pool2 / pool1, 7. / 16, 1e-9);
  const std::string text = svg(drawing);
  for (const char* part : {"after pool1", "16\u00d716", "9\u00d77", "DynOPool", "pool1.alpha", "Dashed"})
    EXPECT_TRUE(has(text, part)) << part;
  EXPECT_LT(text.find(">human-designed<"), text.find(">DynOPool<")) << "the human-designed row comes first";
}

// A variant with other settings is other data, and a run of more epochs another scale.
TEST_F(FigureRuns, OtherDataAndScalesStandApart) {
  const auto with = [&](const std::string& name, const std::string& from, const std::string& to) {
    std::ifstream in(folder_ / name / "config.json");
    std::string text{std::istreambuf_iterator<char>(in), {}};
    text.replace(text.find(from), from.size(), to);
    write(name + "/config.json", text);
  };
  const std::string named = R"("name": "procedural",)";
  for (const char* name : {"r/tile-seed1", "r/fine-seed1", "r/long-seed1"}) write_run(name, 1, "{}", 4, 0.5, 0.1);
  with("r/tile-seed1", named, named + R"("variant": {"type": "tile", "grid": 4},)");
  with("r/fine-seed1", named, named + R"("variant": {"type": "tile", "grid": 2},)");
  with("r/long-seed1", R"("epochs": 2)", R"("epochs": 3)");
  const auto rows = groups({"r"}, {.log = false, .shapes = false});
  std::vector<std::string> contexts;
  for (const RunGroup& row : rows) contexts.push_back(context_text(row.runs.front().config));
  std::sort(contexts.begin(), contexts.end());
  EXPECT_EQ(contexts, (std::vector<std::string>{"vgg16, procedural, 16 images, 3 epochs",
                                                "vgg16, procedural, tile (grid 2), 16 images, 2 epochs",
                                                "vgg16, procedural, tile, 16 images, 2 epochs"}));
  const std::string shapes = svg(draw_learned_shapes(rows));
  for (const char* part : {">vgg16, procedural, 16 images, 2 epochs<", ">vgg16, procedural, 16 images, 3 epochs<",
                           ">tile, 1 seed<", ">tile (grid 2), 1 seed<"})
    EXPECT_TRUE(has(shapes, part)) << part;
  EXPECT_FALSE(has(shapes, "Dashed")) << "no size was learned";
}

}  // namespace
}  // namespace tidepool::figures
