#include "layers/pool/sampling.h"

namespace tidepool {

void SampledAxes::set(int i, int64_t n, int32_t sides, const std::vector<Sample>& samples, HostArrays& arrays) {
  std::vector<std::vector<Reader>> by_pixel(static_cast<size_t>(n));
  const int64_t m = static_cast<int64_t>(samples.size()) / sides;
  for (int32_t side = 0; side < sides; ++side)
    for (int64_t output = 0; output < m; ++output) {
      const Sample& s = samples[static_cast<size_t>(output * sides + side)];
      by_pixel[static_cast<size_t>(s.low)].push_back({output, side, s.low == s.high ? 1 : 1 - s.fraction});
      if (s.low != s.high) by_pixel[static_cast<size_t>(s.high)].push_back({output, side, s.fraction});
    }
  std::vector<Reader> readers;
  std::vector<int64_t> starts{0};
  for (const std::vector<Reader>& of_pixel : by_pixel) {
    readers.insert(readers.end(), of_pixel.begin(), of_pixel.end());
    starts.push_back(static_cast<int64_t>(readers.size()));
  }
  SampledAxis& to = axis[static_cast<size_t>(i)];
  to = {.n = n, .m = m, .sides = sides};
  arrays.add(samples, to.samples);
  arrays.add(readers, to.readers);
  arrays.add(starts, to.starts);
}

}  // namespace tidepool
