// What the backends keep between calls: primitives by shape, transformed weights by (storage, version). All bounded.
#pragma once
#include <cstdint>
#include <string>

namespace tidepool {

struct CacheStats {
  int64_t primitives = 0, primitives_made = 0;
  int64_t weights = 0, weight_bytes = 0;
};
CacheStats backend_cache_stats();

/// Drops the transformed weights: those of a network that is gone would count as memory of the next.
void forget_transformed_weights();

/// "oneDNN 2.6.3 (avx512_core_bf16)": the CPU's library at run time and the instructions that it uses.
std::string backend_version();

}  // namespace tidepool
