#include "data/loader.h"

#include <cmath>
#include <numeric>

#include "data/normalisation.h"
#include "tests/data/data_test.h"

namespace tidepool::testing {
namespace {

constexpr ImageShape kShape{3, 12, 8};
const Normalisation kNormalisation{{0.5f, 0.4f, 0.3f}, {0.2f, 0.25f, 0.5f}};

std::shared_ptr<const MadeDataset> made(int64_t size = 103, int64_t bad = -1) {
  return std::make_shared<MadeDataset>(size, kShape, MadeDataset::Options{.bad = bad});
}

// What a batch holds, copied.
struct Batch {
  explicit Batch(const TensorBatch& batch)
      : n(batch.n),
        indices(batch.indices),
        labels(batch.labels.data<int32_t>(), batch.labels.data<int32_t>() + batch.labels.numel()),
        images(static_cast<const uint8_t*>(batch.images.raw()),
               static_cast<const uint8_t*>(batch.images.raw()) +
                   batch.images.numel() * static_cast<int64_t>(size_of(batch.images.dtype()))) {
    EXPECT_TRUE(batch.images.is_contiguous(MemoryFormat::channels_last));
    EXPECT_EQ(batch.images.size(0), n);
    EXPECT_EQ(batch.labels.size(0), n);
    EXPECT_EQ(static_cast<int64_t>(indices.size()), n);
  }
  const float* floats() const { return reinterpret_cast<const float*>(images.data()); }

