// What every windowed operator must refuse, against the real binary: what no window can be, and its row's own requests.
#include "core/error.h"
#include "tests/cli/cli.h"
#include "tests/layers/pool/cases.h"

namespace tidepool {
namespace {

using testing::BadRequest;
using testing::PoolRow;

class BadOperators : public CliTest, public ::testing::WithParamInterface<PoolRow> {
 protected:
  void refuse(const std::string& op, const BadRequest& bad) const {
    std::map<std::string, Tensor> tensors{{"x", Tensor::full({1, 2, 4, 4}, 1)}};
    if (!bad.tensor.empty())
      tensors[bad.tensor] =
          Tensor::from<double>(std::span<const double>(bad.values), {static_cast<int64_t>(bad.values.size())})
              .to(DType::f32);
    write("x.st", tensors);
    expect_refused({"op", op, "--input", "x.st", "--output", "y.st", "--config", bad.config}, bad.words);
  }
};

TEST_P(BadOperators, AreRefused) {
  const PoolRow& row = GetParam();
  const std::string name = row.name, tag = "[" + name + "]";
  EXPECT_GE(row.bad.size(), 4u);
  for (const BadRequest& bad : row.bad) refuse(name, bad);
  const std::vector<BadRequest> windows = {
      {R"({"kernel": 5})", {tag, "kernel 5 does not fit an input of length 4"}},
      {R"({"kernel": [2, 0]})", {tag, "key 'kernel'", "got 0"}},
      {R"({"kernel": [2, 2, 2]})", {tag, "key 'kernel' lists 3 numbers, but the map has 2 axes"}},
      {R"({"stride": -1})", {tag, "key 'stride'", "got -1"}},
      {R"({"kernel": 2, "padding": 2})", {tag, "padding 2 is over half the kernel 2"}},
      {R"({"dilation": 0})", {tag, "key 'dilation'", "got 0"}},
      {R"({"dilation": 4})", {tag, "kernel 2 with dilation 4 does not fit"}},
      {R"({"ceil_mode": "up"})", {tag, "key 'ceil_mode'", "up"}},
      {R"({"kernle": 2})", {tag, "unknown key 'kernle'", "did you mean 'kernel'"}},
      {R"({})", {tag, "does not know the tensor 'bais'"}, "bais", {1}},
  };
  for (const BadRequest& bad : windows) refuse(name, bad);
  write("flat.st", {{"x", Tensor::full({2, 3}, 1)}});
  expect_refused({"op", name, "--input", "flat.st", "--output", "y.st"}, {tag, "2x3"});
  write("x.st", {{"x", Tensor::full({1, 2, 4, 4}, 1)}});
  write("dy.st", {{"dy", Tensor::full({1, 2, 4, 4}, 1)}});
  expect_refused({"op", name, "--input", "x.st", "--output", "y.st", "--grad", "dy.st"},
                 {"'dy'", "1x2x2x2", "1x2x4x4"});
}

INSTANTIATE_TEST_SUITE_P(Windows, BadOperators, ::testing::ValuesIn(testing::window_rows()),
                         [](const auto& row) { return std::string(row.param.name); });

}  // namespace
}  // namespace tidepool
