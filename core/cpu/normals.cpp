#include "core/cpu/normals.h"

#include <array>
#include <cmath>

#include "core/lanes.h"
#include "core/philox.h"

namespace tidepool {
namespace {

using Reals = detail::VectorOf<double, 8>::type;
using Words = detail::VectorOf<uint64_t, 8>::type;  // of 32 bits each, but for products
using Wholes = detail::VectorOf<int64_t, 8>::type;
constexpr uint64_t kWord = 0xffffffff;
constexpr int kRun = kLanes<Reals>;

/// philox4x32 of 8 counters.
std::array<Words, 4> philox4x32(std::array<Words, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const Words p0 = counter[0] * uint64_t{0xD2511F53u}, p1 = counter[2] * uint64_t{0xCD9E8D57u};
    counter = {(p1 >> 32) ^ counter[1] ^ uint64_t{key[0]}, p1 & kWord, (p0 >> 32) ^ counter[3] ^ uint64_t{key[1]},
               p0 & kWord};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

/// As Random::uniform().
Reals uniform(Words high, Words low) {
  return __builtin_convertvector(reinterpret_cast<Wholes>((high >> 5) * 67108864 + (low >> 6)), Reals) * 0x1p-53;
}

/// log of normal numbers x > 0, to some 4 ulp: of 2^e m, sqrt(1/2) <= m < sqrt(2), by the series of artanh.
Reals log_of(Reals x) {
  const Wholes bits = reinterpret_cast<Wholes>(x), e = (bits - 0x3fe6a09e667f3bcd) >> 52;
  const Reals f = reinterpret_cast<Reals>(bits - (e << 52)) - 1.0, s = f / (f + 2.0), z = s * s;
  Reals sum = z * (1.0 / 21) + 1.0 / 19;
  for (int odd = 17; odd >= 1; odd -= 2) sum = sum * z + 1.0 / odd;
  return __builtin_convertvector(e, Reals) * 0.693147180559945309417 + 2.0 * s * sum;
}

/// cos(2 pi v), 0 <= v < 1, to some 1e-15: of the quarter turn that v is in, the series of the sine or the cosine.
Reals cos_of_turns(Reals v) {
  const Wholes quarter = __builtin_convertvector(v * 4.0 + 0.5, Wholes);
  const Reals a = (v * 4.0 - __builtin_convertvector(quarter, Reals)) * 1.57079632679489661923, z = a * a;
  Reals sine = z * (1.0 / (16 * 17)) - 1.0, cosine = z * (1.0 / (15 * 16)) - 1.0;  // the signs alternate
  for (int n = 14; n >= 2; n -= 2) {
    const double sign = n % 4 == 0 ? -1.0 : 1.0;
    sine = sine * z * (1.0 / (n * (n + 1))) + sign;
    cosine = cosine * z * (1.0 / (n * (n - 1))) + sign;
  }
  const Reals turned = (quarter & 1) != 0 ? a * sine : cosine;
  return ((quarter + 1) & 2) != 0 ? -turned : turned;
}

}  // namespace

void draw_normals(uint64_t seed, uint64_t stream, uint64_t first, double deviation, std::span<float> out) {
  static_assert(Random::kWordsOfNormal == 4);  // a block a normal
  const auto exactly = [&](uint64_t i) { return static_cast<float>(deviation * Random(seed, stream, 4 * i).normal()); };
  size_t at = 0;
  for (; at + kRun <= out.size(); at += kRun) {
    const Words index = first + at + Words{0, 1, 2, 3, 4, 5, 6, 7}, zero{};
    const std::array<Words, 4> words =
        philox4x32({index & kWord, index >> 32, zero + (stream & kWord), zero + (stream >> 32)},
                   {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
    const Reals squared = -2.0 * log_of(1.0 - uniform(words[0], words[1]));
    Reals radius;
    for (int i = 0; i < kRun; ++i) radius[i] = std::sqrt(squared[i]);
    const Reals normal = deviation * (radius * cos_of_turns(uniform(words[2], words[3])));
    // Both this and the C library's are within `error` of the truth. Where the f32 are the same all the way, they have
    // the same f32 (Ziv 1991); elsewhere, in one of a million, the library says which.
    const Reals error = std::abs(deviation) * radius * 1e-14;
    using Rounded = detail::VectorOf<float, 8>::type;
    const Rounded low = __builtin_convertvector(normal - error, Rounded),
                  high = __builtin_convertvector(normal + error, Rounded);
    for (int i = 0; i < kRun; ++i)
      out[at + static_cast<size_t>(i)] =
          low[i] == high[i] && low[i] != 0 ? low[i] : exactly(first + at + static_cast<uint64_t>(i));
  }
  for (; at < out.size(); ++at) out[at] = exactly(first + at);
}

}  // namespace tidepool
