#include "core/tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "core/backend/elementwise.h"
#include "core/backend/reduction.h"

namespace tidepool {
namespace {

using Values = std::vector<double>;

Tensor counting(const Dims& shape) {
  std::vector<float> values(static_cast<size_t>(shape.product()));
  std::iota(values.begin(), values.end(), 0.0f);
  return Tensor::from<float>(std::span<const float>(values), shape);
}

TEST(Dims, RankAndText) {
  EXPECT_EQ(Dims({2, 3, 4}).str(), "2x3x4");
  EXPECT_EQ(Dims().str(), "scalar");
  EXPECT_EQ(Dims({2, 3, 4}).product(), 24);
  EXPECT_EQ(Dims().product(), 1);
  EXPECT_NE(Dims({2, 3}), Dims({2, 3, 1}));
  const std::vector<int64_t> six(6, 1);
  EXPECT_THROW(Dims{std::span<const int64_t>(six)}, Error);
}

TEST(Tensor, StridesOfBothFormats) {
  EXPECT_EQ(dense_strides({2, 3, 4, 5}, MemoryFormat::plain), Dims({60, 20, 5, 1}));
  EXPECT_EQ(dense_strides({2, 3, 4, 5}, MemoryFormat::channels_last), Dims({60, 1, 15, 3}));
  EXPECT_EQ(dense_strides({2, 3, 4}, MemoryFormat::channels_last), Dims({12, 1, 3}));
  EXPECT_EQ(dense_strides({2, 3, 4, 5, 6}, MemoryFormat::channels_last), Dims({360, 1, 90, 18, 3}));
  EXPECT_EQ(dense_strides({2, 3}, MemoryFormat::channels_last), Dims({3, 1}));
}

TEST(Tensor, RanksZeroToFive) {
  const Dims shapes[] = {Dims(), {3}, {2, 3}, {2, 3, 4}, {2, 3, 4, 5}, {2, 3, 2, 3, 2}};
  for (const Dims& shape : shapes) {
    for (const MemoryFormat format : {MemoryFormat::plain, MemoryFormat::channels_last}) {
      const Tensor x = Tensor::full(shape, 2.5, {.format = format});
      EXPECT_EQ(x.rank(), shape.rank());
      EXPECT_TRUE(x.is_contiguous(format));
      EXPECT_EQ(x.values(), Values(static_cast<size_t>(shape.product()), 2.5));
    }
  }
  EXPECT_EQ(Tensor::full(Dims(), 3.0).item(), 3.0);
}

TEST(Tensor, RefusesShapesThatCannotBe) {
  EXPECT_THROW(Tensor::empty({2, -1}), Error);
  EXPECT_THROW(Tensor::empty({int64_t{1} << 40, int64_t{1} << 40}), Error);
  EXPECT_THROW(Tensor::empty({int64_t{1} << 44}), Error);
  EXPECT_THROW(Tensor::from({1.0f, 2.0f}, {3}), Error);
}

TEST(Tensor, EmptyBatches) {
  const Tensor x = Tensor::zeros({0, 3, 4});
  EXPECT_EQ(x.numel(), 0);
  EXPECT_TRUE(x.values().empty());
  EXPECT_EQ(x.clone().shape(), x.shape());
  EXPECT_EQ(x.to(DType::f64).dtype(), DType::f64);
  EXPECT_EQ(x.contiguous(MemoryFormat::channels_last).shape(), x.shape());
  EXPECT_EQ(x.reshape({0, 12}).shape(), Dims({0, 12}));
}

TEST(Tensor, ViewsShareMemory) {
  const Tensor x = counting({2, 3, 4});
  const Tensor slice = x.slice(2, 1, 2, 2);
  EXPECT_EQ(slice.shape(), Dims({2, 3, 2}));
  EXPECT_EQ(slice.values(), (Values{1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23}));
  EXPECT_TRUE(slice.shares_storage(x));
  slice.fill(-1);
  EXPECT_EQ(x.values()[1], -1);
  EXPECT_EQ(x.values()[2], 2);
  EXPECT_EQ(x.select(1, 2).values(), (Values{8, -1, 10, -1, 20, -1, 22, -1}));
  EXPECT_EQ(x.select(0, 1).select(0, 0).shape(), Dims({4}));
  EXPECT_EQ(x.permute({2, 0, 1}).shape(), Dims({4, 2, 3}));
  EXPECT_EQ(x.permute({2, 0, 1}).values()[1], 4);
  EXPECT_EQ(x.slice(0, 1, 0).numel(), 0);
}

TEST(Tensor, ViewsRefuseWhatDoesNotFit) {
  const Tensor x = counting({2, 3});
  EXPECT_THROW(x.slice(1, 2, 2), Error);
  EXPECT_THROW(x.slice(1, -1, 1), Error);
  EXPECT_THROW(x.slice(2, 0, 1), Error);
  EXPECT_THROW(x.slice(1, 0, 2, 0), Error);
  EXPECT_THROW(x.select(0, 2), Error);
  EXPECT_THROW(x.permute({0, 0}), Error);
  EXPECT_THROW(x.permute({0}), Error);
  EXPECT_THROW(x.permute({0, 2}), Error);
  EXPECT_THROW(x.reshape({7}), Error);
  EXPECT_THROW(x.data<double>(), Error);
  EXPECT_THROW(x.item(), Error);
  EXPECT_THROW(x.copy_from(counting({3, 2})), Error);
}

TEST(Tensor, ReshapeIsAViewWhereItCan) {
  const Tensor x = counting({2, 3, 4});
  EXPECT_TRUE(x.reshape({6, 4}).shares_storage(x));
  EXPECT_FALSE(x.permute({0, 2, 1}).reshape({24}).shares_storage(x));
  EXPECT_EQ(x.permute({0, 2, 1}).reshape({2, 12}).values()[1], 4);
  EXPECT_EQ(x.slice(0, 1, 1).reshape({12}).values()[0], 12);  // keeps its offset
}

TEST(Tensor, FormatsRoundTrip) {
  const auto check = [](const Tensor& x) {
    const Tensor last = x.contiguous(MemoryFormat::channels_last);
    EXPECT_EQ(last.format(), MemoryFormat::channels_last);
    EXPECT_FALSE(last.shares_storage(x));
    EXPECT_EQ(last.values(), x.values());
    const Tensor back = last.contiguous(MemoryFormat::plain);
    EXPECT_EQ(back.format(), MemoryFormat::plain);
    EXPECT_EQ(back.values(), x.values());
    EXPECT_EQ(last.clone().format(), MemoryFormat::channels_last);
    EXPECT_EQ(last.to(DType::f64).format(), MemoryFormat::channels_last);
    EXPECT_TRUE(last.contiguous().shares_storage(last));
  };
  for (const Dims& shape :
       {Dims{2, 3, 7}, Dims{2, 3, 5, 7}, Dims{2, 3, 2, 5, 3}, Dims{1, 64, 33, 65}, Dims{2, 17, 47}, Dims{3, 16, 4, 4}})
    for (const DType type : {DType::f32, DType::f64, DType::bf16}) check(counting(shape).to(type));
}

TEST(Tensor, FormatOfAmbiguousShapes) {
  // Dense both ways: says what it was made for, and changing over costs no copy.
  const Tensor one_position = Tensor::zeros({2, 3, 1, 1}, {.format = MemoryFormat::channels_last});
  EXPECT_TRUE(one_position.is_contiguous(MemoryFormat::plain));
  EXPECT_EQ(one_position.format(), MemoryFormat::channels_last);
  EXPECT_TRUE(one_position.contiguous(MemoryFormat::plain).shares_storage(one_position));
  EXPECT_EQ(one_position.contiguous(MemoryFormat::plain).format(), MemoryFormat::plain);
  EXPECT_EQ(Tensor::zeros({2, 1, 4, 4}).format(), MemoryFormat::plain);
}

TEST(Tensor, StridedCopies) {
  const Tensor x = counting({4, 6});
  const Tensor y = Tensor::full({4, 6}, -1);
  y.slice(1, 0, 3, 2).copy_from(x.slice(1, 1, 3, 2));
  EXPECT_EQ(y.select(0, 0).values(), (Values{1, -1, 3, -1, 5, -1}));
  const Tensor big = counting({8, 3, 31, 33}).contiguous(MemoryFormat::channels_last);
  const Tensor part = big.slice(2, 3, 9, 3).slice(3, 1, 16, 2);
  EXPECT_EQ(part.clone().values(), part.values());
  EXPECT_EQ(part.contiguous(MemoryFormat::plain).values(), part.values());
}

TEST(Tensor, Types) {
  const Tensor x = Tensor::from({-1.5, 0.0, 3.25, 255.0}, {4});
  EXPECT_EQ(x.to(DType::f32).values(), x.values());
  EXPECT_EQ(x.to(DType::bf16).values(), x.values());
  EXPECT_EQ(x.to(DType::i64).values(), (Values{-1, 0, 3, 255}));
  EXPECT_EQ(x.slice(0, 1, 3).to(DType::u8).values(), (Values{0, 3, 255}));
  EXPECT_TRUE(x.to(DType::f64).shares_storage(x));
  EXPECT_EQ(size_of(DType::bf16), 2u);
  EXPECT_STREQ(name_of(DType::bf16), "bf16");
  EXPECT_THROW(dispatch_floating(DType::i64, "who", [](auto) {}), Error);
}

TEST(Bf16, RoundsToNearestEven) {
  EXPECT_EQ(bf16(1.0f).bits, 0x3f80);
  EXPECT_EQ(bf16(1.0f + 0x1p-8f).bits, 0x3f80);                     // a tie, down to even
  EXPECT_EQ(bf16(1.0f + 3 * 0x1p-8f).bits, 0x3f82);                 // a tie, up to even
  EXPECT_EQ(bf16(1.0f + 0x1p-8f + 0x1p-20f).bits, 0x3f81);          // above the tie
  EXPECT_EQ(bf16(std::numeric_limits<float>::max()).bits, 0x7f80);  // rounds to infinity
  EXPECT_EQ(bf16(-std::numeric_limits<float>::infinity()).bits, 0xff80);
  EXPECT_EQ(bf16(-0.0f).bits, 0x8000);
  EXPECT_TRUE(std::isnan(static_cast<float>(bf16(std::numeric_limits<float>::quiet_NaN()))));
  uint32_t word = 0x7f800001;  // a NaN whose upper half alone would be infinity
  float nan;
  memcpy(&nan, &word, 4);
  EXPECT_TRUE(std::isnan(static_cast<float>(bf16(nan))));
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {  // every bf16 survives
    bf16 b;
    b.bits = static_cast<uint16_t>(bits);
    const auto f = static_cast<float>(b);
    if (!std::isnan(f)) {
      ASSERT_EQ(bf16(f).bits, bits);
    }
  }
}

TEST(Tensor, HandlesShareAndClonesDoNot) {
  const Tensor x = counting({3});
  const Tensor handle = x, copy = x.clone();
  x.fill(9);
  EXPECT_EQ(handle.values(), (Values{9, 9, 9}));
  EXPECT_EQ(copy.values(), (Values{0, 1, 2}));
  EXPECT_FALSE(Tensor());
}

TEST(Tensor, WhateverMayWriteMakesANewVersion) {
  const Tensor x = counting({4}), part = x.slice(0, 1, 2);
  uint64_t before = x.version();
  const auto expect_new = [&](bool is_new, const char* what) {
    EXPECT_EQ(x.version() != before, is_new) << what;
    before = x.version();
  };
  x.mutable_data<float>();
  expect_new(true, "mutable_data");
  part.mutable_data<float>()[0] = 5;
  expect_new(true, "mutable_data of a view");
  part.fill(3);
  expect_new(true, "fill of a view");
  x.copy_from(counting({4}));
  expect_new(true, "copy_from");
  x.data<float>();
  x.values();
  x.clone();
  x.to(DType::f64);
  expect_new(false, "reading");
}

TEST(Tensor, OnlyFloatingTensorsHaveGradients) {
  EXPECT_THROW(Tensor::zeros({2}, {.dtype = DType::i64}).set_requires_grad(), Error);
  EXPECT_TRUE(Tensor::zeros({2}).set_requires_grad().requires_grad());
  EXPECT_FALSE(Tensor::zeros({2}).grad());
}

TEST(Tensor, ExpectShapeNamesWhoAndBothShapes) {
  try {
    expect_shape("soft", "dy", counting({2, 3}), {3, 2});
    FAIL();
  } catch (const Error& error) {
    const std::string what = error.what();
    for (const char* word : {"[soft]", "dy", "3x2", "2x3"}) EXPECT_NE(what.find(word), std::string::npos) << what;
  }
}

TEST(Elementwise, AddAndAllFinite) {
  const Tensor a = counting({2, 3, 5, 7}), b = counting({2, 3, 5, 7}).contiguous(MemoryFormat::channels_last);
  const Tensor sum = add(a, b);
  EXPECT_EQ(sum.format(), MemoryFormat::plain);
  for (int64_t i = 0; i < a.numel(); ++i)
    ASSERT_EQ(sum.values()[static_cast<size_t>(i)], 2 * a.values()[static_cast<size_t>(i)]);
  EXPECT_TRUE(all_finite(a));
  a.select(0, 1).select(0, 1).fill(std::numeric_limits<double>::infinity());
  EXPECT_FALSE(all_finite(a));
  b.select(0, 1).select(0, 1).fill(std::numeric_limits<double>::quiet_NaN());
  EXPECT_FALSE(all_finite(b));
  EXPECT_TRUE(all_finite(Tensor::zeros({0, 2})));
}

}  // namespace
}  // namespace tidepool
