// A data set made up from a seed, for machines without any download: 32x32 RGB, 20 classes, 50,000 + 10,000 images.
//   8 textures  {rows, columns, diagonal, checks} x {fine: period 3.4 to 4.4 pixels, coarse: 9 to 12}
//   6 shapes    disc, ring, square, frame, cross, triangle, at a random position, size and angle
//   6 layouts   {two, three even, three uneven} blobs in {a column, a row}
// A class can be read only at its scale (fine textures are gone at 8x8) or along its axis (layouts). Foreground and
// background colours are drawn alike, and a texture has a random phase, so that the expected image of every class is
// the same: the best linear classifier on pixels is the constant one. Labels survive a horizontal flip.
//
// Image `i` is a function of (seed, split, i) alone, drawn when first asked for and kept in memory. Labels are
// balanced: every 20 images in a row, from a multiple of 20 on, hold each class once.
#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <numbers>

#include "core/error.h"
#include "core/philox.h"
#include "data/dataset.h"
#include "data/streams.h"

namespace tidepool {
namespace {

constexpr ImageShape kShape{3, 32, 32};
constexpr int64_t kSide = kShape.height;
constexpr int64_t kTrainImages = 50000, kTestImages = 10000;
constexpr std::array<std::string_view, 20> kClassNames = {"fine rows",
                                                          "fine columns",
                                                          "fine diagonal",
                                                          "fine checks",
                                                          "coarse rows",
                                                          "coarse columns",
                                                          "coarse diagonal",
                                                          "coarse checks",
                                                          "disc",
                                                          "ring",
                                                          "square",
                                                          "frame",
                                                          "cross",
                                                          "triangle",
                                                          "two in a column",
                                                          "two in a row",
                                                          "three in a column",
                                                          "three in a row",
                                                          "uneven column",
                                                          "uneven row"};
constexpr int kClasses = static_cast<int>(kClassNames.size());
constexpr DatasetFormat kFormat{.shape = kShape, .classes = kClasses};
constexpr int kTextures = 8, kShapes = 6;

// How much of the foreground each pixel shows, 0 to 1, row by row.
using Mask = std::array<double, kSide * kSide>;

double between(Random& random, double low, double high) {
  return low + (high - low) * random.uniform();
}

// f(x, y) at the centre of every pixel.
template <class F>
void fill(Mask& mask, F f) {
  for (int64_t y = 0; y < kSide; ++y) {
    for (int64_t x = 0; x < kSide; ++x) {
      mask[static_cast<size_t>(y * kSide + x)] = f(static_cast<double>(x) + 0.5, static_cast<double>(y) + 0.5);
    }
  }
}

// A soft edge, one pixel wide, around a signed distance (negative inside).
double inside(double distance) {
  return std::clamp(0.5 - distance, 0.0, 1.0);
}

void draw_texture(int kind, Random& random, Mask& mask) {
  constexpr double kPi = std::numbers::pi;
  const bool coarse = kind >= 4;
  const double turn = 2 * kPi / (coarse ? between(random, 9, 12) : between(random, 3.4, 4.4));
  double angle = between(random, -0.17, 0.17);  // of the wave's direction against the x axis: 10 degrees at most
  if (kind % 4 == 0) angle += kPi / 2;
  if (kind % 4 == 2) angle += random.below(2) == 0 ? kPi / 4 : -kPi / 4;
  const double u = turn * std::cos(angle), v = turn * std::sin(angle);
  const double phase = between(random, 0, 2 * kPi), other_phase = between(random, 0, 2 * kPi);
  const bool checks = kind % 4 == 3;
  fill(mask, [&](double x, double y) {
    const double wave = std::sin(u * x + v * y + phase);
    return 0.5 + 0.5 * (checks ? wave * std::sin(u * y - v * x + other_phase) : wave);
  });
}

void draw_shape(int kind, Random& random, Mask& mask) {
  const double radius = between(random, 6.5, 10.5), room = kSide / 2.0 - radius;
  const double cx = kSide / 2.0 + between(random, -room, room), cy = kSide / 2.0 + between(random, -room, room);
  const double angle = between(random, -0.2, 0.2), cosine = std::cos(angle), sine = std::sin(angle);
  fill(mask, [&](double px, double py) {
    const double x = cosine * (px - cx) + sine * (py - cy), y = cosine * (py - cy) - sine * (px - cx);
    const double box = std::max(std::abs(x), std::abs(y)), round = std::hypot(x, y);
    switch (kind) {
      case 0:
        return inside(round - radius);
      case 1:
        return inside(std::abs(round - 0.75 * radius) - 0.22 * radius);
      case 2:
        return inside(box - 0.85 * radius);
      case 3:
        return inside(std::abs(box - 0.7 * radius) - 0.2 * radius);
      case 4:
        return inside(std::max(box - radius, std::min(std::abs(x), std::abs(y)) - 0.25 * radius));
      default:
        return inside(std::max(y - 0.6 * radius, 0.894 * std::abs(x) - 0.447 * (y + radius)));
    }
  });
}

void draw_layout(int kind, Random& random, Mask& mask) {
  std::array<double, 3> along{};
  size_t blobs = 3;
  if (kind / 2 == 0) {
    blobs = 2;
    along[1] = between(random, 9, 18);
  } else if (kind / 2 == 1) {
    const double gap = between(random, 8, 10);
    along = {0, gap, 2 * gap};
  } else {
    const double near = between(random, 6.2, 7.2), far = between(random, 12, 14.5);
    along = {0, random.below(2) == 0 ? near : far, near + far};
  }
  const double length = along[blobs - 1], border = 4;
  const double start = between(random, border, kSide - border - length);
  const double across = between(random, 6, kSide - 6);
  const bool column = kind % 2 == 0;
  std::array<double, 3> x{}, y{}, radius{};
  for (size_t i = 0; i < blobs; ++i) {
    const double main = start + along[i], side = across + between(random, -1.5, 1.5);
    x[i] = column ? side : main;
    y[i] = column ? main : side;
    radius[i] = between(random, 2.0, 3.0);
  }
  fill(mask, [&](double px, double py) {
    double best = 0;
    for (size_t i = 0; i < blobs; ++i) best = std::max(best, inside(std::hypot(px - x[i], py - y[i]) - radius[i]));
    return best;
  });
}

void draw_image(int32_t label, Random random, uint8_t* pixels) {
  Mask mask;
  if (label < kTextures) {
    draw_texture(label, random, mask);
  } else if (label < kTextures + kShapes) {
    draw_shape(label - kTextures, random, mask);
  } else {
    draw_layout(label - kTextures - kShapes, random, mask);
  }
  // Two colours at least `kApart` apart in their mean; which of them is the foreground's is a coin's choice.
  constexpr double kApart = 50;
  std::array<double, 3> back{}, front{};
  double apart = 0;
  while (std::abs(apart) < kApart) {
    apart = 0;
    for (size_t c = 0; c < 3; ++c) {
      back[c] = between(random, 20, 235);
      front[c] = between(random, 20, 235);
      apart += (front[c] - back[c]) / 3;
    }
  }
  // A slope of light over the image, and noise: the sum of four random bytes (near enough to normal, and fast).
  const double slope_x = between(random, -1.2, 1.2), slope_y = between(random, -1.2, 1.2);
  const double noise = between(random, 6, 22) / 147.8;  // 147.8: standard deviation of the sum of four bytes
  for (size_t c = 0; c < 3; ++c) {
    for (int64_t y = 0; y < kSide; ++y) {
      for (int64_t x = 0; x < kSide; ++x) {
        const auto at = static_cast<size_t>(y * kSide + x);
        const uint32_t word = random.word();
        const int sum = static_cast<int>((word & 255) + (word >> 8 & 255) + (word >> 16 & 255) + (word >> 24));
        const double light = slope_x * (static_cast<double>(x) - 15.5) + slope_y * (static_cast<double>(y) - 15.5);
        const double value = back[c] + (front[c] - back[c]) * mask[at] + light + noise * (sum - 510);
        pixels[c * kSide * kSide + at] = static_cast<uint8_t>(std::lround(std::clamp(value, 0.0, 255.0)));
      }
    }
  }
}

class Procedural final : public Dataset {
 public:
  explicit Procedural(const DatasetOptions& options) : seed_(options.seed) {
    const bool train = options.split == Split::kTrain;
    size_ = used_images(name(), train ? kTrainImages : kTestImages, options);
    offset_ = train ? 0 : kTrainImages;
    const auto images = static_cast<size_t>(size_);
    labels_.resize(images);
    for (size_t begin = 0; begin < images; begin += kClasses) {
      std::array<int32_t, kClasses> block{};
      for (size_t i = 0; i < kClasses; ++i) block[i] = static_cast<int32_t>(i);
      Random random(seed_, name_seed(Purpose::kProceduralLabels, static_cast<uint64_t>(offset_) + begin));
      for (uint32_t i = kClasses - 1; i > 0; --i) std::swap(block[i], block[random.below(i + 1)]);
      std::copy_n(block.begin(), std::min<size_t>(kClasses, images - begin),
                  labels_.begin() + static_cast<std::ptrdiff_t>(begin));
    }
    // Not set to zero: pages come into being with the images on them.
    pixels_ = std::make_unique_for_overwrite<uint8_t[]>(images * static_cast<size_t>(kShape.elements()));
    states_ = std::make_unique<std::atomic<uint8_t>[]>(images);
  }

