// Counter-based random numbers: Philox 4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as
// 1, 2, 3", SC 2011). A number is a function of (seed, stream, index) alone, so every device and every number of
// threads draws the same bits.
#pragma once
#include <array>
#include <cmath>
#include <cstdint>

#include "core/host_device.h"

namespace tidepool {

/// One block of four 32-bit words from a 128-bit counter and a 64-bit key.
TP_HD constexpr std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * counter[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(p1),
               static_cast<uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(p0)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

/// The words at `index` of the stream `stream` under `seed`.
TP_HD constexpr std::array<uint32_t, 4> random_words(uint64_t seed, uint64_t stream, uint64_t index) {
  return philox4x32({static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), static_cast<uint32_t>(stream),
                     static_cast<uint32_t>(stream >> 32)},
                    {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
}

/// Uniform in [0, 1), 24 bits, exact in f32.
TP_HD constexpr float uniform24(uint32_t word) {
  return static_cast<float>(word >> 8) * 0x1p-24f;
}

/// Draws in sequence from one (seed, stream), copyable. For host code.
class Random {
 public:
  /// `drawn`: how many words are taken to have been drawn, so that threads can share a sequence.
  Random(uint64_t seed, uint64_t stream, uint64_t drawn = 0) : seed_(seed), stream_(stream), next_(drawn) {}

  uint32_t word() {
    if (next_ / 4 != block_) {
      block_ = next_ / 4;
      words_ = random_words(seed_, stream_, block_);
    }
    return words_[next_++ % 4];
  }
  /// Uniform in [0, 1), 53 bits.
  double uniform() {
    const uint64_t high = word() >> 5, low = word() >> 6;
    return static_cast<double>(high * 67108864 + low) * 0x1p-53;
  }
  /// Uniform in [0, n), n >= 1, without bias (rejection).
  uint32_t below(uint32_t n) {
    const uint32_t limit = static_cast<uint32_t>(-n) % n;  // 2^32 mod n
    uint32_t drawn = word();
    while (drawn < limit) drawn = word();
    return drawn % n;
  }
  /// Standard normal (Box & Muller 1958), of kWordsOfNormal words.
  static constexpr uint64_t kWordsOfNormal = 4;
  double normal() {
    const double u = 1.0 - uniform(), v = uniform();
    return std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586476925 * v);
  }

 private:
  uint64_t seed_, stream_, next_;
  uint64_t block_ = ~uint64_t{0};  // of words_; none yet
  std::array<uint32_t, 4> words_{};
};

}  // namespace tidepool
