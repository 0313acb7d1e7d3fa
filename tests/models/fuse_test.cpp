// Random small graphs, with and without the fuse pass: the same numbers to rounding, forward and all gradients.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/allocator.h"
#include "core/philox.h"
#include "core/tape.h"
#include "layers/loss.h"
#include "models/network.h"

namespace tidepool {
namespace {

using Values = std::vector<double>;

// Convolutions of all kinds with norms and activations, residual sums, gates, concatenations and slots, drawn from a
// seed. Some maps have two readers.
Graph random_graph(GraphBuilder& g, uint64_t seed) {
  Random random(seed, 1);
  const auto below = [&](uint32_t n) { return static_cast<int64_t>(random.below(n)); };
  constexpr Act kActs[] = {Act::none, Act::relu, Act::relu6, Act::silu, Act::hardswish};
  Value x = g.conv_norm_act(ConvNormActNames::indexed("stem"), g.input(), {.out = 16 + below(9), .act = Act::relu});
  for (int block = 0; block < 5; ++block) {
    const std::string name = fmt::format("b{}", block);
    const Act act = kActs[below(5)];
    const auto names = [&](const char* part) { return ConvNormActNames::indexed(name + part); };
    switch (below(7)) {
      case 0:  // a residual block: x has two readers
        x = g.add(name, g.conv_norm_act(names(".a"), x, {.out = x.channels, .act = act}), x);
        break;
      case 1:  // depthwise, then pointwise
        x = g.conv_norm_act(names(".a"), x,
                            {.out = x.channels, .kernel = 3 + 2 * below(2), .groups = x.channels, .act = act});
        x = g.conv_norm_act(names(".b"), x, {.out = 16 + below(17), .kernel = 1});
        break;
      case 2: {  // two branches of one map, joined
        const Value branches[] = {g.conv_norm_act(names(".a"), x, {.out = 12, .kernel = 1, .act = act}),
                                  g.conv_norm_act(names(".b"), x, {.out = 8, .act = Act::relu})};
        x = g.concat(name, branches);
        break;
      }
      case 3: {  // squeeze-excitation behind a norm
        const Value y = g.conv_norm_act(names(".a"), x, {.out = 20, .act = act});
        const Value s =
            g.conv(name + ".fc", g.global_avg(name + ".avg", y, true), {.out = 20, .kernel = 1, .bias = true});
        x = g.gate(name, y, g.activation(name + ".sigmoid", s, Act::sigmoid));
        break;
      }
      case 4:  // a slot whose operator reads through the norm, or not
        x = g.conv_norm_act(names(".a"), x, {.out = 16 + below(9), .act = act});
        x = g.pool_slot(name, x, {{"type", below(2) ? "max" : "avg"}, {"kernel", 2}});
        break;
      case 5:  // a strided convolution in a slot of its own
        x = g.conv_norm_act(names(".a"), x, {.out = 24, .stride = 2, .act = act, .slot = name});
        break;
      default:
        x = g.conv_norm_act(names(".a"), x, {.out = 16 + below(17), .bias = below(2) == 1, .act = act});
    }
  }
  return g.finish(g.linear("classifier", g.global_avg("avgpool", x), g.options().classes));
}

Tensor images(DType dtype) {
  const Tensor x = Tensor::empty({6, 3, 24, 20}, {.format = MemoryFormat::channels_last});
  Random random(5, 0);
  for (int64_t i = 0; i < x.numel(); ++i) x.mutable_data<float>()[i] = static_cast<float>(random.normal());
  return x.to(dtype);
}

// Logits, running statistics, gradients of all parameters.
std::vector<std::pair<std::string, Values>> step(uint64_t seed, DType dtype, bool fuse, const Json& pool) {
  const NetworkOptions options{
      .name = "random", .classes = 10, .input = {1, 3, 24, 20}, .dtype = dtype, .fuse = fuse, .seed = seed};
  GraphBuilder builder(options, pool);
  const Network network(random_graph(builder, seed), options);
  Tape tape;
  Tensor logits, loss;
  {
    const Tape::Scope scope(&tape);
    logits = network.forward(images(dtype), {.training = true, .seed = 1});
    loss = cross_entropy(logits, Tensor::from<int64_t>({1, 2, 3, 4, 5, 9}, {6}), 0);
  }
  tape.backward(loss);
  std::vector<std::pair<std::string, Values>> all{{"logits", logits.values()}};
  for (const Buffer& b : network.buffers()) all.emplace_back(b.name, b.value.values());
  for (const Parameter& p : network.parameters())
    all.emplace_back(p.name, p.value.grad() ? p.value.grad().values() : Values{});
  all.emplace_back("evaluation", network.forward(images(dtype), {}).values());
  return all;
}

double distance(const Values& a, const Values& b) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    size += b[i] * b[i];
  }
  return size == 0 ? std::sqrt(difference) : std::sqrt(difference / size);
}

