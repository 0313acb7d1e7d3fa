#include "data/resample.h"

#include <algorithm>
#include <cmath>

namespace tidepool {
namespace {

AxisFilter empty_filter(int64_t in, int64_t out, int64_t taps) {
  return {in, out, taps, std::vector<int64_t>(static_cast<size_t>(out)),
          std::vector<float>(static_cast<size_t>(out * taps))};
}

AxisFilter identity_filter(int64_t length) {
  AxisFilter filter = empty_filter(length, length, 1);
  for (int64_t i = 0; i < length; ++i) filter.first[static_cast<size_t>(i)] = i;
  std::fill(filter.weights.begin(), filter.weights.end(), 1.0f);
  return filter;
}

}  // namespace

AxisFilter bilinear_filter(int64_t in, int64_t out) {
  if (in == out) return identity_filter(in);
  AxisFilter filter = empty_filter(in, out, std::min<int64_t>(2, in));
  for (int64_t i = 0; i < out; ++i) {
    const double scale = static_cast<double>(in) / static_cast<double>(out);
    const double centre = std::clamp((static_cast<double>(i) + 0.5) * scale - 0.5, 0.0, static_cast<double>(in - 1));
    const int64_t first = std::min(static_cast<int64_t>(centre), in - filter.taps);
    filter.first[static_cast<size_t>(i)] = first;
    float* weights = filter.weights.data() + i * filter.taps;
    const auto second = static_cast<float>(centre - static_cast<double>(first));
    weights[0] = filter.taps == 1 ? 1.0f : 1.0f - second;
    if (filter.taps == 2) weights[1] = second;
  }
  return filter;
}

AxisFilter area_filter(int64_t in, int64_t out) {
  if (in == out) return identity_filter(in);
  // In units of 1 / out of a pixel every border is a whole number: output i covers [i * in, (i + 1) * in).
  const int64_t taps = std::min(in, in % out == 0 ? in / out : in / out + 2);
  AxisFilter filter = empty_filter(in, out, taps);
  for (int64_t i = 0; i < out; ++i) {
    const int64_t first = std::min(i * in / out, in - taps);
    filter.first[static_cast<size_t>(i)] = first;
    for (int64_t t = 0; t < taps; ++t) {
      const int64_t begin = std::max(i * in, (first + t) * out), end = std::min((i + 1) * in, (first + t + 1) * out);
      filter.weights[static_cast<size_t>(i * taps + t)] =
          static_cast<float>(static_cast<double>(std::max<int64_t>(0, end - begin)) / static_cast<double>(in));
    }
  }
  return filter;
}

void fill_region_filter(int64_t in, double begin, double length, int64_t out, bool mirrored, AxisFilter& filter) {
  const double step = length / static_cast<double>(out), reach = std::max(1.0, step);
  filter.in = in;
  filter.out = out;
  filter.taps = std::min(in, static_cast<int64_t>(2 * std::ceil(reach)) + 1);
  filter.first.assign(static_cast<size_t>(out), 0);
  filter.weights.assign(static_cast<size_t>(out * filter.taps), 0.0f);
  for (int64_t i = 0; i < out; ++i) {
    const double centre = begin + (static_cast<double>(mirrored ? out - 1 - i : i) + 0.5) * step;
    if (centre < 0 || centre >= static_cast<double>(in)) continue;
    const int64_t first = std::clamp<int64_t>(std::llround(std::floor(centre - reach)), 0, in - filter.taps);
    float* const weights = filter.weights.data() + i * filter.taps;
    double sum = 0;
    for (int64_t t = 0; t < filter.taps; ++t)
      sum += std::max(0.0, 1 - std::abs(static_cast<double>(first + t) + 0.5 - centre) / reach);
    for (int64_t t = 0; t < filter.taps; ++t)
      weights[t] =
          static_cast<float>(std::max(0.0, 1 - std::abs(static_cast<double>(first + t) + 0.5 - centre) / reach) / sum);
    filter.first[static_cast<size_t>(i)] = first;
  }
}

void resample_bytes(const StridedBytes& x, int64_t channels, const AxisFilter& rows, const AxisFilter& columns,
                    float scale, float* y, std::vector<float>& scratch) {
  // Columns of the image that any output reads.
  int64_t begin = columns.in, end = 0;
  for (const int64_t first : columns.first) {
    begin = std::min(begin, first);
    end = std::max(end, first + columns.taps);
  }
  const int64_t wide = end - begin;
  if (static_cast<int64_t>(scratch.size()) < wide * channels) scratch.resize(static_cast<size_t>(wide * channels));
  float* const sum = scratch.data();  // (channels, wide), one row of the result before its columns are resampled
  for (int64_t row = 0; row < rows.out; ++row) {
    std::fill_n(sum, wide * channels, 0.0f);
    for (int64_t t = 0; t < rows.taps; ++t) {
      const float weight = rows.weights[static_cast<size_t>(row * rows.taps + t)] * scale;
      if (weight == 0) continue;
      const uint8_t* const line = x.bytes + (rows.first[static_cast<size_t>(row)] + t) * x.row_stride;
      for (int64_t c = 0; c < channels; ++c) {
        const uint8_t* const from = line + c * x.channel_stride + begin * x.column_stride;
        float* const to = sum + c * wide;
        for (int64_t i = 0; i < wide; ++i) to[i] += weight * static_cast<float>(from[i * x.column_stride]);
      }
    }
    for (int64_t column = 0; column < columns.out; ++column) {
      const float* const from = sum + columns.first[static_cast<size_t>(column)] - begin;
      const float* const weights = columns.weights.data() + column * columns.taps;
      for (int64_t c = 0; c < channels; ++c) {
        float value = 0;
        for (int64_t t = 0; t < columns.taps; ++t) value += weights[t] * from[c * wide + t];
        *y++ = value;
      }
    }
  }
}

void resample(const float* x, int64_t channels, const AxisFilter& rows, int64_t row_begin, int64_t row_count,
              const AxisFilter& columns, int64_t column_begin, int64_t column_count, float* y,
              std::vector<float>& scratch) {
  const int64_t line = columns.in * channels;
  const bool whole = columns.identity() && column_begin == 0 && column_count == columns.in;
  if (!whole && static_cast<int64_t>(scratch.size()) < line) scratch.resize(static_cast<size_t>(line));
  for (int64_t r = 0; r < row_count; ++r) {
    float* const sum = whole ? y + r * line : scratch.data();
    const int64_t row = row_begin + r;
    const float* const first = x + rows.first[static_cast<size_t>(row)] * line;
    const float* const row_weights = rows.weights.data() + row * rows.taps;
    for (int64_t j = 0; j < line; ++j) sum[j] = row_weights[0] * first[j];
    for (int64_t t = 1; t < rows.taps; ++t) {
      for (int64_t j = 0; j < line; ++j) sum[j] += row_weights[t] * first[t * line + j];
    }
    if (whole) continue;
    float* out = y + r * column_count * channels;
    for (int64_t i = column_begin; i < column_begin + column_count; ++i) {
      const float* const from = sum + columns.first[static_cast<size_t>(i)] * channels;
      const float* const weights = columns.weights.data() + i * columns.taps;
      for (int64_t c = 0; c < channels; ++c) {
        float value = weights[0] * from[c];
        for (int64_t t = 1; t < columns.taps; ++t) value += weights[t] * from[t * channels + c];
        *out++ = value;
      }
    }
  }
}

}  // namespace tidepool
