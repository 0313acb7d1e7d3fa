// Tensors that PyTorch made (tests/golden/make.py): x, parameters, dy and the expected y and gradients in f64.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/safetensors.h"
#include "layers/pool/operator.h"
#include "tests/layers/battery.h"

namespace tidepool::testing {
namespace {

TEST(PoolGolden, AsPyTorchHasThem) {
  for (const PoolDescription* d : pool_operators()) {
    const std::filesystem::path file =
        std::filesystem::path(TIDEPOOL_SOURCE_DIR) / "tests/golden" / ("ops_" + d->name + ".safetensors");
    if (!std::filesystem::exists(file)) continue;
    const SafetensorsFile golden = read_safetensors(file);
    double worst = 0;
    int cases = 0;
    for (const auto& [name, text] : golden.metadata) {
      SCOPED_TRACE(d->name + " " + name);
      const auto& stored = golden.tensors;
      if (!stored.contains(name + "/x")) continue;
      nlohmann::json config = nlohmann::json::parse(text)["config"];
      config["type"] = d->name;
      const auto op = make_pool_operator(config);
      const Tensor x = stored.at(name + "/x");
      x.set_requires_grad();
      std::vector<Tensor> parameters;
      const auto specs = op->parameters(x.shape());
      for (const auto& spec : specs) {
        const Tensor p = stored.at(name + "/" + spec.name);
        parameters.push_back(p.rank() == 0 ? p.reshape({1}) : p);
        parameters.back().set_requires_grad();
      }
      std::vector<Tensor> tensors = parameters;
      for (const auto& spec : op->optional_inputs(x.shape()))
        if (stored.contains(name + "/" + spec.name)) tensors.push_back(stored.at(name + "/" + spec.name));
      Tape tape;
      const Tape::Scope scope(&tape);
      const Tensor y = op->forward(x, tensors, {});
      tape.backward(y, stored.at(name + "/dy"));
      const auto check = [&](const Tensor& got, const std::string& what) {
        const double e = error(got.values(), stored.at(name + "/" + what).values());
        worst = std::max(worst, e);
        EXPECT_LE(e, 1e-10) << what;
      };
      check(y, "y");
      check(x.grad(), "dx");
      for (size_t i = 0; i < specs.size(); ++i) check(parameters[i].grad(), "d_" + specs[i].name);
      ++cases;
    }
    fmt::print("{:14} {} golden cases, worst {:.1e}\n", d->name, cases, worst);
    EXPECT_GT(cases, 0);
  }
}

}  // namespace
}  // namespace tidepool::testing
