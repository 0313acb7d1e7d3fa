#include "layers/pool/geometry.h"

namespace tidepool {

MapLayout MapLayout::of(const Dims& shape, MemoryFormat format) {
  if (format == MemoryFormat::channels_last) return {.outer = shape[0], .inner = shape[1], .channels = shape[1]};
  return {.outer = shape[0] * shape[1], .inner = 1, .channels = shape[1]};
}

void WindowOptions::common_keys(Keys& k) {
  constexpr double kLargest = 1 << 20;
  k.integers("kernel", kernel, "Size of the window.").at_least(1).at_most(kLargest);
  k.integers("stride", stride, "Positions between the starts of neighbouring windows.")
      .otherwise("kernel")
      .at_least(1)
      .at_most(kLargest);
  k.integers("padding", padding, "Absent positions before and after the map; at most half the kernel.")
      .at_least(0)
      .at_most(kLargest);
  k.integers("dilation", dilation, "Positions between neighbouring elements of a window.")
      .at_least(1)
      .at_most(kLargest);
}

void WindowOptions::keys(Keys& k) {
  common_keys(k);
  k.flag("ceil_mode", ceil_mode, "Round the output length up, so that the last window may hang over.");
}

std::array<WindowAxis, 3> WindowOptions::axes(const char* op, const Dims& x) const {
  const int rank = expect_rank(op, x, {1, 2, 3});
  kernel.expect_axes(op, "kernel", rank);
  stride.expect_axes(op, "stride", rank);
  padding.expect_axes(op, "padding", rank);
  dilation.expect_axes(op, "dilation", rank);
  std::array<WindowAxis, 3> all;
  for (int i = 0; i < rank; ++i) {
    WindowAxis& a = all[static_cast<size_t>(3 - rank + i)];
    a.n = x[2 + i];
    a.k = static_cast<int32_t>(kernel[i]);
    a.s = static_cast<int32_t>(stride.count == 0 ? kernel[i] : stride[i]);
    a.p = static_cast<int32_t>(padding[i]);
    a.d = static_cast<int32_t>(dilation[i]);
    const std::string spread = a.d == 1 ? "" : fmt::format(" with dilation {}", a.d);
    if (2 * a.p > a.k) throw Error("[{}] padding {} is over half the kernel {}", op, a.p, a.k);
    // With ceil_mode, as in torch.nn, a kernel longer than the map may hang over by less than a stride.
    const int64_t room = a.n + 2 * a.p - int64_t{a.d} * (a.k - 1) - 1 + (ceil_mode ? a.s - 1 : 0);
    if (a.n < 1 || room < 0)
      throw Error("[{}] kernel {}{} does not fit an input of length {} (padding {})", op, a.k, spread, a.n, a.p);
    a.m = room / a.s + 1;
    if (ceil_mode && (a.m - 1) * a.s >= a.n + a.p) --a.m;
    if (a.d == 1) continue;  // a window of neighbours that starts on the map, or ends on it, has a real element
    for (int64_t o = 0; o < a.m && a.start(o) <= 0; ++o)  // later ones start on the map
      if (a.first(o) >= a.last(o))
        throw Error("[{}] kernel {}{}, padding {}: window {} covers no element of an input of length {}", op, a.k,
                    spread, a.p, o, a.n);
  }
  const double positions = static_cast<double>(all[0].k) * all[1].k * all[2].k;
  if (positions >= 0x1p31) throw Error("[{}] a window of {:.0f} elements: expected fewer than 2^31", op, positions);
  return all;
}

TracedShape WindowOptions::trace(const char* op, const TracedShape& x) const {
  TracedShape y{.n = x.n, .c = x.c, .lengths = {}};
  const auto windows = axes(op, x.dims());
  for (size_t i = 0; i < x.lengths.size(); ++i) {
    const WindowAxis& a = windows[3 - x.lengths.size() + i];
    y.lengths.push_back(x.lengths[i].then(a.m, 1.0 / a.s));
  }
  return y;
}

Dims pooled_shape(const Dims& x, int64_t channels, const std::array<WindowAxis, 3>& axes) {
  Dims y = x;
  y[1] = channels;
  for (int i = 2; i < x.rank(); ++i) y[i] = axes[static_cast<size_t>(3 - x.rank() + i)].m;
  return y;
}

void expect_positions(const char* op, const Dims& x) {
  for (int i = 2; i < x.rank(); ++i)
    if (x[i] < 1) throw Error("[{}] a map of length {} on axis {}", op, x[i], i - 2);
}

void expect_holdable(const char* op, const Dims& x, const Dims& y) {
  double elements = 1;
  for (int64_t n : y) elements *= static_cast<double>(n);
  if (elements > 0x1p31)
    throw Error("[{}] the output of {} would be {}: more than 2^31 elements", op, x.str(), y.str());
}

Dims resized_shape(const char* op, const Dims& x, int64_t channels, const std::array<int64_t, 3>& lengths) {
  Dims y = x;
  y[1] = channels;
  for (int i = 2; i < x.rank(); ++i) y[i] = lengths[static_cast<size_t>(3 - x.rank() + i)];
  expect_holdable(op, x, y);
  return y;
}

}  // namespace tidepool
