#include "core/observer.h"

#include <utility>

namespace tidepool {
namespace {

thread_local std::string layer_path;

}  // namespace

constinit thread_local Observer* Observer::current_ = nullptr;

void end_span(const char* kind, std::initializer_list<Tensor> moved, double multiply_adds) {
  if (Observer* const observer = Observer::current())
    observer->span_ended(kind, bytes_of(std::span(moved.begin(), moved.size())), multiply_adds);
}

double bytes_of(std::span<const Tensor> tensors) {
  double sum = 0;
  for (const Tensor& t : tensors)
    if (t) sum += static_cast<double>(t.numel()) * static_cast<double>(size_of(t.dtype()));
  return sum;
}

LayerScope::LayerScope(const std::string& name) : outer_length_(layer_path.size()) {
  if (!layer_path.empty()) layer_path += '.';
  layer_path += name;
}
LayerScope::~LayerScope() {
  layer_path.resize(outer_length_);
}
const std::string& LayerScope::path() {
  return layer_path;
}

LayerScope::Restored::Restored(const std::string& path) : outer_(std::exchange(layer_path, path)) {}
LayerScope::Restored::~Restored() {
  layer_path = std::move(outer_);
}

}  // namespace tidepool
