#include "core/backend/caches.h"
#include "core/backend/matmul.h"
#include "core/cpu/onednn_bench.h"
#include "core/cpu/tables.h"
#include "core/reference/tables.h"

#include "tests/layers/battery.h"

namespace tidepool::testing {
namespace {

TEST(Dnn, NamesItself) {
  EXPECT_EQ(backend_version().substr(0, 7), "oneDNN ");
  EXPECT_STREQ(cpu::kOnednnConv.name, "oneDNN");
  EXPECT_STREQ(reference::kConv.name, "reference");
}

// What training needs is done by the library, not by the fallback, in both layouts.
TEST(Dnn, OneDnnDoesWhatNetworksNeed) {
  struct Shape {
    Dims x, w;
    ConvOptions o;
  };
  const std::vector<Shape> shapes{{{2, 3, 8, 8}, {16, 3, 3, 3}, {.padding = {1, 1, 0}}},
                                  {{2, 16, 8, 8}, {32, 16, 3, 3}, {.padding = {1, 1, 0}}},
                                  {{2, 16, 7, 5}, {24, 16, 3, 3}, {.stride = {2, 2, 1}, .padding = {1, 1, 0}}},
                                  {{2, 16, 7, 5}, {24, 16, 1, 1}, {}},
                                  {{2, 32, 7, 5}, {32, 1, 3, 3}, {.padding = {1, 1, 0}, .groups = 32}},
                                  {{2, 16, 12}, {16, 16, 3}, {.padding = {1, 0, 0}}},
                                  {{2, 16, 4, 4, 4}, {16, 16, 3, 3, 3}, {.padding = {1, 1, 1}}}};
  for (const auto& [xs, ws, o] : shapes)
    for (const MemoryFormat f : {MemoryFormat::plain, MemoryFormat::channels_last}) {
      SCOPED_TRACE(xs.str() + " " + ws.str() + " " + tidepool::name_of(f));
      const Tensor x = normal(xs, 1).to(DType::f32).contiguous(f), w = normal(ws, 2).to(DType::f32);
      Dims ys = xs;
      ys[1] = ws[0];
      for (int i = 2; i < xs.rank(); ++i) {
        const auto a = static_cast<size_t>(i - 2);
        ys[i] = (xs[i] + 2 * o.padding[a] - ws[i]) / o.stride[a] + 1;
      }
      const Tensor dy = normal(ys, 3).to(DType::f32).contiguous(f), b = normal({ws[0]}, 4).to(DType::f32);
      std::vector<std::vector<Tensor>> results;
      for (const ConvTable* table : {&cpu::kOnednnConv, &reference::kConv}) {
        poison();
        std::vector<Tensor> r{Tensor::empty(ys, dy.options()), Tensor::empty(xs, x.options()), Tensor::empty(ws),
                              Tensor::empty({ws[0]})};
        EXPECT_TRUE(table->forward(x, w, b, o, r[0]));
        EXPECT_TRUE(table->backward_data(dy, w, o, r[1]));
        EXPECT_TRUE(table->backward_weights(x, dy, o, r[2], r[3]));
        results.push_back(r);
      }
      for (size_t i = 0; i < 4; ++i) EXPECT_LE(error(results[0][i].values(), results[1][i].values()), 1e-5) << i;
    }
}

// Taps that no pixel reaches have a gradient of 0, whatever lay in the library's memory.
TEST(Dnn, TapsThatMeetPaddingAlone) {
  struct Case {
    Dims x, w, y;
    int64_t stride, padding;
  };
  for (const auto& [xs, ws, ys, stride, padding] :
       {Case{{2, 16, 2}, {16, 16, 2}, {2, 16, 1}, 3, 1}, Case{{2, 16, 3}, {16, 16, 5}, {2, 16, 1}, 4, 2},
        Case{{2, 16, 9, 3}, {16, 16, 5, 5}, {2, 16, 3, 1}, 4, 2}, Case{{2, 32, 3}, {32, 32, 5}, {2, 32, 1}, 4, 2}}) {
    SCOPED_TRACE(xs.str() + " " + ws.str());
    const ConvOptions o{.stride = {stride, stride, 1}, .padding = {padding, xs.rank() > 3 ? padding : 0, 0}};
    const Tensor x = normal(xs, 1).to(DType::bf16).contiguous(MemoryFormat::channels_last),
                 dy = normal(ys, 2).to(DType::bf16).contiguous(MemoryFormat::channels_last);
    for (int turn = 0; turn < 5; ++turn) {
      poison();
      const Tensor got = Tensor::empty(ws), expected = Tensor::empty(ws), bias = Tensor::empty({ws[0]});
      if (!cpu::kOnednnConv.backward_weights(x, dy, o, got, bias)) GTEST_SKIP() << "this oneDNN has no bf16";
      ASSERT_TRUE(reference::kConv.backward_weights(x, dy, o, expected, bias));
      EXPECT_LE(error(got.values(), expected.values()), 1e-2);
    }
  }
}

// Any case at all, drawn from a seed: a library's numbers are believed where they are the reference's.
TEST(Dnn, DrawnCases) {
  const char* const asked = std::getenv("TIDEPOOL_DRAWN_CASES");
  const int64_t count = asked ? std::stoll(asked) : 200;
  int64_t served = 0;
  for (int64_t i = 0; i < count; ++i) {
    Random random(20261130, static_cast<uint64_t>(i));
    const auto draw = [&](std::initializer_list<int64_t> from) {
      return *(from.begin() + random.word() % from.size());
    };
    const int64_t kernel = draw({1, 1, 2, 3, 3, 5}), stride = draw({1, 1, 2, 3}), dilation = draw({1, 1, 1, 2});
    const int64_t groups = draw({1, 1, 1, 2, 3}), padding = draw({0, 0, 1, kernel / 2});
    const int64_t inputs = groups * draw({1, 2, 3, 4, 6, 8, 12, 16, 20, 32}),
                  outputs = groups * draw({1, 2, 4, 5, 8, 16, 24, 32, 33});
    const int64_t reach = dilation * (kernel - 1) + 1 - 2 * padding, n = draw({1, 2, 3});
    const Dims xs{n, inputs, std::max<int64_t>(reach, draw({1, 2, 4, 7, 8, 13, 16})),
                  std::max<int64_t>(reach, draw({1, 3, 4, 8, 9, 16}))},
        ws{outputs, inputs / groups, kernel, kernel};
    const ConvOptions o{.stride = {stride, stride, 1},
                        .padding = {padding, padding, 0},
                        .dilation = {dilation, dilation, 1},
                        .groups = groups};
    const Dims ys = ConvCase{.x = xs, .weight = ws, .options = o}.y();
    for (const DType t : {DType::f32, DType::bf16})
      for (const MemoryFormat f : {MemoryFormat::plain, MemoryFormat::channels_last}) {
        SCOPED_TRACE(fmt::format("case {}: {} {} stride {} padding {} dilation {} groups {}, {}, {}", i, xs.str(),
                                 ws.str(), stride, padding, dilation, groups, tidepool::name_of(t),
                                 tidepool::name_of(f)));
        const Tensor x = normal(xs, 1).to(t).contiguous(f), w = normal(ws, 2).to(t).to(DType::f32),
                     dy = normal(ys, 3).to(t).contiguous(f), b = normal({outputs}, 4).to(DType::f32);
        const Tensor wx = x.to(DType::f32), wdy = dy.to(DType::f32);
        poison();
        const Tensor y = Tensor::empty(ys, dy.options()), dx = Tensor::empty(xs, x.options()), dw = Tensor::empty(ws),
                     db = Tensor::empty({outputs}), ey = Tensor::empty(ys, wdy.options()),
                     edx = Tensor::empty(xs, wx.options()), edw = Tensor::empty(ws), edb = Tensor::empty({outputs});
        ASSERT_TRUE(reference::kConv.forward(wx, w, b, o, ey));
        ASSERT_TRUE(reference::kConv.backward_data(wdy, w, o, edx));
        ASSERT_TRUE(reference::kConv.backward_weights(wx, wdy, o, edw, edb));
        const double allowed = t == DType::bf16 ? 1e-2 : 1e-5;
        if (cpu::kOnednnConv.forward(x, w, b, o, y)) {
          ++served;
          EXPECT_LE(error(y.values(), ey.values()), allowed) << "forward";
        }
        if (cpu::kOnednnConv.backward_data(dy, w, o, dx)) {
          ++served;
          EXPECT_LE(error(dx.values(), edx.values()), allowed) << "data";
        }
        if (cpu::kOnednnConv.backward_weights(x, dy, o, dw, db)) {
          ++served;
          EXPECT_LE(error(dw.values(), edw.values()), allowed) << "weights";
          EXPECT_LE(error(db.values(), edb.values()), allowed) << "bias";
        }
      }
  }
  EXPECT_GT(served, 5 * count) << "of twelve a case: those of f32 but for a few";
}

// Fewer channels than a vector has lanes, with strides: where a library's kernels for the common case go wrong.
TEST(Dnn, PointwiseOfFewChannels) {
  const auto f = MemoryFormat::channels_last;
  for (const int64_t stride : {1, 2})
    for (const int64_t inputs : {2, 4, 6, 8, 12, 16, 20})
      for (const int64_t outputs : {4, 32})
        for (const int64_t side : {3, 8, 16})
          for (const int64_t n : {1, 4}) {
            const ConvOptions o{.stride = {stride, stride, 1}};
            const Dims xs{n, inputs, side, side}, ws{outputs, inputs, 1, 1},
                ys = ConvCase{.x = xs, .weight = ws, .options = o}.y();
            SCOPED_TRACE(fmt::format("{} {} stride {}", xs.str(), ws.str(), stride));
            const Tensor x = normal(xs, 1).to(DType::f32).contiguous(f), w = normal(ws, 2).to(DType::f32),
                         dy = normal(ys, 3).to(DType::f32).contiguous(f);
            poison();
            const Tensor y = Tensor::empty(ys, dy.options()), dx = Tensor::empty(xs, x.options()),
                         dw = Tensor::empty(ws);
            conv_forward(x, w, {}, o, y);
            conv_backward_data(dy, w, o, dx);
            conv_backward_weights(x, dy, o, dw, {});
            poison();
            const Tensor ey = Tensor::empty(ys, dy.options()), edx = Tensor::empty(xs, x.options()),
                         edw = Tensor::empty(ws);
            ASSERT_TRUE(reference::kConv.forward(x, w, {}, o, ey));
            ASSERT_TRUE(reference::kConv.backward_data(dy, w, o, edx));
            ASSERT_TRUE(reference::kConv.backward_weights(x, dy, o, edw, {}));
            EXPECT_LE(error(y.values(), ey.values()), 1e-5);
            EXPECT_LE(error(dx.values(), edx.values()), 1e-5);
            EXPECT_LE(error(dw.values(), edw.values()), 1e-5);
          }
}

// Rows and panels that are not full, every rank, strides that skip pixels, dilation, padding wider than the map.
TEST(Dnn, DirectF64IsTheReference) {
  struct Shape {
    Dims x, w;
    ConvOptions o;
  };
  const std::vector<Shape> shapes{{{2, 3, 8, 8}, {16, 3, 3, 3}, {.padding = {1, 1, 0}}},
                                  {{1, 17, 5, 7}, {19, 17, 3, 2}, {.stride = {2, 3, 1}, .padding = {1, 0, 0}}},
                                  {{3, 5, 9, 6}, {33, 5, 3, 3}, {.padding = {2, 2, 0}, .dilation = {2, 2, 1}}},
                                  {{2, 16, 4, 4}, {8, 16, 1, 1}, {.stride = {2, 2, 1}}},
                                  {{2, 4, 1, 1}, {5, 4, 3, 3}, {.padding = {2, 2, 0}}},
                                  {{2, 6, 13}, {7, 6, 4}, {.stride = {3, 1, 1}, .padding = {1, 0, 0}}},
                                  {{1, 3, 4, 5, 3}, {4, 3, 2, 3, 3}, {.stride = {1, 2, 1}, .padding = {0, 1, 1}}}};
  for (const auto& [xs, ws, o] : shapes) {
    SCOPED_TRACE(xs.str() + " " + ws.str());
    const Dims ys = ConvCase{.x = xs, .weight = ws, .options = o}.y();
    const Tensor x = normal(xs, 1).contiguous(MemoryFormat::channels_last),
                 dy = normal(ys, 3).contiguous(MemoryFormat::channels_last), w = normal(ws, 2), b = normal({ws[0]}, 4);
    std::vector<std::vector<Tensor>> results;
    for (const ConvTable* table : {&cpu::kDirectF64Conv, &reference::kConv}) {
      poison();
      std::vector<Tensor> r{Tensor::empty(ys, dy.options()), Tensor::empty(xs, x.options()),
                            Tensor::empty(ws, w.options()), Tensor::empty({ws[0]}, w.options())};
      EXPECT_TRUE(table->forward(x, w, b, o, r[0]));
      EXPECT_TRUE(table->backward_data(dy, w, o, r[1]));
      EXPECT_TRUE(table->backward_weights(x, dy, o, r[2], r[3]));
      results.push_back(r);
    }
    for (size_t i = 0; i < 4; ++i) EXPECT_LE(error(results[0][i].values(), results[1][i].values()), 1e-13) << i;
  }
  const Tensor plain = normal({1, 4, 5, 5}, 1), w = normal({4, 4, 3, 3}, 2);
  EXPECT_FALSE(cpu::kDirectF64Conv.forward(plain, w, {}, {}, Tensor::empty({1, 4, 3, 3}, plain.options())));
}

TEST(Dnn, MatmulOfTransposedViews) {
  for (const DType t : {DType::f64, DType::f32, DType::bf16})
    for (int which = 0; which < 4; ++which) {
      const Tensor a = which & 1 ? normal({7, 5}, 1).to(t).permute({1, 0}) : normal({5, 7}, 1).to(t);
      const Tensor b = which & 2 ? normal({9, 7}, 2).to(t).permute({1, 0}) : normal({7, 9}, 2).to(t);
      const DType out = t == DType::bf16 ? DType::f32 : t;  // products of bf16 kept in f32
      const Tensor bias = normal({9}, 3).to(out), y = Tensor::full({5, 9}, NAN, {out});
      matmul(a, b, bias, y);
      const Values va = a.values(), vb = b.values(), vc = bias.values();
      Values expected(45);
      for (size_t i = 0; i < 5; ++i)
        for (size_t j = 0; j < 9; ++j) {
          expected[i * 9 + j] = vc[j];
          for (size_t k = 0; k < 7; ++k) expected[i * 9 + j] += va[i * 7 + k] * vb[k * 9 + j];
        }
      EXPECT_LE(error(y.values(), expected), tolerance(out)) << tidepool::name_of(t) << which;
    }
}

TEST(Dnn, CachesAreBounded) {
  forget_transformed_weights();  // of other tests in this process, in other caches
  const Tensor w = normal({16, 16, 1}, 2).to(DType::f32);
  for (int64_t length = 1; length <= 1200; ++length) {
    const Tensor x = Tensor::full({1, 16, length}, 0.5, {.format = MemoryFormat::channels_last});
    conv_forward(x, w, {}, {}, Tensor::empty({1, 16, length}, x.options()));
  }
  EXPECT_LE(backend_cache_stats().primitives, 1024);
  for (int64_t i = 0; i < 600; ++i) {
    const Tensor other = normal({16, 16, 1}, 2).to(DType::f32);
    const Tensor x = Tensor::full({1, 16, 4}, 0.5, {.format = MemoryFormat::channels_last});
    conv_forward(x, other, {}, {}, Tensor::empty({1, 16, 4}, x.options()));
  }
  EXPECT_LE(backend_cache_stats().weights, 512);
  EXPECT_LE(backend_cache_stats().weight_bytes, int64_t{256} << 20);
}

TEST(Dnn, GivesItsConvolutionsToTheBenchmark) {
  const std::vector<ConvCase> cases{{{2, 3, 8, 8}, {16, 3, 3, 3}, {.padding = {1, 1, 0}}, false},
                                    {{2, 16, 8, 8}, {16, 16, 3, 3}, {.padding = {1, 1, 0}}}};
  EXPECT_EQ(cases[0].y(), (Dims{2, 16, 8, 8}));
  for (const DType t : {DType::f32, DType::bf16}) {
    const auto found = onednn_convolutions(cases, t, MemoryFormat::channels_last);
    if (!found && t == DType::bf16) continue;  // a processor without it
    ASSERT_TRUE(found);
    const auto& kernels = *found;
    ASSERT_EQ(kernels.size(), 2u);
    EXPECT_FALSE(kernels[0].backward_data) << "nobody wants the images' gradient";
    for (const ConvKernels& k : kernels) {
      k.forward();
      k.backward_weights();
      if (k.backward_data) k.backward_data();
    }
  }
}

}  // namespace
}  // namespace tidepool::testing
