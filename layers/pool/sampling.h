// Sampling a map between its pixels: tables of one axis, and the interpolation over three. For operators whose output
// length is learned; tables are made at each call, O(n + m) per axis.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <vector>

#include "core/lanes.h"
#include "core/row_sums.h"
#include "core/sums.h"
#include "core/tensor.h"
#include "layers/pool/geometry.h"

namespace tidepool {

/// A sample on an axis: x[low] + fraction (x[high] - x[low]); high == low when fraction is 0 (then high is not read).
struct Sample {
  int64_t low = 0, high = 0;
  double fraction = 0;
};

/// An output's sample that reads a pixel, and what the pixel weighs in it.
struct Reader {
  int64_t output;
  int32_t side;
  double weight;
};

/// One axis as kernels see it: n pixels in, m outputs, of each `sides` samples (1 or 2).
struct SampledAxis {
  int64_t n = 1, m = 1;
  int32_t sides = 1;
  const Sample* samples = nullptr;  ///< [m][sides]
  const Reader* readers = nullptr;  ///< of pixel 0, then of pixel 1, ...; in the order of sides, then of outputs
  const int64_t* starts = nullptr;  ///< [n + 1]: where a pixel's begin

  TP_HD const Sample& sample(int64_t output, int32_t side) const { return samples[output * sides + side]; }
  /// Calls f(reader) for each sample that reads the pixel.
  template <class F>
  TP_HD TP_INLINE void each_reader(int64_t pixel, const F& f) const {
    for (int64_t i = starts[pixel]; i < starts[pixel + 1]; ++i) f(readers[i]);
  }
};

/// The bytes of a host array in memory of `device`.
template <class T>
Tensor upload(const std::vector<T>& values, Device device) {
  const size_t bytes = values.size() * sizeof(T);
  const Tensor here = Tensor::empty({static_cast<int64_t>(bytes)}, {.dtype = DType::u8});
  if (bytes > 0) std::memcpy(here.mutable_raw(), values.data(), bytes);
  return here.to(device);
}

/// Host arrays that a kernel reads, sent to its device in one copy.
class HostArrays {
 public:
  /// `to`, which stays where it is until then, points to the values' copy once they are sent.
  template <class T>
  void add(const std::vector<T>& values, const T*& to) {
    const size_t at = (bytes_.size() + kAlign - 1) / kAlign * kAlign, size = values.size() * sizeof(T);
    bytes_.resize(at + size);
    if (size > 0) std::memcpy(bytes_.data() + at, values.data(), size);
    places_.push_back([&to, at](const std::byte* sent) { to = reinterpret_cast<const T*>(sent + at); });
  }
  /// The copies' memory.
  Tensor send(Device device) const {
    const Tensor memory = upload(bytes_, device);
    for (const auto& set : places_) set(static_cast<const std::byte*>(memory.raw()));
    return memory;
  }

 private:
  static constexpr size_t kAlign = 16;
  std::vector<std::byte> bytes_;
  std::vector<std::function<void(const std::byte*)>> places_;
};

/// The axes of a map with the memory of their tables.
struct SampledAxes {
  std::array<SampledAxis, 3> axis;
  Tensor memory;

  /// Sets axis i; `samples` [m][sides]. Its tables are there when `arrays` have been sent.
  void set(int i, int64_t n, int32_t sides, const std::vector<Sample>& samples, HostArrays& arrays);
};

/// load, also of narrower numbers in f64.
template <class V, class T>
TP_HD TP_INLINE V load_as(const T* p) {
  if constexpr (std::is_same_v<V, double>)
    return load_exact(p);
  else
    return load<V>(p);
}

/// x0 + f (x1 - x0) over D, then H, then W, of the map at x (strides of D, H and W in elements).
template <class V, class T>
struct Interpolate {
  const T* x;
  int64_t d, h, w;

  TP_HD TP_INLINE static V mix(const Sample& s, V low, V high) {
    return low + splat<V>(static_cast<Lane<V>>(s.fraction)) * (high - low);
  }
  TP_HD TP_INLINE V along_d(const Sample& sd, int64_t at) const {
    const V low = load_as<V>(x + at + sd.low * d);
    return sd.low == sd.high ? low : mix(sd, low, load_as<V>(x + at + sd.high * d));
  }
  TP_HD TP_INLINE V along_h(const Sample& sd, const Sample& sh, int64_t at) const {
    const V low = along_d(sd, at + sh.low * h);
    return sh.low == sh.high ? low : mix(sh, low, along_d(sd, at + sh.high * h));
  }
  TP_HD TP_INLINE V operator()(const Sample& sd, const Sample& sh, const Sample& sw) const { return at(sd, sh, sw, 0); }
  /// The same of the map `offset` elements on.
  TP_HD TP_INLINE V at(const Sample& sd, const Sample& sh, const Sample& sw, int64_t offset) const {
    const V low = along_h(sd, sh, sw.low * w + offset);
    return sw.low == sw.high ? low : mix(sw, low, along_h(sd, sh, sw.high * w + offset));
  }
};

/// Walks a map's lanes: calls body.template operator()<V, vectors>(position, channel) for lanes [lane, lane + count) of
/// a row, whose lanes are (position, inner).
template <class A, class Body>
TP_HD TP_INLINE void each_position_run(int64_t inner, int64_t lane, int64_t count, const Body& body) {
  const int64_t end = lane + count;
  int64_t position = quotient(lane, inner), c = lane - position * inner;
  while (lane < end) {
    const int64_t run = inner - c < end - lane ? inner - c : end - lane;
    each_run_of_lanes<A>(c, run, [&]<class V, int vectors>(int64_t channel) {
      body.template operator()<V, vectors>(position, channel);
    });
    lane += run;
    c = 0;
    ++position;
  }
}

/// The same a vector at a time: body.template operator()<V>(position, channel).
template <class A, class Body>
TP_HD TP_INLINE void each_position_lane(int64_t inner, int64_t lane, int64_t count, const Body& body) {
  each_position_run<A>(inner, lane, count, [&]<class V, int vectors>(int64_t position, int64_t channel) {
    for (int i = 0; i < vectors; ++i) body.template operator()<V>(position, channel + i * kLanes<V>);
  });
}

}  // namespace tidepool
