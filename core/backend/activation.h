// Activations, element by element. Nothing is recorded here.
#pragma once
#include <cstdint>

#include "core/backend/table.h"

namespace tidepool {

enum class Act : uint8_t { none, relu, relu6, silu, hardswish, sigmoid };
/// "relu"
const char* name_of(Act act);

/// Whether the gradient of `act` is formed from its output; else from its input.
constexpr bool keeps_output(Act act) {
  return act == Act::relu || act == Act::relu6;
}

/// Maps are dense, of one shape, type and format. Not for Act::none.
struct ActivationTable {
  const char* name;
  bool (*forward)(const Tensor& x, Act act, const Tensor& y);
  /// kept: y or x, as keeps_output() says.
  bool (*backward)(const Tensor& kept, const Tensor& dy, Act act, const Tensor& dx);
};

namespace backend {
template <>
std::span<const ActivationTable* const> tables<ActivationTable>(Device device);
}

inline void activation_forward(const Tensor& x, Act act, const Tensor& y) {
  backend::run(name_of(act), &ActivationTable::forward, x, act, y);
}
inline void activation_backward(const Tensor& kept, const Tensor& dy, Act act, const Tensor& dx) {
  backend::run(name_of(act), &ActivationTable::backward, kept, dy, act, dx);
}

}  // namespace tidepool
