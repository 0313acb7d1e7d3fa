// Keys of an operator's config (core/keys.h), and checks that operators share.
#pragma once
#include <functional>
#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "core/keys.h"
#include "core/tensor.h"
#include "layers/parameter.h"
#include "layers/pool/operator.h"

namespace tidepool {

/// Options with a `keys` list, from a config's object ("type" may be there). Throws Error "[soft] key 'kernel': ...".
void read_pool_keys(const char* op, const KeyList& list, const nlohmann::json& config,
                    const std::function<void(Keys&)>& read);
template <class Options>
Options parse_keys(const char* op, const nlohmann::json& config) {
  static const KeyList list = list_keys<Options>();
  Options options;
  read_pool_keys(op, list, config, [&](Keys& keys) { options.keys(keys); });
  return options;
}
/// `d` with the keys of Options and what makes an Op of them.
template <class Op, class Options>
PoolDescription describe_pool(PoolDescription d) {
  d.keys = list_keys<Options>().keys;
  d.make = [name = d.name](const nlohmann::json& config) -> std::unique_ptr<PoolOperator> {
    return std::make_unique<Op>(parse_keys<Options>(name.c_str(), config));
  };
  return d;
}

/// "1", "1 and 2", "1, 2 and 3".
std::string join_ranks(std::span<const int> ranks);
/// Spatial rank of x (N, C, spatial); throws Error unless it is one of `ranks`.
int expect_rank(const char* op, const Dims& x, std::initializer_list<int> ranks);
/// Throws Error unless these are the tensors that `specs` ask for: their number, shapes and a floating type.
void expect_parameters(const char* op, std::span<const ParameterSpec> specs, std::span<const Tensor> parameters);
}  // namespace tidepool
