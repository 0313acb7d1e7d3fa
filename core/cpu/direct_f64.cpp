// Direct convolutions of dense channels-last maps of f64: networks in f64, which goldens and gradients are compared
// with, would take minutes by the reference. Every sum is in a fixed order, for any number of threads.
#include <algorithm>
#include <vector>

#include "core/cpu/tables.h"
#include "core/lanes.h"
#include "core/parallel.h"

namespace tidepool {
namespace {

using V = detail::WideOf<double>::type;
constexpr int64_t kPanel = 2 * kLanes<V>;  // channels of a result that are summed together
constexpr int kRows = 4;                   // and positions

// Both maps: one of a single channel is contiguous in both formats, so it does not tell the format of the other.
bool serves(const Tensor& x, const Tensor& y, const Tensor& w, const ConvOptions& o) {
  const auto dense = [](const Tensor& map) {
    return map.dtype() == DType::f64 && map.is_contiguous(MemoryFormat::channels_last);
  };
  return dense(x) && dense(y) && w.dtype() == DType::f64 && o.groups == 1 && x.rank() > 2;
}

int64_t positions_of(const Dims& x) {
  int64_t positions = 1;
  for (int i = 2; i < x.rank(); ++i) positions *= x[i];
  return positions;
}

// For every position of y and tap of the kernel the position of x that it reads, or -1: [positions of y][taps].
std::vector<int32_t> reads(const Dims& x, const Dims& y, const Dims& w, const ConvOptions& o) {
  std::vector<int32_t> table{0};
  int64_t rows = 1, taps = 1;
  for (int axis = 2; axis < x.rank(); ++axis) {
    const auto a = static_cast<size_t>(axis - 2);
    std::vector<int32_t> next;
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t i = 0; i < y[axis]; ++i)
        for (int64_t tap = 0; tap < taps; ++tap)
          for (int64_t k = 0; k < w[axis]; ++k) {
            const int32_t before = table[static_cast<size_t>(row * taps + tap)];
            const int64_t at = i * o.stride[a] - o.padding[a] + k * o.dilation[a];
            next.push_back(before < 0 || at < 0 || at >= x[axis] ? -1 : static_cast<int32_t>(before * x[axis] + at));
          }
    table = std::move(next);
    rows *= y[axis];
    taps *= w[axis];
  }
  return table;
}

// The same seen from x: the position of y that reads it through a tap, [positions of x][taps].
std::vector<int32_t> read_by(const std::vector<int32_t>& reads, int64_t taps, int64_t positions) {
  std::vector<int32_t> table(static_cast<size_t>(positions * taps), -1);
  for (size_t i = 0; i < reads.size(); ++i)
    if (reads[i] >= 0)
      table[static_cast<size_t>(reads[i] * taps) + i % static_cast<size_t>(taps)] =
          static_cast<int32_t>(i / static_cast<size_t>(taps));
  return table;
}

int64_t padded(int64_t channels) {
  return (channels + kPanel - 1) / kPanel * kPanel;
}

// w [O, C, taps] -> [panel][tap][k][kPanel]: k runs over what is summed (C, or O with `transposed`).
std::vector<double> panels_of(const Tensor& w, bool transposed) {
  const int64_t outputs = w.size(0), inputs = w.size(1), taps = positions_of(w.shape());
  const int64_t results = transposed ? inputs : outputs, depth = transposed ? outputs : inputs;
  std::vector<double> panels(static_cast<size_t>(padded(results) * taps * depth));
  const double* from = w.data<double>();
  for (int64_t r = 0; r < results; ++r)
    for (int64_t k = 0; k < depth; ++k)
      for (int64_t tap = 0; tap < taps; ++tap)
        panels[static_cast<size_t>(((r / kPanel * taps + tap) * depth + k) * kPanel + r % kPanel)] =
            from[((transposed ? k : r) * inputs + (transposed ? r : k)) * taps + tap];
  return panels;
}

// to[n][p][r] = bias[r] + the sum over taps and k of from[n][table[p][tap]][k] w[tap][k][r].
void sum_taps(const Tensor& from, const std::vector<int32_t>& table, const std::vector<double>& panels, int64_t taps,
              const Tensor& bias, const Tensor& to) {
  const int64_t depth = from.size(1), results = to.size(1), sources = positions_of(from.shape()),
                positions = positions_of(to.shape());
  const std::vector<double> zeros(static_cast<size_t>(depth));
  const double* const x = from.data<double>();
  const double* const b = bias ? bias.data<double>() : nullptr;
  double* const y = to.mutable_data<double>();
  const int64_t tiles = (positions + kRows - 1) / kRows;
  parallel_chunks(to.size(0) * tiles, 1, [&](int64_t begin, int64_t end) {
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t n = tile / tiles, first = tile % tiles * kRows;
      for (int64_t r = 0; r < results; r += kPanel) {
        V sums[kRows][2]{};
        const double* w = panels.data() + r * taps * depth;
        for (int64_t tap = 0; tap < taps; ++tap, w += depth * kPanel) {
          const double* rows[kRows];
          bool any = false;
          for (int i = 0; i < kRows; ++i) {
            const int32_t at =
                first + i < positions ? table[static_cast<size_t>((first + i) * taps + tap)] : int32_t{-1};
            any = any || at >= 0;
            rows[i] = at < 0 ? zeros.data() : x + (n * sources + at) * depth;
          }
          if (!any) continue;
          for (int64_t k = 0; k < depth; ++k) {
            const V w0 = load<V>(w + k * kPanel), w1 = load<V>(w + k * kPanel + kLanes<V>);
            for (int i = 0; i < kRows; ++i) {
              const V v = splat<V>(rows[i][k]);
              sums[i][0] += v * w0;
              sums[i][1] += v * w1;
            }
          }
        }
        for (int64_t i = 0; i < std::min<int64_t>(kRows, positions - first); ++i)
          for (int64_t c = 0; c < std::min(kPanel, results - r); ++c)
            y[(n * positions + first + i) * results + r + c] =
                (b ? b[r + c] : 0.0) + sums[i][c / kLanes<V>][c % kLanes<V>];
      }
    }
  });
}

