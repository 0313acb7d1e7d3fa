// Tables from the command line: a user's own file, labels, rows that are the same function, what a call would cost, and
// a table that is interrupted.
#include <chrono>
#include <cstring>
#include <filesystem>
#include <regex>
#include <thread>

#include "tests/cli/cli.h"

namespace tidepool {
namespace {

namespace fs = std::filesystem;

constexpr const char* kOwnTable = R"({
  "title": "Mine",
  "base": "cifar100_vgg16.json",
  "grid": [
    {"column": "pool", "rows": {
      "max": {},
      "fractional": {"model.pool": {"default": {"type": "fractional_max", "kernel": 2, "ratio": 0.5}}},
      "blurred": {"model.pool": {"default": {"type": "max_blur", "kernel": 2, "filter": 3, "stride": 2}}}
    }}
  ],
  "baseline": {"pool": "max"}
})";

class TableCommand : public CliTest {
 protected:
  static std::vector<std::string> call(const std::string& table, std::vector<std::string> more,
                                       const std::vector<std::string>& sets) {
    std::vector<std::string> all = {"table", table, "--scale", "smoke"};
    all.insert(all.end(), more.begin(), more.end());
    for (const char* set :
         {"train.max_steps=4", "train.batch=16", "data.train_images=64", "data.test_images=60", "model.width=0.0625"})
      all.insert(all.end(), {"--set", set});
    for (const std::string& set : sets) all.insert(all.end(), {"--set", set});
    return all;
  }
};

TEST_F(TableCommand, PrintsWhatRan) {
  const nlohmann::json rows = done(call("pooling", {"--only", "max", "--out", "t", "--json"},
                                        {"data.variant.type=tile", "loss.gmacs_lambda=0.5"}))
                                  .json()["rows"];
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0]["data"], "tile");
  EXPECT_EQ(rows[0]["labels"], nlohmann::json({{"pool", "max"}}));
  EXPECT_EQ(rows[0]["lambda"], 0.5);
  EXPECT_EQ(rows[0]["seeds"], 1) << "the scale's";
  for (const char* key : {"psnr", "ssim", "forward_ms", "backward_ms", "kept_bytes_per_element"})
    EXPECT_GT(rows[0][key].get<double>(), 0) << key;
  for (const char* ending : {".md", ".csv", ".tex", ".html"}) {
    const std::string text = text_of(file(std::string("t/pooling") + ending));
    EXPECT_NE(text.find("tile"), std::string::npos) << ending;
    EXPECT_EQ(text.find("plain"), std::string::npos) << ending;
  }
  EXPECT_NE(text_of(file("t/pooling.md")).find("- **Not run**: 26 rows of the table: avg"), std::string::npos);
}

TEST_F(TableCommand, TheSameFunctionHasNoInterval) {
  write("mine.json", kOwnTable);
  const nlohmann::json rows = done(call("mine.json", {"--seeds", "2", "--out", "t", "--json"}, {})).json()["rows"];
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[1]["name"], "fractional");  // with this ratio it pools as max does
  EXPECT_EQ(rows[1]["paired_difference"], 0.0);
  EXPECT_TRUE(rows[1]["interval"].is_null());
  EXPECT_EQ(rows[1]["interval_reason"], "same runs");
  EXPECT_NE(rows[2]["interval_reason"], "same runs") << "max_blur, though so short a training may give its accuracy";
  for (const char* ending : {".md", ".csv", ".tex", ".html"})
    EXPECT_NE(text_of(file(std::string("t/mine") + ending)).find("same runs"), std::string::npos) << ending;
}

