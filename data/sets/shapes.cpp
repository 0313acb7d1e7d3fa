// A made-up segmentation data set: filled shapes on a texture, RGB, 32x32 where data.size does not say otherwise, 5,000
// + 1,000 images. Classes: background, disc, square, triangle, cross, ring. An image holds one to three shapes; a later
// one lies over an earlier one. Each kind of shape has a stripe pattern of its own besides its outline, all colours are
// drawn alike, so that a class cannot be read from one pixel. Pixels within 0.75 pixels of an outline are
// kIgnoredLabel, as PASCAL VOC marks borders.
//
// An image is a function of (seed, split, index, size) alone, drawn each time that it is read.
#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "core/philox.h"
#include "data/dataset.h"
#include "data/streams.h"

namespace tidepool {
namespace {

constexpr ImageShape kShape{3, kMadeUpSize, kMadeUpSize};
constexpr int64_t kLeast = 16;  // pixels per side
constexpr int64_t kTrainImages = 5000, kTestImages = 1000;
constexpr std::array<std::string_view, 6> kClassNames = {"background", "disc", "square", "triangle", "cross", "ring"};
constexpr auto kClasses = static_cast<int32_t>(kClassNames.size());

double between(Random& random, double low, double high) {
  return low + (high - low) * random.uniform();
}

struct Rgb {
  std::array<double, 3> value{};
};

Rgb random_colour(Random& random) {
  Rgb colour;
  for (double& v : colour.value) v = between(random, 20, 235);
  return colour;
}

// Two colours at least this far apart in their mean.
std::array<Rgb, 2> random_pair(Random& random) {
  constexpr double kApart = 50;
  for (;;) {
    const std::array<Rgb, 2> pair{random_colour(random), random_colour(random)};
    double apart = 0;
    for (size_t c = 0; c < 3; ++c) apart += (pair[1].value[c] - pair[0].value[c]) / 3;
    if (std::abs(apart) >= kApart) return pair;
  }
}

// A shape or the background: colour at a pixel is the mix of a pair by a wave.
struct Layer {
  int32_t label = 0;
  double cx = 0, cy = 0, radius = 0, cosine = 1, sine = 0;
  double u = 0, v = 0, phase = 0;  // of the wave sin(u x + v y + phase)
  std::array<Rgb, 2> colours;

  // Signed distance in pixels from the outline, near enough: negative inside.
  double distance(double px, double py) const {
    const double x = cosine * (px - cx) + sine * (py - cy), y = cosine * (py - cy) - sine * (px - cx);
    const double box = std::max(std::abs(x), std::abs(y)), round = std::hypot(x, y);
    switch (label) {
      case 1:
        return round - radius;
      case 2:
        return box - 0.85 * radius;
      case 3:
        return std::max(y - 0.6 * radius, 0.894 * std::abs(x) - 0.447 * (y + radius));
      case 4:
        return std::max(box - radius, std::min(std::abs(x), std::abs(y)) - 0.35 * radius);
      default:
        return std::abs(round - 0.72 * radius) - 0.28 * radius;
    }
  }
};

// The wave's direction and period (pixels) of each class; the background's are coarse.
void set_wave(Layer& layer, Random& random) {
  struct Wave {
    double angle, period;
  };
  constexpr double kPi = std::numbers::pi;
  constexpr std::array<Wave, 6> kWaves = {Wave{kPi / 4, 14}, {kPi / 2, 3.2}, {0, 3.2},
                                          {kPi / 2, 6},      {0, 6},         {-kPi / 4, 4.2}};
  const Wave wave = kWaves[static_cast<size_t>(layer.label)];
  const double angle = wave.angle + between(random, -0.1, 0.1),
               turn = 2 * kPi / (wave.period * between(random, 0.95, 1.05));
  layer.u = turn * std::cos(angle);
  layer.v = turn * std::sin(angle);
  layer.phase = between(random, 0, 2 * kPi);
  layer.colours = random_pair(random);
}

Layer random_shape(Random& random, const ImageShape& shape) {
  const auto height = static_cast<double>(shape.height), width = static_cast<double>(shape.width);
  Layer layer;
  layer.label = 1 + static_cast<int32_t>(random.below(kClasses - 1));
  layer.radius = std::min(height, width) * between(random, 0.22, 0.36);
  layer.cx = between(random, layer.radius, width - layer.radius);
  layer.cy = between(random, layer.radius, height - layer.radius);
  const double angle = between(random, -0.2, 0.2);
  layer.cosine = std::cos(angle);
  layer.sine = std::sin(angle);
  set_wave(layer, random);
  return layer;
}

class Shapes final : public Dataset {
 public:
  static DatasetFormat format_of(const DatasetOptions& options) {
    return {.shape = sized_shape(options, kShape, kLeast), .classes = kClasses, .label_maps = true};
  }

