// A trace of a network: shapes, parameters, multiply-adds and the straight-through lengths of every map, without any
// arithmetic on maps. `tidepool info` prints it; the GMACs penalty is its sum, with the slopes for the gradient.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/backend/conv.h"
#include "core/tensor.h"

namespace tidepool {

/// d length / d parameter[element]. A value of 0 says that the length follows the parameter, without a gradient.
struct Slope {
  Tensor parameter;
  int64_t element = 0;
  double value = 0;
};

/// The length of one axis of a map, with its straight-through derivative in every shape parameter before it: rounding
/// counts as slope 1, so that the GMACs penalty has a gradient in DynOPool's alpha.
struct TracedLength {
  int64_t value = 0;
  std::vector<Slope> slopes;

  /// A length that follows from this one: its value, and d result / d this.
  TracedLength then(int64_t result, double slope) const;
  /// Adds d length / d parameter[element].
  void add(const Tensor& parameter, int64_t element, double slope);
};

/// A map's batch size, channels and lengths (axes D, H, W as far as the rank has them; none for a vector).
struct TracedShape {
  int64_t n = 0, c = 0;
  std::vector<TracedLength> lengths;

  static TracedShape of(const Dims& shape);
  Dims dims() const;
};

/// The convolution behind a row, so that a benchmark can repeat it alone.
struct TracedConvolution {
  Dims input, weight;
  ConvOptions options;
};

/// One line of `tidepool info`.
struct TracedLayer {
  std::string name, kind;
  TracedShape output;
  int64_t parameters = 0;
  int64_t macs_per_position =
      0;  ///< multiply-adds of one image, per position of the output (convolutions and linear layers only)
  std::optional<TracedConvolution> convolution = {};
  bool batch_statistics = false;  ///< training normalises by the batch: it needs more than one value per channel

  int64_t macs() const;
};

class Trace {
 public:
  std::vector<TracedLayer> layers;

  int64_t parameters() const;
  int64_t macs() const;  ///< of one image

  /// sum over layers of (product of straight-through output lengths) x multiply-adds per position / 1e9. With fixed
  /// sizes it is the counted GMACs exactly.
  double gmacs() const;
  /// d gmacs / d parameter[element], summed, in a fixed order.
  std::vector<Slope> gmacs_gradient() const;
};

}  // namespace tidepool
