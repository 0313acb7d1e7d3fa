// The data set `voc` on small folders of real files, and its cropping.
#include <cmath>

#include "data/augment.h"
#include "data/loader.h"
#include "data/normalisation.h"
#include "data/picture.h"
#include "data/png.h"
#include "data/preview.h"
#include "data/voc_colours.h"
#include "tests/data/data_test.h"

namespace tidepool::testing {
namespace {

namespace fs = std::filesystem;

// The golden pictures are 24x40: red 40 + 4 x, green 230 - 8 y.
std::string golden_jpeg() {
  return read_file(fs::path(TIDEPOOL_SOURCE_DIR) / "tests/golden/pictures/exif1.jpg");
}

uint8_t label_at(int64_t y, int64_t x) {
  if (y == 0 || x == 0) return kIgnoredLabel;
  return static_cast<uint8_t>((y / 4 * 10 + x / 4) % 21);
}

void write_labels(const fs::path& path, int64_t height = 24, int64_t width = 40) {
  IndexedImage map{.height = height, .width = width, .palette = kVocColours};
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x) map.indices.push_back(label_at(y, x));
  fs::create_directories(path.parent_path());
  write_png(path, map);
}

class VocTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"2007_01", "2007_02", "2007_03"}) {
      write_file(folder_ / fmt::format("JPEGImages/{}.jpg", name), golden_jpeg());
      write_labels(folder_ / fmt::format("SegmentationClass/{}.png", name));
    }
    write_file(folder_ / "ImageSets/Segmentation/train.txt", "2007_01\n2007_03\r\n\n");
    write_file(folder_ / "ImageSets/Segmentation/val.txt", "2007_02");
  }
  std::shared_ptr<Dataset> open(DatasetOptions options = {}) const {
    options.root = folder_.path();
    if (!options.size) options.size = {{32, 48}};
    return open_dataset("voc", options);
  }
  std::string message(const DatasetOptions& options = {}) const {
    return message_of<Error>([&] { open(options); });
  }
  TemporaryFolder folder_;
};

TEST_F(VocTest, ReadsTheLayout) {
  const auto train = open(), test = open({.split = Split::kTest});
  EXPECT_EQ(train->size(), 2);
  EXPECT_EQ(test->size(), 1);
  EXPECT_EQ(train->classes(), 21);
  EXPECT_TRUE(train->format().label_maps);
  EXPECT_EQ(train->label(0), kNoLabel);
  EXPECT_EQ(train->class_name(20), "tvmonitor");
  EXPECT_EQ(open_dataset("voc", {.root = folder_.path()})->shape(), (ImageShape{3, 512, 512}));
  Sample sample;
  train->read(1, sample);
  ASSERT_EQ(sample.height, 24);
  ASSERT_EQ(sample.width, 40);
  for (int64_t y = 0; y < 24; ++y)
    for (int64_t x = 0; x < 40; ++x) ASSERT_EQ(sample.label_map[y * 40 + x], label_at(y, x));
  // below the folders of the archive
  fs::create_directories(folder_ / "VOCdevkit/VOC2012");
  for (const char* part : {"JPEGImages", "SegmentationClass", "ImageSets"})
    fs::rename(folder_ / part, folder_ / (std::string("VOCdevkit/VOC2012/") + part));
  EXPECT_EQ(open()->size(), 2);
}

TEST_F(VocTest, OtherLists) {
  write_file(folder_ / "ImageSets/Segmentation/trainaug.txt", "2007_01\n2007_02\n2007_03\n");
  EXPECT_EQ(open({.train_list = "trainaug"})->size(), 3);
  EXPECT_EQ(open({.split = Split::kTest, .train_list = "trainaug"})->size(), 1);
  EXPECT_EQ(open({.split = Split::kTest, .test_list = "train"})->size(), 2);
  EXPECT_SAYS(message({.train_list = "trainval"}), "ImageSets/Segmentation/trainval.txt: no such file");
  EXPECT_SAYS(message_of<Error>([] { open_dataset("random", {.train_list = "x"}); }),
              "data.train_split: random has no such key, but voc");
}

TEST_F(VocTest, GreyLabelPicturesAreIndicesToo) {
  Picture grey{.height = 24, .width = 40, .channels = 1, .bytes = std::vector<uint8_t>(24 * 40, 7)};
  grey.bytes[41] = 255;
  write_png(folder_ / "SegmentationClass/2007_01.png", grey);
  Sample sample;
  open()->read(0, sample);
  EXPECT_EQ(sample.label_map[40], 7);
  EXPECT_EQ(sample.label_map[41], kIgnoredLabel);
}