  explicit Shapes(const DatasetOptions& options) : shape_(format_of(options).shape), seed_(options.seed) {
    const bool train = options.split == Split::kTrain;
    size_ = used_images(name(), train ? kTrainImages : kTestImages, options);
    offset_ = train ? 0 : kTrainImages;
  }

  std::string_view name() const override { return "shapes"; }
  DatasetFormat format() const override { return {.shape = shape_, .classes = kClasses, .label_maps = true}; }
  int64_t size() const override { return size_; }
  int32_t label(int64_t /*index*/) const override { return kNoLabel; }
  std::string_view class_name(int32_t label) const override { return kClassNames.at(static_cast<size_t>(label)); }

  void read(int64_t index, Sample& sample) const override {
    sample.pixel_memory.resize(static_cast<size_t>(shape_.elements()));
    sample.label_memory.resize(static_cast<size_t>(shape_.height * shape_.width));
    draw(Random(seed_, name_seed(Purpose::kShapesImage, static_cast<uint64_t>(offset_ + index))),
         sample.pixel_memory.data(), sample.label_memory.data());
    sample.show_interleaved(sample.pixel_memory.data(), shape_);
    sample.label = kNoLabel;
    sample.label_map = sample.label_memory.data();
  }

 private:
  void draw(Random random, uint8_t* pixels, uint8_t* labels) const {
    std::array<Layer, 4> layers;
    set_wave(layers[0], random);
    const size_t count = 2 + random.below(3);
    for (size_t i = 1; i < count; ++i) layers[i] = random_shape(random, shape_);
    const double noise = between(random, 6, 16) / 147.8;  // 147.8: standard deviation of the sum of four bytes
    for (int64_t y = 0; y < shape_.height; ++y) {
      for (int64_t x = 0; x < shape_.width; ++x) {
        constexpr double kBorder = 0.75;
        const double px = static_cast<double>(x) + 0.5, py = static_cast<double>(y) + 0.5;
        const Layer* shown = layers.data();
        bool border = false;
        for (size_t i = 1; i < count; ++i) {
          const double distance = layers[i].distance(px, py);
          if (distance < 0) shown = &layers[i];
          border = distance < -kBorder ? false : border || distance <= kBorder;
        }
        const double mix = 0.5 + 0.5 * std::sin(shown->u * px + shown->v * py + shown->phase);
        for (size_t c = 0; c < 3; ++c) {
          const uint32_t word = random.word();
          const int sum = static_cast<int>((word & 255) + (word >> 8 & 255) + (word >> 16 & 255) + (word >> 24));
          const double from = shown->colours[0].value[c], to = shown->colours[1].value[c];
          *pixels++ =
              static_cast<uint8_t>(std::lround(std::clamp(from + (to - from) * mix + noise * (sum - 510), 0.0, 255.0)));
        }
        *labels++ = border ? kIgnoredLabel : static_cast<uint8_t>(shown->label);
      }
    }
  }

  ImageShape shape_;
  uint64_t seed_;
  int64_t size_ = 0, offset_ = 0;
};

}  // namespace

extern const DatasetDescription kShapes;
constinit const DatasetDescription kShapes{
    .name = "shapes",
    .help = "shapes on textures with label maps, made from a seed, for segmentation",
    .train_images = kTrainImages,
    .keys = size_key,
    .format = Shapes::format_of,
    .open = [](const DatasetOptions& options) -> std::unique_ptr<Dataset> {
      return std::make_unique<Shapes>(options);
    }};

}  // namespace tidepool
