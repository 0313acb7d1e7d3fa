#include "core/cpu/winograd/convolve.h"

#include "core/cpu/winograd/convolve_parts.h"
#include "core/parallel.h"

namespace tidepool::winograd {
namespace {

Problem problem_of(const Tensor& x, const Tensor& w, const ConvOptions& o) {
  return {x.size(0), w.size(1), w.size(0), x.size(2), x.size(3), o.padding[0], o.padding[1]};
}

// dbias[c] = the sum of dy over images and positions, in f64 over chunks whose order is fixed.
template <class T>
void sum_channels(const T* dy, int64_t positions, int64_t channels, float* dbias) {
  const int64_t grain = std::max<int64_t>(64, 65536 / channels), chunks = (positions + grain - 1) / grain;
  const Tensor parts = Tensor::empty({chunks, channels}, {.dtype = DType::f64});
  double* const all = parts.mutable_data<double>();
  parallel_chunks(positions, grain, [&](int64_t begin, int64_t end) {
    double* const sums = all + begin / grain * channels;
    std::fill(sums, sums + channels, 0.0);
    for (int64_t i = begin; i < end; ++i)
      for (int64_t c = 0; c < channels; ++c) sums[c] += static_cast<double>(static_cast<float>(dy[i * channels + c]));
  });
  for (int64_t c = 0; c < channels; ++c) {
    double sum = 0;
    for (int64_t i = 0; i < chunks; ++i) sum += all[i * channels + c];
    dbias[c] = static_cast<float>(sum);
  }
}

}  // namespace

Norm norm_of(const NormAct& norm) {
  if (!norm) return {};
  const float* rows = norm.constants.data<float>();
  return {rows, rows + norm.constants.size(1), rows + 2 * norm.constants.size(1)};
}

WeightCache<PanelLayout>& transformed_weights() {
  using Cache = WeightCache<PanelLayout>;
  static Cache* cache = new Cache(Cache::From::second_use, size_t{256} << 20);
  return *cache;
}

void forget_weights() {
  transformed_weights().clear();
}

void add_to(CacheStats& stats) {
  transformed_weights().add_to(stats);
}

bool serves(const Tensor& map, const Tensor& w, const ConvOptions& o) {
  if (map.rank() != 4 || o.groups != 1) return false;
  if (map.dtype() != DType::f32 && map.dtype() != DType::bf16) return false;
  if (w.dtype() != DType::f32 || w.size(2) != 3 || w.size(3) != 3) return false;
  for (size_t a = 0; a < 2; ++a)
    if (o.stride[a] != 1 || o.dilation[a] != 1 || o.padding[a] < 0 || o.padding[a] > 2) return false;
  return map.is_contiguous(MemoryFormat::channels_last);
}

void conv_forward(int m, const Tensor& x, const Tensor& w, const Tensor& bias, const ConvOptions& o, const Tensor& y,
                  const ForwardFusion& fusion) {
  filter_map(m, FilterProblem::of(Direction::forward, problem_of(x, w, o)), input_map(x, fusion.read), w, y, bias,
             fusion.write, fusion.moments);
}

void conv_backward_data(int m, const Tensor& dz, const Tensor& w, const ConvOptions& o, const Tensor& dx,
                        const GradientFusion& fusion) {
  filter_map(m, FilterProblem::of(Direction::backward_data, problem_of(dx, w, o)), input_map(dz, fusion), w, dx, {}, {},
             nullptr);
}

void conv_backward_weights(int m, const Tensor& x, const Tensor& dz, const ConvOptions& o, const Tensor& dw,
                           const Tensor& dbias, const NormAct& read, const GradientFusion& fusion) {
  const Problem p = problem_of(x, dw, o);
  weight_gradient_map(m, p, input_map(x, read), gradient_map(dz, fusion), dw.mutable_data<float>());
  if (!dbias) return;
  const int64_t positions = p.images * p.out_height() * p.out_width();
  if (dz.dtype() == DType::bf16)
    sum_channels(dz.data<bf16>(), positions, p.outputs, dbias.mutable_data<float>());
  else
    sum_channels(dz.data<float>(), positions, p.outputs, dbias.mutable_data<float>());
}

}  // namespace tidepool::winograd
