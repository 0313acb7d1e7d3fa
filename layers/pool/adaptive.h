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
  bool global = false;  ///< a grid of one cell, an operator of its own name
  PerAxis<int64_t> output_size{};
  void keys(Keys& k) {
    k.integers("output_size", output_size, "Length of the output; it must be given.")
        .otherwise("must be given")
        .at_least(1)
        .at_most(1 << 20);
  }
};
struct GlobalOptions : AdaptiveOptions {
  GlobalOptions() {
    global = true;
    output_size = PerAxis<int64_t>::all(1);
  }
  void keys(Keys& /*k*/) {}
};

/// What such an operator says of itself, for a grid of given size and, as global_..., for one of a single cell.
struct AdaptiveText {
  const char *name, *global_name, *formula, *global_formula, *gradient, *source, *keeps;
};

/// All but what is made of a cell.
class AdaptivePool : public PoolOperator {
 public:
  /// Throws Error without an output size.
  AdaptivePool(const AdaptiveText& text, const AdaptiveOptions& options);

  Dims output_shape(const Dims& x, std::span<const Tensor> parameters) const override;
  Tensor run(const Tensor& x, std::span<const Tensor> parameters, const PoolMode& mode) const override;
  TracedShape trace(const TracedShape& x, std::span<const Tensor> parameters, const std::string& name,
                    Trace& trace) const override;

 protected:
  struct Grid {
    std::array<int64_t, 3> n{1, 1, 1}, m{1, 1, 1};
    MapLayout map;
    /// All windows are of one size, small, and tile the map: they are `max`'s and `avg`'s (the plain loop serves
    /// every case; a tuned one stands beside it).
    bool uniform() const;
    WindowGeometry windows() const;
  };
  /// Sets y, laid out as x; gives what the backward wants of it, when it is recorded.
  virtual Tensor reduce(const Grid& grid, const Tensor& x, const Tensor& y, bool recorded) const = 0;
  /// Sets dx from dy and from what reduce gave.
  virtual void spread(const Grid& grid, const Tensor& kept, const Tensor& dy, const Tensor& dx) const = 0;

  const char* name_;

 private:
  /// Throws Error for a map of another rank than 1 to 3, or without positions.
  Grid grid(const Dims& x, MemoryFormat format) const;

  PerAxis<int64_t> output_size_;
};

/// The description of `Op`, an AdaptivePool with an AdaptiveText kText, made from Options of the one kind or the other.
template <class Op, class Options>
const PoolDescription& describe_adaptive() {
  constexpr bool kGlobal = std::is_same_v<Options, GlobalOptions>;
  static const PoolDescription description =
      describe_pool<Op, Options>({.name = kGlobal ? Op::kText.global_name : Op::kText.name,
                                  .ranks = {1, 2, 3},
                                  .parameters = {},
                                  .formula = kGlobal ? Op::kText.global_formula : Op::kText.formula,
                                  .gradient = Op::kText.gradient,
                                  .source = Op::kText.source,
                                  .keeps = Op::kText.keeps});
  return description;
}

}  // namespace tidepool
