// How much of a picture is left after it was pooled: it is enlarged again and compared with what it was.
#pragma once
#include <cstdint>
#include <optional>

namespace tidepool {

/// One channel of a picture: (height, width) f32, dense.
struct Plane {
  const float* values = nullptr;
  int64_t height = 0, width = 0;
};

/// Sums over the planes of one picture; add them up with +=.
struct Fidelity {
  double squared_error = 0;  ///< sum of (x - y)^2, in units of white^2
  int64_t values = 0;
  double similarity = 0;  ///< sum of SSIM over windows
  int64_t windows = 0;

  /// Mean of the squared errors, 10 log10(1 / mse) in dB; infinite for equal pictures.
  double psnr() const;
  /// Mean structural similarity; none for a picture smaller than a window.
  std::optional<double> ssim() const;
  Fidelity& operator+=(const Fidelity& other);
};

/// y, of any size, is enlarged (or shrunk) to x's size, bilinear with half-pixel centres, and compared with x. White
/// is 1. SSIM: Wang, Bovik, Sheikh, Simoncelli: Image quality assessment, IEEE TIP 2004: Gaussian windows of 11x11 with
/// a deviation of 1.5, K1 0.01, K2 0.03, over the windows that lie on the picture whole; sums are in f32, means in f64.
/// The same bits for any number of threads.
Fidelity compare_enlarged(Plane x, Plane y);

}  // namespace tidepool
