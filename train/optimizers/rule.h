// A named optimizer: its keys, the tensors it keeps a parameter, its update; and the registry that knows them by name.
// The groups, their rates and when they move are train/optimizer.h's.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/dtype.h"
#include "core/json.h"
#include "core/keys.h"
#include "core/lanes.h"
#include "core/parallel.h"
#include "core/tensor.h"

namespace tidepool {

/// One parameter's share of an update: tensors of one shape, layout and type (f32 or f64).
struct ParameterUpdate {
  Tensor value, grad;
  std::span<const Tensor> state;  ///< in the order of UpdateRule::state()
  double weight_decay = 0;
};

/// What all parameters of an update share.
struct UpdateStep {
  double rate = 0;
  double grad_scale = 1;  ///< of the clipping: what the gradients are multiplied by first
  int64_t updates = 0;    ///< that these parameters have had
};

/// A configured optimizer. Stateless: what it keeps travels beside the parameters.
class UpdateRule {
 public:
  virtual ~UpdateRule() = default;
  /// Names of the tensors that it keeps for a parameter, of the parameter's shape and zero at first. They are names in
  /// checkpoints ("features.0.weight/momentum").
  virtual std::vector<std::string> state() const = 0;
  /// Writes the parameters and their state. All parameters are of one type.
  virtual void update(std::span<const ParameterUpdate> parameters, const UpdateStep& step) const = 0;
};

struct OptimizerDescription {
  std::string name;
  std::string help;  ///< one sentence with formula and source
  std::vector<Key> keys;
  /// Calls `fail` for the first of these values that is wrong, or that contradicts another.
  void (*check)(const Json& options, const KeyFail& fail) = nullptr;
  /// From values that are of the right types; those that are absent have their defaults.
  std::unique_ptr<UpdateRule> (*make)(const Json& options) = nullptr;
};

/// All optimizers by name, sorted.
std::vector<const OptimizerDescription*> optimizers();
/// Throws Error with the nearest right name.
const OptimizerDescription& find_optimizer(const std::string& name);

/// From an options struct, which lists its keys, and a rule that is made of it.
template <class Options, class Rule>
OptimizerDescription describe_optimizer(const char* name, const char* help) {
  return {.name = name,
          .help = help,
          .keys = list_keys<Options>().keys,
          .check = [](const Json& options, const KeyFail& fail) { read_keys<Options>(options, fail); },
          .make = [](const Json& values) -> std::unique_ptr<UpdateRule> {
            Options options;
            Keys keys(values);
            options.keys(keys);
            return std::make_unique<Rule>(options);
          }};
}

namespace detail {

template <class T, class Make>
void update_elements_of(std::span<const ParameterUpdate> parameters, const Make& make) {
  constexpr int64_t kGrain = 4096;  // elements: small parameters too are for all threads
  constexpr int64_t kVector = 16;   // a multiple of every vector's lanes
  using Body = decltype(make.template operator()<T>(parameters.front()));
  struct Piece {
    Body body;
    int64_t begin, numel;
  };
  // The parameters lie end to end, each from a multiple of kVector on, so that only its own last elements are scalars:
  // the bits of an element do not depend on what else is updated.
  std::vector<Piece> pieces;
  pieces.reserve(parameters.size());
  int64_t all = 0;
  for (const ParameterUpdate& p : parameters) {
    pieces.push_back({make.template operator()<T>(p), all, p.value.numel()});
    all += (p.value.numel() + kVector - 1) / kVector * kVector;
  }
  parallel_chunks(all, kGrain, [&](int64_t begin, int64_t end) {
    auto piece =
        std::upper_bound(pieces.begin(), pieces.end(), begin, [](int64_t at, const Piece& p) { return at < p.begin; });
    for (--piece; piece != pieces.end() && piece->begin < end; ++piece) {
      const Body body = piece->body;  // a copy, whose pointers no store can change
      const int64_t first = std::max<int64_t>(begin - piece->begin, 0);
      const int64_t last = std::min(end - piece->begin, piece->numel);
      if (first < last) each_lane<T>(first, last - first, body);
    }
  });
}

}  // namespace detail

/// One parallel loop over the elements of all parameters. `make.template operator()<T>(parameter)` gives what is done
/// to an element of one: a function of each_lane's kind.
template <class Make>
void update_elements(std::span<const ParameterUpdate> parameters, const Make& make) {
  if (parameters.empty()) return;
  if (parameters.front().value.dtype() == DType::f64)
    detail::update_elements_of<double>(parameters, make);
  else
    detail::update_elements_of<float>(parameters, make);
}

/// The square root of each lane.
template <class V>
TP_INLINE V roots(V v) {
  if constexpr (kLanes<V> == 1)
    return std::sqrt(v);
  else
    for (int i = 0; i < kLanes<V>; ++i) v[i] = std::sqrt(v[i]);
  return v;
}

}  // namespace tidepool