double size_of_all(const std::vector<std::pair<std::string, Values>>& all) {
  double most = 0;
  for (const auto& [name, values] : all)
    for (const double v : values) most = std::max(most, std::abs(v));
  return most;
}

TEST(GraphBuilder, RefusesWhatDoesNotMeet) {
  const NetworkOptions options{.name = "random", .classes = 10, .input = {1, 3, 24, 20}};
  GraphBuilder g(options, Json::object());
  const Value x = g.input(), mean = g.global_avg("avgpool", x, true);
  EXPECT_NO_THROW(g.gate("gate", x, mean));
  EXPECT_THROW(g.gate("gate of a map", x, x), Error);
  EXPECT_THROW(g.concat("nothing", {}), Error);
}

class FusePass : public testing::TestWithParam<uint64_t> {};

TEST_P(FusePass, Fuses) {
  const NetworkOptions options{.name = "random", .classes = 10, .input = {1, 3, 24, 20}, .seed = GetParam()};
  GraphBuilder builder(options, Json::object());
  const Network network(random_graph(builder, GetParam()), options);
  const Schedule fused = fused_schedule(network.graph()), plain = plain_schedule(network.graph());
  const auto& nodes = network.graph().nodes;
  const auto norms = std::count_if(nodes.begin(), nodes.end(),
                                   [](const Node& node) { return node.op && node.op->kind() == "batch_norm"; });
  const auto with_norm =
      std::count_if(fused.begin(), fused.end(), [](const ScheduledStep& step) { return step.norm >= 0; });
  EXPECT_GT(with_norm, 0);
  EXPECT_LE(with_norm, norms);
  EXPECT_LE(fused.size() + static_cast<size_t>(with_norm), plain.size());
}

