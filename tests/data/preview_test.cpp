#include "data/preview.h"
#include "data/png.h"
#include "data/voc_colours.h"

#include <set>

#include "tests/data/data_test.h"

namespace tidepool::testing {
namespace {

TEST(Png, WhatIsWrittenIsReadBack) {
  const TemporaryFolder folder;
  RgbImage image{.height = 7, .width = 5, .pixels = std::vector<uint8_t>(105)};
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<uint8_t>(i * 37);
  write_png(folder / "a.png", image);
  write_png(folder / "a.png", image);  // over an old one
  const Picture back = read_picture(folder / "a.png");
  EXPECT_EQ(back.height, 7);
  EXPECT_EQ(back.width, 5);
  EXPECT_EQ(back.bytes, image.pixels);
  EXPECT_EQ(count_entries(folder.path()), 1u);  // and nothing half-written
}

TEST(Png, SaysWhatWentWrong) {
  const TemporaryFolder folder;
  const RgbImage image{.height = 1, .width = 1, .pixels = {1, 2, 3}};
  EXPECT_SAYS(message_of<Error>([&] { write_png(folder / "no/such/folder.png", image); }), "no/such/folder.png");
  std::filesystem::create_directories(folder / "taken.png/x");
  EXPECT_SAYS(message_of<Error>([&] { write_png(folder / "taken.png", image); }), "taken.png");
  EXPECT_EQ(count_entries(folder.path()), 2u);
  EXPECT_SAYS(message_of<Error>([&] {
                write_png(folder / "b.png", {.height = 2, .width = 1, .pixels = {1, 2, 3}});
              }),
              "2x1 with 3 channels and 3 bytes");
  EXPECT_SAYS(message_of<Error>([&] { read_picture(folder / "none.png"); }), "none.png");
  write_file(folder / "text.png", "no picture");
  EXPECT_SAYS(message_of<Error>([&] { read_picture(folder / "text.png"); }), "text.png");
}

TEST(Preview, ShowsVariantsInRowsAndImagesInColumns) {
  const MadeDataset source(30, {3, 8, 8});
  const PreviewOptions options{
      .variants = {{}, {.type = "tile", .grid = 2}}, .images = {4, 29, 0}, .scale = 2, .margin = 3};
  const RgbImage sheet = make_preview(source, options);
  ASSERT_EQ(sheet.height, 3 + 2 * (16 + 3));
  ASSERT_EQ(sheet.width, 3 + 3 * (16 + 3));
  const auto at = [&](int64_t y, int64_t x, int64_t c) {
    return int{sheet.pixels[static_cast<size_t>((y * sheet.width + x) * 3 + c)]};
  };
  for (int64_t x = 0; x < sheet.width; ++x) EXPECT_EQ(at(20, x, 1), 255);  // between the rows
  for (int64_t y = 0; y < 16; ++y) {
    for (int64_t x = 0; x < 16; ++x) {
      ASSERT_EQ(at(3 + y, 3 + 19 + x, 1), source.planes(29)[64 + y / 2 * 8 + x / 2]);  // row 0, column 1
    }
  }
  const uint8_t* const blue = source.planes(0) + 128;
  const int mean = (blue[0] + blue[1] + blue[8] + blue[9] + 2) / 4;
  for (const int64_t y : {0, 8}) {
    for (const int64_t x : {0, 8}) EXPECT_NEAR(at(3 + 19 + y, 3 + 38 + x, 2), mean, 1);  // row 1, column 2: tiles
  }
}

TEST(Preview, ShowsLabelMapsBelowTheImages) {
  const MadeDataset dataset(4, {3, 8, 6}, {.label_maps = true});
  const RgbImage sheet = make_preview(dataset, {.variants = {{}}, .images = {2, 0}, .scale = 1, .margin = 1});
  ASSERT_EQ(sheet.height, 1 + 2 * 9);
  ASSERT_EQ(sheet.width, 1 + 2 * 7);
  for (int64_t p = 0; p < 48; ++p) {
    const uint8_t* const pixel = sheet.pixels.data() + ((10 + p / 6) * sheet.width + 1 + p % 6) * 3;
    const auto colour = kVocColours[MadeDataset::map_label(2, p)];
    EXPECT_TRUE(std::equal(colour.begin(), colour.end(), pixel)) << p;
  }
  EXPECT_SAYS(
      message_of<Error>([&] { make_preview(dataset, {.variants = {{.type = "tile", .grid = 2}}, .images = {0}}); }),
      "tile");
}

TEST(Preview, ChoosesImagesOfManyClasses) {
  const MadeDataset source(30, {3, 8, 8});
  EXPECT_EQ(preview_indices(source, 9), (std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(preview_indices(source, 99).size(), 30u);
  const auto all = preview_indices(source, 30);
  EXPECT_EQ(std::set<int64_t>(all.begin(), all.end()).size(), 30u);
  EXPECT_EQ(preview_indices(MadeDataset(5, {3, 8, 8}, {.label_maps = true}), 3), (std::vector<int64_t>{0, 1, 2}));
}

TEST(Preview, ErrorsNameWhatIsWrong) {
  const MadeDataset source(3, {3, 8, 8}), grey(3, {1, 8, 8});
  EXPECT_SAYS(message_of<Error>([&] { make_preview(source, {.images = {3}}); }), "0 to 2, got 3");
  EXPECT_SAYS(message_of<Error>([&] { make_preview(source, {}); }), "no image");
  EXPECT_SAYS(message_of<Error>([&] { make_preview(source, {.images = {0}, .scale = 0}); }), "scale");
  EXPECT_SAYS(message_of<Error>([&] { make_preview(grey, {.images = {0}}); }), "1 channels");
}

}  // namespace
}  // namespace tidepool::testing
