#include "layers/pool/sampling.h"

#include <algorithm>

namespace tidepool {

std::vector<Reach> reach_of(const std::vector<Sample>& samples, int64_t n, int32_t sides) {
  std::vector<Reach> reach(static_cast<size_t>(n * sides));
  for (size_t j = 0; j < samples.size(); ++j) {
    const int64_t output = static_cast<int64_t>(j) / sides, side = static_cast<int64_t>(j) % sides;
    for (int64_t k : {samples[j].low, samples[j].high}) {
      Reach& r = reach[static_cast<size_t>(k * sides + side)];
      r = r.end == 0 ? Reach{output, output + 1} : Reach{std::min(r.begin, output), output + 1};
    }
  }
  return reach;
}

void SampledAxes::set(int i, int64_t n, int32_t sides, const std::vector<Sample>& samples, Device device) {
  memory.push_back(upload(samples, device));
  const auto* s = static_cast<const Sample*>(memory.back().raw());
  memory.push_back(upload(reach_of(samples, n, sides), device));
  const auto* r = static_cast<const Reach*>(memory.back().raw());
  axis[static_cast<size_t>(i)] = {n, static_cast<int64_t>(samples.size()) / sides, sides, s, r};
}

}  // namespace tidepool
