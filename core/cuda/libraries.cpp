// The tables of the GPU's libraries. A convolution goes to cuDNN with the copies between types and layouts that this
// takes.
#include "core/backend/libraries.h"
#include "core/backend/reduction.h"
#include "core/cuda/channel_bias.h"
#include "core/cuda/cublaslt.h"
#include "core/cuda/cudnn.h"
#include "core/cuda/library_versions.h"
#include "core/cuda/stream.h"
#include "core/cuda/tables.h"

namespace tidepool::cuda {
namespace {

using cudnn::ConvCase;
using cudnn::Direction;

bool is_ready(const Tensor& t, DType dtype, MemoryFormat format) {
  return t.dtype() == dtype && t.is_contiguous(format) &&
         reinterpret_cast<uintptr_t>(t.raw()) % static_cast<uintptr_t>(cudnn::kAlignment) == 0;
}
Tensor room_like(const Tensor& t, DType dtype, MemoryFormat format) {
  return Tensor::empty(t.shape(), {dtype, format, t.device()});
}
/// t itself where it is so already.
Tensor prepared(const Tensor& t, DType dtype, MemoryFormat format) {
  if (is_ready(t, dtype, format)) return t;
  const Tensor to = room_like(t, dtype, format);
  to.copy_from(t);
  return to;
}

/// The case in the maps' own type and layout or, where cuDNN has no such engine, in the plain layout, then in f32.
/// False: no engine at all.
bool convolve(ConvCase c, const Tensor& a, const Tensor& b, const Tensor& to) {
  struct Form {
    DType dtype;
    MemoryFormat format;
  };
  const Form forms[] = {
      {c.dtype, c.format}, {c.dtype, MemoryFormat::plain}, {DType::f32, c.format}, {DType::f32, MemoryFormat::plain}};
  const DType own = c.dtype;
  for (const auto& [dtype, format] : forms) {
    c.tf32 = dtype == DType::f32 && (library_settings().tf32 || own != dtype);  // TF32 holds what bf16 does
    c.dtype = dtype, c.format = format;
    const auto plan = cudnn::find_plan(c);
    if (!plan) continue;
    const Tensor result = is_ready(to, dtype, format) ? to : room_like(to, dtype, format);
    cudnn::run(*plan, prepared(a, dtype, format), prepared(b, dtype, format), result);
    if (!result.shares_storage(to)) to.copy_from(result);
    return true;
  }
  return false;
}

ConvCase case_of(Direction direction, const Tensor& x, const Tensor& w, const Tensor& y, const ConvOptions& o) {
  return {.direction = direction,
          .x = x.shape(),
          .w = w.shape(),
          .y = y.shape(),
          .options = o,
          .dtype = x.dtype(),
          .format = x.format()};
}

// A channels-last map as a row of channels per position.
Tensor matrix_of(const Tensor& map) {
  const Dims shape{map.numel() / map.size(1), map.size(1)};
  if (map.rank() == 3) return map.permute({0, 2, 1}).reshape(shape);
  if (map.rank() == 4) return map.permute({0, 2, 3, 1}).reshape(shape);
  return map.permute({0, 2, 3, 4, 1}).reshape(shape);
}

// f64 is what comparisons are made in: it does not need the library, and leaves it to the next table where there is
// none.
bool is_left_out(const Tensor& x) {
  return x.dtype() == DType::f64 && !cudnn::problem().empty();
}

bool forward(const Tensor& x, const Tensor& w, const Tensor& bias, const ConvOptions& o, const Tensor& y) {
  if (is_left_out(x) || !convolve(case_of(Direction::forward, x, w, y, o), x, w, y)) return false;
  if (bias) add_channel_bias(y, bias);
  return true;
}

Tensor prepare(const Tensor& w, const Tensor& x) {
  return is_left_out(x) ? w.contiguous(MemoryFormat::plain) : prepared(w, x.dtype(), x.format());
}

bool backward_data(const Tensor& dy, const Tensor& w, const ConvOptions& o, const Tensor& dx) {
  return !is_left_out(dx) && convolve(case_of(Direction::backward_data, dx, w, dy, o), dy, w, dx);
}

bool backward_weights(const Tensor& x, const Tensor& dy, const ConvOptions& o, const Tensor& dw, const Tensor& dbias) {
  if (is_left_out(x) || !convolve(case_of(Direction::backward_weights, x, dw, dy, o), x, dy, dw)) return false;
  if (dbias) {
    const Tensor rows = dy.contiguous(MemoryFormat::channels_last);
    column_sums(matrix_of(rows), dbias);
  }
  return true;
}

}  // namespace

LibraryVersions library_versions() {
  return {.runtime = fmt::format("{}.{}", CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10),
          .cudnn = cudnn::version(),
          .cublaslt = cublaslt::version(),
          .cudnn_problem = cudnn::problem(),
          .cublaslt_problem = cublaslt::problem()};
}

const ConvTable kCudnnConv{
    .name = "cuDNN", .forward = forward, .backward_data = backward_data, .backward_weights = backward_weights};

const ConvWeightsTable kCudnnWeights{.name = "cuDNN", .format = MemoryFormat::channels_last, .prepare = prepare};
const MatmulTable kCublasLtMatmul{.name = "cublasLt", .matmul = cublaslt::matmul};

}  // namespace tidepool::cuda
