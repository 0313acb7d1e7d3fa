// Bad input: an operator names itself, what was expected and what came.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "layers/pool/operator.h"
#include "tests/layers/battery.h"

namespace tidepool::testing {
namespace {

using nlohmann::json;

struct Bad {
  const char* config;
  Dims shape;
  const char* message;
};
void PrintTo(const Bad& bad, std::ostream* out) {  // GoogleTest prints bytes else, pointers among them
  *out << bad.config << " on " << bad.shape.str();
}

class BadInput : public ::testing::TestWithParam<Bad> {};

TEST_P(BadInput, SaysWhat) {
  const Bad& bad = GetParam();
  EXPECT_EQ(error_of([&] {
              const auto op = make_pool_operator(json::parse(bad.config));
              const Tensor x = Tensor::zeros(bad.shape);
              std::vector<Tensor> parameters;
              for (const auto& spec : op->parameters(bad.shape)) {
                parameters.push_back(Tensor::empty(spec.shape));
                spec.init(parameters.back(), 0);
              }
              op->forward(x, parameters, {});
            }),
            bad.message);
}

INSTANTIATE_TEST_SUITE_P(
    Pool, BadInput,
    ::testing::Values(
        Bad{R"({"type": "soft", "kernel": 3})",
            {1, 1, 2, 5},
            "[soft] kernel 3 does not fit an input of length 2 (padding 0)"},
        Bad{R"({"type": "max", "kernel": 3, "dilation": 4})",
            {1, 1, 8},
            "[max] kernel 3 with dilation 4 does not fit an input of length 8 (padding 0)"},
        Bad{R"({"type": "max"})", {1, 1, 0, 4}, "[max] kernel 2 does not fit an input of length 0 (padding 0)"},
        Bad{R"({"type": "avg", "kernel": 3, "padding": 2})", {1, 1, 9, 9}, "[avg] padding 2 is over half the kernel 3"},
        Bad{R"({"type": "max", "kernel": 2, "padding": 1, "dilation": 3, "ceil_mode": true})",
            {1, 1, 2},
            "[max] kernel 2 with dilation 3, padding 1: window 0 covers no element of an input of length 2"},
        Bad{R"({"type": "max", "kernel": 0})",
            {1, 1, 4, 4},
            "[max] key 'kernel': expected integer or one per axis >= 1, <= 1048576, got 0"},
        Bad{R"({"type": "max", "stride": -2})",
            {1, 1, 4, 4},
            "[max] key 'stride': expected integer or one per axis >= 1, <= 1048576, got -2"},
        Bad{R"({"type": "max", "kernel": 2.5})",
            {1, 1, 4, 4},
            "[max] key 'kernel': expected integer or one per axis >= 1, <= 1048576, got 2.5"},
        Bad{R"({"type": "max", "kernel": [2, "x"]})",
            {1, 1, 4, 4},
            "[max] key 'kernel': expected integer or one per axis >= 1, <= 1048576, got [2,\"x\"]"},
        Bad{R"({"type": "max", "kernel": [2, 2, 2]})",
            {1, 1, 4, 4},
            "[max] key 'kernel' lists 3 numbers, but the map has 2 axes"},
        Bad{R"({"type": "max", "kernle": 2})", {1, 1, 4, 4}, "[max] unknown key 'kernle' (did you mean 'kernel'?)"},
        Bad{R"({"type": "max"})",
            {1, 1},
            "[max] expected a map of 1, 2 and 3 spatial axes (N, C, spatial), got the shape 1x1"},
        Bad{R"({"type": "shape_adaptor"})",
            {1, 1, 5},
            "[shape_adaptor] expected a map of 2 spatial axes (N, C, spatial), got the shape 1x1x5"},
        Bad{R"({"type": "soft", "beta": -1})",
            {1, 1, 4, 4},
            "[soft] key 'beta': expected number >= 0, <= 1000000, got -1"},
        Bad{R"({"type": "soft", "grad": "frozen"})",
            {1, 1, 4, 4},
            "[soft] key 'grad': expected one of full, frozen_weights; got \"frozen\""},
        Bad{R"({"type": "avg", "count_include_pad": 1})",
            {1, 1, 4, 4},
            "[avg] key 'count_include_pad': expected true or false, got 1"},
        Bad{R"({"type": "dynopool", "r": 0})",
            {1, 1, 4, 4},
            "[dynopool] key 'r': expected number or one per axis > 0, <= 1000000, got 0"},
        Bad{R"({"type": "dynopool", "r": [0.5, 0.5, 0.5]})",
            {1, 1, 4, 4},
            "[dynopool] key 'r' lists 3 numbers, but the map has 2 axes"},
        Bad{R"({"type": "dynopool", "r_min": 3})", {1, 1, 4, 4}, "[dynopool] r_min 3 is over r_max 2"},
        Bad{R"({"type": "dynopool", "tied": true, "r": [0.5, 0.4]})",
            {1, 1, 4, 4},
            "[dynopool] key 'r': tied axes have one number, got 2"},
        Bad{R"({"type": "shape_adaptor", "r1": 1})", {1, 1, 4, 4}, "[shape_adaptor] r1 1 is not under r2 1"},
        Bad{R"({"kernel": 2})",
            {1, 1, 4, 4},
            "pooling: expected an object with a \"type\", for example {\"type\": \"max\"}"}));

struct BadParameter {
  const char* config;
  std::vector<double> alpha;
  const char* message;
};
void PrintTo(const BadParameter& bad, std::ostream* out) {
  *out << bad.config << " with alpha " << ::testing::PrintToString(bad.alpha);
}

class BadAlpha : public ::testing::TestWithParam<BadParameter> {};

TEST_P(BadAlpha, SaysWhat) {
  const BadParameter& bad = GetParam();
  EXPECT_EQ(error_of([&] {
              const Tensor alpha = Tensor::from<double>(bad.alpha, {static_cast<int64_t>(bad.alpha.size())});
              make_pool_operator(json::parse(bad.config))->forward(Tensor::zeros({1, 2, 6, 6}), std::vector{alpha}, {});
            }),
            bad.message);
}

INSTANTIATE_TEST_SUITE_P(
    Pool, BadAlpha,
    ::testing::Values(
        BadParameter{R"({"type": "dynopool"})", {2}, "[dynopool] alpha: expected the shape 2, got 1"},
        BadParameter{R"({"type": "dynopool", "tied": true})", {2, 2}, "[dynopool] alpha: expected the shape 1, got 2"},
        BadParameter{
            R"({"type": "dynopool"})", {2, 0}, "[dynopool] alpha: expected finite numbers > 0, got 0 for axis 1"},
        BadParameter{
            R"({"type": "dynopool"})", {-1, 2}, "[dynopool] alpha: expected finite numbers > 0, got -1 for axis 0"},
        BadParameter{R"({"type": "dynopool"})",
                     {INFINITY, 2},
                     "[dynopool] alpha: expected finite numbers > 0, got inf for axis 0"},
        BadParameter{
            R"({"type": "dynopool"})", {2, NAN}, "[dynopool] alpha: expected finite numbers > 0, got nan for axis 1"},
        BadParameter{
            R"({"type": "dynopool"})",
            {1e-5, 1e-5},
            "[dynopool] alpha 1e-05 enlarges axis 1 of 1x2x6x6 to 600000: the output would have more than 2^31 "
            "elements"},
        BadParameter{R"({"type": "dynopool", "offset": "learned"})",
                     {2, 2},
                     "[dynopool] expected 2 parameters (alpha, delta), got 1"},
        BadParameter{R"({"type": "max"})", {2, 2}, "[max] expected 0 parameters (), got 1"},
        BadParameter{
            R"({"type": "shape_adaptor"})", {NAN}, "[shape_adaptor] alpha: expected a finite number, got nan"}));

TEST(PoolErrors, UnknownOperator) {
  std::string names;
  for (const PoolDescription* d : pool_operators()) names += (names.empty() ? "" : ", ") + d->name;
  EXPECT_EQ(error_of([] {
              make_pool_operator({{"type", "maxx"}});
            }),
            "pooling: unknown operator 'maxx' (did you mean 'max'?); there are: " + names);
}

TEST(PoolErrors, TypesOfTensors) {
  const auto max = make_pool_operator({{"type", "max"}});
  EXPECT_EQ(error_of([&] {
              max->forward(Tensor::zeros({1, 1, 4}, {.dtype = DType::i64}), {}, {});
            }),
            "[max] expected a tensor of f32, f64 or bf16, got i64");
}

}  // namespace
}  // namespace tidepool::testing
