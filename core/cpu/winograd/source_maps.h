// From a tensor to the source of its tiles and their transforms, for input_maps.cpp and gradient_maps.cpp.
#pragma once
#include "core/cpu/winograd/convolve_parts.h"
#include "core/cpu/winograd/sources.h"

namespace tidepool::winograd {

/// The transforms of tiles of a source, which is kept.
template <class V, bool kGradient, class Source>
MakeTiledMap map_of(const Source& source) {
  return [source](const Tiles& tiles, const MapPadding& m) {
    TiledMap map;
    with_filtering(tiles, [&]<class F> { map = tiled_map<F, kGradient, V>(source, tiles, m); });
    return map;
  };
}

template <bool kGradient, class T>
MakeTiledMap plain_map(const Tensor& x) {
  return map_of<Register, kGradient>(PlainSource<T>{x.data<T>(), x.size(1)});
}

template <bool kGradient, class T>
MakeTiledMap norm_gradient_map(const Tensor& dz, const GradientFusion& fusion) {
  const int64_t channels = dz.size(1);
  const float* line = fusion.line.data<float>();
  return map_of<Register, kGradient>(NormGradientSource<T>{dz.data<T>(), fusion.y.data<T>(), channels,
                                                           norm_of(fusion.norm), line, line + channels});
}

/// Of either type, read as it is or through its norm's gradient.
template <bool kGradient>
MakeTiledMap result_gradient_map(const Tensor& dz, const GradientFusion& fusion) {
  const bool half = dz.dtype() == DType::bf16;
  if (!fusion.y) return half ? plain_map<kGradient, bf16>(dz) : plain_map<kGradient, float>(dz);
  return half ? norm_gradient_map<kGradient, bf16>(dz, fusion) : norm_gradient_map<kGradient, float>(dz, fusion);
}

}  // namespace tidepool::winograd
