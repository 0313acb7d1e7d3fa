#include "data/loader.h"

#include <cmath>
#include <numeric>

#include "data/normalisation.h"
#include "tests/data/data_test.h"

namespace tidepool::testing {
namespace {

constexpr ImageShape kShape{3, 12, 8};
const Normalisation kNormalisation{{0.5f, 0.4f, 0.3f}, {0.2f, 0.25f, 0.5f}};

std::shared_ptr<const Source> made(int64_t size = 103, int64_t bad = -1) {
  return std::make_shared<MadeSource>(size, kShape, bad);
}

std::vector<Batch> rest(Loader& loader) {
  std::vector<Batch> all;
  for (Batch batch; loader.next(batch);) all.push_back(batch);
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
          const float value = static_cast<float>(source->pixels(index)[c * 96 + p]) / 255.f;
          EXPECT_NEAR(batches[k].images[static_cast<size_t>((i * 96 + p) * 3 + c)],
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
    Batch batch;
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
  const size_t n = static_cast<size_t>(kShape.elements());
  const auto a = small[4].images.begin() + 2 * static_cast<std::ptrdiff_t>(n);
  const auto b = whole[0].images.begin() + index * static_cast<std::ptrdiff_t>(n);
  EXPECT_TRUE(std::equal(a, a + static_cast<std::ptrdiff_t>(n), b));
}

TEST(Loader, WhatAWorkerThrowsReachesTheCallerAtItsBatch) {
  for (const int workers : {0, 1, 3}) {
    Loader loader(made(103, 42), kNormalisation, {.batch = 10, .shuffle = false, .workers = workers});
    for (int turn = 0; turn < 2; ++turn) {
      loader.start_epoch(turn);
      Batch batch;
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
    Loader loader(made(), kNormalisation, {.batch = 10, .workers = workers, .prefetch = 3});
    Batch batch;
    std::vector<const float*> seen, again;
    for (const bool warm : {false, false, true}) {
      loader.start_epoch(warm ? 2 : 1);
      while (loader.next(batch)) (warm ? again : seen).push_back(batch.images.data());
    }
    ASSERT_EQ(again.size(), 11u);
    for (const float* buffer : again) EXPECT_NE(std::find(seen.begin(), seen.end(), buffer), seen.end());
  }
}

TEST(Loader, CanBeDestroyedAtAnyMoment) {
  for (int taken = 0; taken < 6; ++taken) {
    for (const int workers : {0, 1, 4}) {
      Loader loader(made(), kNormalisation, {.batch = 4, .workers = workers, .prefetch = 2});
      loader.start_epoch(0);
      Batch batch;
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
  EXPECT_SAYS(message_of<Error>([&] { loader.start_epoch(-1); }), "came -1");
}

// --- normalisation ---

TEST(Normalisation, IsMeanAndDeviationOfAllPixels) {
  const auto source = made(40);
  const Normalisation measured = measure_normalisation(*source, {});
  for (int64_t c = 0; c < 3; ++c) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < 40; ++i) {
      for (int64_t p = 0; p < 96; ++p) sum += source->pixels(i)[c * 96 + p] / 255.0 / 3840;
    }
    for (int64_t i = 0; i < 40; ++i) {
      for (int64_t p = 0; p < 96; ++p) squares += std::pow(source->pixels(i)[c * 96 + p] / 255.0 - sum, 2) / 3840;
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
    Batch batch;
    ASSERT_TRUE(loader.next(batch));
    for (size_t c = 0; c < 3; ++c) {
      double sum = 0, squares = 0;
      for (size_t i = c; i < batch.images.size(); i += 3) {
        sum += static_cast<double>(batch.images[i]) / 3840;
        squares += std::pow(static_cast<double>(batch.images[i]), 2) / 3840;
      }
      EXPECT_NEAR(sum, 0, 1e-4) << variant.type;
      EXPECT_NEAR(squares, 1, 1e-4) << variant.type;
    }
  }
}

TEST(Normalisation, TellsWhatASourceThrew) {
  EXPECT_SAYS(message_of<std::runtime_error>([] { measure_normalisation(*made(40, 7), {}); }), "image is bad");
}

}  // namespace
}  // namespace tidepool::testing
