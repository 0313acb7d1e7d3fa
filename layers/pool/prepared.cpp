#include "layers/pool/prepared.h"

#include <algorithm>

#include "core/philox.h"
#include "core/tape.h"

namespace tidepool {

nlohmann::json config_for_factor(const PoolDescription& op, int64_t factor, const Dims& x, nlohmann::json config) {
  const auto key = [&](const char* name) {
    return std::find_if(op.keys.begin(), op.keys.end(), [&](const Key& k) { return k.name == name; });
  };
  const auto has = [&](const char* name) { return key(name) != op.keys.end(); };
  const auto set = [&](const char* name, const nlohmann::json& value) {
    if (has(name) && !config.contains(name)) config[name] = value;
  };
  config["type"] = op.name;
  const bool follows = has("stride") && key("stride")->default_words == "kernel";
  if (follows && !config.contains("kernel") && !config.contains("stride"))
    set("kernel", factor);
  else
    set("stride", factor);
  set("block", factor);
  const double share = 1.0 / static_cast<double>(factor);
  set("r", share);
  if (!config.contains("output_size")) set("ratio", share);
  if (!has("ratio") && has("output_size")) {
    std::vector<int64_t> lengths;
    for (int i = 2; i < x.rank(); ++i) lengths.push_back(std::max<int64_t>(1, x[i] / factor));
    set("output_size", lengths);
  }
  return config;
}

Tensor initial_value(const ParameterSpec& spec, DType x, uint64_t seed) {
  const Tensor value = Tensor::empty(spec.shape, {.dtype = x == DType::f64 ? DType::f64 : DType::f32});
  spec.init(value, seed);
  return value;
}

std::vector<Tensor> initial_values(const PoolOperator& op, const Dims& x, DType dtype, uint64_t seed) {
  std::vector<Tensor> values;
  for (const ParameterSpec& spec : op.parameters(x)) values.push_back(initial_value(spec, dtype, seed));
  return values;
}

KeptBytes measure_kept_bytes(const PoolOperator& op, const Dims& shape, DType dtype) {
  const Tensor x = made_up_map(shape, {.dtype = dtype});
  const std::vector<Tensor> parameters = initial_values(op, shape, dtype, 0);
  for (const Tensor& p : parameters) p.set_requires_grad();
  Tape tape;
  const Tape::Scope recording(&tape);
  // As in a network x is the result of a layer: the tape counts no leaf among what is kept.
  const Tensor before = Tensor::zeros({1}).set_requires_grad();
  Tape::record("made_up", {before}, {x}, {}, [](BackwardContext&) {});
  const Tensor y = op.forward(x, parameters, {.training = true});
  KeptBytes kept{.x = shape, .y = y.shape()};
  for (const SavedBytes& row : tape.saved_bytes()) kept.bytes += row.bytes;
  return kept;
}

Tensor made_up_map(const Dims& shape, TensorOptions options, uint64_t seed) {
  const Tensor map = Tensor::empty(shape, {.format = options.format});
  float* const values = map.mutable_data<float>();
  for (int64_t i = 0; i < map.numel(); i += 4) {
    const auto words = random_words(seed, 0, static_cast<uint64_t>(i / 4));
    for (int64_t j = 0; j < std::min<int64_t>(4, map.numel() - i); ++j)
      values[i + j] = uniform24(words[static_cast<size_t>(j)]);
  }
  return map.to(options.dtype).to(options.device);
}

}  // namespace tidepool
