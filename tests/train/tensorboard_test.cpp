// TensorBoard's event files, read back: by a reader of our own here, and by the real package where there is one.
#include "train/tensorboard.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "data/png.h"
#include "tests/scratch_folder.h"
#include "train/run.h"

namespace tidepool {
namespace {

namespace fs = std::filesystem;

std::string bytes_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

template <class Number>
Number number_at(std::string_view bytes, size_t at) {
  Number value;
  EXPECT_LE(at + sizeof value, bytes.size());
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

// The records of a file; both checksums of each are compared.
std::vector<std::string> records_of(const fs::path& path) {
  const std::string file = bytes_of(path);
  std::vector<std::string> records;
  for (size_t at = 0; at < file.size();) {
    const auto length = number_at<uint64_t>(file, at);
    EXPECT_EQ(number_at<uint32_t>(file, at + 8), masked_crc32c(std::string_view(file).substr(at, 8)));
    records.push_back(file.substr(at + 12, length));
    EXPECT_EQ(records.back().size(), length);
    EXPECT_EQ(number_at<uint32_t>(file, at + 12 + length), masked_crc32c(records.back()));
    at += 16 + length;
  }
  return records;
}

// A message's fields in their order: the number of each, and its bytes or its value.
struct Field {
  uint64_t number = 0, whole = 0;
  std::string bytes = {};
};
std::vector<Field> fields_of(std::string_view message) {
  std::vector<Field> fields;
  size_t at = 0;
  const auto varint = [&] {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = static_cast<uint8_t>(message.at(at++));
      value |= static_cast<uint64_t>(byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  while (at < message.size()) {
    const uint64_t key = varint();
    Field field{.number = key >> 3};
    const uint64_t kind = key & 7;
    if (kind == 0) {
      field.whole = varint();
    } else {
      const uint64_t length = kind == 1 ? 8 : kind == 5 ? 4 : varint();
      field.bytes = message.substr(at, length);
      at += length;
    }
    fields.push_back(std::move(field));
  }
  return fields;
}
const Field* find(const std::vector<Field>& fields, uint64_t number) {
  for (const Field& field : fields)
    if (field.number == number) return &field;
  return nullptr;
}

struct Events {
  std::map<int64_t, std::map<std::string, float>> scalars;  // by step, by tag
  std::map<std::string, std::string> images, texts;         // PNG; Markdown
  int64_t starts = -1;                                      // the step of the session log
};
Events events_of(const fs::path& path) {
  Events events;
  const std::vector<std::string> records = records_of(path);
  EXPECT_EQ(find(fields_of(records.at(0)), 3)->bytes, "brain.Event:2");
  for (const std::string& record : records) {
    const auto event = fields_of(record);
    EXPECT_GT(number_at<double>(find(event, 1)->bytes, 0), 1.7e9) << "seconds since 1970";
    const auto step = static_cast<int64_t>(find(event, 2)->whole);
    if (find(event, 7)) events.starts = step;
    if (!find(event, 5)) continue;
    for (const Field& value : fields_of(find(event, 5)->bytes)) {
      const auto parts = fields_of(value.bytes);
      const std::string tag = find(parts, 1)->bytes;
      if (const Field* simple = find(parts, 2)) events.scalars[step][tag] = number_at<float>(simple->bytes, 0);
      if (const Field* image = find(parts, 4)) events.images[tag] = find(fields_of(image->bytes), 4)->bytes;
      if (const Field* tensor = find(parts, 8)) {
        events.texts[tag] = find(fields_of(tensor->bytes), 8)->bytes;
        EXPECT_EQ(find(fields_of(find(fields_of(find(parts, 9)->bytes), 1)->bytes), 1)->bytes, "text");
      }
    }
  }
  return events;
}

class TensorBoard : public ScratchFolder {
 protected:
  // A small run with a validation part; three steps per epoch.
  RunResult train(bool resume = false, std::vector<std::string> sets = {}) const {
    const std::string text = R"({
      "name": "test",
      "data": {"name": "procedural", "train_images": 60, "val_images": 12, "test_images": 20, "workers": 0},
      "model": {"width": 0.0625, "pool": {"default": {"type": "dynopool"}}},
      "loss": {"gmacs_lambda": 0.1},
      "optim": {"groups": [{"match": "*.alpha", "lr": 0.5, "weight_decay": 0}]},
      "train": {"epochs": 2, "batch": 16, "log_every": 2, "tensorboard": true}
    })";
    RunOptions options;
    options.out = run();
    options.resume = resume;
    return train_run(load_config_text(text, "test", sets), options);
  }
  fs::path run() const { return folder_ / "run"; }
  std::vector<fs::path> event_files() const {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(run()))
      if (entry.path().filename().string().starts_with("events.out.tfevents.")) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    return files;
  }
  std::vector<Json> log() const {
    std::vector<Json> lines;
    std::ifstream in(run() / "log.jsonl");
    for (std::string line; std::getline(in, line);) lines.push_back(Json::parse(line));
    return lines;
  }
};

TEST(Crc32c, IsCastagnolis) {
  const auto unmasked = [](std::string_view text) {
    const uint32_t rotated = masked_crc32c(text) - 0xa282ead8u;
    return rotated >> 17 | rotated << 15;
  };
  EXPECT_EQ(unmasked("123456789"), 0xe3069283u);            // the check value of the catalogues
  EXPECT_EQ(unmasked(std::string(32, '\0')), 0x8a9136aau);  // RFC 3720, B.4
  EXPECT_EQ(unmasked(std::string(32, '\xff')), 0x62a8ab43u);
}

TEST_F(TensorBoard, ARunsEventsAreItsLog) {
  train();
  const std::vector<fs::path> files = event_files();
  ASSERT_EQ(files.size(), 1u);
  const Events events = events_of(files[0]);
  EXPECT_EQ(events.starts, 1);

  size_t compared = 0;
  for (const Json& line : log()) {
    const auto& at = events.scalars.at(line.at("step").get<int64_t>());
    const std::string weights = line.value("weights", std::string());
    for (const auto& [key, value] : line.items()) {
      if (!value.is_number() || key == "step" || key == "epoch") continue;
      std::string tag = "train/" + key;
      if (key.starts_with("val_")) tag = "val/" + key.substr(4);
      if (key.starts_with("test_")) tag = "test_" + weights + "/" + key.substr(5);
      ASSERT_TRUE(at.contains(tag)) << tag;
      EXPECT_EQ(at.at(tag), static_cast<float>(value.get<double>())) << tag;
      ++compared;
    }
  }
  EXPECT_GT(compared, 6u * 4u);
  EXPECT_TRUE(events.scalars.at(6).contains("test_last/top1"));
  EXPECT_TRUE(events.scalars.at(2).contains("train/gmacs"));
  EXPECT_TRUE(events.scalars.at(2).contains("train/images_per_second"));

  std::ifstream shapes(run() / "shapes.csv");
  std::string row;
  std::getline(shapes, row);
  int rows = 0;
  for (; std::getline(shapes, row); ++rows) {
    std::vector<std::string> cells;
    std::istringstream parts(row);
    for (std::string cell; std::getline(parts, cell, ',');) cells.push_back(cell);
    const std::string tag = "shapes/" + cells.at(2) + "." + cells.at(3);
    EXPECT_EQ(events.scalars.at(std::stoll(cells.at(0))).at(tag), std::stof(cells.at(4))) << row;
  }
  EXPECT_EQ(rows, 5 * (8 + 8));  // at the steps 0, 2, 3, 4 and 6
  EXPECT_NE(events.texts.at("config").find("\"gmacs_lambda\": 0.1"), std::string::npos);
  const Picture sheet = decode_png(events.images.at("images"), "images");
  EXPECT_GT(sheet.width, 8 * 64);
}

TEST_F(TensorBoard, AResumedRunGoesOnInAnotherFile) {
  train(false, {"train.max_steps=3"});
  train(true);
  const std::vector<fs::path> files = event_files();
  ASSERT_EQ(files.size(), 2u);
  const Events first = events_of(files[0]), second = events_of(files[1]);
  EXPECT_EQ(first.scalars.rbegin()->first, 3);
  EXPECT_EQ(second.starts, 4);
  EXPECT_EQ(second.scalars.begin()->first, 4);
  EXPECT_EQ(second.scalars.rbegin()->first, 6);
  EXPECT_TRUE(second.texts.empty() && second.images.empty()) << "they are said once";
}

TEST_F(TensorBoard, IsOffUnlessAskedFor) {
  train(false, {"train.tensorboard=false"});
  EXPECT_TRUE(event_files().empty());
}

// The real package.
TEST_F(TensorBoard, ThePackageReadsThem) {
  std::vector<std::string> candidates;
  if (const char* given = std::getenv("TIDEPOOL_PYTHON")) candidates.emplace_back(given);
  if (const std::string built = TIDEPOOL_PYTHON; !built.empty()) candidates.push_back(built);
  candidates.emplace_back("python3");
  std::string python;
  for (const std::string& candidate : candidates)
    if (python.empty() &&
        std::system(fmt::format("'{}' -c 'import tensorboard' >/dev/null 2>&1", candidate).c_str()) == 0)
      python = candidate;
  if (python.empty())
    GTEST_SKIP() << "no python with the package tensorboard (looked at "
                 << fmt::format("{}", fmt::join(candidates, ", ")) << "; name one by TIDEPOOL_PYTHON)";
  train(false, {"train.max_steps=4"});
  // Killed before its next checkpoint: a step that the resumed run does again.
  {
    EventFile later(run(), 5);
    later.scalars(5, std::vector<std::pair<std::string, double>>{{"train/loss", 1000}});
    later.flush();
  }
  train(true);
  std::ofstream(folder_ / "read.py") << R"(
import json
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
acc = EventAccumulator("run", size_guidance={"scalars": 0, "tensors": 0, "images": 0}).Reload()
steps = [json.loads(line) for line in open("run/log.jsonl")]
losses = {s["step"]: s["loss"] for s in steps if "loss" in s}
read = [(e.step, e.value) for e in acc.Scalars("train/loss")]
assert [step for step, _ in read] == sorted(losses), read
for step, value in read:
    assert abs(value - losses[step]) <= 1e-6 * abs(losses[step]), (step, value, losses[step])
val = {s["step"]: s["val_top1"] for s in steps if "val_top1" in s}
assert {e.step: round(e.value, 6) for e in acc.Scalars("val/top1")} == {k: round(v, 6) for k, v in val.items()}
for tag in ("shapes/pool1.size.0", "shapes/pool4.alpha.1", "train/gmacs", "train/lr", "test_best/top1"):
    assert acc.Scalars(tag), tag
config = json.loads(acc.Tensors("config")[0].tensor_proto.string_val[0].decode().removeprefix("```json\n").removesuffix("\n```"))
assert config["train"]["tensorboard"] is True
assert acc.SummaryMetadata("config").plugin_data.plugin_name == "text"
image = acc.Images("images")[0]
assert image.encoded_image_string.startswith(b"\x89PNG") and image.width > 8 * 64, image.width
)";
  const std::string command = fmt::format("cd '{}' && '{}' read.py >out.txt 2>&1", folder_.string(), python);
  EXPECT_EQ(std::system(command.c_str()), 0) << bytes_of(folder_ / "out.txt");
}

}  // namespace
}  // namespace tidepool
