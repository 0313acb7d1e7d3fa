// One loop over the elements of dense memory, in vectors and on all threads.
#pragma once
#include <cstdint>

#include "core/cpu/nontemporal.h"
#include "core/parallel.h"
#include "core/tensor.h"

namespace tidepool {

/// to[i] = f.template operator()<V>(i) for i < count, where V is a vector or a scalar of the arithmetic type: one
/// result for each of its lanes from i on. With kStream, results larger than the caches bypass them: faster for a few
/// operations per element, slower where an exponential keeps the core busy. CPU only; f must not throw.
template <bool kStream, class T, class F>
void set_elements(T* to, int64_t count, const F& f) {
  using A = Acc<T>;
  using Wide = typename detail::WideOf<A>::type;
  constexpr int64_t kGrain = 16384;  // a multiple of the lanes, as `streams` wants it of a row
  if (kStream && streams<Wide>(to, count, kGrain))
    parallel_chunks(count, kGrain, [=](int64_t begin, int64_t end) {
      each_lane<A>(begin, end - begin, [=]<class V>(int64_t i) { put<true>(to + i, f.template operator()<V>(i)); });
      finish_streams();
    });
  else
    parallel_chunks(count, kGrain, [=](int64_t begin, int64_t end) {
      each_lane<A>(begin, end - begin, [=]<class V>(int64_t i) { store(to + i, f.template operator()<V>(i)); });
    });
}

}  // namespace tidepool
