// PyTorch's values (tests/golden/README.md) in every type and layout.
#include "tests/golden/golden.h"

#include <nlohmann/json.hpp>

#include "layers/activation.h"
#include "layers/conv.h"
#include "layers/global_avg.h"
#include "layers/linear.h"
#include "layers/loss.h"
#include "layers/norm.h"
#include "tests/layers/battery.h"

namespace tidepool::testing {
namespace {

std::array<int64_t, 3> per_axis(const nlohmann::json& config, const char* key, int64_t otherwise) {
  std::array<int64_t, 3> v{otherwise, otherwise, otherwise};
  if (!config.contains(key)) return v;
  for (size_t i = 0; i < 3; ++i)
    v[i] = !config[key].is_array()  ? config[key].get<int64_t>()
           : i < config[key].size() ? config[key][i].get<int64_t>()
                                    : otherwise;
  return v;
}

class GoldenLayers : public ::testing::TestWithParam<std::tuple<DType, MemoryFormat>> {};

TEST_P(GoldenLayers, AreThoseOfPyTorch) {
  const auto [type, format] = GetParam();
  const DType kept = type == DType::f64 ? type : DType::f32;
  const SafetensorsFile file = read_golden("layers.safetensors");
  EXPECT_GE(file.metadata.size(), 20u);
  for (const auto& [name, text] : file.metadata) {
    SCOPED_TRACE(name);
    const auto about = nlohmann::json::parse(text);
    const std::string layer = about.at("layer");
    const auto& config = about.at("config");
    const auto golden = [&](const std::string& what) { return file.tensors.at(name + "/" + what); };
    const bool weighted = file.tensors.contains(name + "/weight"), biased = file.tensors.contains(name + "/bias");
    const Tensor x = golden("x").clone().to(type).contiguous(format);
    const Tensor w = weighted ? golden("weight").clone().to(kept) : Tensor(),
                 b = biased ? golden("bias").clone().to(kept) : Tensor();
    for (const Tensor& t : {x, w, b})
      if (t) t.set_requires_grad();
    Tensor mean, var;
    Tape tape;
    const Tape::Scope scope(&tape);
    Tensor y;
    if (layer == "conv2d") {
      ConvOptions o{per_axis(config, "stride", 1), per_axis(config, "padding", 0), per_axis(config, "dilation", 1),
                    config.value("groups", int64_t{1})};
      y = convolution(x, w, b, o);
    } else if (layer == "batch_norm" || layer == "batch_norm_relu") {
      mean = golden("running_mean").clone().to(kept), var = golden("running_var").clone().to(kept);
      y = batch_norm(x, w, b, mean, var,
                     {.momentum = config.at("momentum"),
                      .eps = config.at("eps"),
                      .training = config.at("training"),
                      .act = layer == "batch_norm_relu" ? Act::relu : Act::none});
    } else if (layer == "linear") {
      y = linear(x, w, b);
    } else if (layer == "relu") {
      y = relu(x);
    } else if (layer == "silu") {
      y = silu(x);
    } else if (layer == "sigmoid") {
      y = sigmoid(x);
    } else if (layer == "global_avg") {
      y = global_avg(x);
    } else if (layer == "cross_entropy") {
      if (type == DType::bf16 && name == "cross_entropy_large") continue;  // logits of 1e4, rounded, are others
      y = cross_entropy(x, golden("labels"), config.at("label_smoothing").get<double>());
    } else {
      FAIL() << "unknown layer " << layer;
    }
    tape.backward(y, golden("dy").reshape(y.shape()).to(y.dtype()));
    // In bf16 the inputs themselves are rounded here: twice the bound of an operator, and the gradient of a mean of
    // zero (batch norm) or near a kink says little then.
    const double most = type == DType::bf16 ? 0x1p-4 : tolerance(type);
    EXPECT_LE(error(y.values(), golden("y").values()), most);
    if (type == DType::bf16 && layer == "batch_norm_relu") continue;
    EXPECT_LE(error(x.grad().values(), golden("dx").values()), most);
    if (w) {
      EXPECT_LE(error(w.grad().values(), golden("d_weight").values()), most);
    }
    if (b) {
      EXPECT_LE(error(b.grad().values(), golden("d_bias").values()), most);
    }
    if (mean) {
      EXPECT_LE(error(mean.values(), golden("running_mean_after").values()), most);
    }
    if (var) {
      EXPECT_LE(error(var.values(), golden("running_var_after").values()), most);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, GoldenLayers,
                         ::testing::Combine(::testing::Values(DType::f64, DType::f32, DType::bf16),
                                            ::testing::Values(MemoryFormat::plain, MemoryFormat::channels_last)),
                         [](const auto& p) {
                           return std::string(tidepool::name_of(std::get<0>(p.param))) + "_" +
                                  tidepool::name_of(std::get<1>(p.param));
                         });

}  // namespace
}  // namespace tidepool::testing
