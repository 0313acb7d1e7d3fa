#include "core/cpu/winograd/filter.h"

#include "core/cpu/winograd/convolve_parts.h"

namespace tidepool::winograd {

void filter_map(int m, const FilterProblem& problem, const MakeTiledMap& source, const Tensor& w, const Tensor& y,
                const Tensor& bias, const NormAct& norm, ResultMoments* moments) {
  const auto run = [&]<class T>(T) {
    const Target<T> target{y.mutable_data<T>(), problem.results, bias ? bias.data<float>() : nullptr, norm_of(norm)};
    filter<Register>(m, problem, source, w, target, moments);
  };
  y.dtype() == DType::bf16 ? run(bf16{}) : run(float{});
}

}  // namespace tidepool::winograd
