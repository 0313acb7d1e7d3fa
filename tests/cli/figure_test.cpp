// `tidepool plot` and `tidepool figure`, on runs of this binary.
#include "cli.h"

namespace tidepool {
namespace {

namespace fs = std::filesystem;

class FigureTest : public CliTest {
 protected:
  // A run of some steps in runs/NAME-seedN.
  void train(const std::string& name, int seed, const std::vector<std::string>& sets = {}) {
    write_tiny_config();
    std::vector<std::string> call = {
        "train", "tiny.json", "--out", "runs/" + name + "-seed" + std::to_string(seed), "--seed", std::to_string(seed)};
    for (const std::string& set : sets) {
      call.push_back("--set");
      call.push_back(set);
    }
    done(call);
  }
  std::string text(const std::string& name) const { return text_of(file(name)); }
  static bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
};

TEST_F(FigureTest, PlotsAndFiguresOfRuns) {
  for (const int seed : {1, 2}) {
    train("max", seed);
    train("dyno", seed, {"model.pool.default.type=dynopool"});
  }
  const auto plot = done({"plot", "runs", "--json"}).json();
  EXPECT_EQ(plot["file"], "plot.svg");
  ASSERT_EQ(plot["rows"].size(), 2U);
  EXPECT_EQ(plot["rows"][0]["label"], "dyno");
  EXPECT_EQ(plot["rows"][0]["seeds"], 2);
  const std::string curves = text("plot.svg");
  EXPECT_TRUE(curves.starts_with("<svg ") && curves.ends_with("</svg>\n"));
  for (const char* part : {"Training loss", "top-1, test images", "Learning rate", "pool1.alpha", ">max<", ">dyno<",
                           "epoch", "Mean over 2 seeds"})
    EXPECT_TRUE(has(curves, part)) << part;
  const Outcome one = done(
      {"plot", "runs/max-seed1", "--panels", "loss,lr", "--axis", "steps", "--label", "2x2 max", "--out", "one.svg"});
  EXPECT_TRUE(has(one.out, "one.svg")) << one.out;
  EXPECT_TRUE(has(text("one.svg"), ">2x2 max<") && has(text("one.svg"), ">step<"));
  EXPECT_FALSE(has(text("one.svg"), "top-1"));

  done({"figure", "4", "runs", "--out", "shapes.svg", "--title", "Learned shapes"});
  for (const char* part :
       {"Learned shapes", "after pool4", "DynOPool", "human-designed", "3 convolutions", "pool1.alpha"})
    EXPECT_TRUE(has(text("shapes.svg"), part)) << part;
  done({"figure", "pareto", "runs", "--out", "pareto.svg"});
  EXPECT_TRUE(has(text("pareto.svg"), "95% intervals"));
  EXPECT_EQ(done({"figure", "1", "--data-set", "procedural", "--images", "3", "--json"}).json()["data_set"],
            "procedural");
  for (const char* part : {"plain", "stretch_v", "to 64x32, middle 32 rows", "tile", "large", "image/png;base64"})
    EXPECT_TRUE(has(text("figure.svg"), part)) << part;

  const Outcome png = run({"figure", "1", "--data-set", "procedural", "--images", "2", "--out", "one.png"});
  if (png.status == 0)
    EXPECT_TRUE(text("one.png").starts_with("\x89PNG"));
  else
    EXPECT_TRUE(png.status == 2 && has(png.err, "libcairo2-dev")) << png.err;

  // What cannot be drawn is refused, and nothing is left.
  expect_refused({"plot", "runs/max-seed1", "--panels", "penalty"}, {"--panels", "'penalty'"});
  expect_refused({"plot", "runs", "--panels", "losses"}, {"--panels", "'losses'", "did you mean 'loss'"});
  expect_refused({"plot", "runs", "--label", "one"}, {"--label", "2 rows (dyno, max)", "got 1"});
  expect_refused({"plot", "runs/max-seed1", "runs"}, {"max-seed1", "named twice"});
  expect_refused({"figure", "pareto", "runs", "--images", "3"}, {"--images", "figure pareto"});
  train("shapes", 1, {"data.name=shapes", "task=segmentation", "model.head=fcn", "data.augment=none"});
  for (const char* command : {"plot", "figure"}) {
    std::vector<std::string> call = {command};
    if (call[0] == "figure") call.emplace_back("pareto");
    call.insert(call.end(), {"runs/max-seed1", "runs/shapes-seed1"});
    expect_refused(call, {"one task", "runs/max-seed1", "classification", "runs/shapes-seed1", "segmentation"});
  }
  const std::string log = text("runs/max-seed1/log.jsonl");
  write("runs/max-seed1/log.jsonl", log + R"({"step":99,"epo)");  // as a killed run leaves it
  done({"plot", "runs/max-seed1"});
  write("runs/max-seed1/log.jsonl", log.substr(0, 20) + "\n" + log);
  expect_refused({"plot", "runs/max-seed1"}, {"runs/max-seed1/log.jsonl:1", "damaged", "JSON object"});
  write("runs/max-seed1/log.jsonl", "");
  expect_refused({"plot", "runs/max-seed1"}, {"runs/max-seed1/log.jsonl", "no step is logged"});
  fs::remove(file("runs/max-seed1/log.jsonl"));
  expect_refused({"plot", "runs/max-seed1"}, {"runs/max-seed1", "no log.jsonl"});
  write("runs/max-seed1/config.json", R"({"data": {"nam": "procedural"}})");
  expect_refused({"plot", "runs/max-seed1"}, {"runs/max-seed1/config.json", "data.nam"});
}

TEST_F(FigureTest, WrongRequestsAreRefused) {
  fs::create_directories(file("empty"));
  write("note.txt", "x");
  expect_refused({"plot"}, {"RUN"});
  expect_refused({"plot", "empty"}, {"empty", "holds no run", "config.json"});
  expect_refused({"plot", "absent"}, {"absent", "no such run directory"});
  expect_refused({"plot", "note.txt"}, {"note.txt", "it is a file"});
  expect_refused({"plot", "empty", "--out", "plot.pdf"}, {"--out plot.pdf", ".svg or .png"});
  expect_refused({"plot", "empty", "--out", "plot"}, {"--out plot", ".svg or .png"});
  expect_refused({"plot", "empty", "--out", "no/such/plot.svg"}, {"no/such", "there is no folder"});
  expect_refused({"plot", "empty", "--axis", "hours"}, {"--axis", "epochs", "hours"});
  expect_refused({"figure"}, {"1|4|pareto"});
  expect_refused({"figure", "2"}, {"unknown figure '2'", "1, 4, pareto"});
  expect_refused({"figure", "pareta"}, {"unknown figure 'pareta'", "did you mean 'pareto'"});
  expect_refused({"figure", "4"}, {"figure 4 is drawn from runs"});
  expect_refused({"figure", "4", "empty"}, {"empty", "holds no run"});
  expect_refused({"figure", "1", "runs"}, {"takes no RUN", "'runs'"});
  expect_refused({"figure", "1", "--data-set", "proceduralx"},
                 {"--data-set", "proceduralx", "did you mean 'procedural'"});
  expect_refused({"figure", "1", "--data-set", "shapes"}, {"--data-set shapes", "one label"});
  expect_refused({"figure", "1", "--images", "0"}, {"--images"});
  expect_refused({"figure", "1", "--title", "x"}, {"--title", "figure 1"});
  const Outcome unwritable = run({"figure", "1", "--data-set", "procedural", "--out", "/proc/figure.svg"});
  EXPECT_EQ(unwritable.status, 1);
  EXPECT_TRUE(has(unwritable.err, "/proc/figure.svg: cannot be written")) << unwritable.err;
  EXPECT_EQ(unwritable.out, "");
  fs::create_directories(file("folder.svg"));
  expect_refused({"figure", "1", "--data-set", "procedural", "--out", "folder.svg"}, {"folder.svg", "it is a folder"});
}

}  // namespace
}  // namespace tidepool
