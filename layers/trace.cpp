#include "layers/trace.h"

namespace tidepool {
namespace {

void accumulate(std::vector<Slope>& slopes, const Tensor& parameter, int64_t element, double value) {
  for (Slope& s : slopes)
    if (s.element == element && s.parameter.shares_storage(parameter)) {
      s.value += value;
      return;
    }
  slopes.push_back({parameter, element, value});
}

}  // namespace

TracedLength TracedLength::then(int64_t result, double slope) const {
  TracedLength next{result, slopes};
  for (Slope& s : next.slopes) s.value *= slope;
  return next;
}

void TracedLength::add(const Tensor& parameter, int64_t element, double slope) {
  accumulate(slopes, parameter, element, slope);
}

TracedShape TracedShape::of(const Dims& shape) {
  TracedShape t{.n = shape.rank() > 0 ? shape[0] : 1, .c = shape.rank() > 1 ? shape[1] : 1, .lengths = {}};
  for (int i = 2; i < shape.rank(); ++i) t.lengths.push_back({shape[i], {}});
  return t;
}

Dims TracedShape::dims() const {
  Dims d = Dims::filled(2 + static_cast<int>(lengths.size()), 0);
  d[0] = n;
  d[1] = c;
  for (size_t i = 0; i < lengths.size(); ++i) d[2 + static_cast<int>(i)] = lengths[i].value;
  return d;
}

int64_t TracedLayer::macs() const {
  int64_t macs = macs_per_position;
  for (const TracedLength& l : output.lengths) macs *= l.value;
  return macs;
}

int64_t Trace::parameters() const {
  int64_t sum = 0;
  for (const TracedLayer& l : layers) sum += l.parameters;
  return sum;
}

int64_t Trace::macs() const {
  int64_t sum = 0;
  for (const TracedLayer& l : layers) sum += l.macs();
  return sum;
}

// A sum of whole numbers: exact in f64 up to 9e15, so equal to the counted GMACs to the last bit.
double Trace::gmacs() const {
  return static_cast<double>(macs()) / 1e9;
}

std::vector<Slope> Trace::gmacs_gradient() const {
  std::vector<Slope> gradient;
  for (const TracedLayer& layer : layers) {
    if (layer.macs_per_position == 0) continue;
    const auto& lengths = layer.output.lengths;
    for (size_t axis = 0; axis < lengths.size(); ++axis) {
      double others = static_cast<double>(layer.macs_per_position) / 1e9;
      for (size_t i = 0; i < lengths.size(); ++i)
        if (i != axis) others *= static_cast<double>(lengths[i].value);
      for (const Slope& s : lengths[axis].slopes)
        if (s.value != 0) accumulate(gradient, s.parameter, s.element, others * s.value);
    }
  }
  return gradient;
}

}  // namespace tidepool
