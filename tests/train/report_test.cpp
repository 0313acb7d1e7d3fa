// The formats of a table: escapes, figures, what is missing.
#include "train/report.h"
#include "train/escape.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/error.h"
#include "core/safetensors.h"
#include "tests/train/twelve_rows.h"

namespace tidepool {
namespace {

namespace fs = std::filesystem;

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

RunResult result_of(double top1, Dims last) {
  RunResult r;
  r.finished = true;
  r.last = {{"top1", top1}};
  r.best = top1 + 0.01;
  r.gmacs = 0.0196;
  r.parameters = 927000;
  r.steps = 100;
  r.seconds = 12.5;
  r.peak_bytes = 3 << 20;
  r.shapes = {{"pool1", Dims{16, 16}}, {"pool2", last}};
  return r;
}

TablePlan plan_of(int64_t seeds, const std::string& scale = "quick") {
  return make_plan(twelve_rows(), {.scale = scale, .seeds = seeds, .data_set = "procedural", .sets = {}, .out = "out"});
}

const ReportFacts kFacts{.data = "procedural images",
                         .revision = "abc123",
                         .command = "tidepool table 1 --only '*'",
                         .machine = "2 threads"};

// max: 0.10, 0.12, 0.14; dynopool of the same data: 0.11, 0.14, 0.17; the rest is not there.
Report some_report(int64_t seeds = 3) {
  const TablePlan plan = plan_of(seeds);
  std::vector<RunOutcome> outcomes(plan.runs.size());
  for (size_t i = 0; i < plan.runs.size(); ++i) {
    const auto seed = static_cast<double>(plan.runs[i].seed);
    if (plan.runs[i].row == 0) outcomes[i].result = result_of(0.08 + 0.02 * seed, Dims{8, 8});
    if (plan.runs[i].row == 2)
      outcomes[i].result = result_of(0.08 + 0.03 * seed, Dims{8, plan.runs[i].seed == 1 ? 9 : 8});
    if (plan.runs[i].row == 1 && plan.runs[i].seed == 1) outcomes[i].failure = "the loss <is> not finite | 50%";
  }
  return make_report(plan, outcomes, kFacts);
}

TEST(Report, Escapes) {
  EXPECT_EQ(escape_markdown("stretch_v a|b *c* _d_ `e` <f> g\nh"),
            "stretch_v a\\|b \\*c\\* \\_d\\_ \\`e\\` \\<f\\> g h");
  EXPECT_EQ(escape_markdown("[+1, +2] [x](y)"), "[+1, +2] [x\\](y)");
  EXPECT_EQ(escape_csv("plain"), "plain");
  EXPECT_EQ(escape_csv("a,b"), "\"a,b\"");
  EXPECT_EQ(escape_csv("a\"b\nc"), "\"a\"\"b\nc\"");
  EXPECT_EQ(escape_latex("stretch_v 50% a&b #1 $x {y} \\z"),
            "stretch\\_v 50\\% a\\&b \\#1 \\$x \\{y\\} \\textbackslash{}z");
  EXPECT_EQ(escape_latex("~^<>| \u00b1 --only [1]"),
            "\\textasciitilde{}\\textasciicircum{}\\textless{}\\textgreater{}\\textbar{} $\\pm$ -{}-only {[}1{]}");
  EXPECT_EQ(escape_html("<a href=\"x\">&'"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;");
}

TEST(Report, Figures) {
  const Report report = some_report();
  ASSERT_EQ(report.rows.size(), 12U);
  const ReportRow& max = report.rows[0];
  EXPECT_EQ(max.last->n, 3);
  EXPECT_NEAR(max.last->mean, 0.12, 1e-12);
  EXPECT_NEAR(*max.last->deviation, 0.02, 1e-12);
  EXPECT_NEAR(max.best->mean, 0.13, 1e-12);
  EXPECT_NEAR(max.step_ms->mean, 125, 1e-9);
  EXPECT_FALSE(max.difference);
  const ReportRow& learned = report.rows[2];
  EXPECT_NEAR(learned.difference->mean, 0.02, 1e-12);
  EXPECT_NEAR(learned.difference->interval->first, 0.02 - 4.302652729749461 * 0.01 / std::sqrt(3.0), 1e-9);
  EXPECT_NEAR(learned.shapes[1].width, 25.0 / 3, 1e-12);
  EXPECT_TRUE(has(report.incomplete, "30 of 36 runs are missing: plain-vgg16-soft (3 of 3), ")) << report.incomplete;
  EXPECT_FALSE(has(report.incomplete, "plain-vgg16-max"));
  EXPECT_EQ(report.rows[1].failures.size(), 1U);
}

TEST(Report, Markdown) {
  const std::string text = report_markdown(some_report());
  for (const char* part : {"12.00 \u00b1 2.00", "+2.00 [-0.48, +4.48]", "16x16 8x8.3", "0.0196", "0.927", "125.0",
                           "INCOMPLETE", "30 of 36", "procedural images", "abc123", "width 0.25", "5000 training",
                           "repeated 4x4 times", "shrunk to 8x8", "0 of 3", "not finite \\| 50%"})
    EXPECT_TRUE(has(text, part)) << part << "\n" << text;
  // every line of the table has as many cells
  std::istringstream lines(text);
  size_t cells = 0;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with('|')) continue;
    size_t bars = 0;
    for (size_t i = 0; i < line.size(); ++i) bars += line[i] == '|' && line[i - (i > 0)] != '\\';
    if (cells == 0) cells = bars;
    EXPECT_EQ(bars, cells) << line;
  }
  EXPECT_EQ(cells, 13U);  // three labels and nine columns
}

TEST(Report, OneSeedMakesNoClaim) {
  const Report report = some_report(1);
  const std::string text = report_markdown(report);
  EXPECT_TRUE(has(text, "one seed supports no claim"));
  EXPECT_FALSE(has(text, "+1.00"));
  EXPECT_FALSE(has(text, "\u00b1"));
  EXPECT_TRUE(report_json(report)["rows"][2]["interval"].is_null());
}

// Two rows beside their baseline: one is the baseline's function, the other has its accuracies by chance.
TEST(Report, NoIntervalOfZeroWidth) {
  const fs::path folder = fs::path(testing::TempDir()) / "tidepool_report_same";
  for (const int64_t seeds : {1, 3}) {
    fs::remove_all(folder);
    const TablePlan plan = make_plan(
        twelve_rows(),
        {.scale = "quick", .seeds = seeds, .only = "plain-*", .data_set = "procedural", .sets = {}, .out = folder});
    std::vector<RunOutcome> outcomes(plan.runs.size());
    for (size_t i = 0; i < plan.runs.size(); ++i) {
      const PlannedRun& run = plan.runs[i];
      if (run.row > 2) continue;
      RunResult result = result_of(0.1 + 0.03 * static_cast<double>(run.seed), Dims{8, 8});
      result.loss_last = run.row == 2 ? 2.5 : 2;
      outcomes[i].result = result;
      fs::create_directories(run.folder);
      write_safetensors(run.folder / "last.safetensors",
                        {.tensors = {{"w", Tensor::full({2}, run.row == 2 ? 4 : 3)}}, .metadata = {}});
    }
    const Report report = make_report(plan, outcomes, kFacts);
    EXPECT_EQ(interval_reason(report.rows[0]), "baseline");
    EXPECT_EQ(interval_reason(report.rows[1]), "same runs");
    EXPECT_EQ(interval_reason(report.rows[2]), seeds == 1 ? "one seed" : "no spread");
    for (const std::string& text : {report_markdown(report), report_latex(report), report_html(report)}) {
      EXPECT_TRUE(has(text, "same runs") && has(text, "bit for bit")) << text;
      EXPECT_EQ(has(text, "+0.00, no spread"), seeds > 1) << text;
      EXPECT_FALSE(has(text, "+0.00 [")) << text;
      EXPECT_FALSE(has(text, "+0.00 {[}")) << text;
    }
    const Json rows = report_json(report)["rows"];
    EXPECT_EQ(rows[1]["paired_difference"], 0.0);
    for (const size_t i : {0U, 1U, 2U}) EXPECT_TRUE(rows[i]["interval"].is_null());
    EXPECT_EQ(rows[1]["interval_reason"], "same runs");
    EXPECT_TRUE(has(report_csv(report), "interval_low,interval_high,interval_reason,"));
    EXPECT_TRUE(has(report_csv(report), ",,,same runs,") || has(report_csv(report), "0.0,,,same runs,"));
  }
  fs::remove_all(folder);
  EXPECT_TRUE(report_json(some_report())["rows"][2]["interval_reason"].is_null());
}

// A row with a budget is marked unless every seed ended within a twentieth of it.
TEST(Report, EqualCostIsMarked) {
  const TablePlan plan = make_plan(twelve_rows(), {.scale = "quick",
                                                   .seeds = 2,
                                                   .only = "plain-*",
                                                   .data_set = "procedural",
                                                   .sets = {"loss.gmacs_target=0.0200"},
                                                   .out = "out"});
  std::vector<RunOutcome> outcomes(plan.runs.size());
  for (size_t i = 0; i < plan.runs.size(); ++i) {
    const PlannedRun& run = plan.runs[i];
    if (run.row > 2) continue;
    RunResult result = result_of(0.1, Dims{8, 8});
    if (run.row < 2) result.gmacs_target = 0.02;
    result.gmacs = run.row == 1 && run.seed == 2 ? 0.0212 : 0.0196;
    outcomes[i].result = result;
  }
  const Report report = make_report(plan, outcomes, kFacts);
  EXPECT_EQ(report.rows[0].equal_cost, true);
  EXPECT_EQ(report.rows[1].equal_cost, false);
  EXPECT_EQ(report.rows[2].equal_cost, std::nullopt);
  const std::string text = report_markdown(report);
  EXPECT_TRUE(has(text, "0.0204\\*")) << text;
  EXPECT_FALSE(has(text, "0.0196\\*")) << text;
  EXPECT_TRUE(
      has(text,
          "rows with a budget of 0.02 are of equal cost where the GMACs at the end are within 5% of it, in every seed"))
      << text;
  const Json rows = report_json(report)["rows"];
  EXPECT_EQ(rows[1]["equal_cost"], false);
  EXPECT_TRUE(rows[2]["equal_cost"].is_null());
  EXPECT_TRUE(has(report_csv(report), ",false,"));
  EXPECT_FALSE(has(report_markdown(some_report()), "equal cost"));
}

// Captions too are read from the configs.
TEST(Report, TheCaptionIsThatOfTheConfigs) {
  const auto text_of = [](const TableFile& table, std::vector<std::string> sets) {
    const TablePlan plan =
        make_plan(table, {.scale = "toy", .data_set = "procedural", .sets = std::move(sets), .out = "out"});
    return report_markdown(make_report(plan, std::vector<RunOutcome>(plan.runs.size()), kFacts));
  };
  const std::string changed =
      text_of(twelve_rows(), {"data.variant.type=tile", "data.variant.grid=2", "loss.gmacs_lambda=0.5",
                              "train.max_steps=7", "optim.schedule.end_lr=0.01", "data.test_images=33",
                              R"(model.pool={"default": {"type": "avg", "kernel": 2}})"});
  for (const char* part :
       {"tile (grid 2): shrunk, then repeated 2x2 times", "ended after step 7", "cosine to 0.01", "33 test images",
        "in points to avg, paired", "weight of the GMACs penalty (0.5), per 1e9 multiply-adds of one image\n",
        "changed by --set: data.variant.type=tile;", "one and the same config: ", "plain-vgg16-max = plain-vgg16-soft"})
    EXPECT_TRUE(has(changed, part)) << part << "\n" << changed;
  for (const char* part : {"plain:", "0.1 / width", "4x4", "| dynopool"})
    EXPECT_FALSE(has(changed, part)) << part << "\n" << changed;
  const std::string pooling = text_of(
      load_table("pooling"), {R"(model.pool={"default": {"type": "avg", "kernel": 3, "stride": 2, "padding": 1}})"});
  EXPECT_TRUE(has(pooling, "not their defaults: avg (kernel 3, stride 2, padding 1)\n")) << pooling;
  EXPECT_FALSE(has(text_of(twelve_rows(), {}), "Settings"));
}

// A group of optim.groups that takes no size says nothing about how sizes learn.
TEST(Report, TheRateOfSizesIsThatOfTheirGroup) {
  const auto text_of = [](const std::string& groups) {
    const TablePlan plan = make_plan(
        twelve_rows(), {.scale = "toy", .data_set = "procedural", .sets = {"optim.groups=" + groups}, .out = "out"});
    return report_markdown(make_report(plan, std::vector<RunOutcome>(plan.runs.size()), kFacts));
  };
  const std::string weights = R"({"match": "classifier.*", "lr": 0.5})",
                    sizes = R"({"match": "pool*.alpha", "lr": 0.25})";
  EXPECT_TRUE(has(text_of("[" + weights + "]"), "shape parameters: learning rate 0.01,"));
  EXPECT_TRUE(has(text_of("[" + weights + "," + sizes + "]"), "shape parameters: learning rate 0.25,"));
}

TEST(Report, ResultsOfAnotherRevisionAreNamed) {
  const fs::path folder = fs::path(testing::TempDir()) / "tidepool_report_revision";
  fs::remove_all(folder);
  const TablePlan plan = make_plan(
      twelve_rows(), {.scale = "quick", .only = "plain-*", .data_set = "procedural", .sets = {}, .out = folder});
  std::vector<RunOutcome> outcomes(plan.runs.size());
  for (size_t i = 0; i < 2; ++i) {
    outcomes[i] = {.result = result_of(0.1, Dims{8, 8}), .read = true, .failure = {}};
    fs::create_directories(plan.runs[i].folder);
    std::ofstream(plan.runs[i].folder / "provenance.json")
        << (i == 0 ? R"({"revision": "abc123", "version": "0.1.0", "threads": 2})"
                   : R"({"revision": "0ther", "version": "0.1.0", "threads": 1})");
  }
  ReportFacts facts = kFacts;
  facts.revision = "abc123 (tidepool 0.1.0)";
  facts.threads = 2;
  const std::string text = report_markdown(make_report(plan, outcomes, facts));
  EXPECT_TRUE(has(text, "abc123 (tidepool 0.1.0); 1 run of an earlier call: 0ther (tidepool 0.1.0)\n")) << text;
  EXPECT_TRUE(has(text, "2 threads; 1 run of an earlier call: threads per run 1\n")) << text;
  fs::remove_all(folder);
}

TEST(Report, ACommandIsCode) {
  const std::string markdown = report_markdown(some_report());
  EXPECT_TRUE(has(markdown, "- **Command**: `tidepool table 1 --only '*'`\n")) << markdown;
  EXPECT_TRUE(has(report_html(some_report()), "<code>tidepool table 1 --only &#39;*&#39;</code>"));
  EXPECT_TRUE(has(report_latex(some_report()), "\\texttt{tidepool table 1 -{}-only {'}*{'}}"));
  EXPECT_EQ(code_markdown("a|b"), "`a|b`");
  EXPECT_EQ(code_markdown("a `b``"), "``` a `b`` ```");
}

TEST(Report, Csv) {
  std::istringstream lines(report_csv(some_report()));
  std::string header, line;
  std::getline(lines, header);
  const auto commas = std::count(header.begin(), header.end(), ',');
  int rows = 0;
  for (; std::getline(lines, line); ++rows) EXPECT_EQ(std::count(line.begin(), line.end(), ','), commas) << line;
  EXPECT_EQ(rows, 12);
  EXPECT_TRUE(has(header, "top1_last_mean,top1_last_std"));
  EXPECT_TRUE(has(report_csv(some_report()), "quick,procedural,plain-vgg16-max,"));
}

TEST(Report, Latex) {
  const std::string text = report_latex(some_report());
  for (const char* part : {"\\begin{tabular}{lllrrrrrrrrl}", "\\toprule", "\\bottomrule", "\\label{tab:table1-quick}",
                           "\\caption{Table 1 (quick): operators on four variants.}", "\\textbf{14.00 $\\pm$ 3.00}",
                           "stretch\\_v", "12.00 $\\pm$ 2.00", "-{}-only", "50\\%"})
    EXPECT_TRUE(has(text, part)) << part;
  // braces balance where they are not escaped
  int depth = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (i > 0 && text[i - 1] == '\\') continue;
    depth += text[i] == '{' ? 1 : text[i] == '}' ? -1 : 0;
    EXPECT_GE(depth, 0);
  }
  EXPECT_EQ(depth, 0);
}

TEST(Report, Html) {
  const std::string text = report_html(some_report());
  for (const char* part : {"<title>Table 1 (quick)", "12.00 \u00b1 2.00", "<svg", "<rect", "&lt;is&gt;", "&#39;*&#39;",
                           "stretch_v", "class=\"warning\""})
    EXPECT_TRUE(has(text, part)) << part;
  EXPECT_FALSE(has(text, "<is>"));
  EXPECT_FALSE(has(text, "http"));  // no other file
}

TEST(Report, JsonHasTheKeysOfTheCommandLine) {
  const Json json = report_json(some_report());
  ASSERT_EQ(json["rows"].size(), 12U);
  for (const Json& row : json["rows"])
    for (const char* key : {"data", "data_set", "model", "pool", "lambda", "seeds", "top1_mean", "top1_std",
                            "gmacs_mean", "paired_difference", "interval"})
      EXPECT_TRUE(row.contains(key)) << key;
  EXPECT_FALSE(json["complete"].get<bool>());
  const Json& row = json["rows"][2];
  EXPECT_EQ(row["seeds"], 3);
  EXPECT_NEAR(row["top1_mean"].get<double>(), 0.14, 1e-12);
  EXPECT_EQ(row["interval"].size(), 2U);
  EXPECT_EQ(row["runs"].size(), 3U);
  EXPECT_EQ(json["rows"][1]["seeds"], 0);
  EXPECT_TRUE(json["rows"][1]["top1_mean"].is_null());
}

TEST(Report, ThePoolingTableHasFidelityAndCosts) {
  const TablePlan plan =
      make_plan(load_table("pooling"), {.scale = "quick", .data_set = "procedural", .sets = {}, .out = "out"});
  ReportFacts facts = kFacts;
  facts.fidelity[plan.rows[0].name] = {.squared_error = 0.01, .values = 1, .similarity = 3, .windows = 4};
  facts.costs[plan.rows[0].name] = {.forward_seconds = 0.00125, .backward_seconds = 0.0025, .kept_bytes = 0.25};
  const Report report = make_report(plan, std::vector<RunOutcome>(plan.runs.size()), facts);
  const std::string markdown = report_markdown(report);
  for (const char* part : {"Pooling table (quick)", "PSNR, dB", "20.00", "0.7500", "Left out", "initial value", "1.250",
                           "2.500", "lip (kernel 3, stride 2, padding 1, logit \"bottleneck\")", "70.89 [1]",
                           "[1] 70.89: VGG-16-BN, one run each, max (rentainhe/pytorch-pooling)", "not run"})
    EXPECT_TRUE(has(markdown, part)) << part << "\n" << markdown;
  std::istringstream csv(report_csv(report));
  std::string header, first;
  std::getline(csv, header);
  std::getline(csv, first);
  EXPECT_TRUE(header.ends_with(",psnr,ssim,forward_ms,backward_ms,kept_bytes_per_element"));
  EXPECT_TRUE(first.ends_with(",20.0,0.75,1.25,2.5,0.25")) << first;
  EXPECT_TRUE(has(report_latex(report), "SSIM"));
  EXPECT_TRUE(has(report_html(report), ">0.7500</td>"));
  EXPECT_EQ(report_json(report)["rows"][0]["ssim"], 0.75);
  EXPECT_EQ(report_json(report)["rows"][0]["forward_ms"], 1.25);
  EXPECT_TRUE(report_json(report)["rows"][1]["psnr"].is_null());
  EXPECT_FALSE(has(report_markdown(some_report()), "SSIM"));  // table 1 has none
}

TEST(Report, PenaltyIsExplained) {
  const TablePlan plan =
      make_plan(load_table("1"), {.scale = "toy", .data_set = "procedural", .sets = {}, .out = "out"});
  const std::string text = report_markdown(make_report(plan, std::vector<RunOutcome>(plan.runs.size()), kFacts));
  EXPECT_TRUE(has(text, "weight of the GMACs penalty (0.03), in units of its value at step 0\n")) << text;
}

TEST(Report, ColumnsAreThoseOfTheCallOrTheFile) {
  TableFile table = twelve_rows();
  PlanOptions options{.scale = "quick", .data_set = "procedural", .sets = {}, .out = "out"};
  const auto header = [&] {
    const TablePlan plan = make_plan(table, options);
    return report_table(make_report(plan, std::vector<RunOutcome>(plan.runs.size()), kFacts)).header;
  };
  table.columns = {"gmacs", "top1_best"};
  EXPECT_EQ(header(), (std::vector<std::string>{"data", "model", "pool", "GMACs", "top-1 best, %"}));
  const TablePlan plan = make_plan(table, options);
  const std::string text = report_markdown(make_report(plan, std::vector<RunOutcome>(plan.runs.size()), kFacts));
  EXPECT_TRUE(has(text, "best on the validation part") && !has(text, "difference of")) << "the caption follows";
  options.columns = {"lambda", "pool"};  // a label stands there already
  EXPECT_EQ(header(), (std::vector<std::string>{"data", "model", "pool", "lambda"}));
}

TEST(Report, RowsOutsideTheScaleAreNamed) {
  const TablePlan plan =
      make_plan(load_table("1"), {.scale = "quick", .data_set = "procedural", .sets = {}, .out = "out"});
  const Report report = make_report(plan, std::vector<RunOutcome>(plan.runs.size()), kFacts);
  EXPECT_EQ(report.rows.size(), 8U);
  const std::string text = report_markdown(report);
  EXPECT_TRUE(has(text, "**Not run**: 136 rows of the table: plain-vgg16-dynopool-gmacs, plain-vgg16-human-width0.178"))
      << text;
  EXPECT_TRUE(has(text, " and 124 more\n")) << text;
}

TEST(Report, LatexHasNoLocalPaths) {
  const TablePlan plan = make_plan(twelve_rows(), {.scale = "quick",
                                                   .data_set = "procedural",
                                                   .sets = {"data.root=/home/me/data", "train.epochs=3"},
                                                   .out = "out"});
  ReportFacts facts = kFacts;
  facts.command = "tidepool table /home/me/mine.json --out /tmp/x";
  facts.short_command = "tidepool table mine.json";
  const Report report = make_report(plan, std::vector<RunOutcome>(plan.runs.size()), facts);
  EXPECT_FALSE(has(report_latex(report), "/home")) << report_latex(report);
  EXPECT_TRUE(has(report_latex(report), "changed by -{}-set: train.epochs=3."));
  EXPECT_TRUE(has(report_latex(report), "\\texttt{tidepool table mine.json}"));
  EXPECT_TRUE(has(report_markdown(report), "--out /tmp/x"));
}

TEST(Report, RowsLeftOutByOnlyStayWhenTheyAreThere) {
  const TablePlan plan =
      make_plan(twelve_rows(), {.scale = "quick", .only = "tile-*", .data_set = "procedural", .sets = {}, .out = "o"});
  std::vector<RunOutcome> outcomes(plan.runs.size());
  outcomes[0].result = result_of(0.2, Dims{8, 8});
  const Report report = make_report(plan, outcomes, kFacts);
  ASSERT_EQ(report.rows.size(), 4U);
  EXPECT_EQ(report.rows[0].row.name, "plain-vgg16-max");
  EXPECT_EQ(report.rows[1].row.name, "tile-vgg16-max");
  EXPECT_EQ(report.incomplete, "3 of 3 runs are missing: tile-vgg16-max, tile-vgg16-soft, tile-vgg16-dynopool");
}

TEST(Report, FilesAreWritten) {
  const fs::path folder = fs::path(testing::TempDir()) / "tidepool_report_files" / "deep";
  fs::remove_all(folder.parent_path());
  const Report report = some_report();
  write_report(report, folder, "table1");
  const auto text_of = [&](const char* name) {
    std::ifstream in(folder / name, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  EXPECT_EQ(text_of("table1.md"), report_markdown(report));
  EXPECT_EQ(text_of("table1.csv"), report_csv(report));
  EXPECT_EQ(text_of("table1.tex"), report_latex(report));
  EXPECT_EQ(text_of("table1.html"), report_html(report));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder), {}), 4);
  EXPECT_THROW(write_report(report, folder / "table1.md", "table1"), Error);
  fs::remove_all(folder.parent_path());
}

}  // namespace
}  // namespace tidepool
