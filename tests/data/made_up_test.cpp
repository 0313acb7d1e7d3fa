// The data sets `random` and `shapes`, and parts of a data set.
#include <algorithm>
#include <cmath>
#include <set>

#include "data/subset.h"
#include "tests/data/data_test.h"

namespace tidepool::testing {
namespace {

std::vector<uint8_t> map_of(const Dataset& dataset, int64_t index) {
  Sample sample;
  dataset.read(index, sample);
  return {sample.label_map, sample.label_map + sample.height * sample.width};
}

TEST(MadeUp, AnImageIsAFunctionOfSeedSplitAndIndexAlone) {
  for (const char* name : {"random", "shapes"}) {
    const auto a = open_dataset(name, {.images = 100}), b = open_dataset(name, {.images = 40});
    for (const int64_t i : {39, 0, 17}) {
      EXPECT_EQ(planes_of(*a, i), planes_of(*b, i));
      EXPECT_EQ(a->label(i), b->label(i));
    }
    EXPECT_NE(planes_of(*a, 0), planes_of(*a, 1));
    EXPECT_NE(planes_of(*a, 0), planes_of(*open_dataset(name, {.split = Split::kTest}), 0));
    EXPECT_NE(planes_of(*a, 0), planes_of(*open_dataset(name, {.seed = 1}), 0));
  }
}

TEST(RandomImages, AreNoiseOfAnySizeAndNumber) {
  const auto dataset = open_dataset("random", {.images = 2000000000, .size = {{37, 501}}, .classes = 1000});
  EXPECT_EQ(dataset->size(), 2000000000);
  EXPECT_EQ(dataset->classes(), 1000);
  EXPECT_EQ(dataset->shape(), (ImageShape{3, 37, 501}));
  const auto bytes = planes_of(*dataset, 1999999999);
  ASSERT_EQ(bytes.size(), 3u * 37 * 501);
  std::array<double, 256> counts{};
  for (const uint8_t byte : bytes) ++counts[byte];
  const double each = static_cast<double>(bytes.size()) / 256;
  double chi = 0;
  for (const double count : counts) chi += (count - each) * (count - each) / each;
  EXPECT_NEAR(chi, 255, 5 * 23);  // 23: its standard deviation
  std::vector<int> labels(1000);
  for (int64_t i = 0; i < 20000; ++i) ++labels.at(static_cast<size_t>(dataset->label(i)));
  EXPECT_GT(*std::min_element(labels.begin(), labels.end()), 0);
  EXPECT_LT(*std::max_element(labels.begin(), labels.end()), 50);
  EXPECT_EQ(open_dataset("random", {})->size(), 1024);
  EXPECT_EQ(open_dataset("random", {.split = Split::kTest})->size(), 256);
}

TEST(RandomImages, BadOptionsNameTheirKey) {
  const auto message = [](const DatasetOptions& options) {
    return message_of<Error>([&] { open_dataset("random", options); });
  };
  EXPECT_SAYS(message({.classes = 0}), "data.classes: expected 1 to 16777216, got 0");
  EXPECT_SAYS(message({.classes = -3}), "data.classes");
  EXPECT_SAYS(message({.size = {{0, 32}}}), "data.size: expected 1 pixels or more, got 0x32");
  EXPECT_SAYS(message({.size = {{32, -1}}}), "data.size");
  EXPECT_SAYS(message({.size = {{65536, 65536}}}), "data.size: expected at most 1073741824 numbers per image");
  EXPECT_SAYS(message({.size = {{INT64_MAX, INT64_MAX}}}), "data.size");
  EXPECT_SAYS(message({.images = 0}), "data.train_images");
  EXPECT_SAYS(message_of<Error>([] {
                open_dataset("shapes", {.size = {{15, 32}}});
              }),
              "data.size: expected 16 pixels or more, got 15x32");
}

TEST(Shapes, LabelMapsHoldEveryClassAndBorders) {
  for (const auto& size : {std::array<int64_t, 2>{32, 32}, {48, 97}}) {
    const auto dataset = open_dataset("shapes", {.images = 200, .size = size});
    EXPECT_EQ(dataset->classes(), 6);
    std::array<double, 256> counts{};
    double all = 0;
    for (int64_t i = 0; i < 200; ++i) {
      const auto map = map_of(*dataset, i);
      ASSERT_EQ(static_cast<int64_t>(map.size()), size[0] * size[1]);
      for (const uint8_t label : map) ++counts[label];
      all += static_cast<double>(map.size());
    }
    for (size_t label = 0; label < 256; ++label) {
      const double share = counts[label] / all;
      if (label == 0)
        EXPECT_NEAR(share, 0.7, 0.15);
      else if (label < 6 || label == kIgnoredLabel)
        EXPECT_GT(share, 0.01) << label;
      else
        EXPECT_EQ(share, 0) << label;
    }
    EXPECT_LT(counts[kIgnoredLabel] / all, 0.2);
    std::set<std::string_view> names;
    for (int32_t label = 0; label < 6; ++label) names.insert(dataset->class_name(label));
    EXPECT_EQ(names.size(), 6u);
    EXPECT_EQ(dataset->class_name(0), "background");
  }
}

// Where two classes touch, a border lies between them: no pixel has a neighbour of another class.
TEST(Shapes, BordersLieBetweenClasses) {
  const auto dataset = open_dataset("shapes", {.images = 100});
  int64_t touching = 0, pairs = 0;
  for (int64_t i = 0; i < 100; ++i) {
    const auto map = map_of(*dataset, i);
    for (size_t y = 0; y < 32; ++y) {
      for (size_t x = 0; x + 1 < 32; ++x) {
        const uint8_t a = map[y * 32 + x], b = map[y * 32 + x + 1];
        if (a == kIgnoredLabel || b == kIgnoredLabel) continue;
        ++pairs;
        touching += a != b;
      }
    }
  }
  EXPECT_LT(static_cast<double>(touching), 1e-3 * static_cast<double>(pairs));
}

// Colours do not tell a class: the mean colour of each class's pixels is that of all.
TEST(Shapes, OnePixelTellsNoClass) {
  const auto dataset = open_dataset("shapes", {});
  std::array<double, 6> sums{}, counts{};
  Sample sample;
  for (int64_t i = 0; i < 3000; ++i) {
    dataset->read(i, sample);
    for (int64_t p = 0; p < 1024; ++p) {
      const uint8_t label = sample.label_map[p];
      if (label == kIgnoredLabel) continue;
      sums[label] += sample.pixels[p * 3];
      ++counts[label];
    }
  }
  for (size_t label = 0; label < 6; ++label) EXPECT_NEAR(sums[label] / counts[label], 127.5, 4) << label;
}

// --- parts ---

TEST(ValidationSplit, IsOfTheSeedAloneAndKeepsTheOrder) {
  const ValidationSplit split = split_validation(1000, 100, 0), again = split_validation(1000, 100, 0);
  EXPECT_EQ(split.validation, again.validation);
  EXPECT_NE(split.validation, split_validation(1000, 100, 1).validation);
  ASSERT_EQ(split.validation.size(), 100u);
  ASSERT_EQ(split.train.size(), 900u);
  EXPECT_TRUE(std::is_sorted(split.train.begin(), split.train.end()));
  EXPECT_TRUE(std::is_sorted(split.validation.begin(), split.validation.end()));
  std::set<int64_t> all(split.train.begin(), split.train.end());
  all.insert(split.validation.begin(), split.validation.end());
  EXPECT_EQ(all.size(), 1000u);
  EXPECT_EQ(*all.rbegin(), 999);
  const ValidationSplit none = split_validation(5, 0, 3);
  EXPECT_EQ(none.train, (std::vector<int64_t>{0, 1, 2, 3, 4}));
  EXPECT_TRUE(none.validation.empty());
}

TEST(ValidationSplit, DrawsEveryImageAsOften) {
  std::array<int, 20> counts{};
  for (uint64_t seed = 0; seed < 4000; ++seed)
    for (const int64_t i : split_validation(20, 5, seed).validation) ++counts[static_cast<size_t>(i)];
  for (const int count : counts) EXPECT_NEAR(count, 1000, 5 * 27.4);  // 27.4: its standard deviation
}

TEST(ValidationSplit, LeavesATrainingImage) {
  EXPECT_EQ(split_validation(5, 4, 0).train.size(), 1u);
  EXPECT_SAYS(message_of<Error>([] { split_validation(5, 5, 0); }),
              "data.val_images: expected 0 to 4 of 5 training images, got 5");
  EXPECT_SAYS(message_of<Error>([] { split_validation(5, -1, 0); }), "got -1");
}

TEST(Subset, ReadsTheImagesItNames) {
  const auto whole = std::make_shared<MadeDataset>(30, ImageShape{3, 8, 8});
  const auto part = subset(whole, {7, 3, 29});
  ASSERT_EQ(part->size(), 3);
  EXPECT_EQ(part->name(), "made");
  EXPECT_EQ(part->classes(), 7);
  EXPECT_EQ(planes_of(*part, 2), planes_of(*whole, 29));
  EXPECT_EQ(part->label(1), whole->label(3));
}

}  // namespace
}  // namespace tidepool::testing