TEST_F(TableCommand, SeedsFromAnotherFirstOne) {
  write("mine.json", kOwnTable);
  const auto table = [&] {
    return call("mine.json", {"--seeds", "2", "--first-seed", "101", "--only", "max", "--out", "t", "--json"}, {});
  };
  EXPECT_EQ(done(table()).json()["rows"][0]["seeds"], 2);
  const std::string text = text_of(file("t/mine.md"));
  EXPECT_NE(text.find("- **Seeds**: 2 (101 to 102)"), std::string::npos) << text;
  EXPECT_NE(text.find("--first-seed 101"), std::string::npos) << "the command";
  for (const char* seed : {"101", "102"}) {
    const auto folder = std::filesystem::path(file("t/runs")) / (std::string("max-seed") + seed);
    EXPECT_EQ(nlohmann::json::parse(text_of(folder / "config.json"))["train"]["seed"], std::stoi(seed));
  }
  EXPECT_FALSE(std::filesystem::exists(std::filesystem::path(file("t/runs")) / "max-seed1"));
}

// The README's table of ten lines, as it stands there.
TEST_F(TableCommand, TheReadmesTableRuns) {
  const std::string readme = text_of(std::filesystem::path(TIDEPOOL_SOURCE_DIR) / "README.md");
  const size_t section = readme.find("## Compare your own operator");
  ASSERT_NE(section, std::string::npos);
  const size_t begin = readme.find("```json\n", section) + 8, end = readme.find("```", begin);
  const std::string table = readme.substr(begin, end - begin);
  EXPECT_LE(std::count(table.begin(), table.end(), '\n'), 10);
  write("mine.json", table);
  const nlohmann::json report = done(call("mine.json", {"--json"}, {})).json();
  EXPECT_TRUE(report["complete"]);
  EXPECT_EQ(report["rows"].size(), 3u);
  EXPECT_TRUE(std::filesystem::exists(file("runs/mine-smoke-procedural/mine.tex")));
}

TEST_F(TableCommand, ColumnsOfTheCall) {
  write("mine.json", kOwnTable);
  const std::string text =
      done(call("mine.json", {"--only", "max", "--out", "t", "--columns", "gmacs,top1_last"}, {})).out;
  EXPECT_NE(text.find("\n| pool |  GMACs | top-1 last, % |\n"), std::string::npos) << text;
}

// What tools/keep_runs leaves of a run is enough for a table.
TEST_F(TableCommand, RunsOfSeveralMachinesBecomeOneTable) {
  write("mine.json", kOwnTable);
  const auto keep = [&](const std::string& from) {
    return shell(TIDEPOOL_SOURCE_DIR "/tools/keep_runs " + from + " " + file("all").string());
  };
  nlohmann::json apart;
  for (const char* row : {"max", "blurred"}) {
    const std::string out = std::string("of-") + row;
    const std::string out_path = file(out).string();
    apart[row] =
        done(call("mine.json", {"--only", row, "--out", out_path, "--jobs", "2", "--json"}, {})).json()["rows"][0];
    const Ended kept = keep(out_path);
    ASSERT_EQ(kept.status, 0) << kept.out;
  }
  for (const auto& entry : fs::recursive_directory_iterator(file("all")))
    if (entry.is_regular_file()) {
      EXPECT_EQ(text_of(entry.path()).find(file("").string()), std::string::npos) << entry;
    }
  const nlohmann::json rows = done(call("mine.json", {"--out", "all", "--json"}, {})).json()["rows"];
  ASSERT_EQ(rows.size(), 3u);
  size_t trained = 0;
  for (const auto& entry : fs::recursive_directory_iterator(file("all")))
    trained += entry.path().filename() == "last.safetensors";
  EXPECT_EQ(trained, 1u);
  for (const nlohmann::json& row : rows) {
    EXPECT_EQ(row["seeds"], 1) << row;
    const std::string name = row["labels"]["pool"];
    if (apart.contains(name)) {
      EXPECT_EQ(row.at("top1_mean"), apart[name].at("top1_mean")) << name;
    }
  }
  // Another run of that name stays.
  const std::string kept_seed = text_of(file("all/runs/max-seed1/config.json"));
  done(call("mine.json", {"--only", "max", "--out", "other"}, {"train.batch=4"}));
  const Ended refused =
      shell(TIDEPOOL_SOURCE_DIR "/tools/keep_runs " + file("other").string() + " " + file("all").string() + " 2>&1");
  EXPECT_EQ(refused.status, 2);
  EXPECT_NE(refused.out.find("another config"), std::string::npos) << refused.out;
  EXPECT_EQ(text_of(file("all/runs/max-seed1/config.json")), kept_seed);
  ASSERT_EQ(keep(file("of-max/runs/max-seed1/").string()).status, 0);
  EXPECT_EQ(text_of(file("all/config.json")), kept_seed) << "a folder's last slash is none of its name";
  EXPECT_EQ(keep("nowhere").status, 2);
  fs::create_directories(file("empty"));
  EXPECT_EQ(keep("empty").status, 2);
}

