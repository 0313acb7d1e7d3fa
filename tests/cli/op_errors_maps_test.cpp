// Wrong requests to the operators that are no plain windows, against the real binary: a row is an operator, its input
// file, its config, and words that the one line on stderr must have.
#include "tests/cli/cli.h"

namespace tidepool {
namespace {

struct Wrong {
  const char *op, *input, *config;
  std::vector<std::string> words;
};

class OpErrorsMaps : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    const Tensor plane = Tensor::full({2, 3, 6, 8}, 1);
    const auto with = [&](const Tensor& x, const std::string& name, const Tensor& t) {
      return std::map<std::string, Tensor>{{"x", x}, {name, t}};
    };
    write("line.st", {{"x", Tensor::full({2, 3, 8}, 1)}});
    write("plane.st", {{"x", plane}});
    write("cube.st", {{"x", Tensor::full({1, 2, 4, 6, 8}, 1)}});
    write("odd.st", {{"x", Tensor::full({1, 2, 5, 6}, 1)}});
    write("flat.st", {{"x", Tensor::full({2, 3}, 1)}});
    write("empty.st", {{"x", Tensor::full({2, 3, 0, 4}, 1)}});
    write("wide.st", {{"x", Tensor::full({2, 3, 1, 4}, 1)}});
    write("u_shape.st", with(plane, "u", Tensor::full({2, 3, 3}, 0.5)));
    write("u_range.st", with(plane, "u", Tensor::full({2, 3, 2}, 1)));
    write("u_nan.st", with(plane, "u", Tensor::full({2, 3, 2}, NAN)));
    write("u_type.st", with(plane, "u", Tensor::full({2, 3, 2}, 0.5).to(DType::f64)));
    write("weight.st", with(plane, "weight", Tensor::full({3, 12, 2, 2}, 1)));
    write("wieght.st", with(plane, "wieght", Tensor::full({3, 12, 1, 1}, 1)));
    write("row.st", with(plane, "row.weight", Tensor::full({3, 3, 5}, 1)));
    write("rwo.st", with(plane, "rwo.weight", Tensor::full({3, 3, 3}, 1)));
    write("bias.st", with(plane, "fuse.bias", Tensor::full({1}, 1)));
    write("dy.st", {{"dy", Tensor::full({2, 3, 6, 8}, 1)}});
  }
  void refuse(const std::vector<Wrong>& rows) const {
    for (const Wrong& w : rows) {
      SCOPED_TRACE(std::string(w.op) + " " + w.input + " " + w.config);
      std::vector<std::string> words = w.words;
      if (std::string(w.op) != "none") words.push_back(std::string("[") + w.op + "]");
      expect_refused({"op", w.op, "--input", w.input, "--output", "y.st", "--config", w.config}, words);
    }
  }
};

TEST_F(OpErrorsMaps, Adaptive) {
  for (const char* op : {"adaptive_avg", "adaptive_max"})
    refuse({
        {op, "plane.st", "{}", {"'output_size' is missing"}},
        {op, "plane.st", R"({"output_size": 0})", {"'output_size'", ">= 1", "got 0"}},
        {op, "plane.st", R"({"output_size": -3})", {"'output_size'", "-3"}},
        {op, "plane.st", R"({"output_size": 2.5})", {"'output_size'", "2.5"}},
        {op, "plane.st", R"({"output_size": [2, 2, 2]})", {"'output_size' lists 3 numbers", "2 axes"}},
        {op, "plane.st", R"({"outptu_size": 2})", {"'outptu_size'", "did you mean 'output_size'"}},
        {op, "plane.st", R"({"output_size": 1000000})", {"more than 2^31 elements"}},
        {op, "empty.st", R"({"output_size": 2})", {"length 0 on axis 0"}},
        {op, "flat.st", R"({"output_size": 2})", {"2x3"}},
    });
  for (const char* op : {"global_avg", "global_max"})
    refuse({
        {op, "plane.st", R"({"output_size": 1})", {"unknown key 'output_size'"}},
        {op, "empty.st", "{}", {"length 0 on axis 0"}},
        {op, "flat.st", "{}", {"2x3"}},
        {op, "plane.st", R"({"kernel": 2})", {"unknown key 'kernel'"}},
    });
}

