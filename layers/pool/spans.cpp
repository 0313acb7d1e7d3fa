#include "layers/pool/spans.h"

#include <algorithm>

namespace tidepool {

std::vector<Span> adaptive_spans(int64_t n, int64_t m) {
  std::vector<Span> spans;
  for (int64_t o = 0; o < m; ++o)
    spans.push_back({static_cast<int32_t>(o * n / m), static_cast<int32_t>(((o + 1) * n + m - 1) / m)});
  return spans;
}

void SpanAxes::set(int i, int64_t n, const std::vector<Span>& windows, int64_t planes, int64_t m, Device device) {
  std::vector<Span> covering(static_cast<size_t>(planes * n));
  int64_t longest = 1;
  for (int64_t plane = 0; plane < planes; ++plane)
    for (int64_t o = 0; o < m; ++o) {
      const Span window = windows[static_cast<size_t>(plane * m + o)];
      longest = std::max<int64_t>(longest, window.length());
      if (o > 0 && windows[static_cast<size_t>(plane * m + o - 1)].end > window.begin) disjoint = false;
      for (int64_t at = window.begin; at < window.end; ++at) {
        Span& c = covering[static_cast<size_t>(plane * n + at)];
        if (c.end == 0) c.begin = static_cast<int32_t>(o);
        c.end = static_cast<int32_t>(o + 1);
      }
    }
  volume *= longest;
  memory.push_back(upload(windows, device));
  const auto* w = static_cast<const Span*>(memory.back().raw());
  memory.push_back(upload(covering, device));
  const auto* c = static_cast<const Span*>(memory.back().raw());
  const bool shared = planes == 1;
  own = own || !shared;
  axis[static_cast<size_t>(i)] = {n, m, w, c, shared ? 0 : m, shared ? 0 : n};
}

}  // namespace tidepool
