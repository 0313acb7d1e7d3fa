#include "core/reference/activation.h"

#include <cmath>

#include "core/reference/elements.h"
#include "core/reference/tables.h"

namespace tidepool::reference {
namespace {

double sigmoid(double v) {
  return 1 / (1 + std::exp(-v));
}

bool forward(const Tensor& x, Act act, const Tensor& y) {
  const Elements in(x);
  const Results out(y);
  for (int64_t i = 0; i < out.size(); ++i) out.set(i, act_value(act, in[i]));
  return true;
}

bool backward(const Tensor& kept, const Tensor& dy, Act act, const Tensor& dx) {
  const Elements k(kept), g(dy);
  const Results out(dx);
  for (int64_t i = 0; i < out.size(); ++i) {
    const double slope = act_slope(act, k[i]);  // of an output y: relu and relu6 have the slope of their input
    out.set(i, slope == 0 ? 0 : slope * g[i]);
  }
  return true;
}

}  // namespace

double act_value(Act act, double v) {
  switch (act) {
    case Act::none:
      return v;
    case Act::relu:
      return v <= 0 ? 0 : v;
    case Act::relu6:
      return v <= 0 ? 0 : v >= 6 ? 6 : v;
    case Act::silu:
      return v * sigmoid(v);
    case Act::hardswish:
      return v * act_value(Act::relu6, v + 3) / 6;
    case Act::sigmoid:
      return sigmoid(v);
  }
  return v;
}

double act_slope(Act act, double v) {
  switch (act) {
    case Act::none:
      return 1;
    case Act::relu:
      return v <= 0 ? 0 : 1;
    case Act::relu6:
      return v <= 0 || v >= 6 ? 0 : 1;
    case Act::silu:
      return sigmoid(v) * (1 + v * (1 - sigmoid(v)));
    case Act::hardswish:
      return v <= -3 ? 0 : v >= 3 ? 1 : v / 3 + 0.5;
    case Act::sigmoid:
      return sigmoid(v) * sigmoid(-v);
  }
  return 1;
}

const ActivationTable kActivation{.name = "reference", .forward = forward, .backward = backward};

}  // namespace tidepool::reference