TEST_F(OpErrorsMaps, Blur) {
  refuse({
      {"blur", "plane.st", R"({"kernel": 0})", {"'kernel'", "got 0"}},
      {"blur", "plane.st", R"({"kernel": 2000})", {"'kernel'", "<= 1024"}},
      {"blur", "plane.st", R"({"kernel": 12})", {"kernel 12 reflects 6 positions", "axis 0 has 6"}},
      {"blur", "plane.st", R"({"kernel": 3, "stride": 0})", {"'stride'", "got 0"}},
      {"blur", "plane.st", R"({"kernel": [3, 3, 3]})", {"'kernel' lists 3"}},
      {"blur", "plane.st", R"({"padding": 1})", {"unknown key 'padding'"}},
      {"blur", "wide.st", R"({"kernel": 2})", {"axis 0 has 1"}},
      {"blur", "empty.st", "{}", {"length 0"}},
      {"max_blur", "plane.st", R"({"kernel": 7})", {"kernel 7 does not fit an input of length 6"}},
      {"max_blur", "plane.st", R"({"filter": 10})", {"filter 10 reflects 5 positions", "axis 0 has 5"}},
      {"max_blur", "plane.st", R"({"filter": []})", {"'filter'", "got []"}},
      {"max_blur", "plane.st", R"({"stride": "two"})", {"'stride'", "two"}},
      {"max_blur", "plane.st", R"({"fitler": 3})", {"'fitler'", "did you mean 'filter'"}},
      {"max_blur", "flat.st", "{}", {"2x3"}},
  });
}

TEST_F(OpErrorsMaps, Spp) {
  refuse({
      {"spp", "plane.st", R"({"levels": []})", {"'levels'", "list of integers"}},
      {"spp", "plane.st", R"({"levels": 2})", {"'levels'", "got 2"}},
      {"spp", "plane.st", R"({"levels": [1, 0]})", {"'levels'", ">= 1", "got 0"}},
      {"spp", "plane.st", R"({"levels": [1, 2.5]})", {"'levels'", "2.5"}},
      {"spp", "plane.st", R"({"levels": [100000]})", {"more than 2^31 elements"}},
      {"spp", "plane.st", R"({"aggregate": "mean"})", {"'aggregate'", "mean"}},
      {"spp", "empty.st", "{}", {"length 0"}},
      {"spp", "flat.st", "{}", {"2x3"}},
  });
}

TEST_F(OpErrorsMaps, FractionalMax) {
  refuse({
      {"fractional_max", "line.st", "{}", {"2 and 3 spatial axes", "2x3x8"}},
      {"fractional_max", "plane.st", R"({"output_size": 3, "ratio": 0.5})", {"expected one of the two, got both"}},
      {"fractional_max", "plane.st", R"({"output_size": 6})", {"6 windows of kernel 2", "at least 7, got 6 on axis 0"}},
      {"fractional_max", "plane.st", R"({"ratio": 0})", {"'ratio'", "> 0"}},
      {"fractional_max", "plane.st", R"({"ratio": 1.5})", {"'ratio'", "<= 1"}},
      {"fractional_max", "plane.st", R"({"ratio": [0.5, 0.5, 0.5]})", {"'ratio' lists 3"}},
      {"fractional_max", "plane.st", R"({"kernel": 9, "output_size": 1})", {"kernel 9", "got 6"}},
      {"fractional_max", "u_range.st", "{}", {"u: expected numbers in [0, 1), got 1"}},
      {"fractional_max", "u_nan.st", "{}", {"u: expected numbers in [0, 1), got nan"}},
      {"fractional_max", "u_shape.st", "{}", {"'u'", "expected the shape 2x3x2, got 2x3x3"}},
  });
  expect_refused({"op", "fractional_max", "--input", "u_type.st", "--output", "y.st"}, {"'u'", "expected f32"});
}

TEST_F(OpErrorsMaps, S3) {
  refuse({
      {"s3", "cube.st", "{}", {"1 and 2 spatial axes"}},
      {"s3", "plane.st", R"({"stride": 2, "grid": 3})", {"grid 3 is no multiple of the stride 2"}},
      {"s3", "plane.st", R"({"kernel": 3, "padding": 2})", {"padding 2 is over half the kernel 3"}},
      {"s3", "plane.st", R"({"kernel": 7})", {"kernel 7 does not fit an input of length 6"}},
      {"s3", "plane.st", R"({"stride": 0})", {"'stride'", "got 0"}},
      {"s3", "plane.st", R"({"grid": [2, 2, 2]})", {"'grid' lists 3"}},
      {"s3", "plane.st", R"({"padding": -1})", {"'padding'", "got -1"}},
  });
}

TEST_F(OpErrorsMaps, SpaceToDepth) {
  refuse({
      {"space_to_depth", "line.st", "{}", {"2 spatial axes", "2x3x8"}},
      {"space_to_depth", "odd.st", "{}", {"multiples of the block 2, got 5x6"}},
      {"space_to_depth", "plane.st", R"({"block": 0})", {"'block'", "got 0"}},
      {"space_to_depth", "plane.st", R"({"block": [2, 2]})", {"'block'", "[2,2]"}},
      {"space_to_depth", "plane.st", R"({"channels": -1})", {"'channels'", "-1"}},
      {"space_to_depth", "weight.st", "{}", {"'weight'", "expected the shape 3x12x1x1, got 3x12x2x2"}},
      {"space_to_depth", "wieght.st", "{}", {"'wieght'", "did you mean 'weight'"}},
  });
}