TEST_P(FusePass, GivesTheNumbersOfThePlainGraph) {
  for (const Json& pool : {Json::object(), Json{{"default", {{"type", "dynopool"}}}}}) {
    SCOPED_TRACE(pool.dump());
    const uint64_t seed = GetParam();
    const auto exact = step(seed, DType::f64, true, pool);
    for (const DType dtype : {DType::f32, DType::bf16}) {
      SCOPED_TRACE(name_of(dtype));
      const auto fused = step(seed, dtype, true, pool), plain = step(seed, dtype, false, pool);
      ASSERT_EQ(fused.size(), exact.size());
      for (size_t i = 0; i < fused.size(); ++i) {
        ASSERT_EQ(fused[i].second.size(), exact[i].second.size()) << fused[i].first;
        double norm = 0;
        for (const double v : exact[i].second) norm += v * v;
        // A gradient that is 0 in exact arithmetic (a bias before a norm) is rounding in both.
        if (std::sqrt(norm) < 1e-6 * size_of_all(exact)) continue;
        // Rounding moves values over the edge of a ReLU or to another winner: beside f64, the fused graph must not be
        // much further off than the plain one.
        const double of_plain = distance(plain[i].second, exact[i].second);
        EXPECT_LE(distance(fused[i].second, exact[i].second), 2 * of_plain + (dtype == DType::f32 ? 2e-3 : 5e-2))
            << fused[i].first;
        if (dtype == DType::f32) {
          EXPECT_LE(of_plain, 2e-2) << fused[i].first;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Graphs, FusePass, testing::Range(uint64_t{1}, uint64_t{13}));

TEST(Graph, MapsMeetOnlyWhereTheirLengthsAreTheSameExpression) {
  const auto message = [](const auto& build) -> std::string {
    const NetworkOptions options{.name = "random", .input = {1, 3, 32, 32}};
    GraphBuilder g(options, Json{{"s1", {{"type", "dynopool"}}}, {"s2", {{"type", "dynopool"}}}});
    try {
      build(g);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  };
  const auto strided = [](GraphBuilder& g, const std::string& name, const std::string& slot, int64_t kernel) {
    return g.conv_norm_act(ConvNormActNames::indexed(name), g.conv(name + ".first", g.input(), {.out = 8}),
                           {.out = 8, .kernel = kernel, .stride = 2, .slot = slot, .branch = name});
  };
  // Equal at the first step is not enough; one slot in two branches is.
  EXPECT_EQ(message([&](GraphBuilder& g) { g.add("sum", strided(g, "a", "s1", 3), strided(g, "b", "s2", 3)); }),
            "sum: maps of a.1 (s1(input height) x s1(input width)) and b.1 (s2(input height) x s2(input width)) do not "
            "meet: their lengths are not the same expression");
  EXPECT_EQ(message([&](GraphBuilder& g) { g.add("sum", strided(g, "a", "s1", 3), strided(g, "b", "s1", 1)); }),
            "no error");
  // A strided 3x3 convolution with padding 1 and a strided 1x1 have the same length for every input.
  EXPECT_EQ(message([&](GraphBuilder& g) { g.add("sum", strided(g, "a", "", 3), strided(g, "b", "", 1)); }),
            "no error");
  EXPECT_NE(message([&](GraphBuilder& g) { g.add("sum", strided(g, "a", "", 3), g.conv("c", g.input(), {.out = 8})); }),
            "no error");
}

// What is behind a stated size costs the same whatever the learned one before it.
TEST(Graph, AMapOfAStatedSizeForgetsTheLearnedOne) {
  const NetworkOptions options{.name = "sized", .classes = 10, .input = {1, 3, 32, 32}};
  const auto build = [&](const Dims& size) {
    GraphBuilder g(options, Json{{"s", {{"type", "dynopool"}}}});
    const Value small = g.conv_norm_act(ConvNormActNames::indexed("a"), g.input(),
                                        {.out = 8, .stride = 2, .act = Act::relu, .slot = "s"});
    const Value a = g.resize("up", small, size), b = g.resize("near", small, size, false);
    return g.finish(
        g.linear("classifier", g.global_avg("avgpool", g.conv("last", g.add("sum", a, b), {.out = 8})), 10));
  };
  Network network(build({5, 7}), options);
  const auto shape_of = [&](const char* name) {
    const Trace trace = network.trace();
    for (const TracedLayer& layer : trace.layers)
      if (layer.name == name) return layer.output.dims();
    throw Error("no layer {}", name);
  };
  EXPECT_EQ(shape_of("up"), (Dims{1, 8, 5, 7}));
  EXPECT_EQ(shape_of("near"), (Dims{1, 8, 5, 7}));
  EXPECT_EQ(network.forward(images(DType::f32), {}).shape(), (Dims{6, 10}));
  const double before = network.trace().gmacs();
  const int64_t last = [&] {
    for (const TracedLayer& layer : network.trace().layers)
      if (layer.name == "last") return layer.macs();
    return int64_t{0};
  }();
  EXPECT_EQ(last, 8 * 8 * 9 * 5 * 7);
  EXPECT_EQ(network.trace().gmacs_gradient().size(), 2u) << "of the convolution behind the slot";
  for (const Parameter& p : network.parameters())
    if (p.kind == ParameterKind::shape) p.value.copy_from(Tensor::from<double>({4, 4}, {2}));
  EXPECT_EQ(shape_of("last"), (Dims{1, 8, 5, 7}));
  EXPECT_LT(network.trace().gmacs(), before);
  EXPECT_THROW(build({5}), Error);
  EXPECT_THROW(build({5, 0}), Error);
}

TEST(Graph, BranchesOfASlotShareTheirShape) {
  const NetworkOptions options{.name = "two", .classes = 10, .input = {1, 3, 32, 32}};
  GraphBuilder g(options, Json{{"s", {{"type", "dynopool"}, {"offset", "learned"}}}});
  const Value x = g.conv("first", g.input(), {.out = 8}), y = g.conv("second", x, {.out = 8});
  const Value a = g.conv_norm_act(ConvNormActNames::indexed("a"), y,
                                  {.out = 8, .stride = 2, .act = Act::relu, .slot = "s", .branch = "main"});
  const Value b = g.conv_norm_act(ConvNormActNames::indexed("b"), x,
                                  {.out = 8, .kernel = 1, .stride = 2, .slot = "s", .branch = "shortcut"});
  Network network(g.finish(g.linear("classifier", g.global_avg("avgpool", g.add("sum", a, b)), 10)), options);
  std::vector<std::string> names;
  for (const Parameter& p : network.parameters())
    if (p.name.starts_with("s.")) names.push_back(p.name);
  EXPECT_EQ(names, (std::vector<std::string>{"s.alpha", "s.main.delta", "s.shortcut.delta"}));
  const auto& branches = network.graph().slots[0].branches;
  ASSERT_EQ(branches.size(), 2u);
  EXPECT_TRUE(network.tensors(branches[0]).parameters[0].shares_storage(network.tensors(branches[1]).parameters[0]));
  EXPECT_EQ(network.slot_shapes(), (std::vector<std::pair<std::string, Dims>>{{"s", {16, 16}}}));
  // Both branches shrink with the one shape, and the penalty's gradient has one entry per axis.
  for (const Parameter& p : network.parameters())
    if (p.kind == ParameterKind::shape) p.value.copy_from(Tensor::from<double>({4, 3}, {2}));
  EXPECT_EQ(network.slot_shapes()[0].second, (Dims{8, 11}));
  EXPECT_EQ(network.trace().gmacs_gradient().size(), 2u);
}

// Released after their last reader, a long chain's maps need no more memory than two of them.
TEST(Graph, ValuesAreReleasedAfterTheirLastReader) {
  const NetworkOptions options{.name = "chain", .classes = 10, .input = {1, 3, 32, 32}};
  GraphBuilder g(options, Json::object());
  Value x = g.input();
  for (int i = 0; i < 6; ++i) x = g.activation(fmt::format("a{}", i), x, Act::relu);
  const Network network(g.finish(g.linear("classifier", g.global_avg("avgpool", x), 10)), options);
  const Schedule schedule = plain_schedule(network.graph());
  for (size_t i = 0; i < schedule.size(); ++i) {
    ASSERT_EQ(schedule[i].releases.size(), 1u);
    EXPECT_EQ(schedule[i].releases[0], schedule[i].node - 1);
  }
}

// The peak of an inference is the graph's widest cut: two maps, however long the chain.
TEST(Graph, InferenceHoldsTheWidestCut) {
  constexpr size_t kMap = 3 * 64 * 64 * sizeof(float);
  for (const int length : {4, 16}) {
    const NetworkOptions options{.name = "chain", .classes = 10, .input = {1, 3, 64, 64}};
    GraphBuilder g(options, Json::object());
    Value x = g.input();
    for (int i = 0; i < length; ++i) x = g.activation(fmt::format("a{}", i), x, Act::silu);
    const Network network(g.finish(g.linear("classifier", g.global_avg("avgpool", x), 10)), options);
    const Tensor image = Tensor::full({1, 3, 64, 64}, 1);
    network.forward(image, {});
    Allocator& allocator = Allocator::of(options.device);
    allocator.reset_peak();
    const size_t before = allocator.stats().live_bytes;
    network.forward(image, {});
    EXPECT_GE(allocator.stats().peak_bytes - before, 2 * kMap);
    EXPECT_LT(allocator.stats().peak_bytes - before, 3 * kMap) << length;
  }
}

}  // namespace
}  // namespace tidepool
