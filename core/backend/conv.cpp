// Convolutions and matrix products: what needs no table, and the word in the log where the slow reference did a case.
#include "core/backend/conv.h"

#include <spdlog/spdlog.h>

#include <mutex>
#include <set>

#include "core/backend/matmul.h"
#include "core/reference/tables.h"

namespace tidepool {
namespace {

template <class Table>
void warn_of_reference(const Table& did, const Table& reference, const char* what, const Tensor& t, const Dims& w) {
  if (&did != &reference || t.dtype() == DType::f64) return;
  static std::mutex mutex;
  static std::set<std::string> said;
  const std::string message =
      fmt::format("{} of {} with weights {}, {}, {}: oneDNN does not do it; the slow reference does", what,
                  t.shape().str(), w.str(), name_of(t.dtype()), name_of(t.format()));
  const std::lock_guard lock(mutex);
  if (said.size() < 256 && said.insert(message).second) spdlog::warn(message);
}

constexpr ConvKinds kConvolution{"convolution forward", "convolution backward data", "convolution backward weights"},
    kDepthwise{"depthwise forward", "depthwise backward data", "depthwise backward weights"},
    kPointwise{"pointwise forward", "pointwise backward data", "pointwise backward weights"};

}  // namespace

ConvKinds conv_kinds(const Tensor& w, const ConvOptions& o) {
  if (o.groups > 1 && w.size(1) == 1) return kDepthwise;
  for (int i = 2; i < w.rank(); ++i)
    if (w.size(i) > 1) return kConvolution;
  return kPointwise;
}

void conv_forward(const Tensor& x, const Tensor& w, const Tensor& bias, const ConvOptions& o, const Tensor& y) {
  if (y.numel() == 0) return;
  const ConvTable& did = backend::run("conv", &ConvTable::forward, x, w, bias, o, y);
  warn_of_reference(did, reference::kConv, "conv", x, w.shape());
}

void conv_backward_data(const Tensor& dy, const Tensor& w, const ConvOptions& o, const Tensor& dx) {
  if (dx.numel() == 0) return;
  const ConvTable& did = backend::run("conv (gradient of the input)", &ConvTable::backward_data, dy, w, o, dx);
  warn_of_reference(did, reference::kConv, "conv (gradient of the input)", dx, w.shape());
}

void conv_backward_weights(const Tensor& x, const Tensor& dy, const ConvOptions& o, const Tensor& dw,
                           const Tensor& dbias) {
  if (dy.numel() == 0) {
    dw.fill(0.0);
    if (dbias) dbias.fill(0.0);
    return;
  }
  const ConvTable& did =
      backend::run("conv (gradient of the weights)", &ConvTable::backward_weights, x, dy, o, dw, dbias);
  warn_of_reference(did, reference::kConv, "conv (gradient of the weights)", x, dw.shape());
}

void matmul(const Tensor& a, const Tensor& b, const Tensor& bias, const Tensor& y) {
  if (y.numel() == 0) return;
  if (a.size(1) == 0 && !bias) return y.fill(0.0);
  const MatmulTable& did = backend::run("matmul", &MatmulTable::matmul, a, b, bias, y);
  warn_of_reference(did, reference::kMatmul, "matmul", a, b.shape());
}

}  // namespace tidepool