  std::string_view name() const override { return "procedural"; }
  DatasetFormat format() const override { return kFormat; }
  int64_t size() const override { return size_; }
  int32_t label(int64_t index) const override { return labels_[static_cast<size_t>(index)]; }
  std::string_view class_name(int32_t label) const override { return kClassNames.at(static_cast<size_t>(label)); }

  void read(int64_t index, Sample& sample) const override {
    sample.show_planes(drawn(index), kShape);
    sample.label = label(index);
    sample.label_map = nullptr;
  }

 private:
  const uint8_t* drawn(int64_t index) const {
    uint8_t* const image = pixels_.get() + index * kShape.elements();
    std::atomic<uint8_t>& state = states_[static_cast<size_t>(index)];
    uint8_t seen = state.load(std::memory_order_acquire);
    if (seen == kReady) return image;
    if (seen == kAbsent && state.compare_exchange_strong(seen, kBusy)) {
      draw_image(label(index),
                 Random(seed_, name_seed(Purpose::kProceduralImage, static_cast<uint64_t>(offset_ + index))), image);
      state.store(kReady, std::memory_order_release);
      state.notify_all();
      return image;
    }
    while ((seen = state.load(std::memory_order_acquire)) != kReady) state.wait(seen);  // another thread draws it
    return image;
  }

  static constexpr uint8_t kAbsent = 0, kBusy = 1, kReady = 2;
  uint64_t seed_;
  int64_t size_ = 0, offset_ = 0;
  std::vector<int32_t> labels_;
  std::unique_ptr<uint8_t[]> pixels_;
  std::unique_ptr<std::atomic<uint8_t>[]> states_;
};

}  // namespace

extern const DatasetDescription kProcedural;
constinit const DatasetDescription kProcedural{.name = "procedural",
                                               .help = "images made from a seed, no download",
                                               .train_images = kTrainImages,
                                               .format = [](const DatasetOptions&) { return kFormat; },
                                               .open = [](const DatasetOptions& options) -> std::unique_ptr<Dataset> {
                                                 return std::make_unique<Procedural>(options);
                                               }};

}  // namespace tidepool
