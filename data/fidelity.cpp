#include "data/fidelity.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "core/parallel.h"
#include "data/resample.h"

namespace tidepool {
namespace {

constexpr int kRadius = 5, kWindow = 2 * kRadius + 1;
constexpr double kDeviation = 1.5;
constexpr float kC1 = 0.01f * 0.01f, kC2 = 0.03f * 0.03f;

using Weights = std::array<float, kRadius + 1>;  // of the middle, and of either neighbour at 1, 2, ...

Weights gaussian() {
  std::array<double, kRadius + 1> w;
  double sum = 0;
  for (int i = 0; i <= kRadius; ++i) {
    w[static_cast<size_t>(i)] = std::exp(-0.5 * i * i / (kDeviation * kDeviation));
    sum += (i == 0 ? 1 : 2) * w[static_cast<size_t>(i)];
  }
  Weights weights;
  for (size_t i = 0; i < w.size(); ++i) weights[i] = static_cast<float>(w[i] / sum);
  return weights;
}

// What SSIM is made of, each filtered: x, y, x^2 + y^2, x y. (The variances stand in it only as their sum.)
constexpr size_t kMaps = 4;

// to[j] = sum over the window of from[j + t].
void filter_row(const float* from, int64_t count, const Weights& w, float* to) {
  for (int64_t j = 0; j < count; ++j) {
    float sum = w[0] * from[j + kRadius];
    for (int t = 1; t <= kRadius; ++t)
      sum += w[static_cast<size_t>(t)] * (from[j + kRadius - t] + from[j + kRadius + t]);
    to[j] = sum;
  }
}

// Rows of SSIM from rows of x and y, handed in from the top.
class Similarity {
 public:
  explicit Similarity(int64_t width)
      : width_(width), count_(width - 2 * kRadius), weights_(gaussian()), products_(static_cast<size_t>(2 * width)) {
    for (auto& map : rings_) map.resize(static_cast<size_t>(kWindow * count_));
  }

  // Sum of the similarity over the windows that end with this row.
  double push(const float* x, const float* y) {
    float* const squares = products_.data();
    float* const cross = squares + width_;
    for (int64_t j = 0; j < width_; ++j) {
      squares[j] = x[j] * x[j] + y[j] * y[j];
      cross[j] = x[j] * y[j];
    }
    const std::array<const float*, kMaps> rows{x, y, squares, cross};
    const int64_t slot = pushed_ % kWindow;
    for (size_t m = 0; m < kMaps; ++m) filter_row(rows[m], count_, weights_, rings_[m].data() + slot * count_);
    ++pushed_;
    return pushed_ < kWindow ? 0 : row_sum();
  }

 private:
  double row_sum() const {
    // The middle row, and the pairs around it, wherever they stand in the ring.
    std::array<int64_t, kWindow> at;
    for (int t = -kRadius; t <= kRadius; ++t)
      at[static_cast<size_t>(t + kRadius)] = (pushed_ - 1 - kRadius + t) % kWindow * count_;
    constexpr int64_t kRun = 512;  // pixels, so that sums in f32 stay short
    double sum = 0;
    for (int64_t begin = 0; begin < count_; begin += kRun) {
      const int64_t end = std::min(count_, begin + kRun);
      float run = 0;
#pragma omp simd reduction(+ : run)
      for (int64_t j = begin; j < end; ++j) {
        float f[kMaps];
        for (size_t m = 0; m < kMaps; ++m) {
          const float* const ring = rings_[m].data() + j;
          float v = weights_[0] * ring[at[kRadius]];
          for (size_t t = 1; t <= kRadius; ++t) v += weights_[t] * (ring[at[kRadius - t]] + ring[at[kRadius + t]]);
          f[m] = v;
        }
        const float product = f[0] * f[1], squares = f[0] * f[0] + f[1] * f[1];
        run += (2 * product + kC1) * (2 * (f[3] - product) + kC2) / ((squares + kC1) * (f[2] - squares + kC2));
      }
      sum += static_cast<double>(run);
    }
    return sum;
  }

  int64_t width_, count_, pushed_ = 0;
  Weights weights_;
  std::vector<float> products_;
  std::array<std::vector<float>, kMaps> rings_;
};

double squared_difference(const float* x, const float* y, int64_t count) {
  constexpr int64_t kRun = 512;
  double sum = 0;
  for (int64_t begin = 0; begin < count; begin += kRun) {
    float run = 0;
    const int64_t end = std::min(count, begin + kRun);
#pragma omp simd reduction(+ : run)
    for (int64_t j = begin; j < end; ++j) run += (x[j] - y[j]) * (x[j] - y[j]);
    sum += static_cast<double>(run);
  }
  return sum;
}

}  // namespace

double Fidelity::psnr() const {
  if (values == 0 || squared_error == 0) return std::numeric_limits<double>::infinity();
  return -10 * std::log10(squared_error / static_cast<double>(values));
}

std::optional<double> Fidelity::ssim() const {
  if (windows == 0) return std::nullopt;
  return similarity / static_cast<double>(windows);
}

Fidelity& Fidelity::operator+=(const Fidelity& other) {
  squared_error += other.squared_error;
  values += other.values;
  similarity += other.similarity;
  windows += other.windows;
  return *this;
}

Fidelity compare_enlarged(Plane x, Plane y) {
  const AxisFilter rows = bilinear_filter(y.height, x.height), columns = bilinear_filter(y.width, x.width);
  const bool windows = x.height >= kWindow && x.width >= kWindow;
  constexpr int64_t kBand = 64;  // rows of a band; it reads kRadius more on either side
  std::vector<Fidelity> bands(static_cast<size_t>((x.height + kBand - 1) / kBand));
  parallel_chunks(x.height, kBand, [&](int64_t begin, int64_t end) {
    Fidelity& sum = bands[static_cast<size_t>(begin / kBand)];
    const int64_t first = windows ? std::max<int64_t>(0, begin - kRadius) : begin,
                  last = windows ? std::min(x.height, end + kRadius) : end;
    std::vector<float> enlarged(static_cast<size_t>(x.width)), scratch;
    std::optional<Similarity> similarity;
    if (windows) similarity.emplace(x.width);
    for (int64_t row = first; row < last; ++row) {
      resample(y.values, 1, rows, row, 1, columns, 0, x.width, enlarged.data(), scratch);
      const float* const line = x.values + row * x.width;
      if (row >= begin && row < end) sum.squared_error += squared_difference(line, enlarged.data(), x.width);
      if (similarity) sum.similarity += similarity->push(line, enlarged.data());
    }
    sum.values = (end - begin) * x.width;
    if (windows) sum.windows = std::max<int64_t>(0, last - first - 2 * kRadius) * (x.width - 2 * kRadius);
  });
  Fidelity sum;
  for (const Fidelity& band : bands) sum += band;
  return sum;
}

}  // namespace tidepool
