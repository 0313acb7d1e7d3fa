#include "data/normalisation.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <exception>

namespace tidepool {
namespace {

// Sum and sum of squares of one channel of one image.
struct Sums {
  double sum = 0, squares = 0;
};

void sum_bytes(const Sample& sample, int64_t channels, Sums* sums) {
  for (int64_t c = 0; c < channels; ++c) {
    uint64_t sum = 0, squares = 0;
    constexpr int64_t kRun = 32768;  // bytes whose squares a 32-bit word can sum (65025 * 32768 < 2^32)
    for (int64_t row = 0; row < sample.height; ++row) {
      const uint8_t* const x = sample.pixels + c * sample.channel_stride + row * sample.row_stride;
      for (int64_t begin = 0; begin < sample.width; begin += kRun) {
        uint32_t run_sum = 0, run_squares = 0;
        for (int64_t i = begin; i < std::min(sample.width, begin + kRun); ++i) {
          const uint32_t value = x[i * sample.column_stride];
          run_sum += value;
          run_squares += value * value;
        }
        sum += run_sum;
        squares += run_squares;
      }
    }
    sums[c] = {static_cast<double>(sum), static_cast<double>(squares)};
  }
}

void sum_floats(const float* x, const ImageShape& shape, double unit, Sums* sums) {
  for (int64_t c = 0; c < shape.channels; ++c) sums[c] = {};
  for (int64_t i = 0; i < shape.height * shape.width; ++i) {
    for (int64_t c = 0; c < shape.channels; ++c) {
      const double value = x[i * shape.channels + c] * unit;
      sums[c].sum += value;
      sums[c].squares += value * value;
    }
  }
}

}  // namespace

Normalisation measure_normalisation(const Dataset& dataset, const VariantOptions& variant, int threads) {
  const ImageShape shape = dataset.shape();
  const int64_t images = dataset.size(), channels = shape.channels;
  const Transform transform(shape, {.type = "none"}, variant);
  const bool plain = Variant(variant, shape).is_none();
  std::vector<Sums> sums(static_cast<size_t>(images * channels));
  std::exception_ptr problem;  // what a data set threw must not leave the parallel region
#pragma omp parallel num_threads(threads > 0 ? threads : omp_get_max_threads())
  {
    TransformScratch scratch;
    Sample sample;
    sample.reduction = [&](int64_t height, int64_t width) { return transform.reduction(height, width, std::nullopt); };
    std::vector<float> image(static_cast<size_t>(shape.elements()));
#pragma omp for schedule(static)
    for (int64_t i = 0; i < images; ++i) {
      Sums* const mine = sums.data() + i * channels;
      try {
        dataset.read(i, sample);
        if (plain && sample.height == shape.height && sample.width == shape.width) {
          sum_bytes(sample, channels, mine);
        } else {
          transform.image(sample, std::nullopt, image.data(), scratch);
          sum_floats(image.data(), shape, plain ? 255.0 : 1.0, mine);
        }
      } catch (...) {
#pragma omp critical(tidepool_normalisation)
        problem = std::current_exception();
      }
    }
  }
  if (problem) std::rethrow_exception(problem);
  Normalisation result;
  const double count = static_cast<double>(images * shape.height * shape.width), unit = plain ? 255.0 : 1.0;
  for (int64_t c = 0; c < channels; ++c) {
    Sums all;  // of bytes: whole numbers below 2^53, so exact
    for (int64_t i = 0; i < images; ++i) {
      all.sum += sums[static_cast<size_t>(i * channels + c)].sum;
      all.squares += sums[static_cast<size_t>(i * channels + c)].squares;
    }
    const double mean = all.sum / count, variance = all.squares / count - mean * mean;
    const double deviation = variance > 1e-10 * unit * unit ? std::sqrt(variance) / unit : 1.0;
    result.mean.push_back(static_cast<float>(mean / unit));
    result.stddev.push_back(static_cast<float>(deviation));
  }
  return result;
}

}  // namespace tidepool
