#include "core/tape.h"

#include <gtest/gtest.h>

#include "core/allocator.h"
#include "core/backend/elementwise.h"
#include "core/keep_tapes.h"

namespace tidepool {
namespace {

// Operators of the test: y = k x, y = x1 * x2 (elements).
Tensor scale(const Tensor& x, double k) {
  const Tensor y = x.clone();
  for (int64_t i = 0; i < x.numel(); ++i) y.mutable_data<double>()[i] *= k;
  Tape::record("scale", {x}, {y}, {}, [k](BackwardContext& ctx) {
    const Tensor dx = ctx.dy().clone();
    for (int64_t i = 0; i < dx.numel(); ++i) dx.mutable_data<double>()[i] *= k;
    ctx.dx(0) = dx;
  });
  return y;
}

Tensor times(const Tensor& a, const Tensor& b) {
  const Tensor y = a.clone();
  for (int64_t i = 0; i < a.numel(); ++i) y.mutable_data<double>()[i] *= b.data<double>()[i];
  Tape::record("times", {a, b}, {y}, {a, b}, [](BackwardContext& ctx) {
    for (size_t side = 0; side < 2; ++side) {
      if (!ctx.needs(side)) continue;
      const Tensor dx = ctx.dy().clone();
      for (int64_t i = 0; i < dx.numel(); ++i) dx.mutable_data<double>()[i] *= ctx.saved(1 - side).data<double>()[i];
      ctx.dx(side) = dx;
    }
  });
  return y;
}

Tensor leaf(std::initializer_list<double> values) {
  return Tensor::from(values, {static_cast<int64_t>(values.size())}).set_requires_grad();
}

using Values = std::vector<double>;

TEST(Tape, GradientsOfAChain) {
  const Tensor x = leaf({2, 3});
  Tape tape;
  Tensor y;
  {
    const Tape::Scope scope(&tape);
    y = times(scale(x, 3), x);  // 3 x^2
  }
  EXPECT_EQ(tape.nodes(), 2u);
  tape.backward(y, Tensor::from({1.0, 10.0}, {2}));
  EXPECT_EQ(x.grad().values(), (Values{12, 180}));  // 6 x dy: both uses are summed
  EXPECT_EQ(tape.nodes(), 0u);
}

TEST(Tape, SameTensorOnBothSides) {
  const Tensor x = leaf({5});
  Tape tape;
  const Tape::Scope scope(&tape);
  tape.backward(times(x, x));
  EXPECT_EQ(x.grad().item(), 10);
}

// A leaf is ready behind its last use, with its whole gradient; one that y does not depend on is ready too.
TEST(Tape, SaysWhenALeafIsReady) {
  const Tensor early = leaf({2}), late = leaf({3}), both = leaf({5}), apart = leaf({7});
  Tape tape;
  const Tape::Scope scope(&tape);
  const Tensor a = times(early, both);
  scale(apart, 2);
  const Tensor y = times(times(a, late), both);
  std::vector<std::pair<double, double>> ready;  // each leaf, and its gradient then
  tape.backward(y, {}, [&](const Tensor& t) { ready.emplace_back(t.item(), t.grad() ? t.grad().item() : 0); });
  EXPECT_EQ(ready, (std::vector<std::pair<double, double>>{{3, 50}, {7, 0}, {2, 75}, {5, 60}}));
}

TEST(Tape, GradientsOfTwoBackwardsAreSummed) {
  const Tensor x = leaf({2});
  for (int step = 1; step <= 3; ++step) {
    Tape tape;
    const Tape::Scope scope(&tape);
    tape.backward(scale(x, 4));
    EXPECT_EQ(x.grad().item(), 4 * step);
  }
  x.set_grad({});
  EXPECT_FALSE(x.grad());
}

TEST(Tape, ATapeServesAgainAfterBackward) {
  const Tensor x = leaf({2});
  Tape tape;
  const Tape::Scope scope(&tape);
  for (int step = 1; step <= 3; ++step) {
    const Tensor y = times(x, x);
    tape.backward(y);
    EXPECT_EQ(x.grad().item(), 4 * step);
    EXPECT_THROW(tape.backward(y), Error);  // it is a constant now
  }
}

TEST(Tape, AKeptTapeGivesTheSameGradientsAgain) {
  const Tensor x = leaf({2, 3}), dy = Tensor::from<double>({1, 10}, {2});
  Tape tape;
  Tensor y;
  {
    const Tape::Scope scope(&tape);
    y = scale(times(x, x), 3);
  }
  for (int i = 0; i < 3; ++i) {
    const KeepTapes keep;
    tape.backward(y, dy);
    EXPECT_EQ(x.grad().values(), (std::vector<double>{12, 180}));
    x.set_grad({});
  }
  tape.backward(y, dy);
  EXPECT_EQ(x.grad().values(), (std::vector<double>{12, 180}));
  EXPECT_THROW(tape.backward(y, dy), Error);
}

TEST(Tape, AChainOfAHundredThousandNodes) {
  const Tensor x = leaf({1});
  Tape tape;
  Tensor y = x;
  {
    const Tape::Scope scope(&tape);
    for (int i = 0; i < 100'000; ++i) y = scale(y, i % 2 == 0 ? 2.0 : 0.5);
  }
  EXPECT_EQ(tape.nodes(), 100'000u);
  tape.backward(y);
  EXPECT_EQ(x.grad().item(), 1);
}

TEST(Tape, AForgottenChainOfAHundredThousandNodes) {
  const Tensor x = leaf({1});
  Tensor y = x;
  {
    Tape tape;
    const Tape::Scope scope(&tape);
    for (int i = 0; i < 100'000; ++i) y = times(y, x);
    tape.clear();
    EXPECT_EQ(tape.nodes(), 0u);
    EXPECT_THROW(tape.backward(y), Error);
  }
}

TEST(Tape, NothingIsRecordedWithoutATapeOrALeaf) {
  const Tensor x = leaf({2}), constant = Tensor::from({3.0}, {1});
  EXPECT_FALSE(Tape::wants({x}));
  Tape tape;
  const Tape::Scope scope(&tape);
  EXPECT_TRUE(Tape::wants({constant, x}));
  EXPECT_FALSE(Tape::wants({constant, Tensor()}));
  scale(constant, 2);
  EXPECT_EQ(tape.nodes(), 0u);
  {
    const Tape::Scope no_grad(nullptr);
    EXPECT_FALSE(Tape::wants({x}));
    scale(x, 2);
    EXPECT_EQ(tape.nodes(), 0u);
  }
  scale(x, 2);
  EXPECT_EQ(tape.nodes(), 1u);
}

TEST(Tape, AViewIsAConstant) {
  const Tensor x = leaf({2, 3});
  Tape tape;
  const Tape::Scope scope(&tape);
  const Tensor y = scale(x, 2);
  scale(y.slice(0, 0, 1), 2);
  EXPECT_EQ(tape.nodes(), 1u);
}

TEST(Tape, OnlyWhatWantsAGradientGetsOne) {
  const Tensor x = leaf({2}), constant = Tensor::from({7.0}, {1});
  Tape tape;
  const Tape::Scope scope(&tape);
  tape.backward(times(x, constant));
  EXPECT_EQ(x.grad().item(), 7);
  EXPECT_FALSE(constant.grad());
}

TEST(Tape, BranchesThatNothingDependsOnAreSkipped) {
  const Tensor x = leaf({2}), unused = leaf({1});
  Tape tape;
  const Tape::Scope scope(&tape);
  const Tensor y = scale(x, 3);
  times(unused, x);
  tape.backward(y);
  EXPECT_EQ(x.grad().item(), 3);
  EXPECT_FALSE(unused.grad());
}

TEST(Tape, SavedBytesAreCountedOnceAStorage) {
  const Tensor x = leaf({1, 2, 3, 4}), c = Tensor::from({1.0, 2.0, 3.0, 4.0}, {4});
  Tape tape;
  const Tape::Scope scope(&tape);
  const LayerScope block("block");
  Tensor y;
  {
    const LayerScope layer("0");
    y = times(x, c);  // x is a leaf (a parameter): not counted
  }
  times(y, c);  // c is kept already
  scale(y, 2);  // keeps nothing
  const std::vector<SavedBytes> report = tape.saved_bytes();
  ASSERT_EQ(report.size(), 3u);
  EXPECT_EQ(report[0].op, "times");
  EXPECT_EQ(report[0].layer, "block.0");
  EXPECT_EQ(report[0].bytes, 32u);
  EXPECT_EQ(report[1].layer, "block");
  EXPECT_EQ(report[1].bytes, 32u);  // y
  EXPECT_EQ(report[2].bytes, 0u);
}

TEST(Tape, SavedTensorsAreDroppedAsTheyAreUsed) {
  constexpr int kLayers = 16;
  constexpr int64_t kLength = 100'000;
  Allocator& memory = Allocator::of(kCpu);
  const size_t one = Allocator::class_bytes(kLength * 8);
  const Tensor x = Tensor::full({kLength}, 1.0, {.dtype = DType::f64}).set_requires_grad();
  const Tensor half = Tensor::full({kLength}, 0.5, {.dtype = DType::f64});
  const size_t before = memory.stats().live_bytes;

  // Sees how much is held each time a node's backward has run.
  struct Watcher : Observer {
    std::vector<size_t> live;
    void output(const char*, std::span<const Tensor>, std::span<const Tensor>) override {}
    void gradients_computed(const char*, const std::string&, std::span<const Tensor>) override {
      live.push_back(Allocator::of(kCpu).stats().live_bytes);
    }
  } watcher;
  Tape tape;
  Tensor y = x;
  {
    const Tape::Scope scope(&tape);
    for (int i = 0; i < kLayers; ++i) y = times(y, half);
  }
  EXPECT_EQ(memory.stats().live_bytes - before, kLayers * one);
  const Tensor dy = Tensor::full({kLength}, 1.0, {.dtype = DType::f64});
  {
    const Observer::Scope watching(&watcher);
    tape.backward(y, dy);
  }
  ASSERT_EQ(watcher.live.size(), static_cast<size_t>(kLayers));
  // The first step has one more: the test holds dy.
  for (size_t i = 2; i + 1 < watcher.live.size(); ++i) EXPECT_LE(watcher.live[i] + one, watcher.live[i - 1]) << i;
  y = {};
  EXPECT_LE(memory.stats().live_bytes - before, 2 * one);  // dy and x's gradient
}

TEST(Tape, Errors) {
  const Tensor x = leaf({1, 2});
  Tape tape;
  const Tape::Scope scope(&tape);
  EXPECT_THROW(tape.backward(x), Error);  // a leaf is not recorded
  EXPECT_THROW(tape.backward(Tensor()), Error);
  const Tensor y = scale(x, 2);
  EXPECT_THROW(tape.backward(y), Error);                            // two elements want a gradient to start from
  EXPECT_THROW(tape.backward(y, Tensor::from({1.0}, {1})), Error);  // of y's shape
  Tape other;
  EXPECT_THROW(other.backward(y), Error);
  tape.backward(y, Tensor::from({1.0, 1.0}, {2}));  // what was refused did no harm
  EXPECT_EQ(x.grad().values(), (Values{2, 2}));
}

TEST(Tape, WatchSeesUnrecordedOperatorsToo) {
  struct Watcher : Observer {
    std::vector<std::string> seen;
    void output(const char* op, std::span<const Tensor> /*inputs*/, std::span<const Tensor> outputs) override {
      seen.push_back(fmt::format("{}:{}:{}", LayerScope::path(), op, outputs.size()));
    }
  } watcher;
  {
    const Observer::Scope watching(&watcher);
    const LayerScope layer("pool1");
    scale(Tensor::from({1.0}, {1}), 2);
  }
  scale(Tensor::from({1.0}, {1}), 2);
  EXPECT_EQ(watcher.seen, (std::vector<std::string>{"pool1:scale:1"}));
}

TEST(LayerScope, NestsAndUnwinds) {
  EXPECT_EQ(LayerScope::path(), "");
  {
    const LayerScope a("a");
    {
      const LayerScope b("b");
      EXPECT_EQ(LayerScope::path(), "a.b");
    }
    EXPECT_EQ(LayerScope::path(), "a");
  }
  EXPECT_EQ(LayerScope::path(), "");
}

}  // namespace
}  // namespace tidepool
