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

/// A view of bytes; see Sample.
struct StridedBytes {
  const uint8_t* bytes = nullptr;
  int64_t channel_stride = 0, row_stride = 0, column_stride = 0;
};

/// What resampling needs from image to image.
struct ResampleScratch {
  AxisFilter rows, columns;
  std::vector<float> line;
};

/// The region [begin, begin + length) of an axis of `in` pixels, brought to `out` pixels; in reverse order with
/// `mirrored`. Triangles of half-width max(1, length / out) pixels around the half-pixel centres, cut off at the
/// image's ends and normalised. A centre outside of the image has no weight at all: 0.
void fill_region_filter(int64_t in, double begin, double length, int64_t out, bool mirrored, AxisFilter& filter);

/// y: (rows.out, columns.out, channels), times `scale`. `scratch` grows as needed.
void resample_bytes(const StridedBytes& x, int64_t channels, const AxisFilter& rows, const AxisFilter& columns,
                    float scale, float* y, std::vector<float>& scratch);

}  // namespace tidepool
