// Separable resampling of images in f32, channels-last: one filter an axis, bilinear or area average.
#pragma once
#include <cstdint>
#include <vector>

namespace tidepool {

/// What one axis of an image becomes: output i = sum over t < taps of weights[i * taps + t] * input[first[i] + t].
struct AxisFilter {
  int64_t in = 0, out = 0, taps = 0;
  std::vector<int64_t> first;
  std::vector<float> weights;
  bool identity() const { return in == out && taps == 1; }
};

/// Bilinear with half-pixel centres, borders repeated, no antialiasing (torch: align_corners=False).
AxisFilter bilinear_filter(int64_t in, int64_t out);

/// Output i is the average of [i in / out, (i + 1) in / out), pixels at its ends in part. out <= in.
AxisFilter area_filter(int64_t in, int64_t out);

/// x: (rows.in, columns.in, channels) -> y: (row_count, columns.out, channels), the rows row_begin and on of the whole
/// result. `scratch` grows as needed and is reused. x and y must not overlap.
void resample(const float* x, int64_t channels, const AxisFilter& rows, int64_t row_begin, int64_t row_count,
              const AxisFilter& columns, int64_t column_begin, int64_t column_count, float* y,
              std::vector<float>& scratch);

}  // namespace tidepool