TEST(PaletteIndices, AreReadAsTheyAreStored) {
  const fs::path golden = fs::path(TIDEPOOL_SOURCE_DIR) / "tests/golden/pictures";
  for (const auto& [name, bits] : {std::pair{"palette.png", 8},
                                   {"palette_alpha.png", 8},
                                   {"grey1.png", 1},
                                   {"grey2.png", 2},
                                   {"grey4.png", 4},
                                   {"grey8.png", 8}}) {
    SCOPED_TRACE(name);
    const IndexedImage image = read_indices(golden / name);
    ASSERT_EQ(image.height, 9);
    ASSERT_EQ(image.width, 13);
    for (int y = 0; y < 9; ++y)
      for (int x = 0; x < 13; ++x)
        ASSERT_EQ(image.indices[static_cast<size_t>(y * 13 + x)], (y * 31 + x * 17) % (1 << bits));
  }
  for (const char* name : {"rgb8.png", "grey16.png", "grey_alpha8.png"})
    EXPECT_SAYS(message_of<Error>([&] { read_indices(golden / name); }), "expected a PNG with a palette");
  EXPECT_SAYS(message_of<Error>([&] { read_indices(golden / "grey.jpg"); }), "expected a PNG whose values");
}

TEST_F(VocTest, BadFilesAreNamed) {
  const auto restore = [&](const std::string& file, const std::string& bytes, const std::string& expected) {
    const std::string before = read_file(folder_ / file);
    if (bytes == "gone")
      fs::remove(folder_ / file);
    else
      write_file(folder_ / file, bytes);
    EXPECT_SAYS(message(), expected);
    write_file(folder_ / file, before);
  };
  restore("ImageSets/Segmentation/train.txt", "gone", "train.txt: no such file; expected JPEGImages/NAME.jpg");
  restore("ImageSets/Segmentation/train.txt", "\n\n", "train.txt: expected a name of a picture per line, found none");
  restore("ImageSets/Segmentation/train.txt", "2007_01\n\nlost\n", "train.txt:3: 'lost':");
  restore("ImageSets/Segmentation/train.txt", "2007_01\n\nlost\n", "JPEGImages/lost.jpg: no such file");
  restore("SegmentationClass/2007_03.png", "gone", "SegmentationClass/2007_03.png: no such file");
  restore("SegmentationClass/2007_03.png", "nothing", "2007_03.png: expected a PNG whose values are classes");
  restore("JPEGImages/2007_03.jpg", "nothing", "2007_03.jpg: expected a PNG or JPEG picture");
  write_labels(folder_ / "other.png", 25, 40);
  restore("SegmentationClass/2007_01.png", read_file(folder_ / "other.png"),
          "2007_01.png has 25x40 pixels, expected 24x40 as");
  EXPECT_EQ(open()->size(), 2);
  EXPECT_SAYS(message({.classes = 12}), "2007_01.png: label 12 at row 4, column 8; expected 0 to 11");
  EXPECT_SAYS(message({.classes = 256}), "data.classes: expected 1 to 255, got 256");
  EXPECT_SAYS(message({.images = 3}), "data.train_images: expected 1 to 2");
  EXPECT_EQ(open({.classes = 30})->class_name(3), "");
}

TEST_F(VocTest, DamagedPicturesAreSkippedByKey) {
  const std::string jpeg = golden_jpeg();
  write_file(folder_ / "JPEGImages/2007_01.jpg", jpeg.substr(0, jpeg.size() - 20));
  Sample sample;
  const auto fails = open();  // its header is whole
  EXPECT_SAYS(message_of<Error>([&] { fails->read(0, sample); }), "2007_01.jpg: a damaged JPEG");
  write_file(folder_ / "SegmentationClass/2007_01.png", "nothing");
  const auto skips = open({.skip_damaged = true});
  EXPECT_SAYS(message_of<SkippedImage>([&] { skips->read(0, sample); }), "2007_01");
  skips->read(1, sample);
  Loader loader(skips, {{0, 0, 0}, {1, 1, 1}}, {.batch = 2, .workers = 2});
  loader.start_epoch(0);
  TensorBatch batch;
  ASSERT_TRUE(loader.next(batch));
  EXPECT_EQ(batch.indices, std::vector<int64_t>{1});
  EXPECT_EQ(batch.labels.shape(), (Dims{1, 32, 48}));
}

TEST_F(VocTest, EvaluationShowsTheWholePictureAndIgnoresWhatIsAround) {
  Loader loader(open({.split = Split::kTest}), {{0, 0, 0}, {1, 1, 1}}, {.batch = 1, .training = false});
  loader.start_epoch(0);
  TensorBatch batch;
  ASSERT_TRUE(loader.next(batch));
  const int32_t* const labels = batch.labels.data<int32_t>();
  const float* const images = batch.images.data<float>();  // channels last
  for (int64_t y = 0; y < 32; ++y)
    for (int64_t x = 0; x < 48; ++x) {
      const int64_t row = y - 4, column = x - 4;
      const bool inside = row >= 0 && row < 24 && column >= 0 && column < 40;
      ASSERT_EQ(labels[y * 48 + x], inside ? label_at(row, column) : kIgnoredLabel) << y << ' ' << x;
      if (!inside) {
        ASSERT_EQ(images[(y * 48 + x) * 3], 0);
      }
    }
  // Black around a picture is no part of the measured mean.
  const Normalisation large = measure_normalisation(*open({.size = {{64, 64}}}), {}),
                      exact = measure_normalisation(*open({.size = {{24, 40}}}), {});
  EXPECT_EQ(large.mean, exact.mean);
  EXPECT_EQ(large.stddev, exact.stddev);
}