TEST_F(TableCommand, ADryRunRunsNothing) {
  const std::set<std::string> before = files();
  const nlohmann::json report =
      done({"table", "1", "--scale", "smoke", "--seeds", "2", "--only", "*-vgg16-human", "--dry-run", "--json"}).json();
  EXPECT_EQ(files(), before);
  EXPECT_EQ(report["rows"].size(), 4u);
  EXPECT_EQ(report["runs"], 8);
  EXPECT_EQ(report["finished"], 0);
  EXPECT_EQ(report["steps"], 8 * 29);  // 900 images in batches of 32
  EXPECT_EQ(report["networks_measured"], 1);
  EXPECT_GT(report["hours"].get<double>(), 0);
  double hours = 0;
  for (const auto& row : report["rows"]) hours += row["hours"].get<double>();
  EXPECT_NEAR(hours, report["hours"].get<double>(), 1e-9);

  // A finished run costs nothing any more.
  write("mine.json", kOwnTable);
  done(call("mine.json", {"--only", "max", "--out", "t"}, {}));
  const nlohmann::json rest = done(call("mine.json", {"--out", "t", "--dry-run", "--json"}, {})).json();
  EXPECT_EQ(rest["finished"], 1);
  EXPECT_EQ(rest["steps"], 2 * 4);
  EXPECT_EQ(rest["rows"][0]["hours"], 0.0);
  const std::string text = done(call("mine.json", {"--out", "t", "--dry-run"}, {})).out;
  EXPECT_NE(text.find("3 rows, 3 runs, 1 of them finished; 8 steps to go"), std::string::npos) << text;
}

TEST_F(TableCommand, WithoutATableItListsThem) {
  const std::string list = done({"table"}).out;
  for (const char* part : {"Table 1: human-designed pooling against DynOPool", "pareto", "softpool", "smoke", "full"})
    EXPECT_NE(list.find(part), std::string::npos) << part << "\n" << list;
  EXPECT_TRUE(std::regex_search(list, std::regex("\n1 .* 24 +8 +36 +48 \\(240\\) +36 \\(180\\) *\n"))) << list;
  EXPECT_NE(done({"table", "--help"}).out.find(list), std::string::npos);
}

// A file beside the program's own wins, as with configs.
TEST_F(TableCommand, TablesAndScalesOfTheWorkingFolder) {
  write("configs/tables/mine.json", kOwnTable);
  write("configs/tables/scales.json",
        R"({"smoke": {"for": "a test", "seeds": 2, "settings": {"model.width": 0.0625, "train.max_steps": 1,
            "data.train_images": 40, "data.test_images": 20, "train.batch": 20}}})");
  const nlohmann::json report =
      done({"table", "mine", "--scale", "smoke", "--only", "max", "--out", "t", "--json"}).json();
  EXPECT_EQ(report["rows"][0]["seeds"], 2);
  EXPECT_EQ(report["rows"][0]["runs"][0]["steps"], 1);
  const std::string list = done({"table"}).out;
  EXPECT_NE(list.find("\nmine "), std::string::npos) << list;
  EXPECT_NE(list.find("scales.quick: unknown scale"), std::string::npos) << "a table of more scales, in the list\n"
                                                                         << list;
}