bool forward(const Tensor& x, const Tensor& w, const Tensor& bias, const ConvOptions& o, const Tensor& y) {
  if (!serves(x, y, w, o)) return false;
  sum_taps(x, reads(x.shape(), y.shape(), w.shape(), o), panels_of(w, false), positions_of(w.shape()), bias, y);
  return true;
}

bool backward_data(const Tensor& dy, const Tensor& w, const ConvOptions& o, const Tensor& dx) {
  if (!serves(dx, dy, w, o)) return false;
  const int64_t taps = positions_of(w.shape());
  const std::vector<int32_t> table =
      read_by(reads(dx.shape(), dy.shape(), w.shape(), o), taps, positions_of(dx.shape()));
  sum_taps(dy, table, panels_of(w, true), taps, {}, dx);
  return true;
}

bool backward_weights(const Tensor& x, const Tensor& dy, const ConvOptions& o, const Tensor& dw, const Tensor& dbias) {
  if (!serves(x, dy, dw, o)) return false;
  const std::vector<int32_t> table = reads(x.shape(), dy.shape(), dw.shape(), o);
  const int64_t inputs = x.size(1), outputs = dy.size(1), taps = positions_of(dw.shape()),
                sources = positions_of(x.shape()), positions = positions_of(dy.shape()), width = padded(outputs);
  std::vector<double> wide(static_cast<size_t>(x.size(0) * positions * width));  // dy, its channels padded
  const double *const px = x.data<double>(), *const py = dy.data<double>();
  for (int64_t row = 0; row < x.size(0) * positions; ++row)
    std::copy_n(py + row * outputs, outputs, wide.data() + row * width);
  double* const to = dw.mutable_data<double>();
  const int64_t in_blocks = (inputs + kRows - 1) / kRows;
  parallel_chunks(taps * in_blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t tap = item / in_blocks, c = item % in_blocks * kRows;
      int64_t channel[kRows];
      for (int i = 0; i < kRows; ++i) channel[i] = std::min(c + i, inputs - 1);
      for (int64_t r = 0; r < outputs; r += kPanel) {
        V sums[kRows][2]{};
        for (int64_t n = 0; n < x.size(0); ++n)
          for (int64_t p = 0; p < positions; ++p) {
            const int32_t at = table[static_cast<size_t>(p * taps + tap)];
            if (at < 0) continue;
            const double* const row = px + (n * sources + at) * inputs;
            const double* const g = wide.data() + (n * positions + p) * width + r;
            const V g0 = load<V>(g), g1 = load<V>(g + kLanes<V>);
            for (int i = 0; i < kRows; ++i) {
              const V v = splat<V>(row[channel[i]]);
              sums[i][0] += v * g0;
              sums[i][1] += v * g1;
            }
          }
        for (int64_t i = 0; i < std::min<int64_t>(kRows, inputs - c); ++i)
          for (int64_t k = 0; k < std::min(kPanel, outputs - r); ++k)
            to[((r + k) * inputs + c + i) * taps + tap] = sums[i][k / kLanes<V>][k % kLanes<V>];
      }
    }
  });
  if (dbias) {
    double* const sums = dbias.mutable_data<double>();
    std::fill_n(sums, outputs, 0.0);
    for (int64_t row = 0; row < x.size(0) * positions; ++row)
      for (int64_t k = 0; k < outputs; ++k) sums[k] += py[row * outputs + k];
  }
  return true;
}

}  // namespace

const ConvTable cpu::kDirectF64Conv{
    .name = "direct f64", .forward = forward, .backward_data = backward_data, .backward_weights = backward_weights};

}  // namespace tidepool
