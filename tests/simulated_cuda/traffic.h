// Bytes that a kernel moves where every byte comes from the device's memory once: sectors of 32 bytes that it reads,
// and that it writes. Kernels are compiled with -fsanitize=thread for it: the calls that GCC puts before their accesses
// end here, not in libtsan, which is not linked.
#pragma once
#include <cstddef>
#include <cstdint>

namespace simulated {

struct Traffic {
  int64_t read = 0, written = 0;  ///< bytes
};

/// Watches accesses to [space, space + bytes) from now on, until `space` is null. False: kernels of this build, a
/// sanitizer's, do not say what they touch.
bool watch_traffic(const std::byte* space, size_t bytes);
/// Of what ran since the last call.
Traffic take_traffic();

}  // namespace simulated
