// Weights in the form in which a device's convolutions read them, made once for the forward and the gradient of the
// input of a step. Nothing is recorded here.
#pragma once
#include "core/backend/table.h"

namespace tidepool {

struct ConvWeightsTable {
  const char* name;
  MemoryFormat format;  ///< in which a network best keeps them: the maps' own, so that nothing is copied
  /// w in the type and format that convolutions of maps like x read without a copy of their own.
  Tensor (*prepare)(const Tensor& w, const Tensor& x);
};

namespace backend {
template <>
std::span<const ConvWeightsTable* const> tables<ConvWeightsTable>(Device device);
}

/// In which a network on this device keeps the weights of its convolutions.
inline MemoryFormat weights_format(Device device) {
  for (const ConvWeightsTable* table : backend::tables<ConvWeightsTable>(device)) return table->format;
  return MemoryFormat::plain;
}

/// w [O, C/groups, k...], dense and plain, or where x's device has a table for it another type and format. To be passed
/// on to conv_forward and conv_backward_data in place of w.
inline Tensor prepared_weights(const Tensor& w, const Tensor& x) {
  for (const ConvWeightsTable* table : backend::tables<ConvWeightsTable>(x.device())) return table->prepare(w, x);
  return w.contiguous(MemoryFormat::plain);
}

}  // namespace tidepool
