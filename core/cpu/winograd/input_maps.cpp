#include "core/cpu/winograd/source_maps.h"

namespace tidepool::winograd {
namespace {

template <class T>
MakeTiledMap normed_map(const Tensor& x, const NormAct& norm) {
  if (!norm) return plain_map<false, T>(x);
  return map_of<Register, false>(NormSource<T>{x.data<T>(), x.size(1), norm_of(norm)});
}

}  // namespace

MakeTiledMap input_map(const Tensor& x, const NormAct& norm) {
  return x.dtype() == DType::bf16 ? normed_map<bf16>(x, norm) : normed_map<float>(x, norm);
}

MakeTiledMap input_map(const Tensor& dz, const GradientFusion& fusion) {
  return result_gradient_map<false>(dz, fusion);
}

}  // namespace tidepool::winograd
