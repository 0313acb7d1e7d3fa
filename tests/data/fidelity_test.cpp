// PSNR and SSIM against scikit-image 0.26 (structural_similarity with gaussian_weights, sigma 1.5,
// use_sample_covariance=False, data_range 1), the enlargement against PyTorch: figures of tests/golden/pictures.py.
#include "data/fidelity.h"

#include <omp.h>

#include <cmath>

#include "tests/data/data_test.h"

namespace tidepool::testing {
namespace {

struct Map {
  int64_t height, width;
  std::vector<float> values = std::vector<float>(static_cast<size_t>(height * width));
  Plane plane() const { return {values.data(), height, width}; }
  template <class F>
  Map& fill(F f) {
    for (int64_t i = 0; i < height; ++i)
      for (int64_t j = 0; j < width; ++j)
        values[static_cast<size_t>(i * width + j)] =
            static_cast<float>(f(static_cast<double>(i), static_cast<double>(j)));
    return *this;
  }
};

double wave(double i, double j) {
  return std::fmod(i * i * 3 + j * j * 5 + i * j * 7, 251) / 250;
}

TEST(Fidelity, IsScikitImages) {
  struct Case {
    int64_t height, width;
    double psnr, ssim;
  };
  for (const Case& c : {Case{11, 11, 19.713213185, 0.932717245}, Case{32, 40, 19.842296018, 0.925762815},
                        Case{150, 97, 19.606978111, 0.918200570}}) {
    Map x{c.height, c.width}, y{c.height, c.width};
    x.fill(wave);
    y.fill([](double i, double j) { return (3 * wave(i, j) + std::fmod(i * 5 + j * 11, 17) / 16) / 4; });
    const Fidelity f = compare_enlarged(x.plane(), y.plane());
    EXPECT_NEAR(f.psnr(), c.psnr, 1e-4);
    ASSERT_TRUE(f.ssim());
    EXPECT_NEAR(*f.ssim(), c.ssim, 2e-6);
    EXPECT_EQ(f.windows, (c.height - 10) * (c.width - 10));
  }
}

TEST(Fidelity, OfWhatWasPooledIsScikitImagesAndPyTorchs) {
  struct Case {
    int64_t height, width, factor;
    double psnr, ssim;
  };
  for (const Case& c : {Case{32, 32, 2, 16.959724218, 0.243777299}, Case{150, 96, 3, 16.455173623, 0.227417834}}) {
    Map x{c.height, c.width}, y{c.height / c.factor, c.width / c.factor};
    x.fill([](double i, double j) { return std::fmod(i + 2 * j, 64) / 128 + std::fmod(i * j, 37) / 74; });
    y.fill([&](double i, double j) {
      double sum = 0;
      for (int64_t a = 0; a < c.factor; ++a)
        for (int64_t b = 0; b < c.factor; ++b)
          sum += static_cast<double>(x.values[static_cast<size_t>((static_cast<int64_t>(i) * c.factor + a) * c.width +
                                                                  static_cast<int64_t>(j) * c.factor + b)]);
      return sum / static_cast<double>(c.factor * c.factor);
    });
    const Fidelity f = compare_enlarged(x.plane(), y.plane());
    EXPECT_NEAR(f.psnr(), c.psnr, 1e-4);
    EXPECT_NEAR(f.ssim().value(), c.ssim, 2e-6);
  }
}

TEST(Fidelity, EqualPicturesAndSmallOnes) {
  Map x{12, 20};
  x.fill(wave);
  const Fidelity same = compare_enlarged(x.plane(), x.plane());
  EXPECT_TRUE(std::isinf(same.psnr()) && same.psnr() > 0);
  EXPECT_NEAR(same.ssim().value(), 1, 1e-6);
  Map small{10, 20}, dark{1, 1};
  small.fill([](double, double) { return 0.5; });
  const Fidelity f = compare_enlarged(small.plane(), dark.plane());  // one pixel of 0 over all of it
  EXPECT_NEAR(f.psnr(), -20 * std::log10(0.5), 1e-9);
  EXPECT_FALSE(f.ssim());
}

TEST(Fidelity, SumsOfPlanesAreTheirMean) {
  Map x{40, 40}, y{20, 20};
  x.fill(wave);
  y.fill(wave);
  const Fidelity one = compare_enlarged(x.plane(), y.plane()), other = compare_enlarged(x.plane(), x.plane());
  Fidelity both = one;
  both += other;
  EXPECT_NEAR(both.ssim().value(), (*one.ssim() + 1) / 2, 1e-6);
  EXPECT_NEAR(both.psnr(), one.psnr() + 10 * std::log10(2.0), 1e-9);
}

TEST(Fidelity, IsTheSameForAnyNumberOfThreads) {
  Map x{300, 90}, y{100, 45};
  x.fill(wave);
  y.fill(wave);
  const int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  const Fidelity one = compare_enlarged(x.plane(), y.plane());
  omp_set_num_threads(3);
  const Fidelity three = compare_enlarged(x.plane(), y.plane());
  omp_set_num_threads(threads);
  EXPECT_EQ(one.squared_error, three.squared_error);
  EXPECT_EQ(one.similarity, three.similarity);
  EXPECT_EQ(one.windows, 290 * 80);
}

}  // namespace
}  // namespace tidepool::testing