// One crop for the picture and its labels: a label's place can be read off the picture's colours.
TEST_F(VocTest, PictureAndLabelsKeepTogether) {
  const auto dataset = open();
  const auto epoch_of = [&](int64_t workers, int64_t epoch) {
    Loader loader(dataset, {{0, 0, 0}, {1, 1, 1}}, {.batch = 2, .seed = 5, .shuffle = false, .workers = workers});
    loader.start_epoch(epoch);
    TensorBatch batch;
    EXPECT_TRUE(loader.next(batch));
    return batch;
  };
  int64_t checked = 0, right = 0;
  for (int64_t epoch = 0; epoch < 8; ++epoch) {
    const TensorBatch batch = epoch_of(0, epoch), again = epoch_of(3, epoch);
    const float* const x = batch.images.data<float>();
    const int32_t* const labels = batch.labels.data<int32_t>();
    ASSERT_TRUE(std::equal(x, x + batch.images.numel(), again.images.data<float>()));
    ASSERT_TRUE(std::equal(labels, labels + batch.labels.numel(), again.labels.data<int32_t>()));
    for (int64_t i = 0; i < 2 * 32 * 48; ++i) {
      if (labels[i] == kIgnoredLabel) continue;
      const auto column = std::lround((x[3 * i] * 255 - 40) / 4), row = std::lround((230 - x[3 * i + 1] * 255) / 8);
      if (column % 4 == 0 || column % 4 == 3 || row % 4 == 0 || row % 4 == 3) continue;  // a label may end here
      ++checked;
      right += labels[i] == label_at(row, column);
    }
  }
  EXPECT_GT(checked, 500);
  EXPECT_GT(static_cast<double>(right), 0.97 * static_cast<double>(checked));
}

TEST_F(VocTest, LabelsComeSmallerWithTheirPicture) {
  Sample sample;
  sample.reduction = [](int64_t, int64_t) { return 2; };
  open()->read(0, sample);
  ASSERT_EQ(sample.height, 12);
  ASSERT_EQ(sample.width, 20);
  EXPECT_EQ(sample.full_width, 40);
  for (int64_t y = 0; y < 12; ++y)
    for (int64_t x = 0; x < 20; ++x) ASSERT_EQ(sample.label_map[y * 20 + x], label_at(2 * y + 1, 2 * x + 1));
}

TEST_F(VocTest, HasAPreview) {
  const auto dataset = open();
  const RgbImage sheet =
      make_preview(*dataset, {.variants = {{}}, .images = preview_indices(*dataset, 2), .scale = 1, .margin = 0});
  EXPECT_EQ(sheet.height, 64);
  EXPECT_EQ(sheet.width, 96);
}

TEST(RandomScale, IsHalfToTwiceAsLargeAndStaysOnThePicture) {
  const AugmentOptions options{.cropping = Cropping::kRandomScale};
  const ImageShape shown{3, 100, 100};
  double least = 9, most = 0, flips = 0;
  for (int i = 0; i < 2000; ++i) {
    const Crop crop = draw_crop(options, image_words(1, 0, i), 80, 300, shown);
    const double scale = 100 / crop.height;
    ASSERT_DOUBLE_EQ(crop.height, crop.width);
    least = std::min(least, scale);
    most = std::max(most, scale);
    flips += crop.flip ? 1.0 / 2000 : 0;
    constexpr double kHalf = 0.5 + 1e-9;  // a pixel is rounded
    if (80 * scale >= 100) {
      ASSERT_GE(crop.top * scale, -1e-9);
      ASSERT_LE((crop.top + crop.height) * scale, 80 * scale + kHalf);
    } else {
      ASSERT_LE(crop.top * scale, 1e-9);
      ASSERT_GE((crop.top + crop.height) * scale, 80 * scale - kHalf);
    }
    ASSERT_GE(crop.left * scale, -1e-9);
    ASSERT_LE((crop.left + crop.width) * scale, 300 * scale + kHalf);
  }
  EXPECT_NEAR(least, 0.5, 0.01);
  EXPECT_NEAR(most, 2, 0.01);
  EXPECT_NEAR(flips, 0.5, 0.05);
  const Crop large = draw_crop(options, std::nullopt, 80, 300, shown);  // shrunk to fit
  EXPECT_DOUBLE_EQ(large.height, 300);
  EXPECT_DOUBLE_EQ(large.left, 0);
  EXPECT_DOUBLE_EQ(large.top, -110);
}

}  // namespace
}  // namespace tidepool::testing
