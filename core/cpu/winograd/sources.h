// What the tiles of a map are read from: the map as it lies in memory, behind a batch norm and ReLU, or the gradient
// that such a pair gives back.
#pragma once
#include "core/cpu/winograd/tiles.h"

namespace tidepool::winograd {

// Where a driver reads a map. `constants` gives what one run of channels needs, `read` a run of a pixel, from `at`
// (elements), which is `Some` when the run is shorter than a vector; `bring` has it brought nearer.

/// A map as it lies in memory.
template <class T>
struct PlainSource {
  const T* data;
  int64_t channels;

  template <class V>
  struct Constants {};
  template <class V>
  Constants<V> constants(int64_t /*channel*/, int64_t /*count*/) const {
    return {};
  }
  template <class V, class Some>
  TP_INLINE V read(const Constants<V>&, int64_t at, const Some& some) const {
    return some.template of<V>(data + at);
  }
  TP_INLINE void bring(int64_t at) const { __builtin_prefetch(data + at); }
  void add_to(PrefetchQueue& soon, int64_t begin, int64_t end) const { soon.add(data + begin, data + end); }
};

/// A map behind a batch norm and ReLU that is applied on the way.
template <class T>
struct NormSource {
  const T* data;
  int64_t channels;
  Norm norm;

  template <class V>
  struct Constants {
    V mean, scale, shift;
  };
  template <class V>
  TP_INLINE Constants<V> constants(int64_t c, int64_t n) const {
    return {row<V>(norm.mean, c, n), row<V>(norm.scale, c, n), row<V>(norm.shift, c, n)};
  }
  template <class V, class Some>
  TP_INLINE V read(const Constants<V>& k, int64_t at, const Some& some) const {
    return norm::Relu::apply<V>(norm::normed<V>(some.template of<V>(data + at) - k.mean, k.scale, k.shift));
  }
  TP_INLINE void bring(int64_t at) const { __builtin_prefetch(data + at); }
  void add_to(PrefetchQueue& soon, int64_t begin, int64_t end) const { soon.add(data + begin, data + end); }
};

/// The gradient of a convolution's result y that a batch norm and ReLU follow, from dz behind the ReLU.
template <class T>
struct NormGradientSource {
  const T *dz, *y;
  int64_t channels;
  Norm norm;
  const float *slope, *offset;

  template <class V>
  struct Constants {
    V mean, scale, shift, slope, offset;
  };
  template <class V>
  TP_INLINE Constants<V> constants(int64_t c, int64_t n) const {
    return {row<V>(norm.mean, c, n), row<V>(norm.scale, c, n), row<V>(norm.shift, c, n), row<V>(slope, c, n),
            row<V>(offset, c, n)};
  }
  template <class V, class Some>
  TP_INLINE V read(const Constants<V>& k, int64_t at, const Some& some) const {
    const V centred = some.template of<V>(y + at) - k.mean;
    const V g = norm::Relu::gradient<T, V>(some.template of<V>(dz + at), norm::normed<V>(centred, k.scale, k.shift));
    return norm::gradient<V>(g, centred, k.scale, k.slope, k.offset);
  }
  TP_INLINE void bring(int64_t at) const {
    __builtin_prefetch(dz + at);
    __builtin_prefetch(y + at);
  }
  void add_to(PrefetchQueue& soon, int64_t begin, int64_t end) const {
    soon.add(dz + begin, dz + end);
    soon.add(y + begin, y + end);
  }
};

}  // namespace tidepool::winograd
