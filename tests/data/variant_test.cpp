#include "data/variant.h"

#include <cmath>
#include <numeric>

#include "data/augment.h"
#include "tests/data/data_test.h"

namespace tidepool::testing {
namespace {

using Floats = std::vector<float>;

// f32 (h, w, c) with values in [0, 1) that have no pattern.
Floats made_image(ImageShape shape) {
  Floats x(static_cast<size_t>(shape.elements()));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>((i * 7919 + i * i * 104729) % 1000) / 1000.f;
  return x;
}

float at(const Floats& x, ImageShape shape, int64_t row, int64_t column, int64_t channel) {
  return x[static_cast<size_t>((row * shape.width + column) * shape.channels + channel)];
}

Floats apply(const VariantOptions& options, ImageShape shape, const Floats& x, std::optional<uint32_t> draw = {}) {
  Floats y(x.size(), NAN), scratch;
  Variant(options, shape).apply(x.data(), y.data(), draw, scratch);
  return y;
}

// Straight from the definition, in f64: bilinear with half-pixel centres, borders repeated.
double bilinear(const Floats& x, ImageShape shape, double row, double column, int64_t channel) {
  const auto clamped = [&](int64_t r, int64_t c) {
    return static_cast<double>(
        at(x, shape, std::clamp<int64_t>(r, 0, shape.height - 1), std::clamp<int64_t>(c, 0, shape.width - 1), channel));
  };
  const auto r = static_cast<int64_t>(std::floor(row)), c = static_cast<int64_t>(std::floor(column));
  const double v = row - std::floor(row), u = column - std::floor(column);
  return (1 - v) * ((1 - u) * clamped(r, c) + u * clamped(r, c + 1)) +
         v * ((1 - u) * clamped(r + 1, c) + u * clamped(r + 1, c + 1));
}

double area(const Floats& x, ImageShape shape, double top, double bottom, double left, double right, int64_t channel) {
  double sum = 0;
  for (int64_t r = 0; r < shape.height; ++r) {
    for (int64_t c = 0; c < shape.width; ++c) {
      const auto y0 = static_cast<double>(r), x0 = static_cast<double>(c);
      const double high = std::min(bottom, y0 + 1) - std::max(top, y0);
      const double wide = std::min(right, x0 + 1) - std::max(left, x0);
      if (high > 0 && wide > 0) sum += high * wide * static_cast<double>(at(x, shape, r, c, channel));
    }
  }
  return sum / ((bottom - top) * (right - left));
}

const std::vector<ImageShape> kShapes = {{3, 32, 32}, {1, 12, 20}, {4, 24, 8}};

TEST(Variant, StretchShowsTheMiddleInEvaluation) {
  for (const ImageShape shape : kShapes) {
    const Floats x = made_image(shape);
    for (const double factor : {1.0, 1.5, 2.0, 3.0}) {
      const Floats v = apply({.type = "stretch_v", .factor = factor}, shape, x);
      const Floats h = apply({.type = "stretch_h", .factor = factor}, shape, x);
      const double top = std::floor((factor - 1) * static_cast<double>(shape.height) / 2);
      const double left = std::floor((factor - 1) * static_cast<double>(shape.width) / 2);
      for (int64_t r = 0; r < shape.height; ++r) {
        for (int64_t c = 0; c < shape.width; ++c) {
          const auto row = static_cast<double>(r), column = static_cast<double>(c);
          const double from_row = (top + row + 0.5) / factor - 0.5, from_column = (left + column + 0.5) / factor - 0.5;
          ASSERT_NEAR(at(v, shape, r, c, 0), bilinear(x, shape, from_row, column, 0), 1e-5) << factor << " " << r;
          ASSERT_NEAR(at(h, shape, r, c, 0), bilinear(x, shape, row, from_column, 0), 1e-5) << factor << " " << c;
        }
      }
    }
  }
}

TEST(Variant, StretchInTrainingShowsRandomRowsOfTheWhole) {
  const ImageShape shape{3, 32, 32};
  const Floats x = made_image(shape);
  const VariantOptions options{.type = "stretch_v"};
  // The first and the last crop that a draw can give, and one between; 33 crops are possible.
  for (const auto& [draw, top] : {std::pair<uint32_t, double>{0, 0}, {UINT32_MAX, 32}, {1u << 31, 16}}) {
    const Floats y = apply(options, shape, x, draw);
    for (int64_t r = 0; r < 32; ++r) {
      const double row = (top + static_cast<double>(r) + 0.5) / 2 - 0.5;
      ASSERT_NEAR(at(y, shape, r, 9, 2), bilinear(x, shape, row, 9, 2), 1e-5) << draw << " " << r;
    }
  }
}

TEST(Variant, TileRepeatsTheShrunkImage) {
  for (const ImageShape shape : kShapes) {
    const Floats x = made_image(shape);
    for (const int64_t grid : {1, 2, 4}) {
      const Floats y = apply({.type = "tile", .grid = grid}, shape, x);
      const int64_t high = shape.height / grid, wide = shape.width / grid;
      for (int64_t r = 0; r < shape.height; ++r) {
        for (int64_t c = 0; c < shape.width; ++c) {
          const auto row = static_cast<double>(r % high), column = static_cast<double>(c % wide);
          const auto g = static_cast<double>(grid);
          ASSERT_NEAR(at(y, shape, r, c, 0), area(x, shape, row * g, row * g + g, column * g, column * g + g, 0), 1e-5);
        }
      }
    }
  }
}

TEST(Variant, LargeIsTheShrunkImageEnlarged) {
  for (const ImageShape shape : kShapes) {
    const Floats x = made_image(shape);
    for (const int64_t size : {1, 3, 5, 8}) {
      const ImageShape small{shape.channels, size, size};
      Floats shrunk(static_cast<size_t>(small.elements()));
      const double by_row = static_cast<double>(shape.height) / static_cast<double>(size);
      const double by_column = static_cast<double>(shape.width) / static_cast<double>(size);
      for (size_t i = 0; i < shrunk.size(); ++i) {
        const auto p = static_cast<int64_t>(i) / shape.channels;
        const auto r = static_cast<double>(p / size), c = static_cast<double>(p % size);
        shrunk[i] = static_cast<float>(area(x, shape, r * by_row, (r + 1) * by_row, c * by_column, (c + 1) * by_column,
                                            static_cast<int64_t>(i) % shape.channels));
      }
      const Floats y = apply({.type = "large", .size = size}, shape, x);
      for (int64_t r = 0; r < shape.height; ++r) {
        for (int64_t c = 0; c < shape.width; ++c) {
          const double row = (static_cast<double>(r) + 0.5) / by_row - 0.5;
          const double column = (static_cast<double>(c) + 0.5) / by_column - 0.5;
          // Before the first and behind the last centre the border counts.
          const double last = static_cast<double>(size - 1);
          ASSERT_NEAR(at(y, shape, r, c, 0),
                      bilinear(shrunk, small, std::clamp(row, 0.0, last), std::clamp(column, 0.0, last), 0), 2e-5)
              << size << " " << r << " " << c;
        }
      }
    }
  }
}

TEST(Variant, TileAndLargeHoldTheSameInformation) {
  const ImageShape shape{3, 32, 32};
  const Floats x = made_image(shape);
  const Floats tile = apply({.type = "tile"}, shape, x), large = apply({.type = "large"}, shape, x);
  // Enlarging keeps the mean of an inner line only nearly; that of the whole within a few parts in a hundred.
  const auto mean = [](const Floats& y) {
    return std::accumulate(y.begin(), y.end(), 0.0) / static_cast<double>(y.size());
  };
  EXPECT_NEAR(mean(tile), mean(x), 1e-5);
  EXPECT_NEAR(mean(large), mean(x), 2e-2);
  EXPECT_NE(tile, large);
}

TEST(Variant, FlatStaysFlat) {
  const ImageShape shape{3, 30, 20};
  const Floats x(static_cast<size_t>(shape.elements()), 0.7f);
  for (const VariantOptions& options : {VariantOptions{.type = "stretch_v", .factor = 1.7},
                                        {.type = "stretch_h"},
                                        {.type = "tile", .grid = 5},
                                        {.type = "large", .size = 7}}) {
    for (const float value : apply(options, shape, x, 12345u)) ASSERT_NEAR(value, 0.7f, 1e-6) << options.type;
  }
  EXPECT_EQ(apply({}, shape, made_image(shape)), made_image(shape));
}

TEST(Variant, ErrorsNameTheKey) {
  const ImageShape shape{3, 32, 32};
  const auto message = [&](const VariantOptions& options) {
    return message_of<Error>([&] { Variant(options, shape); });
  };
  EXPECT_SAYS(message({.type = "strech_v"}), "did you mean 'stretch_v'?");
  EXPECT_SAYS(message({.type = "tile", .grid = 5}), "data.variant.grid");
  EXPECT_SAYS(message({.type = "tile", .grid = 5}), "32x32, got 5");
  EXPECT_SAYS(message({.type = "tile", .grid = 0}), "got 0");
  EXPECT_SAYS(message({.type = "large", .size = 33}), "data.variant.size: expected 1 to 32");
  EXPECT_SAYS(message({.type = "large", .size = 0}), "got 0");
  EXPECT_SAYS(message({.type = "stretch_h", .factor = 0.5}), "data.variant.factor");
  EXPECT_SAYS(message({.type = "stretch_h", .factor = NAN}), "got nan");
}

// --- augmentation ---

ByteTable<float> plain_table(size_t channels) {
  ByteTable<float> table(channels);
  for (size_t c = 0; c < channels; ++c) {
    for (size_t byte = 0; byte < 256; ++byte) table[c][byte] = static_cast<float>(1000 * c + byte);
  }
  return table;
}

TEST(Augment, CropsOutOfBlackAndMirrors) {
  const ImageShape image{2, 5, 6};
  std::vector<uint8_t> x(static_cast<size_t>(image.elements())), turned(x.size());
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<uint8_t>(i + 1);
  for (size_t i = 0; i < x.size(); ++i) turned[i % 30 * 2 + i / 30] = x[i];
  const ByteTable<float> table = plain_table(2);
  Sample planes, interleaved;
  planes.show_planes(x.data(), image);
  planes.label_map = x.data();
  interleaved.show_interleaved(turned.data(), image);
  for (const ImageShape shown : {image, ImageShape{2, 3, 8}, {2, 9, 2}}) {
    for (const int64_t top : {-10, -7, -4, -1, 0, 2, 5}) {
      for (const int64_t left : {-8, -4, 0, 3, 6}) {
        for (const bool flip : {false, true}) {
          const Crop crop{static_cast<double>(top), static_cast<double>(left), static_cast<double>(shown.height),
                          static_cast<double>(shown.width), flip};
          ASSERT_TRUE(is_exact(crop, shown));
          Floats y(static_cast<size_t>(shown.elements()), NAN), z = y;
          std::vector<int32_t> labels(static_cast<size_t>(shown.height * shown.width), -1);
          show_exactly(planes, crop, shown, table, y.data());
          show_exactly(interleaved, crop, shown, table, z.data());
          show_labels(planes, crop, shown, labels.data());
          EXPECT_EQ(y, z);
          for (int64_t r = 0; r < shown.height; ++r) {
            for (int64_t c = 0; c < shown.width; ++c) {
              const int64_t row = r + top, column = (flip ? shown.width - 1 - c : c) + left;
              const bool inside = row >= 0 && row < 5 && column >= 0 && column < 6;
              for (int64_t k = 0; k < 2; ++k) {
                const int64_t byte = inside ? x[static_cast<size_t>((k * 5 + row) * 6 + column)] : 0;
                ASSERT_EQ(at(y, shown, r, c, k), static_cast<float>(1000 * k + byte))
                    << top << " " << left << " " << flip;
              }
              ASSERT_EQ(labels[static_cast<size_t>(r * shown.width + c)],
                        inside ? x[static_cast<size_t>(row * 6 + column)] : kIgnoredLabel);
            }
          }
        }
      }
    }
  }
}

constexpr ImageShape kSmall{3, 32, 32};

TEST(Augment, DrawsEveryPositionAboutAsOften) {
  std::vector<int> tops(9), lefts(9);
  int flips = 0;
  constexpr int kImages = 18000;
  for (int64_t i = 0; i < kImages; ++i) {
    const Crop crop = draw_crop({}, image_words(5, 2, i), 32, 32, kSmall);
    EXPECT_TRUE(is_exact(crop, kSmall));
    ++tops.at(static_cast<size_t>(crop.top + 4));
    ++lefts.at(static_cast<size_t>(crop.left + 4));
    flips += crop.flip;
  }
  for (const auto& counts : {tops, lefts}) {
    for (const int count : counts) EXPECT_NEAR(count, 2000, 5 * 42);  // 42: standard deviation of the count
  }
  EXPECT_NEAR(flips, 9000, 5 * 67);
}

TEST(Augment, IsAFunctionOfSeedEpochAndIndex) {
  const auto words = image_words(1, 2, 3);
  EXPECT_EQ(words, image_words(1, 2, 3));
  EXPECT_NE(words, image_words(2, 2, 3));
  EXPECT_NE(words, image_words(1, 3, 3));
  EXPECT_NE(words, image_words(1, 2, 4));
}

TEST(Augment, NoneAndTheKeys) {
  const std::array<uint32_t, 4> most{UINT32_MAX, UINT32_MAX, UINT32_MAX, 0};
  const Crop crop = draw_crop({.type = "none"}, most, 32, 32, kSmall);
  EXPECT_TRUE(crop.top == 0 && crop.left == 0 && !crop.flip && is_exact(crop, kSmall));
  EXPECT_FALSE(draw_crop({.flip = false}, most, 32, 32, kSmall).flip);
  EXPECT_SAYS(message_of<Error>([] { check_augment({.type = "standart"}); }), "did you mean 'standard'?");
  EXPECT_SAYS(message_of<Error>([] { check_augment({.padding = -1}); }), "got -1");
}

// --- images of another size than the network's ---

TEST(Augment, AnotherSizeIsCoveredThenCropped) {
  // 60x40 for 20x20: shrunk by 2 to 30x20, of which the middle 20 rows are shown: rows 10 to 50.
  const ImageShape shown{3, 20, 20};
  const Crop middle = draw_crop({}, std::nullopt, 60, 40, shown);
  EXPECT_EQ(middle.top, 10);
  EXPECT_EQ(middle.left, 0);
  EXPECT_EQ(middle.height, 40);
  EXPECT_EQ(middle.width, 40);
  // In training with 2 pixels of padding: 30 + 4 - 20 + 1 rows to begin at, and 5 columns, in pixels of the result.
  const auto end = [&](uint32_t word) { return draw_crop({.padding = 2}, {{word, word, 0, 0}}, 60, 40, shown); };
  EXPECT_EQ(end(0).top, -4);
  EXPECT_EQ(end(UINT32_MAX).top, 24);
  EXPECT_EQ(end(0).left, -4);
  EXPECT_EQ(end(UINT32_MAX).left, 4);
  // An image that fits one side is not resized.
  EXPECT_TRUE(is_exact(draw_crop({}, {{7u << 28, 0, 0, 0}}, 32, 57, kSmall), kSmall));
  EXPECT_EQ(draw_crop({}, std::nullopt, 32, 57, kSmall).left, 12);
  // A smaller one is enlarged.
  EXPECT_EQ(draw_crop({}, std::nullopt, 10, 20, shown).width, 10);
}

// From the definition: triangles around half-pixel centres, as wide as the step where the image is shrunk.
double antialiased(const std::vector<double>& x, double centre, double reach) {
  double sum = 0, weights = 0;
  for (size_t j = 0; j < x.size(); ++j) {
    const double weight = std::max(0.0, 1 - std::abs(static_cast<double>(j) + 0.5 - centre) / reach);
    sum += weight * x[j];
    weights += weight;
  }
  return sum / weights;
}

TEST(Augment, ResamplesTheRegionAsItIsDefined) {
  const ImageShape image{2, 13, 11};
  std::vector<uint8_t> x(static_cast<size_t>(image.elements()));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<uint8_t>(i * 2654435761u >> 13);
  Sample sample;
  sample.show_planes(x.data(), image);
  sample.label_map = x.data();
  ResampleScratch scratch;
  for (const ImageShape shown : {ImageShape{2, 5, 4}, {2, 30, 9}, {2, 1, 1}, {2, 13, 11}}) {
    for (const Crop& crop : {Crop{0, 0, 13, 11, false}, {2.25, -3.5, 9.5, 14, true}, {-2, 8, 4, 4.125, false}}) {
      Floats y(static_cast<size_t>(shown.elements()), NAN);
      std::vector<int32_t> labels(static_cast<size_t>(shown.height * shown.width));
      show_resampled(sample, crop, shown, y.data(), scratch);
      show_labels(sample, crop, shown, labels.data());
      const double down = crop.height / static_cast<double>(shown.height);
      const double across = crop.width / static_cast<double>(shown.width);
      for (int64_t r = 0; r < shown.height; ++r) {
        for (int64_t c = 0; c < shown.width; ++c) {
          const int64_t mirrored = crop.flip ? shown.width - 1 - c : c;
          const double row = crop.top + (static_cast<double>(r) + 0.5) * down;
          const double column = crop.left + (static_cast<double>(mirrored) + 0.5) * across;
          const bool inside = row >= 0 && row < 13 && column >= 0 && column < 11;
          ASSERT_EQ(labels[static_cast<size_t>(r * shown.width + c)],
                    inside ? x[static_cast<size_t>(static_cast<int64_t>(row) * 11 + static_cast<int64_t>(column))]
                           : kIgnoredLabel);
          for (int64_t k = 0; k < 2; ++k) {
            std::vector<double> lines;
            for (int64_t j = 0; j < 13; ++j) {
              std::vector<double> line;
              for (int64_t i = 0; i < 11; ++i) line.push_back(x[static_cast<size_t>((k * 13 + j) * 11 + i)] / 255.0);
              lines.push_back(antialiased(line, column, std::max(1.0, across)));
            }
            ASSERT_NEAR(at(y, shown, r, c, k), inside ? antialiased(lines, row, std::max(1.0, down)) : 0.0, 1e-6);
          }
        }
      }
    }
  }
}

// A crop of one pixel per pixel gives the same numbers either way.
TEST(Augment, ResamplingByOneIsTheCrop) {
  const MadeDataset dataset(1, kSmall);
  Sample sample;
  dataset.read(0, sample);
  ResampleScratch scratch;
  const Crop crop{3, -5, 32, 32, true};
  ByteTable<float> table(3);
  for (auto& values : table)
    for (size_t byte = 0; byte < 256; ++byte) values[byte] = static_cast<float>(byte) / 255.0f;
  Floats y(3072), z(3072);
  show_exactly(sample, crop, kSmall, table, y.data());
  show_resampled(sample, crop, kSmall, z.data(), scratch);
  for (size_t i = 0; i < y.size(); ++i) ASSERT_NEAR(y[i], z[i], 1e-6);
}

}  // namespace
}  // namespace tidepool::testing
