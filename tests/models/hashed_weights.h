// Weights, images and labels as functions of a name and an index, the same bits as tests/golden/networks.py computes.
// Its docstring states the functions h, z, u and the probe v.
#pragma once
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/tensor.h"

namespace tidepool {

/// The 64-bit words z(name, 0), z(name, 1), ...: FNV-1a of the name seeds SplitMix64.
class HashedWords {
 public:
  explicit HashedWords(std::string_view name) {
    for (const char c : name) seed_ = (seed_ ^ static_cast<unsigned char>(c)) * 1099511628211u;
  }
  uint64_t word(int64_t i) const {
    uint64_t z = seed_ + (static_cast<uint64_t>(i) + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  /// Uniform in (-1, 1), exact in f32.
  double unit(int64_t i) const {
    return static_cast<double>(2 * static_cast<int64_t>(word(i) >> 40) + 1 - (int64_t{1} << 24)) * 0x1p-24;
  }

 private:
  uint64_t seed_ = 14695981039346656037u;
};

/// f64 values that are exact in f32, row-major: center + scale * u(name, i). center and scale have 8 significant bits,
/// so that the sum is exact in f64 and a fused multiply-add changes nothing.
inline Tensor hashed_tensor(const std::string& name, const Dims& shape, double center, double scale) {
  const Tensor t = Tensor::empty(shape, {.dtype = DType::f64});
  const HashedWords words(name);
  for (int64_t i = 0; i < t.numel(); ++i)
    t.mutable_data<double>()[i] = static_cast<double>(static_cast<float>(center + scale * words.unit(i)));
  return t;
}

/// i64 labels (count) in [0, classes).
inline Tensor hashed_labels(const std::string& name, int64_t count, int64_t classes) {
  const Tensor t = Tensor::empty({count}, {.dtype = DType::i64});
  const HashedWords words(name);
  for (int64_t i = 0; i < count; ++i)
    t.mutable_data<int64_t>()[i] = static_cast<int64_t>(words.word(i) % static_cast<uint64_t>(classes));
  return t;
}

/// Sum, L2 norm, and the product with v(name), whose elements are in (-1, -1/2) or (1/2, 1).
struct Fingerprint {
  double sum = 0, norm = 0, probe = 0;
};

inline Fingerprint fingerprint(const std::string& name, const Tensor& g) {
  Fingerprint f;
  const HashedWords words("probe/" + name);
  int64_t i = 0;
  for (const double v : g.values()) {
    const double u = words.unit(i++);
    f.sum += v;
    f.norm += v * v;
    f.probe += v * (u / 2 + std::copysign(0.5, u));
  }
  f.norm = std::sqrt(f.norm);
  return f;
}

}  // namespace tidepool
