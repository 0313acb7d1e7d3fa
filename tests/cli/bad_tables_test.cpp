// Wrong tables: one error that names file, line and key, before anything is run or written.
#include "tests/cli/cli.h"

namespace tidepool {
namespace {

class BadTables : public CliTest {
 protected:
  // A table with these members behind title and base, line 4 and on; each word must be in the error.
  void expect_bad(const std::string& members, std::vector<std::string> words,
                  const std::vector<std::string>& more = {}) const {
    write("mine.json", "{\n\"title\": \"Mine\",\n\"base\": \"cifar100_vgg16.json\",\n" + members + "\n}");
    std::vector<std::string> call = {"table", "mine.json", "--scale", "smoke"};
    call.insert(call.end(), more.begin(), more.end());
    expect_refused(call, words);
  }
  const std::string rows = R"("rows": {"a": {}, "b": {"model.conv_bias": true}})";
};

TEST_F(BadTables, Files) {
  expect_refused({"table", "poling"}, {"there is no table poling", "did you mean 'pooling'", "the path of a file"});
  expect_refused({"table", "scales"}, {"there is no table scales"});
  expect_refused({"table", "none.json"}, {"none.json: no such file"});
  expect_refused({"table", "tables/none"}, {"tables/none: no such file"});
  write("broken.json", "{\n  \"title\": \"a\",\n  \"rows\": {,}\n}");
  expect_refused({"table", "broken.json"}, {"broken.json:3:12"});
  write("list.json", "[]");
  expect_refused({"table", "list.json"}, {"list.json: expected an object, got []"});
  write("twice.json", "{\n  \"title\": \"a\",\n  \"title\": \"b\"\n}");
  expect_refused({"table", "twice.json"}, {"twice.json:3:3: title", "twice"});
  std::filesystem::create_directories(file("folder.json"));
  expect_refused({"table", "./folder.json"}, {"folder.json: is a folder"});
}

TEST_F(BadTables, Keys) {
  expect_bad(R"("grids": [])", {"mine.json:4:1: grids: unknown key", "did you mean 'grid'"});
  expect_bad(R"("caption": "x")", {"mine.json: needs a key 'grid', or 'rows'"});
  expect_bad(rows + R"(, "grid": [])", {"expected 'grid' or 'rows', got both"});
  expect_bad(rows + R"(, "columns": "gmacs")", {"mine.json:4:", "columns: expected a list, got \"gmacs\""});
  expect_bad(R"("rows": [])", {"mine.json:4:1: rows: expected an object, got []"});
  expect_bad(R"("rows": {})", {"mine.json:4:1: rows: expected at least one row"});
  expect_bad(R"("rows": {"a/b": {}})", {"mine.json:4:10: rows.a/b: expected a name that a folder can have"});
  expect_bad(R"("rows": {"a": 3})", {"mine.json:4:10: rows.a: expected an object, got 3"});
  expect_bad(R"("grid": [{"column": "pool", "row": {}}])", {"mine.json:4:", "grid.0.row: unknown key", "'rows'"});
  expect_bad(R"("grid": [{"column": "pool", "rows": {"a": {}}}, {"column": "pool", "rows": {"b": {}}}])",
             {"grid.1.column", "has a column 'pool' already"});
  write("untitled.json", R"({"base": "cifar100_vgg16.json", "rows": {"a": {}}})");
  expect_refused({"table", "untitled.json"}, {"untitled.json: needs a key 'title'"});
  expect_bad(rows + R"(, "published": [{"value": "72", "what": "x", "source": "y"}])",
             {"published.0.value: expected a number, got \"72\""});
  expect_bad(rows + R"(, "published": [{"rows": "bb", "value": 72, "what": "x", "source": "y"}])",
             {"mine.json:", "published.0.rows: 'bb' matches no row"});
}

TEST_F(BadTables, Columns) {
  expect_bad(rows + ",\n\"columns\": [\"gmacs\", \"acuracy\"]",
             {"mine.json:5:", "columns.1: unknown column 'acuracy'", "top1_last"});
  expect_bad(rows + R"(, "columns": ["gmacs", "gmacs"])", {"the column 'gmacs' is there already"});
  expect_bad(rows + R"(, "columns": ["mean_iou_last"])", {"unknown column 'mean_iou_last'"});
  expect_bad(rows, {"--columns: unknown column 'gmac'", "did you mean 'gmacs'"}, {"--columns", "gmac"});
  expect_bad(rows, {"--columns: expected names of columns"}, {"--columns", ""});
}

TEST_F(BadTables, Rows) {
  expect_bad(R"("rows": {"a": {}, "b": {}})", {"mine.json:4:19: the rows a and b are the same config"});
  expect_bad(R"("rows": {"a": {"model.pool": {"default": {"type": "max"}}},
             "b": {"model.pool": {"default": {"type": "max", "kernel": 2, "stride": 2}}}})",
             {"the rows a and b are the same config"});
  expect_bad(R"("grid": [{"column": "x", "rows": {"a": {}, "a-b": {"train.batch": 8}}},
                {"column": "y", "rows": {"b-c": {"optim.lr": 1}, "c": {}}}])",
             {"two rows have the name a-b-c"});
  expect_bad("\"rows\": {\"a\": {},\n\"b\": {\"optim.learnrate\": 1}}",
             {"mine.json:5:7: optim.learnrate: unknown key", "optim has name, lr,"});
  expect_bad("\"rows\": {\"a\": {},\n\"b\": {\"model.pool\": {\"default\": {\"type\": \"sotf\"}}}}",
             {"mine.json:5:7", "model.pool.default.type", "did you mean 'soft'"});
  expect_bad("\"rows\": {\"a\": {},\n\"b\": {\"model.pool\": {\"pool9\": {\"type\": \"soft\"}}}}",
             {"mine.json:5:1: b: ", "pool9"});
  expect_bad(R"("rows": {"a": {"train.seed": 3}})", {"mine.json:4:16: train.seed", "its seed"});
  expect_bad(R"("rows": {"a": {"": 3}})", {"mine.json:4:16", "empty part"});
  expect_bad(R"("rows": {"a": {}, "b": {"task": "segmentation"}})", {"mine.json:4:19"});
}

