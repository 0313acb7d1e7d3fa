#include "tests/data/data_test.h"

namespace tidepool::testing {
namespace {

constexpr size_t kRecord = 3074;

// Records with coarse label 9, fine label first + i, and pixels that tell record, channel and place.
std::string records(int count, int first_label = 0) {
  std::string bytes;
  for (int i = 0; i < count; ++i) {
    bytes += static_cast<char>(9);
    bytes += static_cast<char>(first_label + i);
    for (int p = 0; p < 3072; ++p) bytes += static_cast<char>(i * 50 + p / 1024 * 7 + p % 32);
  }
  return bytes;
}

class Cifar100Test : public ::testing::Test {
 protected:
  std::unique_ptr<Dataset> open(Split split = Split::kTrain, std::optional<int64_t> images = {}) const {
    return open_dataset("cifar100", {.split = split, .root = folder_.path(), .images = images});
  }
  TemporaryFolder folder_;
};

TEST_F(Cifar100Test, ReadsTheOfficialLayout) {
  for (const std::string place : {"", "cifar-100-binary/"}) {
    write_file(folder_ / (place + "train.bin"), records(5, 95));
    write_file(folder_ / (place + "test.bin"), records(2, 3));
    const auto train = open(), test = open(Split::kTest);
    EXPECT_EQ(train->size(), 5);
    EXPECT_EQ(test->size(), 2);
    EXPECT_EQ(train->classes(), 100);
    EXPECT_EQ(train->shape(), (ImageShape{3, 32, 32}));
    EXPECT_EQ(train->label(4), 99);
    EXPECT_EQ(test->label(1), 4);
    EXPECT_EQ(planes_of(*train, 3)[2 * 1024 + 32 + 5], 150 + 14 + 5);
    EXPECT_EQ(train->class_name(3), "");
    std::filesystem::remove(folder_ / (place + "train.bin"));
  }
}

TEST_F(Cifar100Test, KnowsClassNamesWhenTheyLieBesideTheImages) {
  write_file(folder_ / "train.bin", records(1));
  write_file(folder_ / "test.bin", records(1));
  std::string names;
  for (int i = 0; i < 100; ++i) names += fmt::format("thing{}\n", i);
  write_file(folder_ / "fine_label_names.txt", names + "\n");
  EXPECT_EQ(open()->class_name(99), "thing99");
}

TEST_F(Cifar100Test, UsesTheFirstImages) {
  write_file(folder_ / "train.bin", records(5));
  write_file(folder_ / "test.bin", records(3));
  EXPECT_EQ(open(Split::kTrain, 2)->size(), 2);
  const auto message = message_of<Error>([&] { open(Split::kTrain, 6); });
  EXPECT_SAYS(message, "data.train_images");
  EXPECT_SAYS(message, "1 to 5");
  EXPECT_SAYS(message_of<Error>([&] { open(Split::kTest, 4); }), "data.test_images");
  EXPECT_SAYS(message_of<Error>([&] { open(Split::kTest, 0); }), "got 0");
}

TEST_F(Cifar100Test, SaysWhatIsMissingAndWhatMendsIt) {
  auto message = message_of<Error>([&] { open_dataset("cifar100", {.root = folder_ / "nowhere"}); });
  EXPECT_SAYS(message, "nowhere");
  EXPECT_SAYS(message, "no such folder");
  EXPECT_SAYS(message, "tidepool data fetch");
  write_file(folder_ / "train.bin", records(1));  // and no test.bin
  message = message_of<Error>([&] { open(); });
  EXPECT_SAYS(message, "train.bin without test.bin beside it");
  EXPECT_FALSE(find_dataset("cifar100").find(folder_.path()));
}

TEST_F(Cifar100Test, RefusesNamesThatAreNoText) {
  write_file(folder_ / "train.bin", records(1));
  write_file(folder_ / "test.bin", records(1));
  write_file(folder_ / "fine_label_names.txt", "apple\na\xFF\n");
  const auto message = message_of<Error>([&] { open(); });
  EXPECT_SAYS(message, "fine_label_names.txt");
  EXPECT_SAYS(message, "a\\xFF");
}

TEST_F(Cifar100Test, RefusesBrokenFiles) {
  write_file(folder_ / "test.bin", records(1));
  write_file(folder_ / "train.bin", records(2) + "x");
  auto message = message_of<Error>([&] { open(); });
  EXPECT_SAYS(message, "train.bin has 6149 bytes");
  EXPECT_SAYS(message, "3074");
  write_file(folder_ / "train.bin", "");
  EXPECT_SAYS(message_of<Error>([&] { open(); }), "0 bytes");

  std::string bytes = records(4);
  bytes[2 * kRecord + 1] = static_cast<char>(200);
  write_file(folder_ / "train.bin", bytes);
  message = message_of<Error>([&] { open(); });
  EXPECT_SAYS(message, "record 2 has label 200");
  EXPECT_EQ(open(Split::kTrain, 2)->size(), 2);  // the bad one is not in use
}

TEST(Datasets, AnUnknownNameIsToldTheNearest) {
  const auto message = message_of<Error>([] { open_dataset("cifar1000", {}); });
  EXPECT_SAYS(message, "did you mean 'cifar100'?");
  EXPECT_SAYS(message, "procedural");
  EXPECT_SAYS(message_of<Error>([] { dataset_format("proceduraal", {}); }), "did you mean 'procedural'?");
}

TEST(Datasets, TheFormatKnownBeforehandIsThatOfTheImages) {
  for (const DatasetDescription* each : datasets()) {
    if (each->find) continue;
    const auto dataset = open_dataset(each->name, {.images = 1});
    const DatasetFormat format = dataset_format(each->name, {});
    EXPECT_EQ(format.shape, dataset->shape()) << each->name;
    EXPECT_EQ(format.classes, dataset->classes()) << each->name;
    EXPECT_EQ(format.label_maps, dataset->format().label_maps) << each->name;
    EXPECT_EQ(dataset->name(), each->name);
    Sample sample;
    dataset->read(0, sample);
    EXPECT_EQ(sample.label, dataset->label(0)) << each->name;
    EXPECT_EQ(sample.label_map != nullptr, format.label_maps) << each->name;
  }
  EXPECT_EQ(dataset_format("cifar100", {}).classes, 100);
}

TEST(Datasets, OptionsThatADataSetDoesNotReadAreRefused) {
  EXPECT_SAYS(message_of<Error>([] {
                dataset_format("cifar100", {.size = {{64, 64}}});
              }),
              "data.size: cifar100 has no such key, but folder and random and shapes and voc");
  EXPECT_SAYS(message_of<Error>([] { open_dataset("procedural", {.classes = 5}); }),
              "data.classes: procedural has no such key, but folder and random and voc");
}

}  // namespace
}  // namespace tidepool::testing
