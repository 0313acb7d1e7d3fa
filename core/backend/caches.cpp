#include "core/backend/caches.h"

#include "core/cpu/onednn.h"
#include "core/cpu/winograd/convolve.h"

namespace tidepool {

CacheStats backend_cache_stats() {
  CacheStats stats;
  onednn::add_to(stats);
  winograd::add_to(stats);
  return stats;
}

void forget_transformed_weights() {
  onednn::forget_weights();
  winograd::forget_weights();
}

std::string backend_version() {
  return onednn::version();
}

}  // namespace tidepool