TEST_F(OpErrorsMaps, Spectral) {
  refuse({
      {"spectral", "cube.st", "{}", {"1 and 2 spatial axes"}},
      {"spectral", "plane.st", R"({"output_size": [3, 9]})", {"no longer than the input's 8 on axis 1, got 9"}},
      {"spectral", "plane.st", R"({"output_size": 0})", {"'output_size'", "got 0"}},
      {"spectral", "plane.st", R"({"ratio": 2})", {"'ratio'", "<= 1"}},
      {"spectral", "plane.st", R"({"ratio": 0.5, "output_size": 3})", {"expected one of the two, got both"}},
      {"spectral", "plane.st", R"({"raito": 0.5})", {"'raito'", "did you mean 'ratio'"}},
      {"spectral", "empty.st", "{}", {"length 0 on axis 0"}},
  });
}

TEST_F(OpErrorsMaps, DiffStride) {
  const Tensor x = Tensor::full({2, 3, 6, 8}, 1);
  const auto stride = [&](const std::string& name, std::initializer_list<float> values) {
    write(name, {{"x", x}, {"stride", Tensor::from<float>(values, {static_cast<int64_t>(values.size())})}});
  };
  stride("low.st", {2, 0.5f});
  stride("high.st", {3.5f, 2});
  stride("nan.st", {2, NAN});
  stride("three.st", {2, 2, 2});
  write("strid.st", {{"x", x}, {"strid", Tensor::full({2}, 2)}});
  refuse({
      {"diffstride", "cube.st", "{}", {"1 and 2 spatial axes"}},
      {"diffstride", "low.st", "{}", {"from 1 to 4 (half the length 8), got 0.5 for axis 1"}},
      {"diffstride", "high.st", "{}", {"from 1 to 3 (half the length 6), got 3.5 for axis 0"}},
      {"diffstride", "nan.st", "{}", {"got nan for axis 1"}},
      {"diffstride", "three.st", "{}", {"'stride'", "expected the shape 2, got 3"}},
      {"diffstride", "strid.st", "{}", {"'strid'", "did you mean 'stride'"}},
      {"diffstride", "plane.st", R"({"smoothness": 0})", {"'smoothness'", "> 0"}},
      {"diffstride", "plane.st", R"({"stride": 0.5})", {"'stride'", ">= 1"}},
      {"diffstride", "plane.st", R"({"stride": [2, 2, 2]})", {"'stride' lists 3"}},
      {"diffstride", "plane.st", R"({"smoothnes": 1})", {"did you mean 'smoothness'"}},
      {"diffstride", "empty.st", "{}", {"length 0 on axis 0"}},
  });
}

TEST_F(OpErrorsMaps, DynoPool) {
  const Tensor x = Tensor::full({2, 3, 6, 8}, 1);
  const auto alpha = [&](const std::string& name, std::initializer_list<float> values) {
    write(name, {{"x", x}, {"alpha", Tensor::from<float>(values, {static_cast<int64_t>(values.size())})}});
  };
  alpha("zero.st", {2, 0});
  alpha("below.st", {-1, 2});
  alpha("infinite.st", {2, INFINITY});
  alpha("nan.st", {NAN, 2});
  alpha("tiny.st", {1e-5f, 1e-5f});
  write("delta.st", {{"x", x}, {"delta", Tensor::full({2}, 0.25)}});
  write("delta_nan.st", {{"x", x}, {"delta", Tensor::full({2}, NAN)}});
  write("delta_shape.st", {{"x", x}, {"delta", Tensor::full({1}, 0.25)}});
  refuse({
      {"dynopool", "zero.st", "{}", {"alpha: expected finite numbers > 0, got 0 for axis 1"}},
      {"dynopool", "below.st", "{}", {"got -1 for axis 0"}},
      {"dynopool", "infinite.st", "{}", {"got inf for axis 1"}},
      {"dynopool", "nan.st", "{}", {"got nan for axis 0"}},
      {"dynopool", "tiny.st", "{}", {"more than 2^31 elements"}},
      {"dynopool", "zero.st", R"({"tied": true})", {"'alpha'", "expected the shape 1, got 2"}},
      {"dynopool", "delta.st", "{}", {"does not know the tensor 'delta'"}},
      {"dynopool", "delta_nan.st", R"({"offset": "learned"})", {"delta: expected finite numbers, got nan for axis 0"}},
      {"dynopool", "delta_shape.st", R"({"offset": "learned"})", {"'delta'", "expected the shape 2, got 1"}},
      {"dynopool", "plane.st", R"({"r": -0.5})", {"'r'", "> 0"}},
      {"dynopool", "plane.st", R"({"r": [0.5, 0.5, 0.5]})", {"'r' lists 3 numbers"}},
      {"dynopool", "plane.st", R"({"r": [0.5, 0.4], "tied": true})", {"tied axes have one number, got 2"}},
      {"dynopool", "plane.st", R"({"r_min": 3})", {"r_min 3 is over r_max 2"}},
      {"dynopool", "plane.st", R"({"aggregate": "mean"})", {"'aggregate'", "mean"}},
      {"dynopool", "plane.st", R"({"anchor": "centre"})", {"'anchor'", "did you mean 'center'"}},
      {"dynopool", "plane.st", R"({"node_derivative": "left"})", {"'node_derivative'", "left"}},
      {"dynopool", "plane.st", R"({"offset": 0.25})", {"'offset'", "0.25"}},
      {"dynopool", "empty.st", "{}", {"length 0 on axis 0"}},
      {"dynopool", "flat.st", "{}", {"2x3"}},
  });
}

