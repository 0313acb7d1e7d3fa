// Every operator that may fill a resize slot fills one: two steps of a narrow VGG-16 and of a narrow EfficientNet-B0.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/philox.h"
#include "layers/pool/operator.h"
#include "layers/pool/prepared.h"
#include "models/network.h"
#include "models/nodes.h"
#include "train/step.h"

namespace tidepool {
namespace {

Tensor images(int64_t n, DType dtype) {
  const Tensor x = Tensor::empty({n, 3, 32, 32}, {.format = MemoryFormat::channels_last});
  Random random(5, 0);
  for (int64_t i = 0; i < x.numel(); ++i) x.mutable_data<float>()[i] = static_cast<float>(random.normal());
  return x.to(dtype);
}

/// The operator's config in every slot of maps that halve from slot to slot: sizes where it wants sizes.
Json in_slots(const PoolDescription& d, const std::vector<Slot>& slots) {
  Json pool = Json::object();
  int64_t n = 32;
  for (const Slot& slot : slots) {
    nlohmann::json config = config_for_factor(d, 2, {1, 1, n, n});
    if (d.name == "diffstride") config["smoothness"] = 0.5;  // 4, as published, keeps maps of 16 and less as they are
    if (d.name.starts_with("global") && &slot != &slots.back()) config = {{"type", "max"}, {"kernel", 2}};
    pool[slot.name] = Json(config);
    n /= 2;
  }
  return pool;
}

class EveryOperator : public testing::TestWithParam<std::tuple<const char*, std::string>> {};

TEST_P(EveryOperator, TrainsTwoSteps) {
  const auto& [name, type] = GetParam();
  const PoolDescription& d = find_pool_operator(type);
  const NetworkOptions narrow{.name = name, .width = 1.0 / 16, .classes = 10, .seed = 2};
  const std::vector<Slot> slots = make_network(narrow, Json::object())->graph().slots;
  for (DType dtype : {DType::f32, DType::bf16}) {
    SCOPED_TRACE(name_of(dtype));
    const auto train = [&] {
      NetworkOptions options = narrow;
      options.dtype = dtype;
      const auto network = make_network(options, in_slots(d, slots));
      OptimConfig optim;
      optim.lr = 0.05;
      LossConfig loss;
      loss.gmacs_lambda = 0.1;
      Optimizer optimizer(optim, network->parameters(), 2, 2);
      const auto task = find_task("classification").make({.classes = 10});
      Stepper stepper(*network, *task, optimizer, loss, 1);
      stepper.after_backward = [&] {
        for (const Parameter& p : network->parameters()) EXPECT_TRUE(p.value.grad()) << p.name;
      };
      const TensorBatch batch{images(4, dtype), Tensor::from<int64_t>({1, 3, 5, 9}, {4})};
      std::vector<double> values;
      for (int64_t step = 0; step < 2; ++step) values.push_back(stepper.step(batch, step).total);
      for (const Parameter& p : network->parameters()) {
        const auto v = p.value.values();
        values.insert(values.end(), v.begin(), v.end());
      }
      const auto shapes = network->slot_shapes();
      EXPECT_EQ(shapes.size(), slots.size());
      EXPECT_LE(shapes.back().second[0], 9);
      return values;
    };
    const std::vector<double> once = train(), again = train();
    for (double v : once) ASSERT_TRUE(std::isfinite(v));
    EXPECT_EQ(once, again) << "the same seed gives the same weights";
  }
}

std::vector<std::string> resizing() {
  std::vector<std::string> names;
  for (const PoolDescription* d : pool_operators())
    if (d->resizes) names.push_back(d->name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Networks, EveryOperator,
                         testing::Combine(testing::Values("vgg16", "efficientnet_b0"), testing::ValuesIn(resizing())),
                         [](const auto& one) {
                           return fmt::format("{}_{}", std::get<0>(one.param), std::get<1>(one.param));
                         });

// Where a block keeps size and channels there is a sum, also where only the CIFAR stem and a narrow width make it so.
TEST(EfficientNet, NarrowBlocksHaveTheirSums) {
  const auto sums = [](double width, Dims input) {
    const auto network = make_network({.name = "efficientnet_b0", .width = width, .input = input}, Json::object());
    std::vector<std::string> names;
    for (const Node& node : network->graph().nodes)
      if (node.op && node.op->kind() == "add") names.push_back(node.name);
    return names;
  };
  const std::vector<std::string> published = sums(1, {1, 3, 32, 32});
  EXPECT_EQ(published.size(), 9u);        // torchvision's blocks with use_res_connect
  const auto has_sum = [&](Dims input) {  // of a quarter's width, where 16 and 24 channels both become 8
    const std::vector<std::string> names = sums(0.25, input);
    return std::find(names.begin(), names.end(), "features.2.0") != names.end();
  };
  EXPECT_TRUE(has_sum({1, 3, 32, 32}));
  EXPECT_FALSE(has_sum({1, 3, 224, 224})) << "it has a stride there";
}

// An operator with a network inside (lip's logits) is a slot like any other.
TEST(Slots, EveryOneIsListed) {
  for (const char* name : {"vgg16", "efficientnet_b0"})
    for (const char* logit : {"simplified", "bottleneck"}) {
      const Json pool = {{"default", {{"type", "lip"}, {"logit", logit}, {"kernel", 2}}}};
      const auto network = make_network({.name = name, .width = 0.125}, pool);
      std::vector<std::string> slots, shaped, rows;
      for (const Slot& slot : network->graph().slots) slots.push_back(slot.name);
      for (const auto& [slot, size] : network->slot_shapes()) shaped.push_back(slot);
      for (const TracedLayer& layer : network->trace().layers)
        if (layer.kind == "lip") rows.push_back(layer.name);
      EXPECT_EQ(shaped, slots);
      EXPECT_EQ(rows.size(), slots.size());
    }
}

// "math": "exact" reaches the convolutions that an operator has inside: with all of a network's own exact, what is
// left to differ is lip's.
TEST(Slots, ExactMathReachesOperators) {
  const Json pool = {{"default", {{"type", "lip"}, {"logit", "simplified"}, {"kernel", 2}}}};
  const auto network = make_network({.width = 0.25, .exact_math = true}, pool);
  const Slot& slot = network->graph().slots.front();
  const Tensor x = Tensor::empty({2, 16, 32, 32}, {.format = MemoryFormat::channels_last});
  Random random(6, 0);
  for (int64_t i = 0; i < x.numel(); ++i) x.mutable_data<float>()[i] = static_cast<float>(random.normal());
  const auto values = [&](bool exact) {
    const auto& node = dynamic_cast<const PoolNode&>(*network->graph().nodes[static_cast<size_t>(slot.node)].op);
    return node.op().forward(x, network->tensors(slot.node).parameters, {.exact = exact}).values();
  };
  const auto fast = values(false), exact = values(true);
  EXPECT_NE(fast, exact) << "the case must be one that Winograd does";
  for (size_t i = 0; i < fast.size(); ++i) EXPECT_NEAR(fast[i], exact[i], 1e-3);
}

// One walk: each slot's bounds follow from the map that the slots before it give once they are in theirs.
TEST(Slots, AreProjectedInTheirOrder) {
  const auto network = make_network({.width = 1.0 / 16}, {{"default", {{"type", "max"}, {"kernel", 1}}},
                                                          {"pool1", {{"type", "dynopool"}}},
                                                          {"pool2", {{"type", "diffstride"}, {"smoothness", 1}}}});
  const auto value = [&](const std::string& name) {
    for (const Parameter& p : network->parameters())
      if (p.name == name) return p.value;
    throw Error("no parameter {}", name);
  };
  value("pool1.alpha").copy_from(Tensor::from<double>({-3, 100}, {2}));
  value("pool2.stride").copy_from(Tensor::from<double>({100, 100}, {2}));
  network->project();
  EXPECT_EQ(value("pool1.alpha").values(), (std::vector<double>{0.5, 16}));
  EXPECT_EQ(value("pool2.stride").values(), (std::vector<double>{32, 1})) << "half of a map of 64x2";
  EXPECT_EQ(network->slot_shapes()[1].second, (Dims{4, 2}));
}

// What a slot's shape parameters are after project(), and the size of its map.
struct Projected {
  std::vector<double> values;
  Dims size;
};
struct WantedShape {
  const char* name;
  std::vector<double> values;
};
std::vector<Projected> project(Network& network, const std::vector<WantedShape>& wanted) {
  const auto value = [&](const std::string& name) {
    for (const Parameter& p : network.parameters())
      if (p.name == name) return p.value;
    throw Error("no parameter {}", name);
  };
  for (const WantedShape& w : wanted)
    value(w.name).copy_from(Tensor::from<double>(w.values, {static_cast<int64_t>(w.values.size())}));
  network.project();
  std::vector<Projected> all;
  for (const WantedShape& w : wanted) {
    const std::string name = w.name, slot = name.substr(0, name.find('.'));
    for (const auto& [each, size] : network.slot_shapes())
      if (each == slot) all.push_back({value(name).values(), size});
  }
  const auto state = [&] {
    std::vector<std::vector<double>> values;
    for (const WantedShape& w : wanted) values.push_back(value(w.name).values());
    return values;
  };
  const auto once = state();
  network.project();
  EXPECT_EQ(state(), once) << "a second time changes nothing";
  return all;
}

// A learned size is bounded from below by what stands behind it.
TEST(Slots, LearnedSizesFitWhatStandsBehindThem) {
  const auto with = [](const Json& pool) { return make_network({.width = 1.0 / 16}, pool); };
  const Json max = {{"type", "max"}}, dynopool = {{"type", "dynopool"}, {"r_min", 0.01}};
  {  // pool2 to pool4 halve: 8 at least, and no more than that; the other axis fits and stays
    const auto network = with({{"default", max}, {"pool1", dynopool}});
    const Projected p = project(*network, {{"pool1.alpha", {90, 3}}})[0];
    EXPECT_EQ(p.size, (Dims{8, 11}));
    EXPECT_FLOAT_EQ(static_cast<float>(p.values[0]), static_cast<float>(32 / 7.5));
    EXPECT_EQ(p.values[1], 3);
    EXPECT_EQ(project(*network, {{"pool1.alpha", {2.25, 4}}})[0].values, (std::vector<double>{2.25, 4})) << "it fits";
  }
  {  // the slot before the node first
    const auto network = with({{"default", dynopool},
                               {"pool3", {{"type", "max"}, {"kernel", 3}, {"stride", 2}}},
                               {"pool4", {{"type", "max"}, {"kernel", 1}}}});
    const auto both = project(*network, {{"pool1.alpha", {4, 4}}, {"pool2.alpha", {8, 2}}});
    EXPECT_EQ(both[0].values, (std::vector<double>{4, 4}));
    EXPECT_EQ(both[1].size, (Dims{3, 4}));
    EXPECT_FLOAT_EQ(static_cast<float>(both[1].values[0]), static_cast<float>(8 / 2.5));
  }
  {  // and the ones before it where that is not enough
    Json never_larger = dynopool;
    never_larger["r_max"] = 1;
    const auto network = with({{"default", {{"type", "max"}, {"kernel", 1}}},
                               {"pool1", dynopool},
                               {"pool2", never_larger},
                               {"pool3", {{"type", "max"}, {"kernel", 3}, {"stride", 2}}}});
    const auto both = project(*network, {{"pool1.alpha", {16, 16}}, {"pool2.alpha", {5, 1}}});
    EXPECT_EQ(both[0].size, (Dims{3, 3}));
    EXPECT_EQ(both[1].size, (Dims{3, 3}));
  }
  {  // a batch norm that sees one image at a time
    const auto network = with({{"default", max}, {"pool4", dynopool}});
    EXPECT_EQ(project(*network, {{"pool4.alpha", {90, 90}}})[0].size, (Dims{1, 1}));
    network->set_smallest_batch(1);
    EXPECT_EQ(project(*network, {{"pool4.alpha", {90, 90}}})[0].size, (Dims{1, 2}));
    network->set_smallest_batch(2);
    EXPECT_EQ(project(*network, {{"pool4.alpha", {90, 90}}})[0].size, (Dims{1, 1}));
  }
  {  // a least size that the slot's own bounds exclude, at whatever size it begins
    Json small = dynopool;
    small["r"] = small["r_max"] = 0.1;
    try {
      with({{"default", max}, {"pool1", small}});
      ADD_FAILURE() << "3 pixels went through three poolings by 2";
    } catch (const Error& e) {
      const std::string what = e.what();
      EXPECT_NE(what.find("[max] kernel 2 does not fit"), std::string::npos) << what;
      EXPECT_NE(what.find("learned: pool1.alpha"), std::string::npos) << what;
    }
  }
}

TEST(Slots, EveryLearnedSizeFitsEveryOperatorBehindIt) {
  const std::vector<Json> learned = {{{"type", "dynopool"}, {"r_min", 0.01}},
                                     {{"type", "dynopool"}, {"r_min", 0.01}, {"tied", true}},
                                     {{"type", "shape_adaptor"}, {"r1", 0.01}, {"alpha", 0}},
                                     {{"type", "diffstride"}, {"smoothness", 0.5}}};
  const std::vector<Json> behind = {{{"type", "max"}, {"kernel", 3}, {"stride", 2}},
                                    {{"type", "avg"}, {"kernel", 4}, {"dilation", 2}, {"stride", 1}},
                                    {{"type", "spectral"}, {"output_size", 8}},
                                    {{"type", "fractional_max"}, {"output_size", 7}},
                                    {{"type", "s3"}, {"grid", 4}},
                                    {{"type", "blur"}, {"kernel", 7}, {"stride", 1}},
                                    {{"type", "max_blur"}, {"filter", 7}},
                                    {{"type", "diffstride"}},
                                    {{"type", "conv"}, {"kernel", 5}}};
  for (const Json& one : learned)
    for (const Json& other : behind) {
      SCOPED_TRACE(one.dump() + " before " + other.dump());
      const auto network = make_network({.width = 1.0 / 16}, {{"default", {{"type", "max"}, {"kernel", 1}}},
                                                              {"pool1", {{"type", "max"}, {"kernel", 2}}},
                                                              {"pool2", one},
                                                              {"pool4", other}});
      for (const Parameter& p : network->parameters())
        if (p.name.starts_with("pool2."))
          for (const double end : {-1e6, 1e6}) {
            p.value.fill(end);
            network->project();
            EXPECT_GT(network->trace().macs(), 0);
          }
    }
}

TEST(Slots, RefuseWhatDoesNotResize) {
  for (const PoolDescription* d : pool_operators()) {
    if (d->resizes) continue;
    try {
      make_network({.width = 1.0 / 16}, {{"default", {{"type", d->name}}}});
      ADD_FAILURE() << d->name;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find("does not resize"), std::string::npos) << e.what();
    }
  }
}

}  // namespace
}  // namespace tidepool
