// tidepool op: from file to file.
#include <cmath>

#include "core/philox.h"
#include "tests/cli/cli.h"

namespace tidepool {
namespace {

class Op : public CliTest {};

Tensor normal(const Dims& shape, uint64_t seed, DType dtype) {
  const Tensor t = Tensor::empty(shape, {.dtype = DType::f64});
  Random random(seed, 0);
  for (int64_t i = 0; i < t.numel(); ++i) t.mutable_data<double>()[i] = random.normal();
  return t.to(dtype);
}

// 2x2 SoftPool of an even map and its gradient, written out.
void soft_2x2(const Tensor& x, const Tensor& dy, std::vector<double>& y, std::vector<double>& dx) {
  const std::vector<double> v = x.values(), d = dy.values();
  const int64_t maps = x.size(0) * x.size(1), h = x.size(2), w = x.size(3);
  y.assign(d.size(), 0);
  dx.assign(v.size(), 0);
  for (int64_t m = 0; m < maps; ++m)
    for (int64_t i = 0; i < h / 2; ++i)
      for (int64_t j = 0; j < w / 2; ++j) {
        const auto at = [&](int64_t k) { return static_cast<size_t>((m * h + 2 * i + k / 2) * w + 2 * j + k % 2); };
        const auto out = static_cast<size_t>((m * (h / 2) + i) * (w / 2) + j);
        double sum = 0, weighted = 0;
        for (int64_t k = 0; k < 4; ++k) {
          sum += std::exp(v[at(k)]);
          weighted += std::exp(v[at(k)]) * v[at(k)];
        }
        y[out] = weighted / sum;
        for (int64_t k = 0; k < 4; ++k) dx[at(k)] = d[out] * std::exp(v[at(k)]) / sum * (1 + v[at(k)] - y[out]);
      }
}

double worst(const Tensor& got, const std::vector<double>& expected) {
  const std::vector<double> values = got.values();
  EXPECT_EQ(values.size(), expected.size());
  double error = 0, largest = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    error = std::max(error, std::abs(values[i] - expected[i]));
    largest = std::max(largest, std::abs(expected[i]));
  }
  return error / largest;
}

TEST_F(Op, SoftInEveryType) {
  const struct {
    DType dtype;
    double tolerance;
  } cases[] = {{DType::f64, 1e-10}, {DType::f32, 1e-5}, {DType::bf16, 0x1p-7}};
  for (const auto& [dtype, tolerance] : cases) {
    SCOPED_TRACE(name_of(dtype));
    const Tensor x = normal({2, 3, 6, 4}, 1, dtype), dy = normal({2, 3, 3, 2}, 2, dtype);
    write("x.st", {{"x", x}});
    write("dy.st", {{"dy", dy}});
    const Outcome outcome = done({"op", "soft", "--input", "x.st", "--output", "y.st", "--grad", "dy.st"});
    EXPECT_EQ(outcome.out, "");
    EXPECT_EQ(outcome.err, "");
    const auto result = read("y.st");
    ASSERT_EQ(result.size(), 2u);
    EXPECT_EQ(result.at("y").dtype(), dtype);
    EXPECT_EQ(result.at("dx").dtype(), dtype);
    std::vector<double> y, dx;
    soft_2x2(x, dy, y, dx);
    EXPECT_LE(worst(result.at("y"), y), tolerance);
    EXPECT_LE(worst(result.at("dx"), dx), tolerance);
  }
}

TEST_F(Op, WithoutGradOnlyY) {
  write("x.st", {{"x", normal({1, 2, 8}, 1, DType::f32)}});
  done({"op", "max", "--input", "x.st", "--output", "y.st", "--config", R"({"kernel": 3, "stride": 2})"});
  const auto result = read("y.st");
  ASSERT_EQ(result.size(), 1u);
  EXPECT_EQ(result.at("y").shape(), Dims({1, 2, 3}));
}

TEST_F(Op, ConfigFromAFileWithComments) {
  write("x.st", {{"x", normal({1, 2, 8, 8}, 1, DType::f32)}});
  write("config.json", "{\"kernel\": 4, // a window\n \"type\": \"avg\"}");
  done({"op", "avg", "--input", "x.st", "--output", "y.st", "--config", "@config.json"});
  EXPECT_EQ(read("y.st").at("y").shape(), Dims({1, 2, 2, 2}));
}

TEST_F(Op, ParametersFromTheFileWin) {
  const Tensor x = normal({1, 2, 8, 8}, 1, DType::f64);
  write("start.st", {{"x", x}});
  write("given.st", {{"x", x}, {"alpha", Tensor::from({4.0, 2.0}, {2})}});
  write("dy.st", {{"dy", normal({1, 2, 2, 4}, 2, DType::f64)}});
  done({"op", "dynopool", "--input", "start.st", "--output", "y0.st"});
  EXPECT_EQ(read("y0.st").at("y").shape(), Dims({1, 2, 4, 4}));
  done({"op", "dynopool", "--input", "start.st", "--output", "y1.st", "--config", R"({"r": 0.25})"});
  EXPECT_EQ(read("y1.st").at("y").shape(), Dims({1, 2, 2, 2}));
  done({"op", "dynopool", "--input", "given.st", "--output", "y2.st", "--config", R"({"r": 0.25})", "--grad", "dy.st"});
  const auto result = read("y2.st");
  EXPECT_EQ(result.at("y").shape(), Dims({1, 2, 2, 4}));
  EXPECT_EQ(result.at("dx").shape(), x.shape());
  EXPECT_EQ(result.at("d_alpha").shape(), Dims({2}));
  EXPECT_EQ(result.at("d_alpha").dtype(), DType::f64);
  EXPECT_EQ(result.size(), 3u);
}

TEST_F(Op, DynopoolAtOneHalfIsMaxPoolingBitForBit) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f64}) {
    write("x.st", {{"x", normal({2, 3, 8, 6}, 5, dtype)}});
    done({"op", "dynopool", "--input", "x.st", "--output", "a.st"});
    done({"op", "max", "--input", "x.st", "--output", "b.st", "--config", R"({"kernel": 2})"});
    EXPECT_EQ(read("a.st").at("y").values(), read("b.st").at("y").values()) << name_of(dtype);
  }
}