TEST_F(OpErrorsMaps, ShapeAdaptor) {
  const Tensor x = Tensor::full({2, 3, 6, 8}, 1);
  write("nan.st", {{"x", x}, {"alpha", Tensor::full({1}, NAN)}});
  write("two.st", {{"x", x}, {"alpha", Tensor::full({2}, 0)}});
  refuse({
      {"shape_adaptor", "line.st", "{}", {"2 spatial axes"}},
      {"shape_adaptor", "nan.st", "{}", {"alpha: expected a finite number, got nan"}},
      {"shape_adaptor", "two.st", "{}", {"'alpha'", "expected the shape 1, got 2"}},
      {"shape_adaptor", "plane.st", R"({"r1": 1})", {"r1 1 is not under r2 1"}},
      {"shape_adaptor", "plane.st", R"({"r1": 0})", {"'r1'", "> 0"}},
      {"shape_adaptor", "plane.st", R"({"r2": 10000})", {"'r2'", "<= 1000"}},
      {"shape_adaptor", "plane.st", R"({"grad": "full"})", {"'grad'", "full"}},
      {"shape_adaptor", "empty.st", "{}", {"length 0 on axis 0"}},
  });
}

TEST_F(OpErrorsMaps, Strip) {
  refuse({
      {"strip", "line.st", "{}", {"2 spatial axes"}},
      {"strip", "empty.st", "{}", {"length 0"}},
      {"strip", "plane.st", R"({"kernel": 3})", {"unknown key 'kernel'"}},
      {"strip", "row.st", "{}", {"'row.weight'", "expected the shape 3x3x3, got 3x3x5"}},
      {"strip", "bias.st", "{}", {"'fuse.bias'", "expected the shape 3, got 1"}},
      {"strip", "rwo.st", "{}", {"'rwo.weight'", "did you mean 'row.weight'"}},
  });
}

// A dy of the wrong shape; and an operator that does not resize, in a network's place.
TEST_F(OpErrorsMaps, ShapesOfGradientsAndPlaces) {
  const std::map<std::string, std::string> y = {{"adaptive_avg", R"({"output_size": 2})"},
                                                {"adaptive_max", R"({"output_size": 2})"},
                                                {"global_avg", "{}"},
                                                {"global_max", "{}"},
                                                {"blur", R"({"kernel": 3, "stride": 2})"},
                                                {"max_blur", "{}"},
                                                {"spp", "{}"},
                                                {"fractional_max", "{}"},
                                                {"s3", "{}"},
                                                {"spectral", "{}"},
                                                {"diffstride", R"({"smoothness": 0.5})"},
                                                {"space_to_depth", "{}"}};
  for (const auto& [op, config] : y)
    expect_refused({"op", op, "--input", "plane.st", "--output", "y.st", "--grad", "dy.st", "--config", config},
                   {"'dy'", "expected the shape of y", "2x3x6x8"});
  write("run.json",
        R"({"extends": "cifar100_vgg16.json", "data": {"name": "procedural", "train_images": 20, "test_images": 10}})");
  for (const char* op : {"strip", "spp"})
    expect_refused({"info", "run.json", "--set", std::string("model.pool.default.type=") + op},
                   {std::string("[") + op + "]", "does not resize", "model.pool.pool1 (default)"});
}

// Given draws are read, and written back as nothing.
TEST_F(OpErrorsMaps, FractionalMaxTakesGivenDraws) {
  write("u.st", {{"x", Tensor::full({2, 3, 6, 8}, 1)}, {"u", Tensor::full({2, 3, 2}, 0.25)}});
  write("dy_small.st", {{"dy", Tensor::full({2, 3, 3, 4}, 1)}});
  done({"op", "fractional_max", "--input", "u.st", "--output", "y.st", "--grad", "dy_small.st"});
  EXPECT_EQ(read("y.st").size(), 2u);
}

}  // namespace
}  // namespace tidepool