  int64_t n;
  std::vector<int64_t> indices;
  std::vector<int32_t> labels;
  std::vector<uint8_t> images;  // channels-last
};

std::vector<Batch> rest(Loader& loader) {
  std::vector<Batch> all;
  for (TensorBatch batch; loader.next(batch);) all.emplace_back(batch);
  return all;
}

std::vector<Batch> epoch_of(const LoaderOptions& options, int64_t epoch, int64_t first = 0) {
  Loader loader(made(), kNormalisation, options);
  loader.start_epoch(epoch, first);
  return rest(loader);
}

void expect_equal(const std::vector<Batch>& a, const std::vector<Batch>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t k = 0; k < a.size(); ++k) {
    EXPECT_EQ(a[k].n, b[k].n);
    EXPECT_EQ(a[k].indices, b[k].indices) << k;
    EXPECT_EQ(a[k].labels, b[k].labels) << k;
    EXPECT_EQ(a[k].images, b[k].images) << k;
  }
}

TEST(Loader, BatchesAreTheSameForAnyNumberOfWorkers) {
  for (const char* variant : {"none", "stretch_v", "large"}) {
    LoaderOptions options{.batch = 10, .seed = 3, .variant = {.type = variant, .size = 4}, .workers = 0};
    const auto expected = epoch_of(options, 1);
    ASSERT_EQ(expected.size(), 11u);
    for (const int workers : {1, 2, 5}) {
      for (const int prefetch : {1, 3, 20}) {
        options.workers = workers;
        options.prefetch = prefetch;
        expect_equal(epoch_of(options, 1), expected);
      }
    }
  }
}

TEST(Loader, WithoutShuffleAndAugmentationImagesComeInFileOrder) {
  const auto source = made();
  const auto batches = epoch_of({.batch = 10, .shuffle = false, .augment = {.type = "none"}}, 4);
  ASSERT_EQ(batches.size(), 11u);
  for (size_t k = 0; k < batches.size(); ++k) {
    ASSERT_EQ(batches[k].n, k == 10 ? 3 : 10);
    for (int64_t i = 0; i < batches[k].n; ++i) {
      const auto place = static_cast<size_t>(i);
      const int64_t index = static_cast<int64_t>(k) * 10 + i;
      EXPECT_EQ(batches[k].indices[place], index);
      EXPECT_EQ(batches[k].labels[place], source->label(index));
      for (const int64_t p : {0, 37, 95}) {
        for (int64_t c = 0; c < 3; ++c) {
          const auto channel = static_cast<size_t>(c);
          const float value = static_cast<float>(source->planes(index)[c * 96 + p]) / 255.f;
          EXPECT_NEAR(batches[k].floats()[(i * 96 + p) * 3 + c],
                      (value - kNormalisation.mean[channel]) / kNormalisation.stddev[channel], 1e-5);
        }
      }
    }
  }
}

TEST(Loader, AnEpochShowsEveryImageOnceInAnOrderOfItsOwn) {
  Loader loader(made(), kNormalisation, {.batch = 10, .seed = 8});
  std::vector<std::vector<int64_t>> orders;
  for (const int64_t epoch : {0, 1}) {
    loader.start_epoch(epoch);
    std::vector<int64_t> seen;
    for (const Batch& batch : rest(loader)) seen.insert(seen.end(), batch.indices.begin(), batch.indices.end());
    orders.push_back(seen);
    EXPECT_EQ(seen, epoch_order(103, 8, epoch));
    std::sort(seen.begin(), seen.end());
    std::vector<int64_t> all(103);
    std::iota(all.begin(), all.end(), 0);
    EXPECT_EQ(seen, all);
  }
  EXPECT_NE(orders[0], orders[1]);
  EXPECT_NE(orders[0], epoch_order(103, 9, 0));
}

TEST(Loader, DropsTheLastBatchWhenAsked) {
  EXPECT_EQ(epoch_of({.batch = 10, .drop_last = true}, 0).size(), 10u);
  EXPECT_EQ(epoch_of({.batch = 200, .drop_last = true}, 0).size(), 0u);
  EXPECT_EQ(epoch_of({.batch = 200}, 0).at(0).n, 103);
}

TEST(Loader, GoesOnInTheMiddleOfAnEpoch) {
  for (const int workers : {0, 2}) {
    const LoaderOptions options{.batch = 10, .seed = 5, .workers = workers};
    auto expected = epoch_of(options, 6);
    expected.erase(expected.begin(), expected.begin() + 7);
    expect_equal(epoch_of(options, 6, 7), expected);
    EXPECT_TRUE(epoch_of(options, 6, 11).empty());

    // And from the middle of another epoch.
    Loader loader(made(), kNormalisation, options);
    TensorBatch batch;
    EXPECT_FALSE(loader.next(batch));  // nothing has begun
    loader.start_epoch(2);
    ASSERT_TRUE(loader.next(batch));
    loader.start_epoch(6, 7);
    expect_equal(rest(loader), expected);
  }
}

TEST(Loader, AugmentationFollowsTheEpoch) {
  LoaderOptions options{.batch = 103, .seed = 5, .shuffle = false};
  EXPECT_NE(epoch_of(options, 0)[0].images, epoch_of(options, 1)[0].images);
  options.augment.type = "none";
  EXPECT_EQ(epoch_of(options, 0)[0].images, epoch_of(options, 1)[0].images);
  options.variant.type = "stretch_h";
  EXPECT_NE(epoch_of(options, 0)[0].images, epoch_of(options, 1)[0].images);  // random columns
  // Evaluation knows neither order nor chance.
  options = {.batch = 103, .seed = 5, .training = false, .shuffle = true, .variant = {.type = "stretch_h"}};
  const auto a = epoch_of(options, 0), b = epoch_of(options, 1);
  expect_equal(a, b);
  EXPECT_EQ(a[0].indices[50], 50);
}

TEST(Loader, AnAugmentedImageDoesNotDependOnItsBatch) {
  const auto small = epoch_of({.batch = 10, .seed = 5}, 3),
             whole = epoch_of({.batch = 103, .seed = 5, .shuffle = false}, 3);
  const int64_t index = small[4].indices[2];
  const int64_t n = kShape.elements();
  const float *const a = small[4].floats() + 2 * n, *const b = whole[0].floats() + index * n;
  EXPECT_TRUE(std::equal(a, a + n, b));
}

TEST(Loader, WhatAWorkerThrowsReachesTheCallerAtItsBatch) {
  for (const int workers : {0, 1, 3}) {
    Loader loader(made(103, 42), kNormalisation, {.batch = 10, .shuffle = false, .workers = workers});
    for (int turn = 0; turn < 2; ++turn) {
      loader.start_epoch(turn);
      TensorBatch batch;
      for (int k = 0; k < 4; ++k) ASSERT_TRUE(loader.next(batch));
      EXPECT_SAYS(message_of<std::runtime_error>([&] { loader.next(batch); }), "image is bad");
      EXPECT_FALSE(loader.next(batch));
    }
    loader.start_epoch(0, 5);  // the batches behind it are sound
    EXPECT_EQ(rest(loader).size(), 6u);
  }
}

TEST(Loader, ASteadyEpochReusesItsMemory) {
  for (const int workers : {0, 1, 2}) {
    Loader loader(made(), kNormalisation, {.batch = 10, .drop_last = true, .workers = workers, .prefetch = 3});
    TensorBatch batch;
    std::vector<const void*> seen, again;
    for (const bool warm : {false, false, true}) {
      loader.start_epoch(warm ? 2 : 1);
      while (loader.next(batch)) (warm ? again : seen).push_back(batch.images.raw());
    }
    ASSERT_EQ(again.size(), 10u);
    for (const void* buffer : again) EXPECT_NE(std::find(seen.begin(), seen.end(), buffer), seen.end());
  }
}

// Unlike a batch given back, a tensor that somebody keeps is not written into.
TEST(Loader, WhatSomebodyHoldsStays) {
  for (const int workers : {0, 2}) {
    Loader loader(made(), kNormalisation, {.batch = 10, .workers = workers, .prefetch = 2});
    TensorBatch batch;
    std::vector<TensorBatch> kept;
    std::vector<Batch> copies;
    loader.start_epoch(0);
    while (loader.next(batch)) {
      copies.emplace_back(batch);
      kept.push_back(batch);
      kept.back().images = batch.images.slice(0, 0, batch.n);  // a view holds the memory too
    }
    for (size_t k = 0; k < kept.size(); ++k) {
      const Batch now(kept[k]);
      EXPECT_EQ(now.images, copies[k].images) << k;
      EXPECT_EQ(now.labels, copies[k].labels) << k;
    }
  }
}

// One rounding from f32, as Tensor::to has it.
TEST(Loader, ImagesComeInTheTypeOfTheNetwork) {
  for (const char* variant : {"none", "stretch_v", "large"}) {
    LoaderOptions options{.batch = 103, .seed = 3, .variant = {.type = variant, .size = 4}};
    const auto tensor_of = [&](DType dtype) {
      options.dtype = dtype;
      Loader loader(made(), kNormalisation, options);
      loader.start_epoch(1);
      TensorBatch batch;
      EXPECT_TRUE(loader.next(batch));
      EXPECT_EQ(batch.images.dtype(), dtype);
      EXPECT_EQ(batch.labels.dtype(), DType::i32);
      return batch;
    };
    const TensorBatch exact = tensor_of(DType::f32);
    for (const DType dtype : {DType::bf16, DType::f64}) {
      const TensorBatch batch = tensor_of(dtype);
      TensorBatch expected = exact;
      expected.images = exact.images.to(dtype);
      EXPECT_EQ(Batch(batch).images, Batch(expected).images) << variant;
    }
  }
  EXPECT_SAYS(message_of<Error>([] { Loader(made(), kNormalisation, {.dtype = DType::u8}); }), "u8");
}

TEST(Loader, DecodedPixelsAreAsGoodAsAView) {
  const auto decoded = std::make_shared<MadeDataset>(103, kShape, MadeDataset::Options{.own_memory = true});
  for (const char* variant : {"none", "stretch_h"}) {
    const LoaderOptions options{.batch = 10, .seed = 3, .variant = {.type = variant}};
    Loader loader(decoded, kNormalisation, options);
    loader.start_epoch(1);
    expect_equal(rest(loader), epoch_of(options, 1));
  }
}

// --- label maps ---

TEST(Loader, ALabelMapGetsTheCropOfItsImage) {
  const auto dataset = std::make_shared<MadeDataset>(20, kShape, MadeDataset::Options{.label_maps = true});
  Loader loader(dataset, kNormalisation, {.batch = 20, .seed = 4, .shuffle = false});
  loader.start_epoch(3);
  TensorBatch batch;
  ASSERT_TRUE(loader.next(batch));
  EXPECT_EQ(batch.labels.shape(), (Dims{20, 12, 8}));
  int ignored = 0;
  for (int64_t i = 0; i < 20; ++i) {
    const Crop crop = draw_crop({}, image_words(4, 3, i), 12, 8, kShape);
    for (int64_t y = 0; y < 12; ++y) {
      for (int64_t x = 0; x < 8; ++x) {
        const int64_t row = y + static_cast<int64_t>(crop.top);
        const int64_t column = (crop.flip ? 7 - x : x) + static_cast<int64_t>(crop.left);
        const bool inside = row >= 0 && row < 12 && column >= 0 && column < 8;
        const int32_t label = batch.labels.data<int32_t>()[(i * 12 + y) * 8 + x];
        ASSERT_EQ(label, inside ? MadeDataset::map_label(i, row * 8 + column) : kIgnoredLabel);
        ignored += !inside;
        const float red = batch.images.data<float>()[((i * 12 + y) * 8 + x) * 3];
        const float byte = inside ? dataset->planes(i)[row * 8 + column] : 0;
        ASSERT_NEAR(red, (byte / 255.f - 0.5f) / 0.2f, 1e-5);
      }
    }
  }
  EXPECT_GT(ignored, 0);
}

TEST(Loader, VariantsAreNotForLabelMaps) {
  const auto dataset = std::make_shared<MadeDataset>(20, kShape, MadeDataset::Options{.label_maps = true});
  for (const char* variant : {"stretch_v", "stretch_h", "tile", "large"}) {
    const auto message =
        message_of<Error>([&] { Loader(dataset, kNormalisation, {.variant = {.type = variant, .size = 4}}); });
    EXPECT_SAYS(message, variant);
    EXPECT_SAYS(message, "made");
    EXPECT_SAYS(message, "data.variant.type");
  }
}

// --- images of any size ---

// Image i has 20 + 7 i rows and 64 - 5 i columns and shows where it stands: red rises with the row, green with the
// column. A label map of quarters. It comes smaller by what the caller allows.
class AnySize final : public Dataset {
 public:
  explicit AnySize(bool label_maps) : label_maps_(label_maps) {}
  std::string_view name() const override { return "any_size"; }
  DatasetFormat format() const override { return {.shape = {3, 16, 16}, .classes = 4, .label_maps = label_maps_}; }
  int64_t size() const override { return 8; }
  int32_t label(int64_t index) const override { return label_maps_ ? kNoLabel : static_cast<int32_t>(index % 4); }
  std::string_view class_name(int32_t) const override { return ""; }
  void read(int64_t index, Sample& sample) const override {
    const int64_t full_height = 20 + 7 * index, full_width = 64 - 5 * index;
    const int64_t factor = sample.reduction ? sample.reduction(full_height, full_width) : 1;
    largest = std::max<int64_t>(largest, factor);
    const int64_t height = (full_height + factor - 1) / factor, width = (full_width + factor - 1) / factor;
    sample.pixel_memory.resize(static_cast<size_t>(height * width * 3));
    sample.label_memory.resize(static_cast<size_t>(height * width));
    for (int64_t y = 0; y < height; ++y) {
      for (int64_t x = 0; x < width; ++x) {
        const auto p = static_cast<size_t>(y * width + x);
        sample.pixel_memory[p * 3] = static_cast<uint8_t>((2 * y + 1) * factor * 100 / full_height);
        sample.pixel_memory[p * 3 + 1] = static_cast<uint8_t>((2 * x + 1) * factor * 100 / full_width);
        sample.pixel_memory[p * 3 + 2] = 77;
        sample.label_memory[p] = static_cast<uint8_t>(((2 * y + 1) * factor >= full_height ? 2 : 0) +
                                                      ((2 * x + 1) * factor >= full_width ? 1 : 0));
      }
    }
    sample.show_interleaved(sample.pixel_memory.data(), {3, height, width});
    sample.full_height = full_height;
    sample.full_width = full_width;
    sample.scale = 1.0 / static_cast<double>(factor);
    sample.label = label(index);
    sample.label_map = label_maps_ ? sample.label_memory.data() : nullptr;
  }
  mutable std::atomic<int64_t> largest = 1;

