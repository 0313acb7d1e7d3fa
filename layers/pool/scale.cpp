#include "layers/pool/scale.h"

#include <algorithm>
#include <cmath>

namespace tidepool {

void ScaleOptions::keys(Keys& k) {
  k.integers("output_size", output_size, "Length of the output.").otherwise("by ratio").at_least(1).at_most(1 << 20);
  k.numbers("ratio", ratio, "Length of the output over that of the input; only one of the two can be given.")
      .otherwise("0.5")
      .above(0)
      .at_most(1);
}

void ScaleOptions::check(const char* op) const {
  if (output_size.count > 0 && ratio.count > 0)
    throw Error("[{}] keys 'output_size' and 'ratio': expected one of the two, got both", op);
}

std::array<int64_t, 3> ScaleOptions::lengths(const char* op, const Dims& x, std::initializer_list<int> ranks) const {
  const int rank = expect_rank(op, x, ranks);
  output_size.expect_axes(op, "output_size", rank);
  ratio.expect_axes(op, "ratio", rank);
  expect_positions(op, x);
  std::array<int64_t, 3> m{1, 1, 1};
  for (int i = 0; i < rank; ++i)
    m[static_cast<size_t>(3 - rank + i)] =
        output_size.count > 0
            ? output_size[i]
            : std::max<int64_t>(1, static_cast<int64_t>(std::floor(static_cast<double>(x[2 + i]) * share(i))));
  return m;
}

TracedShape ScaleOptions::trace(const TracedShape& x, const Dims& y) const {
  TracedShape out = TracedShape::of(y);
  if (output_size.count > 0) return out;
  for (size_t i = 0; i < x.lengths.size(); ++i)
    out.lengths[i] = x.lengths[i].then(out.lengths[i].value, share(static_cast<int>(i)));
  return out;
}

}  // namespace tidepool
