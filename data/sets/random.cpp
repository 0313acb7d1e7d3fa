// Noise of any size, for `info`, benchmarks and tests: bytes and labels are uniform, a function of (seed, split, index)
// alone. Nothing is kept in memory.
#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "core/philox.h"
#include "data/dataset.h"
#include "data/streams.h"

namespace tidepool {
namespace {

constexpr ImageShape kShape{3, kMadeUpSize, kMadeUpSize};
constexpr int64_t kClasses = 10;
constexpr int64_t kTrainImages = 1024, kTestImages = 256;  // where none are asked for
constexpr int64_t kMostImages = INT32_MAX, kMostClasses = 1 << 24;

DatasetFormat format_of(const DatasetOptions& options) {
  const int64_t classes = options.classes.value_or(kClasses);
  if (classes < 1 || classes > kMostClasses)
    throw Error("data.classes: expected 1 to {}, got {}", kMostClasses, classes);
  return {.shape = sized_shape(options, kShape, 1), .classes = static_cast<int32_t>(classes)};
}

class RandomImages final : public Dataset {
 public:
  explicit RandomImages(const DatasetOptions& options)
      : format_(format_of(options)), seed_(options.seed), train_(options.split == Split::kTrain) {
    size_ = options.images ? used_images(name(), kMostImages, options) : train_ ? kTrainImages : kTestImages;
  }

  std::string_view name() const override { return "random"; }
  DatasetFormat format() const override { return format_; }
  int64_t size() const override { return size_; }
  std::string_view class_name(int32_t /*label*/) const override { return ""; }

  // Block 0 of an image's stream is its label's.
  int32_t label(int64_t index) const override {
    const uint64_t word = random_words(seed_, stream(index), 0)[0];
    return static_cast<int32_t>(word * static_cast<uint64_t>(format_.classes) >> 32);
  }

  void read(int64_t index, Sample& sample) const override {
    const auto bytes = static_cast<size_t>(format_.shape.elements());
    sample.pixel_memory.resize(bytes);
    for (size_t begin = 0; begin < bytes; begin += 16) {
      const auto words = random_words(seed_, stream(index), begin / 16 + 1);
      std::memcpy(sample.pixel_memory.data() + begin, words.data(), std::min<size_t>(16, bytes - begin));
    }
    sample.show_planes(sample.pixel_memory.data(), format_.shape);
    sample.label = label(index);
    sample.label_map = nullptr;
  }

 private:
  uint64_t stream(int64_t index) const {
    constexpr uint64_t kTest = uint64_t{1} << 31;
    return name_seed(Purpose::kRandomImage, static_cast<uint64_t>(index) + (train_ ? 0 : kTest));
  }

  DatasetFormat format_;
  uint64_t seed_;
  bool train_;
  int64_t size_ = 0;
};

}  // namespace

extern const DatasetDescription kRandom;
constinit const DatasetDescription kRandom{
    .name = "random",
    .help = "noise of any size, for measurements and tests",
     .train_images = kTrainImages,
    .keys =
        [](Keys& k, DatasetOptions& options) {
          size_key(k, options);
          int64_t classes = kClasses;
          k.integer("classes", classes, "Number of classes.").at_least(1).at_most(kMostClasses);
          options.classes = classes;
        },
    .format = format_of,
    .open = [](const DatasetOptions& options) -> std::unique_ptr<Dataset> {
      return std::make_unique<RandomImages>(options);
    }};

}  // namespace tidepool