 private:
  bool label_maps_;
};

const Normalisation kIdentity{{0, 0, 0}, {1, 1, 1}};

TEST(Loader, ImagesOfAnySizeFillTheirBatch) {
  const auto dataset = std::make_shared<AnySize>(true);
  Loader loader(dataset, kIdentity, {.batch = 8, .training = false});
  loader.start_epoch(0);
  TensorBatch batch;
  ASSERT_TRUE(loader.next(batch));
  ASSERT_EQ(batch.images.shape(), (Dims{8, 3, 16, 16}));
  EXPECT_GE(dataset->largest, 2);  // 55x... for 16 pixels: every second one will do
  for (int64_t i = 0; i < 8; ++i) {
    const auto height = static_cast<double>(20 + 7 * i), width = static_cast<double>(64 - 5 * i);
    const double side = std::min(height, width);  // of the middle square that is shown
    for (int64_t y = 0; y < 16; ++y) {
      for (int64_t x = 0; x < 16; ++x) {
        const double row = (height - side) / 2 + (static_cast<double>(y) + 0.5) * side / 16;
        const double column = (width - side) / 2 + (static_cast<double>(x) + 0.5) * side / 16;
        const float* const pixel = batch.images.data<float>() + ((i * 16 + y) * 16 + x) * 3;
        ASSERT_NEAR(pixel[0] * 255, 200 * row / height, 6) << i << " " << y;
        ASSERT_NEAR(pixel[1] * 255, 200 * column / width, 6) << i << " " << x;
        ASSERT_NEAR(pixel[2] * 255, 77, 1e-3);
        if (std::abs(2 * row - height) < 4 || std::abs(2 * column - width) < 4) continue;  // at the border of quarters
        ASSERT_EQ(batch.labels.data<int32_t>()[(i * 16 + y) * 16 + x],
                  (2 * row >= height ? 2 : 0) + (2 * column >= width ? 1 : 0));
      }
    }
  }
}

TEST(Loader, ImagesOfAnySizeAreTheSameForAnyNumberOfWorkers) {
  for (const bool label_maps : {false, true}) {
    for (const char* variant : {"none", "tile"}) {
      if (label_maps && std::string(variant) != "none") continue;
      std::vector<std::vector<Batch>> all;
      for (const int workers : {0, 1, 3}) {
        Loader loader(std::make_shared<AnySize>(label_maps), kIdentity,
                      {.batch = 3, .seed = 9, .variant = {.type = variant}, .workers = workers, .prefetch = 2});
        loader.start_epoch(2);
        all.push_back(rest(loader));
      }
      expect_equal(all[1], all[0]);
      expect_equal(all[2], all[0]);
    }
  }
}

TEST(Normalisation, OfImagesOfAnySizeIsOfWhatIsShown) {
  const auto dataset = std::make_shared<AnySize>(false);
  const Normalisation measured = measure_normalisation(*dataset, {}, 1);
  EXPECT_EQ(measure_normalisation(*dataset, {}, 3).mean, measured.mean);
  Loader loader(dataset, measured, {.batch = 8, .training = false});
  loader.start_epoch(0);
  TensorBatch batch;
  ASSERT_TRUE(loader.next(batch));
  for (int64_t c = 0; c < 2; ++c) {  // blue has no spread
    double sum = 0, squares = 0;
    for (int64_t p = 0; p < 8 * 256; ++p) {
      const double value = batch.images.data<float>()[p * 3 + c];
      sum += value / (8 * 256);
      squares += value * value / (8 * 256);
    }
    EXPECT_NEAR(sum, 0, 1e-4);
    EXPECT_NEAR(squares, 1, 1e-4);
  }
}

TEST(Loader, CanBeDestroyedAtAnyMoment) {
  for (int taken = 0; taken < 6; ++taken) {
    for (const int workers : {0, 1, 4}) {
      Loader loader(made(), kNormalisation, {.batch = 4, .workers = workers, .prefetch = 2});
      loader.start_epoch(0);
      TensorBatch batch;
      for (int k = 0; k < taken; ++k) EXPECT_TRUE(loader.next(batch));
    }
  }
}

TEST(Loader, ErrorsNameTheKey) {
  const auto message = [](const LoaderOptions& options) {
    return message_of<Error>([&] { Loader(made(), kNormalisation, options); });
  };
  EXPECT_SAYS(message({.batch = 0}), "train.batch");
  EXPECT_SAYS(message({.workers = -1}), "data.workers");
  EXPECT_SAYS(message({.prefetch = 0}), "data.prefetch");
  EXPECT_SAYS(message({.augment = {.type = "non"}}), "data.augment");
  EXPECT_SAYS(message({.variant = {.type = "tile", .grid = 5}}), "data.variant.grid");
  EXPECT_SAYS(message_of<Error>([] { Loader(made(), {{0.5f}, {0.5f}}, {}); }), "images of 3 channels");
  EXPECT_SAYS(message_of<Error>([] { Loader(made(), {{0, 0, 0}, {1, 0, 1}}, {}); }), "deviation of 0");
  Loader loader(made(), kNormalisation, {.batch = 10});
  EXPECT_SAYS(message_of<Error>([&] { loader.start_epoch(0, 12); }), "batch 12 of an epoch of 11");
  EXPECT_SAYS(message_of<Error>([&] { loader.start_epoch(-1); }), "got -1");
}

// --- normalisation ---

TEST(Normalisation, IsMeanAndDeviationOfAllPixels) {
  const auto source = made(40);
  const Normalisation measured = measure_normalisation(*source, {});
  for (int64_t c = 0; c < 3; ++c) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < 40; ++i) {
      for (int64_t p = 0; p < 96; ++p) sum += source->planes(i)[c * 96 + p] / 255.0 / 3840;
    }
    for (int64_t i = 0; i < 40; ++i) {
      for (int64_t p = 0; p < 96; ++p) squares += std::pow(source->planes(i)[c * 96 + p] / 255.0 - sum, 2) / 3840;
    }
    EXPECT_NEAR(measured.mean[static_cast<size_t>(c)], sum, 1e-6);
    EXPECT_NEAR(measured.stddev[static_cast<size_t>(c)], std::sqrt(squares), 1e-6);
  }
}

