#include "core/backend/resize.h"

#include <cstring>

#include "core/cuda/block.h"
#include "core/cuda/tables.h"

namespace tidepool::cuda {
namespace {

struct Axis {
  const int64_t* starts;
  const AxisMap::Term* terms;
  uint32_t n, m;
};

template <class T, int n>
struct Resize {
  const T* x;
  T* y;
  Axis d, h, w;
  uint32_t inner;  // channels where they are last, else 1

  TP_HD void operator()(uint32_t i) const {
    const uint32_t at = i * n, channel = at % inner;
    uint32_t position = at / inner;
    const uint32_t ow = position % w.m;
    position /= w.m;
    const uint32_t oh = position % h.m;
    position /= h.m;
    const uint32_t od = position % d.m, outer = position / d.m;
    double sum[n] = {};
    for (int64_t a = d.starts[od]; a < d.starts[od + 1]; ++a)
      for (int64_t b = h.starts[oh]; b < h.starts[oh + 1]; ++b)
        for (int64_t c = w.starts[ow]; c < w.starts[ow + 1]; ++c) {
          const double weight = d.terms[a].weight * h.terms[b].weight * w.terms[c].weight;
          const auto row = static_cast<uint32_t>(
              ((int64_t{outer} * d.n + d.terms[a].from) * h.n + h.terms[b].from) * w.n + w.terms[c].from);
          const Pack<T, n> v = load_pack<n>(x, row * inner + channel);
          TP_UNROLL
          for (int k = 0; k < n; ++k) sum[k] += weight * static_cast<double>(value_of(v.v[k]));
        }
    Pack<T, n> result;
    TP_UNROLL
    for (int k = 0; k < n; ++k) result.v[k] = rounded<T>(sum[k]);
    store_pack<n>(y, at, result);
  }
};

bool resize(const Tensor& x, const AxisMaps& maps, const Tensor& y) {
  // The tables of the three axes in one copy.
  size_t bytes = 0;
  for (const AxisMap& map : maps)
    bytes += map.starts.size() * sizeof(int64_t) + map.terms.size() * sizeof(AxisMap::Term);
  const Tensor here = Tensor::empty({static_cast<int64_t>(bytes)}, {.dtype = DType::u8});
  auto* to = static_cast<std::byte*>(here.mutable_raw());
  size_t at[3][2];
  size_t next = 0;
  const auto put = [&](const auto& values) {
    const size_t size = values.size() * sizeof(values[0]), begin = next;
    if (size > 0) std::memcpy(to + begin, values.data(), size);
    next += size;
    return begin;
  };
  for (size_t i = 0; i < 3; ++i) {
    at[i][0] = put(maps[i].starts);
    at[i][1] = put(maps[i].terms);
  }
  const Tensor there = here.to(x.device());
  const auto* from = static_cast<const std::byte*>(there.raw());
  Axis axis[3];
  for (size_t i = 0; i < 3; ++i)
    axis[i] = {reinterpret_cast<const int64_t*>(from + at[i][0]),
               reinterpret_cast<const AxisMap::Term*>(from + at[i][1]), narrow(maps[i].n), narrow(maps[i].m)};
  const Map map(y);
  const uint32_t inner = map.last ? map.channels : 1;
  dispatch_floating(x.dtype(), "resize", [&]<class T>(T) {
    dispatch_pack<T>(inner, {x.raw(), y.raw()}, [&](auto n) {
      launch_each(y.numel() / n, Resize<T, n>{x.data<T>(), y.mutable_data<T>(), axis[0], axis[1], axis[2], inner});
    });
  });
  return true;
}

}  // namespace

const ResizeTable kResize{.name = "kernels", .resize = resize};

}  // namespace tidepool::cuda
