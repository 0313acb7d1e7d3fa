#include "data/fetch.h"
#include "tests/data/data_test.h"

namespace tidepool::testing {
namespace {

// Records of a label and pixels that tell file, record and channel.
std::string records(int file, int count, int first_label = 0) {
  std::string bytes;
  for (int i = 0; i < count; ++i) {
    bytes += static_cast<char>(first_label + i);
    for (int p = 0; p < 3072; ++p) bytes += static_cast<char>(file * 40 + i * 5 + p / 1024);
  }
  return bytes;
}

class Cifar10Test : public ::testing::Test {
 protected:
  void write_all(const std::string& place = "") const {
    for (int file = 1; file <= 5; ++file)
      write_file(folder_ / fmt::format("{}data_batch_{}.bin", place, file), records(file, file));  // 1 to 5 records
    write_file(folder_ / (place + "test_batch.bin"), records(0, 2, 8));
  }
  std::unique_ptr<Dataset> open(Split split = Split::kTrain, std::optional<int64_t> images = {}) const {
    return open_dataset("cifar10", {.split = split, .root = folder_.path(), .images = images});
  }
  TemporaryFolder folder_;
};

TEST_F(Cifar10Test, ReadsTheOfficialLayout) {
  for (const std::string place : {"", "cifar-10-batches-bin/"}) {
    write_all(place);
    const auto train = open(), test = open(Split::kTest);
    EXPECT_EQ(train->size(), 15);
    EXPECT_EQ(test->size(), 2);
    EXPECT_EQ(train->classes(), 10);
    EXPECT_EQ(train->shape(), (ImageShape{3, 32, 32}));
    int64_t index = 0;
    for (int file = 1; file <= 5; ++file)
      for (int record = 0; record < file; ++record, ++index) {
        EXPECT_EQ(train->label(index), record);
        const auto bytes = planes_of(*train, index);
        for (size_t c = 0; c < 3; ++c) EXPECT_EQ(bytes[c * 1024 + 77], file * 40 + record * 5 + static_cast<int>(c));
      }
    EXPECT_EQ(test->label(1), 9);
    EXPECT_EQ(train->class_name(3), "");
    EXPECT_EQ(open(Split::kTrain, 4)->size(), 4);
    std::filesystem::remove(folder_ / (place + "data_batch_3.bin"));
  }
}

TEST_F(Cifar10Test, KnowsClassNames) {
  write_all();
  write_file(folder_ / "batches.meta.txt", "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n");
  EXPECT_EQ(open()->class_name(9), "truck");
}

TEST_F(Cifar10Test, BadFilesAreNamed) {
  const auto message = [&] { return message_of<Error>([&] { open(); }); };
  EXPECT_SAYS(message(),
              "expected data_batch_1.bin, data_batch_2.bin, data_batch_3.bin, data_batch_4.bin, "
              "data_batch_5.bin and test_batch.bin");
  EXPECT_SAYS(message(), "`tidepool data fetch cifar10`");
  write_all();
  std::filesystem::remove(folder_ / "data_batch_3.bin");
  EXPECT_SAYS(message(), "without data_batch_3.bin beside it");
  write_file(folder_ / "data_batch_3.bin", records(3, 3).substr(1));
  EXPECT_SAYS(message(), "data_batch_3.bin has 9218 bytes, expected whole records of 3073");
  write_file(folder_ / "data_batch_3.bin", records(3, 3, 8));
  EXPECT_SAYS(message(), "data_batch_3.bin: record 2 has label 10, expected 0 to 9");
}

TEST_F(Cifar10Test, CanBeFetched) {
  EXPECT_EQ(known_data_set("cifar10").files.size(), 6u);
}

}  // namespace
}  // namespace tidepool::testing
