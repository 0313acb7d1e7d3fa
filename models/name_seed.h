// The stream of random numbers that belongs to a name.
#pragma once
#include <cstdint>
#include <string>

namespace tidepool {

/// FNV-1a, 64 bits.
inline uint64_t name_seed(const std::string& name) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

}  // namespace tidepool
