// What the GPU has by way of the host: bytes are copied, and numbers are made or looked at there.
#include "core/cuda/tables.h"

namespace tidepool::cuda {
namespace {

bool copy(const Tensor& from, const Tensor& to) {
  if (from.dtype() != to.dtype() || from.strides() != to.strides() || !to.is_contiguous(to.format())) return false;
  device_memory::copy(to.mutable_raw(), to.device(), from.raw(), from.device(),
                      static_cast<size_t>(to.numel()) * size_of(to.dtype()));
  return true;
}

bool fill(const Tensor& to, double value) {
  to.copy_from(Tensor::full(to.shape(), value, {.dtype = to.dtype(), .format = to.format()}));
  return true;
}

bool read(const Tensor& from, double* out) {
  read_elements(from.to(kCpu), out);
  return true;
}

bool fill_normal(const Tensor& to, uint64_t seed, double deviation) {
  const Tensor host = Tensor::empty(to.shape(), {.dtype = to.dtype(), .format = to.format()});
  tidepool::fill_normal(host, seed, deviation);
  to.copy_from(host);
  return true;
}

bool all_finite(const Tensor& x, bool* finite) {
  *finite = tidepool::all_finite(x.to(kCpu));
  return true;
}

}  // namespace

const CopyTable kCopy{.name = "host", .copy = copy, .fill = fill, .read = read, .fill_normal = fill_normal};
const ReductionTable kReduction{.name = "host",
                                .global_mean = nullptr,
                                .global_mean_backward = nullptr,
                                .column_sums = nullptr,
                                .sum_of_squares = nullptr,
                                .all_finite = all_finite};

}  // namespace tidepool::cuda
