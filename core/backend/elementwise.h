// Sums, products and random masks of maps, element by element. Nothing is recorded here. Maps are dense; those of one
// call are of one type and format.
#pragma once
#include <cstdint>

#include "core/backend/table.h"

namespace tidepool {

/// The random numbers of one call: what is drawn is kept with probability 1 - p and then scaled by 1 / (1 - p).
struct MaskDraw {
  double p = 0;
  uint64_t seed = 0, step = 0;
  Tensor
      counter{};  ///< i64 [1] on the maps' device: the step, in place of `step`, that recorded work finds when it runs

  template <class F>
  void each_tensor(const F& f) const {
    f(counter);
  }
};

struct ElementwiseTable {
  const char* name;
  /// y = a + b of one shape.
  bool (*add)(const Tensor& a, const Tensor& b, const Tensor& y);
  /// y = x / by, rounded once; y of any floating type.
  bool (*divide)(const Tensor& x, double by, const Tensor& y);
  /// y = x s: x, y [N, C, spatial], s N C numbers, dense and plain.
  bool (*gate)(const Tensor& x, const Tensor& s, const Tensor& y);
  /// ds = the sum of dy x over positions, and dx = dy s unless dx is undefined (and with it s).
  bool (*gate_backward)(const Tensor& x, const Tensor& s, const Tensor& dy, const Tensor& dx, const Tensor& ds);
  /// y [N, C, spatial]: the channels of one input after those of the other.
  bool (*concat)(std::span<const Tensor> inputs, const Tensor& y);
  /// The reverse; an undefined part is left out, so `channels` says how many each has.
  bool (*split)(const Tensor& y, std::span<const int64_t> channels, std::span<const Tensor> parts);
  /// y = x masked element by element; numbers of the stream "drop" in the order n, position, channel.
  bool (*dropout)(const Tensor& x, const MaskDraw& draw, const Tensor& y);
  /// y = x masked by whole images; numbers of the stream "stde" in the order of the images.
  bool (*stochastic_depth)(const Tensor& x, const MaskDraw& draw, const Tensor& y);
};

/// The high halves of the streams of random numbers of the two masks, as in data/streams.h.
inline constexpr uint64_t kDropoutStream = uint64_t{0x64726F70} << 32;
inline constexpr uint64_t kStochasticDepthStream = uint64_t{0x73746465} << 32;

namespace backend {
template <>
std::span<const ElementwiseTable* const> tables<ElementwiseTable>(Device device);
}

/// What it says to entries that run on the host.
inline uint64_t step_of(const MaskDraw& draw) {
  return draw.counter ? static_cast<uint64_t>(draw.counter.item()) : draw.step;
}

/// a + b of one shape, in the type and format of a; b may be of any.
Tensor add(const Tensor& a, const Tensor& b);

inline void divide(const Tensor& x, double by, const Tensor& y) {
  backend::run("divide", &ElementwiseTable::divide, x, by, y);
}
inline void gate_forward(const Tensor& x, const Tensor& s, const Tensor& y) {
  backend::run("gate", &ElementwiseTable::gate, x, s, y);
}
inline void gate_backward(const Tensor& x, const Tensor& s, const Tensor& dy, const Tensor& dx, const Tensor& ds) {
  backend::run("gate", &ElementwiseTable::gate_backward, x, s, dy, dx, ds);
}
inline void concat_channels(std::span<const Tensor> inputs, const Tensor& y) {
  backend::run("concat", &ElementwiseTable::concat, inputs, y);
}
inline void split_channels(const Tensor& y, std::span<const int64_t> channels, std::span<const Tensor> parts) {
  backend::run("concat", &ElementwiseTable::split, y, channels, parts);
}
inline void mask_elements(const Tensor& x, const MaskDraw& draw, const Tensor& y) {
  backend::run("dropout", &ElementwiseTable::dropout, x, draw, y);
}
inline void mask_images(const Tensor& x, const MaskDraw& draw, const Tensor& y) {
  backend::run("stochastic_depth", &ElementwiseTable::stochastic_depth, x, draw, y);
}

}  // namespace tidepool
