// What adaptive_avg, adaptive_max and their global kin share: a grid of fixed size over any map.
#pragma once
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <type_traits>

#include "layers/pool/geometry.h"
#include "layers/pool/operator.h"

namespace tidepool {

struct AdaptiveOptions {
  PerAxis<int64_t> output_size{};
  void keys(Keys& k) {
    k.integers("output_size", output_size, "Length of the output; it must be given.")
        .otherwise("must be given")
        .at_least(1)
        .at_most(1 << 20);
  }
};
struct GlobalOptions {
  PerAxis<int64_t> output_size = PerAxis<int64_t>::all(1);
  void keys(Keys& /*k*/) {}
};

/// All but the forward.
class AdaptivePool : public PoolOperator {
 public:
  /// Throws Error without an output size.
  AdaptivePool(const char* name, const PerAxis<int64_t>& output_size);

  Dims output_shape(const Dims& x, std::span<const Tensor> parameters) const override;
  TracedShape trace(const TracedShape& x, std::span<const Tensor> parameters, const std::string& name,
                    Trace& trace) const override;

 protected:
  struct Grid {
    std::array<int64_t, 3> n{1, 1, 1}, m{1, 1, 1};
    /// All windows are of one size, small, and tile the map: they are `max`'s and `avg`'s (the plain loop serves
    /// every case; a tuned one stands beside it).
    bool uniform() const;
    WindowGeometry windows(MapLayout map) const;
  };
  /// Throws Error for a map of another rank than 1 to 3, or without positions.
  Grid grid(const Dims& x) const;

  const char* name_;
  PerAxis<int64_t> output_size_;
};

/// What such an operator says of itself, for a grid of given size and, as global_..., for one of a single cell.
struct AdaptiveText {
  const char *name, *global_name, *formula, *global_formula, *gradient, *source, *keeps;
};
/// The description of `Op`, an AdaptivePool with an AdaptiveText kText; by Options, of the one or the other.
template <class Op, class Options>
const PoolDescription& describe_adaptive() {
  constexpr bool kGlobal = std::is_same_v<Options, GlobalOptions>;
  static constexpr AdaptiveText kText = Op::kText;
  static constexpr const char* kName = kGlobal ? kText.global_name : kText.name;
  static const PoolDescription description{.name = kName,
                                           .ranks = {1, 2, 3},
                                           .keys = describe_keys<Options>(),
                                           .parameters = {},
                                           .formula = kGlobal ? kText.global_formula : kText.formula,
                                           .gradient = kText.gradient,
                                           .source = kText.source,
                                           .keeps = kText.keeps,
                                           .make = [](const nlohmann::json& config) -> std::unique_ptr<PoolOperator> {
                                             return std::make_unique<Op>(
                                                 kName, parse_keys<Options>(kName, config).output_size);
                                           }};
  return description;
}

}  // namespace tidepool