TEST_F(Op, StartValuesComeFromTheSeed) {
  write("x.st", {{"x", normal({1, 4, 8, 8}, 1, DType::f32)}});
  const auto y = [&](const std::string& seed) {
    done({"op", "conv", "--input", "x.st", "--output", "y.st", "--seed", seed});
    return read("y.st").at("y").values();
  };
  EXPECT_EQ(y("3"), y("3"));
  EXPECT_NE(y("3"), y("4"));
}

TEST_F(Op, ConvolutionWithGivenWeights) {
  const Tensor x = Tensor::from({1.0, 2.0, 3.0, 4.0}, {1, 1, 2, 2});
  write("x.st", {{"x", x},
                 {"weight", Tensor::from({1.0, 10.0, 100.0, 1000.0}, {1, 1, 2, 2})},
                 {"bias", Tensor::from({0.5}, {1})}});
  write("dy.st", {{"dy", Tensor::from({2.0}, {1, 1, 1, 1})}});
  done({"op", "conv", "--input", "x.st", "--output", "y.st", "--grad", "dy.st", "--config", R"({"kernel": 2})"});
  const auto result = read("y.st");
  EXPECT_EQ(result.at("y").item(), 4321.5);
  EXPECT_EQ(result.at("dx").values(), (std::vector<double>{2, 20, 200, 2000}));
  EXPECT_EQ(result.at("d_weight").values(), (std::vector<double>{2, 4, 6, 8}));
  EXPECT_EQ(result.at("d_bias").item(), 2);
}

TEST_F(Op, BatchOfNothing) {
  for (const char* name : {"max", "avg", "soft", "dynopool", "shape_adaptor", "conv"}) {
    SCOPED_TRACE(name);
    write("x.st", {{"x", Tensor::zeros({0, 3, 8, 8})}});
    const Outcome forward = done({"op", name, "--input", "x.st", "--output", "y.st", "--json"});
    const Tensor y = read("y.st").at("y");
    EXPECT_EQ(y.size(0), 0);
    EXPECT_EQ(forward.json()["shapes"]["y"][1], 3);
    write("dy.st", {{"dy", Tensor::zeros(y.shape())}});
    done({"op", name, "--input", "x.st", "--output", "y.st", "--grad", "dy.st"});
    const auto result = read("y.st");
    EXPECT_EQ(result.at("dx").shape(), Dims({0, 3, 8, 8}));
    for (const auto& [tensor, value] : result)
      for (const double v : value.values()) EXPECT_EQ(v, 0) << tensor;
  }
}

TEST_F(Op, XAndDyMayShareAFile) {
  write("x.st", {{"x", normal({1, 1, 4}, 1, DType::f32)}, {"dy", normal({1, 1, 2}, 2, DType::f32)}});
  done({"op", "avg", "--input", "x.st", "--grad", "x.st", "--output", "y.st"});
  EXPECT_EQ(read("y.st").size(), 2u);
}

TEST_F(Op, AnOutputThatExistsIsReplacedAndNothingElseIsLeft) {
  write("x.st", {{"x", normal({1, 1, 4}, 1, DType::f32)}});
  write("y.st", std::string("old"));
  done({"op", "avg", "--input", "x.st", "--output", "y.st"});
  EXPECT_EQ(read("y.st").size(), 1u);
  EXPECT_EQ(files(), (std::set<std::string>{"x.st", "y.st"}));
}

TEST_F(Op, TwoRunsGiveTheSameBytes) {
  write("x.st", {{"x", normal({2, 5, 9, 7}, 1, DType::f32)}});
  write("dy.st", {{"dy", normal({2, 5, 4, 3}, 2, DType::f32)}});
  for (const char* out : {"a.st", "b.st"}) done({"op", "soft", "--input", "x.st", "--output", out, "--grad", "dy.st"});
  EXPECT_EQ(text_of(file("a.st")), text_of(file("b.st")));
}

}  // namespace
}  // namespace tidepool