TEST(Normalisation, IsOfTheVariantInEvaluationForm) {
  const auto source = made(40);
  for (const VariantOptions& variant : {VariantOptions{}, {.type = "stretch_v"}, {.type = "tile"}, {.type = "large"}}) {
    const Normalisation measured = measure_normalisation(*source, variant, 1);
    for (const int threads : {2, 3}) {
      const Normalisation again = measure_normalisation(*source, variant, threads);
      EXPECT_EQ(again.mean, measured.mean);
      EXPECT_EQ(again.stddev, measured.stddev);
    }
    // What evaluation then shows has mean 0 and deviation 1.
    LoaderOptions evaluation;
    evaluation.batch = 40;
    evaluation.training = false;
    evaluation.variant = variant;
    Loader loader(source, measured, evaluation);
    loader.start_epoch(0);
    TensorBatch batch;
    ASSERT_TRUE(loader.next(batch));
    for (size_t c = 0; c < 3; ++c) {
      double sum = 0, squares = 0;
      for (int64_t i = static_cast<int64_t>(c); i < batch.images.numel(); i += 3) {
        const double value = batch.images.data<float>()[i];
        sum += value / 3840;
        squares += value * value / 3840;
      }
      EXPECT_NEAR(sum, 0, 1e-4) << variant.type;
      EXPECT_NEAR(squares, 1, 1e-4) << variant.type;
    }
  }
}

TEST(Normalisation, TellsWhatADataSetThrew) {
  EXPECT_SAYS(message_of<std::runtime_error>([] { measure_normalisation(*made(40, 7), {}); }), "image is bad");
}

}  // namespace
}  // namespace tidepool::testing
