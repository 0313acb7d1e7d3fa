// What the pass that exports a graph refuses; what it writes is compared with onnxruntime's numbers in
// tests/cli/export_check.py.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/onnx.h"
#include "layers/pool/onnx.h"
#include "models/export.h"
#include "models/nodes.h"

namespace tidepool {
namespace {

template <class Work>
std::string message_of(const Work& work) {
  try {
    work();
  } catch (const Error& e) {
    return e.what();
  }
  return "nothing was refused";
}

TEST(Export, AnOperatorWithoutAFormIsNamed) {
  const auto op = make_pool_operator({{"type", "max"}});
  EXPECT_TRUE(has_onnx_form("max"));
  EXPECT_FALSE(has_onnx_form("nothing"));
  onnx::Graph graph;
  const Dims shape{1, 2, 8, 8};
  const onnx::Value x = graph.input("x", shape);
  EXPECT_EQ(message_of([&] {
              pool_as_onnx(graph, x, shape, {{"type", "nothing"}}, *op, {});
            }),
            "[nothing] has no ONNX form: it cannot be exported");
}

// A node that can be trained and not be exported.
class Shuffle final : public NodeOperator {
 public:
  std::string kind() const override { return "shuffle"; }
  Tensor run(std::span<const Tensor> x, const NodeTensors& /*tensors*/, const ForwardMode& /*mode*/) const override {
    return x[0];
  }
  TracedShape trace(std::span<const TracedShape> x, const NodeTensors& /*tensors*/, const std::string& name,
                    Trace& trace) const override {
    trace.layers.push_back({.name = name, .kind = kind(), .output = x[0]});
    return x[0];
  }
  onnx::Value to_onnx(onnx::Graph& /*graph*/, std::span<const onnx::Value> /*x*/, std::span<const Dims> /*shapes*/,
                      const NodeTensors& /*tensors*/) const override {
    throw Error("{} has no ONNX form", kind());
  }
};

TEST(Export, TheLayerIsNamed) {
  Graph graph;
  graph.nodes.push_back({.name = "input", .inputs = {}, .op = nullptr, .shape_owner = "input", .origin = "input"});
  graph.nodes.push_back(
      {.name = "mix", .inputs = {0}, .op = std::make_unique<Shuffle>(), .shape_owner = "mix", .origin = "mix"});
  graph.output = 1;
  const Network network(std::move(graph), {});
  onnx::Graph exported;
  EXPECT_EQ(message_of([&] { export_onnx(network, exported); }), "mix: shuffle has no ONNX form");
}

// Protocol buffers end at 2 GiB; the memory is never touched.
TEST(Export, AFileOfTwoGibibytesIsRefused) {
  onnx::Graph graph;
  graph.constant(Tensor::empty({int64_t{1} << 29}), "weight");
  const auto file = std::filesystem::temp_directory_path() / "tidepool-export-of-two-gibibytes.onnx";
  const std::string refused = message_of([&] { graph.write(file); });
  EXPECT_NE(refused.find("expected less than 2 GiB"), std::string::npos) << refused;
  EXPECT_FALSE(std::filesystem::exists(file));
}

// A number that occurs often is one constant.
TEST(Export, ConstantsAreSharedWhereTheyAreEqual) {
  onnx::Graph graph;
  const onnx::Value x = graph.input("x", {1, 1});
  EXPECT_EQ((x * 2.0).graph, &graph);
  EXPECT_EQ(graph.number(2).name, graph.number(2.0f).name);
  EXPECT_NE(graph.number(2).name, graph.number(-2).name);
  EXPECT_NE(graph.number(0).name, graph.number(-0.0).name);
  EXPECT_EQ(graph.operators(), std::set<std::string>{"Mul"});
}

}  // namespace
}  // namespace tidepool
