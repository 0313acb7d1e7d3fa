// Pictures from files against tests/golden/pictures.py, which packs them itself and knows every pixel by a formula.
#include "data/picture.h"

#include <sys/stat.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "data/contact_sheet.h"
#include "data/png.h"
#include "data/voc_colours.h"
#include "tests/data/data_test.h"

namespace tidepool::testing {
namespace {

std::filesystem::path golden(const std::string& name) {
  return std::filesystem::path(TIDEPOOL_SOURCE_DIR) / "tests/golden/pictures" / name;
}

int value_at(const Picture& picture, int64_t y, int64_t x, int64_t c) {
  const auto i = static_cast<size_t>((y * picture.width + x) * picture.channels + c);
  if (picture.bits == 8) return picture.bytes[i];
  uint16_t value = 0;
  std::memcpy(&value, picture.bytes.data() + 2 * i, 2);
  return value;
}

struct Kind {
  const char* name;
  int64_t channels;
  int bits;
  std::function<int(int, int, int)> value;
};

TEST(Pictures, EveryKindOfPngIsReadValueByValue) {
  const auto formula = [](int bits) {
    return [bits](int y, int x, int c) {
      return bits == 16 ? (y * 3001 + x * 1777 + c * 7919) % 65536 : (y * 31 + x * 17 + c * 71) % (1 << bits);
    };
  };
  const auto stretched = [&](int bits) {  // 1 to 4 bits to 8
    return [bits, f = formula(bits)](int y, int x, int c) { return f(y, x, c) * 255 / ((1 << bits) - 1); };
  };
  const auto palette = [f = formula(8)](int y, int x, int c) {
    const int i = f(y, x, 0);
    return c == 0 ? i : c == 1 ? 255 - i : c == 2 ? 3 * i % 256 : 255 - i;
  };
  const Kind kinds[] = {
      {"grey1.png", 1, 8, stretched(1)},        {"grey2.png", 1, 8, stretched(2)},
      {"grey4.png", 1, 8, stretched(4)},        {"grey8.png", 1, 8, formula(8)},
      {"grey16.png", 1, 16, formula(16)},       {"rgb8.png", 3, 8, formula(8)},
      {"rgb16.png", 3, 16, formula(16)},        {"grey_alpha8.png", 2, 8, formula(8)},
      {"grey_alpha16.png", 2, 16, formula(16)}, {"rgb_alpha8.png", 4, 8, formula(8)},
      {"rgb_alpha16.png", 4, 16, formula(16)},  {"interlaced.png", 3, 16, formula(16)},
      {"palette.png", 3, 8, palette},           {"palette_alpha.png", 4, 8, palette},
  };
  const TemporaryFolder folder;
  for (const Kind& kind : kinds) {
    SCOPED_TRACE(kind.name);
    const Picture picture = read_picture(golden(kind.name));
    ASSERT_EQ(picture.height, 9);
    ASSERT_EQ(picture.width, 13);
    ASSERT_EQ(picture.channels, kind.channels);
    ASSERT_EQ(picture.bits, kind.bits);
    EXPECT_EQ(picture.has_alpha(), kind.channels % 2 == 0);
    for (int y = 0; y < 9; ++y)
      for (int x = 0; x < 13; ++x)
        for (int c = 0; c < kind.channels; ++c)
          ASSERT_EQ(value_at(picture, y, x, c), kind.value(y, x, c)) << y << x << c;
    // as planes and back, and through a file
    EXPECT_EQ(from_planes(to_planes(picture), picture.bits).bytes, picture.bytes);
    write_png(folder / "copy.png", picture);
    const Picture copy = read_picture(folder / "copy.png");
    EXPECT_EQ(copy.bytes, picture.bytes);
    EXPECT_EQ(copy.channels, picture.channels);
    EXPECT_EQ(copy.bits, picture.bits);
  }
  EXPECT_EQ(count_entries(folder.path()), 1u);
}

// The pixels at (0, 0) and (row 2, column 5) as Pillow's ImageOps.exif_transpose shows them.
TEST(Pictures, MapsOfClassesArePalettePngs) {
  // Values of PASCAL VOC's label pictures: background, aeroplane, bicycle, bird, boat, ..., tv monitor, border.
  const std::pair<int, std::array<uint8_t, 3>> kKnown[] = {
      {0, {0, 0, 0}},  {1, {128, 0, 0}},      {2, {0, 128, 0}},   {3, {128, 128, 0}},    {4, {0, 0, 128}},
      {8, {64, 0, 0}}, {15, {192, 128, 128}}, {20, {0, 64, 128}}, {255, {224, 224, 192}}};
  for (const auto& [index, colour] : kKnown) EXPECT_EQ(kVocColours[static_cast<size_t>(index)], colour) << index;

  IndexedImage map{.height = 3, .width = 5, .palette = kVocColours};
  for (const int index : {0, 1, 2, 3, 255, 20, 19, 18, 17, 16, 5, 6, 7, 8, 9})
    map.indices.push_back(static_cast<uint8_t>(index));
  const TemporaryFolder folder;
  write_png(folder / "map.png", map);
  const std::string bytes = read_file(folder / "map.png");
  EXPECT_EQ(bytes[24], 8) << "bits";
  EXPECT_EQ(bytes[25], 3) << "colour type: indices into a palette";
  const Picture picture = read_picture(folder / "map.png");
  ASSERT_EQ(picture.channels, 3);
  for (int64_t i = 0; i < 15; ++i)
    for (int64_t c = 0; c < 3; ++c)
      EXPECT_EQ(value_at(picture, i / 5, i % 5, c),
                kVocColours[map.indices[static_cast<size_t>(i)]][static_cast<size_t>(c)]);

  map.palette = map.palette.first(20);
  EXPECT_THROW(write_png(folder / "map.png", map), Error) << "no colour for 20 and 255";
  map.indices.pop_back();
  EXPECT_THROW(write_png(folder / "map.png", map), Error) << "an index too few";
  EXPECT_EQ(count_entries(folder.path()), 1u);
}

TEST(Pictures, AreTurnedUprightAsTheirExifSays) {
  struct Case {
    const char* name;
    int64_t height, width;
    int first[3], second[3];
  };
  const Case cases[] = {
      {"exif1.jpg", 24, 40, {40, 229, 100}, {59, 213, 117}},
      {"exif2.jpg", 24, 40, {197, 230, 177}, {177, 213, 175}},
      {"exif3.jpg", 24, 40, {195, 47, 247}, {175, 62, 230}},
      {"exif4.jpg", 24, 40, {41, 47, 171}, {60, 62, 173}},
      {"exif5.jpg", 40, 24, {40, 229, 100}, {49, 191, 119}},
      {"exif6.jpg", 40, 24, {41, 47, 171}, {48, 86, 159}},
      {"exif7.jpg", 40, 24, {195, 47, 247}, {188, 87, 229}},
      {"exif8.jpg", 40, 24, {197, 230, 177}, {189, 191, 188}},
      {"exif6.png", 13, 9, {248, 63, 134}, {127, 198, 13}},
      {"progressive.jpg", 24, 40, {44, 226, 105}, {59, 214, 113}},
      {"grey.jpg", 24, 40, {158, 158, 158}, {156, 156, 156}},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.name);
    const Picture picture = read_picture(golden(one.name));
    ASSERT_EQ(picture.height, one.height);
    ASSERT_EQ(picture.width, one.width);
    for (int64_t c = 0; c < picture.channels; ++c) {  // decoders may differ by a step or two
      EXPECT_NEAR(value_at(picture, 0, 0, c), one.first[c], 2);
      EXPECT_NEAR(value_at(picture, 2, 5, c), one.second[c], 2);
    }
  }
}

TEST(Pictures, BrokenExifMeansUpright) {
  using namespace std::string_literals;
  EXPECT_EQ(exif_orientation(""), 1);
  EXPECT_EQ(exif_orientation("XX"), 1);
  EXPECT_EQ(exif_orientation("II*\0"s), 1);
  EXPECT_EQ(exif_orientation("II*\0\xff\xff\xff\xff"s), 1);    // a directory behind the end
  EXPECT_EQ(exif_orientation("II*\0\x08\0\0\0\xff\xff"s), 1);  // more entries than there are
  const std::string good = "II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0"s;
  EXPECT_EQ(exif_orientation(good + "\x06\0\0\0"s), 6);
  EXPECT_EQ(exif_orientation(good + "\x09\0\0\0"s), 1);  // no such orientation
  EXPECT_EQ(exif_orientation(good), 1);                  // cut off
  EXPECT_EQ(exif_orientation("MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x08\0\0"s), 8);
}

// Cameras write SHORT; some editors write LONG, and readers take any integer type.
TEST(Pictures, ExifOrientationOfAnyIntegerType) {
  using namespace std::string_literals;
  const auto little = [](int type, char count, const std::string& values) {
    return exif_orientation(fmt::format("{}{}{}{}{}{}", "II*\0\x08\0\0\0\x01\0\x12\x01"s, static_cast<char>(type), '\0',
                                        count, "\0\0\0"s, values));
  };
  const auto big = [](int type, char count, const std::string& values) {
    return exif_orientation(fmt::format("{}{}{}{}{}", "MM\0*\0\0\0\x08\0\x01\x01\x12\0"s, static_cast<char>(type),
                                        "\0\0\0"s, count, values));
  };
  for (const int type : {1, 6}) {  // BYTE, SBYTE
    EXPECT_EQ(little(type, 1, "\x06\0\0\0"s), 6) << type;
    EXPECT_EQ(big(type, 1, "\x06\0\0\0"s), 6) << type;
  }
  for (const int type : {3, 8}) {  // SHORT, SSHORT
    EXPECT_EQ(little(type, 1, "\x06\0\0\0"s), 6) << type;
    EXPECT_EQ(big(type, 1, "\0\x06\0\0"s), 6) << type;
  }
  for (const int type : {4, 9}) {  // LONG, SLONG
    EXPECT_EQ(little(type, 1, "\x06\0\0\0"s), 6) << type;
    EXPECT_EQ(big(type, 1, "\0\0\0\x06"s), 6) << type;
  }
  for (const int type : {16, 17}) {  // LONG8, SLONG8: behind the entry, at byte 26
    EXPECT_EQ(little(type, 1, "\x1a\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0"s), 6) << type;
    EXPECT_EQ(big(type, 1, "\0\0\0\x1a\0\0\0\0\0\0\0\0\0\0\0\x06"s), 6) << type;
    EXPECT_EQ(little(type, 1, "\x1a\0\0\0\0\0\0\0\x06"s), 1) << type;  // cut off
  }
  EXPECT_EQ(little(4, 2, "\x1a\0\0\0\0\0\0\0\x06\0\0\0\x01\0\0\0"s), 6);  // two values: the first counts
  EXPECT_EQ(little(4, 1, "\x06\0\x01\0"s), 1);                            // 65,542: no such orientation
  EXPECT_EQ(little(9, 1, "\xfa\xff\xff\xff"s), 1);                        // -6
  for (const int type : {2, 5, 7, 11, 12, 13})  // ASCII, RATIONAL, UNDEFINED, FLOAT, DOUBLE, IFD
    EXPECT_EQ(little(type, 1, "\x06\0\0\0"s), 1) << type;
}

TEST(Pictures, DamagedFilesAreRefused) {
  const TemporaryFolder folder;
  const std::string png = read_file(golden("rgb16.png")), jpeg = read_file(golden("exif1.jpg"));
  const auto message = [&](const std::string& name, const std::string& bytes) {
    write_file(folder / name, bytes);
    return message_of<Error>([&] { read_picture(folder / name); });
  };
  for (const size_t size : {size_t{9}, size_t{20}, size_t{40}, png.size() / 2, png.size() - 1})
    EXPECT_SAYS(message("cut.png", png.substr(0, size)), "cut.png: a damaged PNG");
  for (const size_t size : {size_t{4}, size_t{100}, jpeg.size() / 2, jpeg.size() - 3})
    EXPECT_SAYS(message("cut.jpg", jpeg.substr(0, size)), "cut.jpg: a damaged JPEG");
  std::string flipped = png;
  flipped[png.size() / 2] = static_cast<char>(flipped[png.size() / 2] ^ 0x55);
  EXPECT_SAYS(message("flipped.png", flipped), "flipped.png: a damaged PNG");
  std::string nothing = png;  // a width of 0
  nothing[19] = '\0';
  EXPECT_SAYS(message("nothing.png", nothing), "nothing.png: a damaged PNG");
  EXPECT_SAYS(message("empty.png", ""), "expected a PNG or JPEG");
  EXPECT_SAYS(message("text.jpg", "no picture"), "expected a PNG or JPEG");
  EXPECT_SAYS(message_of<Error>([&] { read_picture(golden("cmyk.jpg")); }), "CMYK");
  EXPECT_SAYS(message_of<Error>([&] { read_picture(folder / "none.png"); }), "no such file");
  EXPECT_SAYS(message_of<Error>([&] { read_picture(folder.path()); }), "a folder");
}

// What a header says of no pixel is no damage: a revision, and fields of progressive pictures in a sequential one.
TEST(Pictures, OddHeadersOfWholeJpegsAreRead) {
  const TemporaryFolder folder;
  const std::string jpeg = read_file(golden("odd1.jpg"));
  const Picture whole = read_picture(golden("odd1.jpg"));
  const size_t jfif = jpeg.find("JFIF"), scan = jpeg.find("\xff\xda");
  ASSERT_NE(jfif, std::string::npos);
  ASSERT_NE(scan, std::string::npos);
  std::string revised = jpeg, zeros = jpeg;
  revised[jfif + 5] = 2;
  const auto header = static_cast<size_t>(static_cast<uint8_t>(zeros[scan + 3]));  // its length's low byte
  for (size_t i = 0; i < 3; ++i) zeros[scan + 2 + header - 3 + i] = 0;
  for (const std::string& bytes : {revised, zeros}) {
    write_file(folder / "odd.jpg", bytes);
    EXPECT_NE(bytes, jpeg);
    EXPECT_EQ(read_picture(folder / "odd.jpg").bytes, whole.bytes);
  }
}

TEST(Pictures, APipeIsNoPicture) {
  const TemporaryFolder folder;
  ASSERT_EQ(mkfifo((folder / "pipe.png").c_str(), 0600), 0);
  EXPECT_SAYS(message_of<Error>([&] { read_picture(folder / "pipe.png"); }), "no regular file");
}

// Whatever stands in a file, it is a picture or an Error (under the sanitizers this says more).
TEST(Pictures, RandomDamageIsSurvived) {
  const TemporaryFolder folder;
  uint32_t state = 1;
  const auto draw = [&](size_t below) {
    state = state * 1664525 + 1013904223;
    return static_cast<size_t>(state >> 8) % below;
  };
  int pictures = 0, errors = 0;
  for (const char* name :
       {"exif6.jpg", "progressive.jpg", "grey.jpg", "rgb_alpha16.png", "palette_alpha.png", "exif6.png"}) {
    const std::string whole = read_file(golden(name));
    for (int i = 0; i < 60; ++i) {
      std::string bytes = whole;
      for (size_t k = draw(4); k < 4; ++k) bytes[draw(bytes.size())] = static_cast<char>(draw(256));
      if (draw(4) == 0) bytes.resize(draw(bytes.size()));
      write_file(folder / "damaged", bytes);
      try {
        const Picture picture = read_picture(folder / "damaged");
        EXPECT_EQ(static_cast<int64_t>(picture.bytes.size()), picture.height * picture.width * picture.pixel_bytes());
        ++pictures;
      } catch (const Error&) {
        ++errors;
      }
    }
  }
  EXPECT_GT(errors, 100);
  EXPECT_GT(pictures, 10);  // a flipped coefficient is another picture
}

TEST(Pictures, ValuesOutsideAreCutOff) {
  const Tensor planes = Tensor::from<float>({-1.f, 0.f, 0.5f, 1.f, 2.f, std::numeric_limits<float>::quiet_NaN(),
                                             std::numeric_limits<float>::infinity(), 0.2f},
                                            {1, 1, 2, 4});
  EXPECT_EQ(from_planes(planes, 8).bytes, (std::vector<uint8_t>{0, 0, 128, 255, 255, 0, 255, 51}));
  const Picture wide = from_planes(planes, 16);
  EXPECT_EQ(value_at(wide, 0, 2, 0), 32768);
  EXPECT_EQ(value_at(wide, 1, 0, 0), 65535);
}

TEST(ContactSheet, PlacesPanelsAndDrawsText) {
  const Picture black{.height = 2,
                      .width = 4,
                      .channels = 2,
                      .bytes = {0, 255, 0, 255, 0, 255, 0, 255,  //
                                0, 0, 0, 0, 0, 0, 0, 0}};
  const RgbImage panel = panel_image(black, 4, 8);  // pixels repeated
  EXPECT_EQ(panel.pixels[0], 0);
  EXPECT_EQ(panel.pixels[3 * 8 * 3], 255);  // transparent is white
  const RgbImage sheet = contact_sheet({{{panel, {"I"}}, {panel, {}}}, {{panel, {"wide text"}}}});
  EXPECT_EQ(sheet.width, 8 + 2 * (8 + 8));
  EXPECT_EQ(sheet.height, 8 + 2 * (4 + 2 + 10 + 8));
  const auto dark = [&](int64_t y, int64_t x) {
    return sheet.pixels[static_cast<size_t>((y * sheet.width + x) * 3)] == 0;
  };
  EXPECT_TRUE(dark(8, 8) && dark(8, 24) && !dark(8, 16) && !dark(7, 8));
  std::string letter;
  for (int64_t y = 15; y < 22; ++y)
    for (int64_t x = 8; x < 13; ++x) letter += dark(y, x) ? '#' : '.';
  EXPECT_EQ(letter, ".###...#....#....#....#....#...###.");
  for (int64_t y = 0; y < sheet.height; ++y)
    for (int64_t x = 32; x < sheet.width; ++x) EXPECT_FALSE(dark(y, x));  // text ends with its panel
  EXPECT_SAYS(message_of<Error>([] { contact_sheet({}); }), "got none");
}

}  // namespace
}  // namespace tidepool::testing
