// The data set `folder` on small folders of real files, its cropping, and pictures that cannot be decoded.
#include <cmath>
#include <numbers>
#include <numeric>

#include "data/augment.h"
#include "data/loader.h"
#include "data/normalisation.h"
#include "data/picture.h"
#include "data/png.h"
#include "data/preview.h"
#include "tests/data/data_test.h"

namespace tidepool::testing {
namespace {

namespace fs = std::filesystem;

fs::path golden(const std::string& name) {
  return fs::path(TIDEPOOL_SOURCE_DIR) / "tests/golden/pictures" / name;
}

void copy_golden(const std::string& name, const fs::path& to) {
  fs::create_directories(to.parent_path());
  fs::copy_file(golden(name), to);
}

// One colour; the red byte names the picture.
void write_picture(const fs::path& path, int64_t height, int64_t width, uint8_t red) {
  RgbImage image{.height = height, .width = width};
  for (int64_t i = 0; i < height * width; ++i) image.pixels.insert(image.pixels.end(), {red, 20, 30});
  fs::create_directories(path.parent_path());
  write_png(path, image);
}

class FolderTest : public ::testing::Test {
 protected:
  // Two classes: three pictures and one, of several sizes and kinds.
  void write_all() const {
    write_picture(folder_ / "train/n02/a.png", 20, 31, 1);
    write_picture(folder_ / "train/n02/b.PNG", 40, 16, 2);
    copy_golden("exif6.jpg", folder_ / "train/n02/images/c.JPEG");
    copy_golden("grey.jpg", folder_ / "train/n10/only.jpg");
    write_file(folder_ / "train/n10/notes.txt", "no picture");
    write_picture(folder_ / "val/n02/x.png", 33, 33, 3);
    write_picture(folder_ / "val/n10/y.png", 33, 33, 4);
  }
  std::shared_ptr<Dataset> open(DatasetOptions options = {}) const {
    options.root = folder_.path();
    if (!options.size) options.size = {{16, 16}};
    return open_dataset("folder", options);
  }
  std::string message(const DatasetOptions& options = {}) const {
    return message_of<Error>([&] { open(options); });
  }
  TemporaryFolder folder_;
};

TEST_F(FolderTest, ReadsPicturesOfAnySizeAndKind) {
  write_all();
  const auto train = open(), test = open({.split = Split::kTest});
  EXPECT_EQ(train->size(), 4);
  EXPECT_EQ(test->size(), 2);
  EXPECT_EQ(train->classes(), 2);
  EXPECT_EQ(train->shape(), (ImageShape{3, 16, 16}));
  EXPECT_EQ(open_dataset("folder", {.root = folder_.path()})->shape(), (ImageShape{3, 224, 224}));
  // turn by turn: n02/a, n10/only, n02/b, n02/images/c
  const int32_t labels[] = {0, 1, 0, 0};
  const std::array<int64_t, 2> sizes[] = {{20, 31}, {24, 40}, {40, 16}, {40, 24}};
  Sample sample;
  for (int64_t i = 0; i < 4; ++i) {
    EXPECT_EQ(train->label(i), labels[i]);
    train->read(i, sample);
    EXPECT_EQ(sample.label, labels[i]);
    EXPECT_EQ((std::array{sample.height, sample.width}), sizes[i]) << i;
    if (i == 1) {
      const Picture grey = read_picture(golden("grey.jpg"));
      EXPECT_EQ(sample.pixels[2 * sample.channel_stride + 5 * sample.row_stride + 7], grey.bytes[5 * 40 + 7]);
    }
  }
  EXPECT_EQ(train->class_name(1), "n10");
  write_file(folder_ / "classes.txt", "n10 goldfish, Carassius auratus\r\n\n");
  EXPECT_EQ(open()->class_name(0), "n02");
  EXPECT_EQ(open()->class_name(1), "goldfish, Carassius auratus");
  EXPECT_EQ(open({.images = 2})->label(1), 1);
}

TEST_F(FolderTest, HiddenFoldersAreNoPicturesAndLinksInACircleAreRefused) {
  write_all();
  write_picture(folder_ / "train/n02/.ipynb_checkpoints/a-checkpoint.png", 20, 31, 1);
  fs::create_directory_symlink(folder_ / "val/n02", folder_ / "train/n10/more");
  EXPECT_EQ(open()->size(), 5);
  fs::create_directory_symlink("..", folder_ / "train/n02/images/up");
  EXPECT_SAYS(message(), "train/n02/images/up: is a link to a folder that holds it");
}

TEST_F(FolderTest, SixteenBitsAlphaAndCmykBecomeRgb) {
  copy_golden("rgb_alpha16.png", folder_ / "train/a/1.png");
  copy_golden("grey_alpha16.png", folder_ / "train/b/1.png");
  copy_golden("cmyk.jpg", folder_ / "train/c/1.jpg");
  fs::copy(folder_ / "train", folder_ / "val", fs::copy_options::recursive);
  const auto dataset = open();
  Sample sample;
  const auto byte = [&](int64_t y, int64_t x, int64_t c) {
    return int{sample.pixels[c * sample.channel_stride + y * sample.row_stride + x * sample.column_stride]};
  };
  const auto value = [](int64_t y, int64_t x, int64_t c) {
    return static_cast<int>(std::lround(static_cast<double>((y * 3001 + x * 1777 + c * 7919) % 65536) / 257));
  };
  for (const int64_t i : {0, 1}) {
    dataset->read(i, sample);
    for (int64_t y = 0; y < 9; ++y)
      for (int64_t x = 0; x < 13; ++x)
        for (int64_t c = 0; c < 3; ++c) ASSERT_EQ(byte(y, x, c), value(y, x, i == 0 ? c : 0)) << i << y << x << c;
  }
  dataset->read(2, sample);  // of the golden's smooth picture, quality 80
  for (int64_t y = 0; y < 24; ++y)
    for (int64_t x = 0; x < 40; ++x) {
      EXPECT_NEAR(byte(y, x, 0), static_cast<int>(40 + 4 * x), 12);
      EXPECT_NEAR(byte(y, x, 1), static_cast<int>(230 - 8 * y), 12);
    }
}

TEST_F(FolderTest, JpegComesSmallerWhereThatDoesNoHarm) {
  copy_golden("exif6.jpg", folder_ / "train/a/1.jpg");  // in the file 24x40, seen upright 40x24
  fs::copy(folder_ / "train", folder_ / "val", fs::copy_options::recursive);
  const auto dataset = open();
  Sample whole, small;
  dataset->read(0, whole);
  for (const auto& [factor, height, width] : {std::array{1, 40, 24}, {3, 20, 12}, {4, 10, 6}, {100, 5, 3}}) {
    small.reduction = [&, f = factor](int64_t h, int64_t w) {
      EXPECT_EQ((std::array{h, w}), (std::array<int64_t, 2>{40, 24}));
      return f;
    };
    dataset->read(0, small);
    EXPECT_EQ((std::array{small.height, small.width}), (std::array<int64_t, 2>{height, width}));
    EXPECT_EQ((std::array{small.full_height, small.full_width}), (std::array<int64_t, 2>{40, 24}));
    // A block's mean is the mean of its pixels.
    const int64_t block = 40 / height;
    for (int64_t y = 0; y < height; ++y)
      for (int64_t x = 0; x < width; ++x) {
        double sum = 0;
        for (int64_t i = 0; i < block * block; ++i)
          sum +=
              whole.pixels[(y * block + i / block) * whole.row_stride + (x * block + i % block) * whole.column_stride];
        EXPECT_NEAR(small.pixels[y * small.row_stride + x * small.column_stride],
                    sum / static_cast<double>(block * block), 6);
      }
  }
}

// A reduced pixel is a cell of the file's, also where sides are no multiples and turning upright puts the part of a
// cell first.
TEST_F(FolderTest, ReducedPixelsLieWhereTheFilesDid) {
  for (const int orientation : {1, 3, 6, 8})
    copy_golden(fmt::format("odd{}.jpg", orientation), folder_ / fmt::format("train/a/{}.jpg", orientation));
  fs::copy(folder_ / "train", folder_ / "val", fs::copy_options::recursive);
  const auto dataset = open();
  Sample sample;
  for (const int factor : {2, 4}) {
    sample.reduction = [&](int64_t, int64_t) { return factor; };
    for (const auto& [index, orientation] : {std::pair{0, 1}, {1, 3}, {2, 6}, {3, 8}}) {
      dataset->read(index, sample);
      EXPECT_EQ(sample.full_height, orientation > 4 ? 43 : 27);
      int checked = 0;
      for (int64_t y = 0; y < sample.height; ++y)
        for (int64_t x = 0; x < sample.width; ++x) {
          const double i = (static_cast<double>(y) + 0.5 - sample.offset[0]) / sample.scale - 0.5,
                       j = (static_cast<double>(x) + 0.5 - sample.offset[1]) / sample.scale - 0.5, half = factor / 2.0;
          if (i + 0.5 < half || j + 0.5 < half || i + 0.5 + half > static_cast<double>(sample.full_height) ||
              j + 0.5 + half > static_cast<double>(sample.full_width))
            continue;                  // a part of a cell
          double row = i, column = j;  // in the file
          if (orientation == 3) row = 26 - i, column = 42 - j;
          if (orientation == 6) row = 26 - j, column = i;
          if (orientation == 8) row = j, column = 42 - i;
          ++checked;
          const uint8_t* const at = sample.pixels + y * sample.row_stride + x * sample.column_stride;
          EXPECT_NEAR(at[0], 40 + 4 * column, 2.5) << orientation << " " << y << " " << x;
          EXPECT_NEAR(at[sample.channel_stride], 230 - 8 * row, 4.5) << orientation << " " << y << " " << x;
        }
      EXPECT_EQ(checked, (27 / factor) * (43 / factor));
    }
  }
}

TEST_F(FolderTest, BytesBetweenMarkersHarmNothing) {
  copy_golden("exif1.jpg", folder_ / "train/a/1.jpg");
  std::ifstream in(folder_ / "train/a/1.jpg", std::ios::binary);
  std::string bytes(std::istreambuf_iterator<char>(in), {});
  bytes.insert(bytes.size() - 2, std::string(20, '\0'));  // before the last marker
  std::ofstream(folder_ / "train/a/2.jpg", std::ios::binary) << bytes;
  fs::copy(folder_ / "train", folder_ / "val", fs::copy_options::recursive);
  const auto dataset = open();
  Sample clean, other;
  dataset->read(0, clean);
  dataset->read(1, other);
  EXPECT_EQ(clean.pixel_memory, other.pixel_memory);
}

TEST_F(FolderTest, BadFoldersAreNamed) {
  EXPECT_SAYS(message(), (folder_ / "train").string() + ": no such folder; expected train/CLASS/*.jpg");
  write_picture(folder_ / "train/loose.png", 4, 4, 0);
  EXPECT_SAYS(message({.split = Split::kTest}), (folder_ / "val").string() + ": no such folder");
  EXPECT_SAYS(message(), "train: expected a folder of pictures for each class, found none");
  fs::create_directories(folder_ / "train/empty");
  EXPECT_SAYS(message(), "train/empty: expected pictures of this class");
  write_picture(folder_ / "train/empty/1.png", 4, 4, 0);
  EXPECT_EQ(open()->size(), 1);
  fs::create_directories(folder_ / "val");
  EXPECT_SAYS(message({.split = Split::kTest}), "val/empty: no such folder; expected one for each class");
  write_picture(folder_ / "val/empty/1.png", 4, 4, 0);
  write_picture(folder_ / "val/other/1.png", 4, 4, 0);
  EXPECT_SAYS(message({.split = Split::kTest}), "val/other: no class");
  EXPECT_SAYS(message({.classes = 3}), "data.classes: expected 1, the number of folders in");
  EXPECT_SAYS(message({.images = 2}), "data.train_images: expected 1 to 1");
  EXPECT_SAYS(message({.size = {{0, 4}}}), "data.size: expected 1 pixels or more");
  write_file(folder_ / "classes.txt", "empty nothing\nn99 lost\n");
  EXPECT_SAYS(message(), "classes.txt:2: expected a folder of train and the name of its class, got 'n99 lost'");
  EXPECT_SAYS(message_of<Error>([] { open_dataset("random", {.skip_damaged = true}); }),
              "data.damaged: random has no such key, but folder and voc");
}

class DamagedTest : public FolderTest {
 protected:
  // Class a: 1, a JPEG cut short; 2, 3 whole. Class b: whole.
  void SetUp() override {
    const std::string jpeg = read_file(golden("exif1.jpg"));
    write_file(folder_ / "train/a/1.jpg", jpeg.substr(0, jpeg.size() / 2));
    write_picture(folder_ / "train/a/2.png", 20, 20, 60);
    write_picture(folder_ / "train/a/3.png", 20, 20, 60);
    write_picture(folder_ / "train/b/1.png", 20, 20, 60);
    write_file(folder_ / "val/a/1.png", "no picture at all");
    write_picture(folder_ / "val/b/1.png", 20, 20, 60);
  }
};

TEST_F(DamagedTest, PictureIsNamedOrSkipped) {
  Sample sample;
  const std::string fails = message_of<Error>([&] { open()->read(0, sample); });
  EXPECT_SAYS(fails, (folder_ / "train/a/1.jpg").string() + ": a damaged JPEG");
  EXPECT_SAYS(fails, "\"damaged\": \"skip\"");
  const auto train = open({.skip_damaged = true}), test = open({.split = Split::kTest, .skip_damaged = true});
  ::testing::internal::CaptureStdout();
  for (int i = 0; i < 2; ++i)
    EXPECT_SAYS(message_of<SkippedImage>([&] { train->read(0, sample); }), "1.jpg: a damaged JPEG");
  const std::string log = ::testing::internal::GetCapturedStdout();
  EXPECT_SAYS(log, "1.jpg");
  EXPECT_SAYS(log, "left out (1 so far)");
  EXPECT_EQ(log.find("left out"), log.rfind("left out"));  // once per picture
  EXPECT_SAYS(message_of<SkippedImage>([&] { test->read(0, sample); }), "val/a/1.png: expected a PNG or JPEG");

  // Means and deviations are those of the others.
  const Normalisation measured = measure_normalisation(*train, {}, 2);
  EXPECT_NEAR(measured.mean[0], 60.0 / 255, 1e-6);
  EXPECT_NEAR(measured.mean[2], 30.0 / 255, 1e-6);
}

TEST_F(DamagedTest, BatchesGoOnWithoutIt) {
  const Normalisation plain{{0, 0, 0}, {1, 1, 1}};
  for (const int64_t workers : {0, 3}) {
    Loader loader(open({.skip_damaged = true}), plain, {.batch = 3, .training = false, .workers = workers});
    for (int64_t epoch = 0; epoch < 3; ++epoch) {
      loader.start_epoch(epoch);
      TensorBatch batch;
      ASSERT_TRUE(loader.next(batch));
      EXPECT_EQ(batch.n, 2);
      EXPECT_EQ(batch.images.size(0), 2);
      EXPECT_EQ(batch.labels.size(0), 2);
      EXPECT_EQ(batch.indices, (std::vector<int64_t>{1, 2}));
      EXPECT_EQ(batch.labels.data<int32_t>()[0], 1);
      EXPECT_EQ(batch.labels.data<int32_t>()[1], 0);
      ASSERT_TRUE(loader.next(batch));
      EXPECT_EQ(batch.n, 1);
      EXPECT_EQ(batch.indices, (std::vector<int64_t>{3}));
      EXPECT_FALSE(loader.next(batch));
    }
    Loader fails(open(), plain, {.batch = 4, .workers = workers});
    fails.start_epoch(0);
    TensorBatch batch;
    EXPECT_SAYS(message_of<Error>([&] { fails.next(batch); }), "a damaged JPEG");
    // A batch of which nothing is left ends training; an evaluation passes it over.
    const auto test = open({.split = Split::kTest, .skip_damaged = true});
    Loader none(test, plain, {.batch = 1, .shuffle = false, .workers = workers});
    none.start_epoch(0);
    EXPECT_SAYS(message_of<Error>([&] { none.next(batch); }), "data.damaged: none of the 1 images of a batch");
    Loader over(test, plain, {.batch = 1, .training = false, .workers = workers});
    over.start_epoch(0);
    std::vector<int64_t> left, expected(static_cast<size_t>(test->size() - 1));
    std::iota(expected.begin(), expected.end(), int64_t{1});
    while (over.next(batch)) left.insert(left.end(), batch.indices.begin(), batch.indices.end());
    EXPECT_EQ(left, expected);
  }
}

TEST_F(FolderTest, BatchesAreTheSameForAnyNumberOfWorkers) {
  write_all();
  const auto dataset = open();
  const auto epoch_of = [&](int64_t workers) {
    Loader loader(dataset, {{0.5f, 0.5f, 0.5f}, {1, 1, 1}}, {.batch = 3, .seed = 7, .workers = workers});
    std::vector<std::vector<float>> images;
    for (int64_t epoch = 0; epoch < 3; ++epoch) {
      loader.start_epoch(epoch);
      for (TensorBatch batch; loader.next(batch);) {
        const float* const x = batch.images.data<float>();
        images.emplace_back(x, x + batch.images.numel());
      }
    }
    return images;
  };
  const auto alone = epoch_of(0);
  EXPECT_NE(alone.front(), alone[2]);
  for (const int64_t workers : {1, 4}) EXPECT_EQ(epoch_of(workers), alone);
}

TEST_F(FolderTest, HasAPreview) {
  write_all();
  const auto dataset = open();
  const RgbImage sheet =
      make_preview(*dataset, {.variants = {{}}, .images = preview_indices(*dataset, 4), .scale = 1, .margin = 0});
  EXPECT_EQ(sheet.height, 16);
  EXPECT_EQ(sheet.width, 64);
  EXPECT_EQ(sheet.pixels[0], 1);
}

// torchvision.transforms.RandomResizedCrop: area uniform in 0.08 to 1, ratio log-uniform in 3/4 to 4/3.
TEST(RandomResized, IsTorchvisionsDistribution) {
  const AugmentOptions options{.cropping = Cropping::kRandomResized};
  const ImageShape shown{3, 224, 224};
  constexpr int kDraws = 20000;
  double area = 0, ratio = 0, flips = 0, top = 0;
  for (int i = 0; i < kDraws; ++i) {
    const Crop crop = draw_crop(options, image_words(3, 1, i), 2000, 2000, shown);
    ASSERT_GE(crop.top, 0);
    ASSERT_GE(crop.left, 0);
    ASSERT_LE(crop.top + crop.height, 2000);
    ASSERT_LE(crop.left + crop.width, 2000);
    const double share = crop.height * crop.width / 4e6, r = crop.width / crop.height;
    ASSERT_GT(share, 0.0799);
    ASSERT_GT(r, 0.749);
    ASSERT_LT(r, 1.335);
    area += share / kDraws;
    ratio += std::log(r) / kDraws;
    flips += crop.flip ? 1.0 / kDraws : 0;
    top += (crop.height < 2000 ? crop.top / (2000 - crop.height) : 0.5) / kDraws;
  }
  EXPECT_NEAR(area, 0.4775, 0.006);  // below 0.54: large areas of an extreme ratio are drawn again
  EXPECT_NEAR(ratio, 0, 0.01);
  EXPECT_NEAR(flips, 0.5, 0.02);
  EXPECT_NEAR(top, 0.5, 0.02);
  // No crop of such a ratio fits: the middle, as wide as may be.
  const Crop strip = draw_crop(options, image_words(3, 1, 0), 10, 4000, shown);
  EXPECT_EQ(strip.height, 10);
  EXPECT_EQ(strip.width, 13);
  EXPECT_EQ(strip.left, 1993);
  EXPECT_FALSE(
      draw_crop({.flip = false, .cropping = Cropping::kRandomResized}, {{0, 0, 1u << 31, 0}}, 9, 9, shown).flip);
}

// torchvision.transforms: Resize(256), CenterCrop(224) of 375x500: resized to 256x341, crop at (16, 58).
TEST(RandomResized, EvaluationIsResizeAndCentreCrop) {
  const ImageShape shown{3, 224, 224};
  for (const char* type : {"standard", "none"}) {
    const AugmentOptions options{.type = type, .cropping = Cropping::kRandomResized};
    const auto words = std::string(type) == "none" ? std::optional(image_words(0, 0, 0)) : std::nullopt;
    const Crop crop = draw_crop(options, words, 375, 500, shown);
    EXPECT_DOUBLE_EQ(crop.top, 16 * 375.0 / 256);
    EXPECT_DOUBLE_EQ(crop.height, 224 * 375.0 / 256);
    EXPECT_DOUBLE_EQ(crop.left, 58 * 500.0 / 341);
    EXPECT_DOUBLE_EQ(crop.width, 224 * 500.0 / 341);
    EXPECT_FALSE(crop.flip);
    const Crop tall = draw_crop(options, words, 500, 375, shown);
    EXPECT_DOUBLE_EQ(tall.top, crop.left);
    EXPECT_DOUBLE_EQ(tall.width, crop.height);
  }
}

}  // namespace
}  // namespace tidepool::testing