// Results of one scale are never those of another.
TEST_F(TableCommand, AnotherScaleIsAnotherRun) {
  write("mine.json", kOwnTable);
  done(call("mine.json", {"--only", "max", "--out", "t"}, {"train.max_steps=1"}));
  expect_refused({"table", "mine.json", "--scale", "quick", "--only", "max", "--out", "t"},
                 {"t/runs/max-seed1: holds a run with another config", "another --out keeps both"});
}

// A row may start from weights: fine-tuning beside training from scratch.
TEST_F(TableCommand, ARowStartsFromWeights) {
  write_tiny_config();
  done({"train", "tiny.json", "--out", "first", "--set", "train.max_steps=3"});
  write("tuned.json", R"({"title": "Fine-tuning", "base": "cifar100_vgg16.json", "baseline": "scratch",
                          "rows": {"scratch": {}, "tuned": {"model.init": "first"}}})");
  const nlohmann::json rows = done(call("tuned.json", {"--out", "t", "--json"}, {"train.max_steps=0"})).json()["rows"];
  EXPECT_EQ(rows[0]["labels"], nlohmann::json({{"row", "scratch"}}));
  const std::string weight = "features.0.weight";
  const auto first = read("first/last.safetensors"), tuned = read("t/runs/tuned-seed1/last.safetensors"),
             scratch = read("t/runs/scratch-seed1/last.safetensors");
  EXPECT_EQ(tuned.at(weight).values(), first.at(weight).values());
  EXPECT_NE(scratch.at(weight).values(), first.at(weight).values());
}

TEST_F(TableCommand, ARowOutsideTheScaleRunsWhenItIsNamed) {
  const nlohmann::json rows =
      done(call("1", {"--only", "plain-vgg16-dynopool-gmacs", "--out", "t", "--json"}, {})).json()["rows"];
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0]["lambda"], 0.03);
}

TEST_F(TableCommand, InterruptedItNamesWhatIsMissingAndResumes) {
  write("mine.json", kOwnTable);
  for (const std::string jobs : {"1", "2"}) {
    SCOPED_TRACE("jobs " + jobs);
    const auto table = [&](const std::string& out) {
      return call("mine.json", {"--jobs", jobs, "--out", out},
                  {"train.max_steps=null", "train.epochs=4", "train.checkpoint_every=2", "data.train_images=160"});
    };
    const std::string whole = "whole" + jobs, parts = "parts" + jobs;
    done(table(whole));
    const pid_t child = start(table(parts));
    const auto cut = file(parts + "/runs/max-seed1/last.safetensors");
    while (!std::filesystem::exists(cut)) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    kill(child, SIGINT);
    const Outcome stopped = finish(child);
    EXPECT_EQ(stopped.status, 130) << stopped.err;
    EXPECT_NE(stopped.err.find("the same command resumes it"), std::string::npos) << stopped.err;
    EXPECT_NE(stopped.out.find("3 of 3 runs are missing: max, fractional, blurred\n"), std::string::npos)
        << stopped.out;
    EXPECT_EQ(stopped.out, text_of(file(parts + "/mine.md")));
    EXPECT_NE(stopped.out.find("0 of 1"), std::string::npos) << "a row that has not run is in the table";
    EXPECT_NE(stopped.out.find("not run"), std::string::npos) << "and says so";
    EXPECT_FALSE(std::filesystem::exists(file(parts + "/runs/max-seed1/result.json")));

    const Outcome resumed = done(table(parts));
    EXPECT_EQ(resumed.out.find("missing"), std::string::npos) << resumed.out;
    for (const char* row : {"max", "fractional", "blurred"}) {
      const std::string run = std::string("/runs/") + row + "-seed1/last.safetensors";
      const auto x = read(whole + run), y = read(parts + run);
      ASSERT_EQ(x.size(), y.size());
      for (const auto& [name, tensor] : x)
        EXPECT_EQ(std::memcmp(tensor.raw(), y.at(name).raw(), tensor.storage().bytes), 0) << row << " " << name;
    }
  }
}

}  // namespace
}  // namespace tidepool