TEST_F(BadTables, Bases) {
  expect_bad("\"rows\": {\"a\": {},\n\"b\": {\"extends\": \"cifar100_vgg61.json\"}}",
             {"mine.json:5:7: extends: cifar100_vgg61.json: no such file", "did you mean 'cifar100_vgg16.json'"});
  expect_bad(R"("grid": [{"column": "x", "rows": {"a": {"extends": "cifar100_resnet18.json"}}},
                {"column": "y", "rows": {"b": {"extends": "cifar100_resnet50.json"}}}])",
             {"mine.json:5:", "extends: the row has another extends already"});
  expect_bad(R"("rows": {"a": {"extends": 3}})", {"mine.json:4:16: rows.a.extends: expected a text, got 3"});
  write("based.json", "{\"title\": \"x\",\n\"base\": \"none.json\", \"rows\": {\"a\": {}}}");
  expect_refused({"table", "based.json"}, {"based.json:2:1: base: none.json: no such file"});
  write("itself.json", "{\"title\": \"x\",\n\"base\": \"itself.json\", \"rows\": {\"a\": {}}}");
  expect_refused({"table", "itself.json"}, {"itself.json:1:2: title: unknown key"});
}

TEST_F(BadTables, BaselinesAndScales) {
  expect_bad(rows + ",\n\"baseline\": \"c\"", {"mine.json:5:1: baseline: names no row", "a, b"});
  const std::string grid = R"("grid": [{"column": "pool", "rows": {"max": {}, "soft": {"train.batch": 3}}}])";
  expect_bad(grid + ",\n\"baseline\": {\"pool\": \"mux\"}",
             {"mine.json:5:14: baseline.pool: names no row", "did you mean 'max'"});
  expect_bad(grid + R"(, "baseline": {"pol": "max"})", {"baseline.pol: the grid has no such column", "'pool'"});
  expect_bad(grid + R"(, "baseline": "max")", {"baseline: expected an object, got \"max\""});
  expect_bad(rows + R"(, "baseline": {"z*": "a"})", {"the pattern 'z*' matches no row"});
  expect_bad(rows + ",\n\"scales\": {\"quik\": {}}", {"mine.json:5:12: scales.quik: unknown scale", "'quick'"});
  expect_bad(rows + R"(, "scales": {"quick": {"onyl": "a"}})", {"scales.quick.onyl: unknown key", "'only'"});
  expect_bad(rows + R"(, "scales": {"full": {"only": "z*"}})", {"scales.full.only", "'z*' matches no row"});
  expect_bad(rows + R"(, "scales": {"smoke": {"except": "*"}})", {"scales.smoke: leaves no row to run"});
  expect_bad(rows + R"(, "scales": {"smoke": {"settings": {"model.wdith": 1}}})", {"model.wdith: unknown key"});
  expect_refused({"table", "mine.json", "--scale", "smok"}, {"unknown scale 'smok'", "'smoke'"});
  expect_bad(rows, {"--only 'c*' matches no row"}, {"--only", "c*"});
  write("configs/tables/scales.json", "{\"smoke\": {\"for\": \"x\",\n\"seeds\": 0, \"settings\": {}}}");
  expect_refused({"table", "1", "--scale", "smoke"},
                 {"configs/tables/scales.json:2:1: smoke.seeds: expected an integer from 1 to 10000, got 0"});
}

TEST_F(BadTables, Calls) {
  expect_refused({"table", "--scale", "toy"}, {"--scale means nothing"});
  expect_refused({"table", "1", "2"}, {"2"});
  expect_refused({"table", "1", "--seeds", "0"}, {"--seeds", "0"});
  expect_refused({"table", "1", "--dry-run", "--set", "optim.learnrate=1"}, {"optim.learnrate"});
  // Pictures that are not there.
  write("folder.json", R"({"data": {"name": "folder", "size": 32, "classes": 2}})");
  write("mine.json", R"({"title": "Mine", "base": "folder.json", "rows": {"a": {}}})");
  expect_refused({"table", "mine.json", "--scale", "smoke"}, {"folder was not found"});
}

}  // namespace
}  // namespace tidepool
