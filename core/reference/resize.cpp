#include "core/backend/resize.h"

#include "core/reference/elements.h"
#include "core/reference/tables.h"

namespace tidepool::reference {
namespace {

bool resize(const Tensor& x, const AxisMaps& maps, const Tensor& y) {
  const AxisMap &d = maps[0], &h = maps[1], &w = maps[2];
  const Elements in(x);
  const Results out(y);
  for (int64_t i = 0; i < out.size(); ++i) {
    const int64_t image = i / (d.m * h.m * w.m);  // and channel
    double sum = 0;
    for (const auto& td : d.of(i / (h.m * w.m) % d.m))
      for (const auto& th : h.of(i / w.m % h.m))
        for (const auto& tw : w.of(i % w.m))
          sum += td.weight * th.weight * tw.weight * in[((image * d.n + td.from) * h.n + th.from) * w.n + tw.from];
    out.set(i, sum);
  }
  return true;
}

}  // namespace

const ResizeTable kResize{.name = "reference", .resize = resize};

}  // namespace tidepool::reference
