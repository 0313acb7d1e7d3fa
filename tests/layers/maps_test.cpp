// Operators that join, gate, resize and drop whole maps.
#include <algorithm>
#include <array>

#include "layers/activation.h"
#include "layers/add.h"
#include "layers/concat.h"
#include "layers/gate.h"
#include "layers/resize.h"
#include "layers/stochastic_depth.h"
#include "tests/layers/battery.h"

namespace tidepool::testing {
namespace {

const std::vector<DType> kTypes{DType::f64, DType::f32, DType::bf16};
const std::vector<MemoryFormat> kFormats{MemoryFormat::plain, MemoryFormat::channels_last};

size_t at(int64_t i) {
  return static_cast<size_t>(i);
}
int64_t positions_of(const Dims& shape) {
  int64_t count = 1;
  for (int i = 2; i < shape.rank(); ++i) count *= shape[i];
  return count;
}

// -- add -------------------------------------------------------------------------------------------------------------

TEST(AddMaps, Battery) {
  for (const Dims& shape : {Dims{2, 5, 3, 7}, Dims{3, 40, 17, 11}, Dims{4, 19}, Dims{2, 18, 9}, Dims{2, 3, 3, 4, 5}}) {
    Case c;
    c.name = shape.str();
    c.inputs = {normal(shape, 1), normal(shape, 2)};
    c.maps = true;
    c.op = [](const std::vector<Tensor>& t) { return add_maps(t[0], t[1]); };
    c.reference = [](const std::vector<Values>& in, const Values& dy) {
      Values y;
      for (size_t i = 0; i < dy.size(); ++i) y.push_back(in[0][i] + in[1][i]);
      return std::vector<Values>{y, dy, dy};
    };
    believe(c);
  }
}

TEST(AddMaps, FormatOfTheFirstNanAndBatchOfNone) {
  const Tensor a = laid_out(normal({2, 5, 3, 4}, 1), Layout::channels_last), b = normal({2, 5, 3, 4}, 2);
  const Tensor y = add_maps(a, b);
  EXPECT_EQ(y.format(), MemoryFormat::channels_last);
  EXPECT_TRUE(same_bits(y, add_maps(b, a)));
  b.slice(0, 1, 1).slice(1, 2, 1).slice(2, 0, 1).slice(3, 3, 1).fill(NAN);
  const Values v = add_maps(a, b).values();
  for (size_t i = 0; i < v.size(); ++i) EXPECT_EQ(std::isnan(v[i]), i == 60 + 24 + 3) << i;
  EXPECT_EQ(add_maps(Tensor::zeros({0, 3, 2, 2}), Tensor::zeros({0, 3, 2, 2})).shape(), Dims({0, 3, 2, 2}));
}

TEST(AddMaps, KeepsNothing) {
  const Tensor x = normal({2, 3, 4, 5}, 1);
  x.set_requires_grad();
  Tape tape;
  const Tape::Scope scope(&tape);
  const Tensor y = add_maps(x, x);
  EXPECT_EQ(tape.saved_bytes().at(0).bytes, 0u);
  tape.backward(y, Tensor::full(x.shape(), 1.5, {DType::f64}));
  EXPECT_EQ(x.grad().values(), Values(120, 3.0));
}

TEST(AddMaps, ErrorsAtTheDoor) {
  const Tensor x = Tensor::zeros({2, 3, 4, 5});
  EXPECT_EQ(error_of([&] {
              add_maps(x, Tensor::zeros({2, 3, 4, 1}));
            }),
            "[add_maps] expected two inputs of one shape, got 2x3x4x5 and 2x3x4x1");
  EXPECT_EQ(error_of([&] { add_maps(x, x.to(DType::bf16)); }),
            "[add_maps] expected two inputs of one type, got f32 and bf16");
  EXPECT_EQ(error_of([] { add_maps(Tensor::zeros({2}, {DType::i64}), Tensor::zeros({2}, {DType::i64})); }),
            "[add_maps] expected inputs of f32, f64 or bf16, got i64");
}

// Results larger than the caches are stored past them: the same bits as in parts.
TEST(Maps, LargerThanTheCaches) {
  for (const MemoryFormat format : kFormats) {
    const Dims shape{2, 48, 208, 200};
    const Tensor x = Tensor::empty(shape, {.format = format}), s = normal({2, 48}, 2).to(DType::f32);
    float* v = x.mutable_data<float>();
    for (int64_t i = 0; i < x.numel(); ++i) v[i] = static_cast<float>(i * 7919 % 1000003) * 1e-5f - 5.0f;
    const Tensor sum = add_maps(x, x), gated = gate(x, s), low = relu6(x), hard = hardswish(x);
    for (int64_t n = 0; n < 2; ++n) {
      const Tensor image = x.slice(0, n, 1).slice(2, 0, 60).contiguous(format);
      const auto same = [&](const Tensor& y, const Tensor& expected) {
        return same_bits(y.slice(0, n, 1).slice(2, 0, 60), expected);
      };
      EXPECT_TRUE(same(sum, add_maps(image, image)));
      EXPECT_TRUE(same(gated, gate(image, s.slice(0, n, 1))));
      EXPECT_TRUE(same(low, relu6(image)));
      EXPECT_TRUE(same(hard, hardswish(image)));
    }
  }
}

// -- gate ------------------------------------------------------------------------------------------------------------

Case gate_case(const Dims& shape, bool full_rank) {
  Dims s = full_rank ? Dims::filled(shape.rank(), 1) : Dims::filled(2, 1);
  s[0] = shape[0];
  s[1] = shape[1];
  Case c;
  c.name = shape.str() + " by " + s.str();
  c.inputs = {normal(shape, 1), normal(s, 2, 1, 0.5)};
  c.maps = true;
  c.op = [](const std::vector<Tensor>& t) { return gate(t[0], t[1]); };
  c.reference = [=](const std::vector<Values>& in, const Values& dy) {
    Values y, dx, ds(in[1].size());
    for (size_t i = 0; i < dy.size(); ++i) {
      const size_t channel = i / at(positions_of(shape));
      y.push_back(in[0][i] * in[1][channel]);
      dx.push_back(dy[i] * in[1][channel]);
      ds[channel] += dy[i] * in[0][i];
    }
    return std::vector<Values>{y, dx, ds};
  };
  return c;
}

TEST(Gate, Battery) {
  for (const bool full_rank : {false, true}) {
    believe(gate_case({2, 5, 3, 7}, full_rank));
    believe(gate_case({3, 40, 17, 11}, full_rank));
    believe(gate_case({2, 83, 1, 1}, full_rank));
    believe(gate_case({2, 18, 9}, full_rank));
    believe(gate_case({2, 17, 2, 3, 5}, full_rank));
  }
  believe(gate_case({1, 67, 25, 43}, true));  // several runs of positions
}

TEST(Gate, LongSumsKeepTheirDigits) {
  // f32 sums of 640,000 equal terms: one running sum would be off by 1e-3.
  for (const MemoryFormat format : kFormats) {
    const Tensor x = Tensor::full({1, 3, 800, 800}, 0.1, {.format = format}), s = Tensor::full({1, 3}, 1);
    s.set_requires_grad();
    Tape tape;
    const Tape::Scope scope(&tape);
    tape.backward(gate(x, s), Tensor::full(x.shape(), 1, {.format = format}));
    for (double v : s.grad().values()) EXPECT_NEAR(v, 64000, 64000 * 1e-5);
  }
}

TEST(Gate, KeepsWhatGradientsNeed) {
  for (const bool of_x : {false, true})
    for (const bool of_s : {false, true})
      for (const MemoryFormat format : kFormats) {
        const Tensor x = Tensor::full({2, 20, 3, 5}, 2, {.format = format}), s = Tensor::full({2, 20, 1, 1}, 3);
        x.set_requires_grad(of_x);
        s.set_requires_grad(of_s);
        // Neither is a leaf on the tape that is counted, so that their bytes are.
        Tape tape;
        const Tape::Scope scope(&tape);
        const Tensor y = gate(x, s);
        if (!of_x && !of_s) {
          EXPECT_EQ(tape.nodes(), 0u);
          continue;
        }
        EXPECT_EQ(tape.saved_bytes().at(0).bytes,
                  (of_s && !of_x ? x.storage().bytes : 0u) + (of_x && !of_s ? s.storage().bytes : 0u));
        poison();
        tape.backward(y, Tensor::full(x.shape(), 1));
        if (of_x) {
          EXPECT_EQ(x.grad().values(), Values(600, 3.0));
        }
        if (of_s) {
          EXPECT_EQ(s.grad().values(), Values(40, 30.0));
        }
      }
}

TEST(Gate, NanAndBatchOfNone) {
  for (const DType t : kTypes)
    for (const MemoryFormat format : kFormats) {
      const Tensor x = Tensor::full({2, 37, 3, 2}, 1, {t, format}), s = Tensor::full({2, 37}, 0, {t});
      x.slice(0, 1, 1).slice(1, 5, 1).slice(2, 2, 1).slice(3, 0, 1).fill(NAN);
      s.slice(0, 0, 1).slice(1, 36, 1).fill(NAN);
      const Values y = gate(x, s).values();
      for (size_t i = 0; i < y.size(); ++i) EXPECT_EQ(std::isnan(y[i]), i / 6 == 36 || i == (37 + 5) * 6 + 4) << i;
      for (const Dims& none : {Dims{0, 3, 4, 4}, Dims{2, 3, 0, 4}, Dims{2, 0, 3, 3}}) {
        const Tensor e = Tensor::zeros(none, {t, format}), g = Tensor::zeros({none[0], none[1]}, {t});
        e.set_requires_grad();
        g.set_requires_grad();
        Tape tape;
        const Tape::Scope scope(&tape);
        const Tensor out = gate(e, g);
        poison();
        tape.backward(out, Tensor::zeros(none, {t, format}));
        EXPECT_EQ(e.grad().shape(), none);
        EXPECT_EQ(g.grad().values(), Values(at(none[0] * none[1]), 0.0));
      }
    }
}

TEST(Gate, ErrorsAtTheDoor) {
  const Tensor x = Tensor::zeros({2, 3, 4, 5});
  EXPECT_EQ(error_of([&] {
              gate(x, Tensor::zeros({2, 4}));
            }),
            "[gate] expected a gate 2x3 or 2x3x1x1 for a map of shape 2x3x4x5, got the shape 2x4");
  EXPECT_EQ(error_of([&] {
              gate(x, Tensor::zeros({2, 3, 1}));
            }),
            "[gate] expected a gate 2x3 or 2x3x1x1 for a map of shape 2x3x4x5, got the shape 2x3x1");
  EXPECT_EQ(error_of([&] {
              gate(x, Tensor::zeros({2, 3}, {DType::bf16}));
            }),
            "[gate] expected a gate of f32, as the map, got bf16");
  EXPECT_EQ(error_of([&] {
              gate(Tensor::zeros({2, 3}), Tensor::zeros({2, 3}));
            }),
            "[gate] expected a map N x C x spatial, got the shape 2x3");
  EXPECT_EQ(error_of([&] {
              gate(Tensor::zeros({2, 3, 1}, {DType::u8}), Tensor::zeros({2, 3}));
            }),
            "[gate] expected a map of f32, f64 or bf16, got u8");
}

// -- concat ----------------------------------------------------------------------------------------------------------

Case concat_case(const Dims& shape, const std::vector<int64_t>& channels) {
  Case c;
  c.name = shape.str();
  for (int64_t n : channels) {
    Dims part = shape;
    part[1] = n;
    c.name += fmt::format(" {}", n);
    c.inputs.push_back(normal(part, c.inputs.size() + 1));
  }
  c.maps = true;
  c.op = [](const std::vector<Tensor>& t) { return concat(t); };
  c.reference = [=](const std::vector<Values>& in, const Values& dy) {
    std::vector<Values> r{Values(dy.size())};
    int64_t all = 0, first = 0;
    for (int64_t n : channels) all += n;
    const int64_t positions = positions_of(shape);
    for (size_t part = 0; part < in.size(); ++part) {
      r.emplace_back();
      for (int64_t n = 0; n < shape[0]; ++n)
        for (int64_t ch = 0; ch < channels[part]; ++ch)
          for (int64_t i = 0; i < positions; ++i) {
            const size_t joined = at((n * all + first + ch) * positions + i);
            r[0][joined] = in[part][at((n * channels[part] + ch) * positions + i)];
            r.back().push_back(dy[joined]);
          }
      first += channels[part];
    }
    return r;
  };
  return c;
}

TEST(Concat, Battery) {
  believe(concat_case({2, 0, 3, 7}, {3, 5}));
  believe(concat_case({2, 0, 17, 11}, {40, 1, 18, 3, 33}));
  believe(concat_case({1, 0, 97, 89}, {19, 30}));  // rows split between threads
  believe(concat_case({4, 0}, {7, 2, 1}));
  believe(concat_case({2, 0, 9}, {1, 1}));
  believe(concat_case({2, 0, 2, 3, 5}, {4, 6}));
  believe(concat_case({3, 0, 1, 1}, {5, 6}));
}

TEST(Concat, CopiesBits) {
  for (const DType t : kTypes)
    for (const MemoryFormat format : kFormats) {
      const Tensor a = Tensor::full({2, 3, 2, 2}, NAN, {t, format}), b = Tensor::full({2, 2, 2, 2}, -0.0, {t});
      const Tensor inputs[] = {a, b};
      const Tensor y = concat(inputs);
      EXPECT_EQ(y.format(), format);
      EXPECT_TRUE(same_bits(y.slice(1, 0, 3), a));
      EXPECT_TRUE(same_bits(y.slice(1, 3, 2), b));
    }
}

TEST(Concat, OneManyAndNone) {
  const Tensor x = normal({2, 3, 4, 5}, 1);
  EXPECT_TRUE(concat({&x, 1}).shares_storage(x));
  std::vector<Tensor> many(20, Tensor::full({2, 1, 3, 3}, 1));
  many[7].set_requires_grad();  // the same handle twenty times
  Tape tape;
  const Tape::Scope scope(&tape);
  const Tensor y = concat(many);
  EXPECT_EQ(y.shape(), Dims({2, 20, 3, 3}));
  EXPECT_EQ(tape.saved_bytes().at(0).bytes, 20 * sizeof(int64_t));
  tape.backward(y, Tensor::full(y.shape(), 1));
  EXPECT_EQ(many[0].grad().values(), Values(18, 20.0));

  for (const Dims& shape : {Dims{0, 3, 4, 4}, Dims{2, 0, 4, 4}, Dims{2, 3, 0, 4}}) {
    const Tensor a = Tensor::zeros(shape), b = Tensor::zeros(shape);  // b wants no gradient
    a.set_requires_grad();
    const Tensor inputs[] = {a, b};
    const Tensor joined = concat(inputs);
    tape.backward(joined, Tensor::zeros(joined.shape()));
    EXPECT_EQ(joined.size(1), 2 * shape[1]);
    EXPECT_EQ(a.grad().shape(), shape);
    EXPECT_FALSE(b.grad());
  }
}

TEST(Concat, ErrorsAtTheDoor) {
  const Tensor x = Tensor::zeros({2, 3, 4, 5});
  const auto error_with = [&](const Tensor& other) {
    const Tensor inputs[] = {x, x, other};
    return error_of([&] { concat(inputs); });
  };
  EXPECT_EQ(error_with(Tensor::zeros({2, 3, 4, 6})),
            "[concat] expected inputs that differ in their channels alone, got the shapes 2x3x4x5 and 2x3x4x6");
  EXPECT_EQ(error_with(Tensor::zeros({1, 9, 4, 5})),
            "[concat] expected inputs that differ in their channels alone, got the shapes 2x3x4x5 and 1x9x4x5");
  EXPECT_EQ(error_with(Tensor::zeros({2, 3, 4})),
            "[concat] expected inputs that differ in their channels alone, got the shapes 2x3x4x5 and 2x3x4");
  EXPECT_EQ(error_with(Tensor::zeros({})),
            "[concat] expected inputs that differ in their channels alone, got the shapes 2x3x4x5 and scalar");
  EXPECT_EQ(error_with(x.to(DType::f64)), "[concat] expected inputs of one type, got f32 and f64");
  EXPECT_EQ(error_of([] { concat({}); }), "[concat] expected at least one input");
  const Tensor line = Tensor::zeros({2}), whole = Tensor::zeros({2, 3}, {DType::i64});
  EXPECT_EQ(error_of([&] { concat({&line, 1}); }), "[concat] expected inputs N x C x spatial, got the shape 2");
  EXPECT_EQ(error_of([&] { concat({&whole, 1}); }), "[concat] expected inputs of f32, f64 or bf16, got i64");
}

// -- resize ----------------------------------------------------------------------------------------------------------

// Of one axis: the positions that output o reads and their weights, as torch.nn.functional.interpolate states them.
std::vector<std::pair<int64_t, double>> naive_samples(int64_t n, int64_t m, int64_t o, ResizeMode mode) {
  if (mode == ResizeMode::nearest) {
    int64_t i = 0;
    while ((i + 1) * m <= o * n) ++i;
    return {{i, 1.0}};
  }
  const double scale = static_cast<double>(n) / static_cast<double>(m);
  const double where = std::max(0.0, scale * (static_cast<double>(o) + 0.5) - 0.5);
  const auto low = static_cast<int64_t>(where);
  const int64_t high = std::min(low + 1, n - 1);
  const double fraction = where - static_cast<double>(low);
  return {{low, 1 - fraction}, {high, fraction}};
}

Case resize_case(const Dims& shape, const Dims& size, ResizeMode mode) {
  Case c;
  c.name = fmt::format("{} to {}, {}", shape.str(), size.str(), name_of(mode));
  c.inputs = {normal(shape, 1)};
  c.op = [=](const std::vector<Tensor>& t) { return resize(t[0], size, mode); };
  c.reference = [=](const std::vector<Values>& in, const Values& dy) {
    std::array<int64_t, 3> n{1, 1, 1}, m{1, 1, 1};
    for (int i = 0; i < size.rank(); ++i) {
      n[at(3 - size.rank() + i)] = shape[2 + i];
      m[at(3 - size.rank() + i)] = size[i];
    }
    Values y(dy.size()), dx(in[0].size());
    for (int64_t map = 0; map < shape[0] * shape[1]; ++map)
      for (int64_t d = 0; d < m[0]; ++d)
        for (int64_t h = 0; h < m[1]; ++h)
          for (int64_t w = 0; w < m[2]; ++w)
            for (const auto& [id, wd] : naive_samples(n[0], m[0], d, mode))
              for (const auto& [ih, wh] : naive_samples(n[1], m[1], h, mode))
                for (const auto& [iw, ww] : naive_samples(n[2], m[2], w, mode)) {
                  const size_t to = at(((map * m[0] + d) * m[1] + h) * m[2] + w);
                  const size_t from = at(((map * n[0] + id) * n[1] + ih) * n[2] + iw);
                  y[to] += wd * wh * ww * in[0][from];
                  dx[from] += wd * wh * ww * dy[to];
                }
    return std::vector<Values>{y, dx};
  };
  return c;
}

TEST(Resize, Battery) {
  for (const ResizeMode mode : {ResizeMode::bilinear, ResizeMode::nearest}) {
    believe(resize_case({2, 5, 3, 7}, {6, 14}, mode));
    believe(resize_case({2, 5, 7, 6}, {3, 5}, mode));
    believe(resize_case({2, 37, 9, 5}, {4, 13}, mode));
    believe(resize_case({1, 18, 14, 14}, {56, 56}, mode));
    believe(resize_case({2, 16, 1, 1}, {5, 4}, mode));
    believe(resize_case({2, 20, 6, 5}, {1, 1}, mode));
    believe(resize_case({2, 3, 13, 11}, {2, 33}, mode));
    believe(resize_case({1, 1, 4, 4}, {7, 4}, mode));  // one axis stays
    believe(resize_case({2, 18, 9}, {22}, mode));
    believe(resize_case({2, 17, 2, 3, 5}, {5, 4, 3}, mode));
  }
}

// torch.nn.functional.interpolate (2.11), the sum of output i times i + 1.
TEST(Resize, Torch) {
  const Tensor x = Tensor::from<double>({1, 2, 4, 8, 16, 3, 1, 4, 1, 5, -2, 7, 1, -8, 2}, {1, 1, 3, 5});
  x.set_requires_grad();
  const auto beside = [&](const Dims& size, ResizeMode mode, const Values& y, const Values& dx) {
    Tape tape;
    const Tape::Scope scope(&tape);
    const Tensor out = resize(x, size, mode);
    EXPECT_LE(error(out.values(), y), 1e-12);
    Values dy;
    for (size_t i = 1; i <= y.size(); ++i) dy.push_back(static_cast<double>(i));
    x.set_grad({});
    tape.backward(out, Tensor::from<double>(dy, out.shape()));
    EXPECT_LE(error(x.grad().values(), dx), 1e-12);
  };
  beside({2, 3}, ResizeMode::bilinear, {1.583333333333, 4.0, 10.916666666667, 1.333333333333, 1.75, -0.083333333333},
         {0.5, 0.25, 1.5, 0.75, 1.5, 0.833333333333, 0.416666666667, 1.75, 0.75, 1.5, 2.0, 1.0, 3.75, 1.5, 3.0});
  beside({2, 3}, ResizeMode::nearest, {1, 2, 8, 3, 1, 1}, {1, 2, 0, 3, 0, 4, 5, 0, 6, 0, 0, 0, 0, 0, 0});
  beside({5, 7}, ResizeMode::bilinear,
         {1.0,  1.571428571429, 2.571428571429, 4.0, 6.857142857143,  11.428571428571, 16.0,
          1.8,  1.685714285714, 2.285714285714, 4.0, 4.857142857143,  7.942857142857,  11.6,
          3.0,  1.857142857143, 1.857142857143, 4.0, 1.857142857143,  2.714285714286,  5.0,
          0.0,  2.628571428571, 3.914285714286, 2.2, -2.514285714286, -1.142857142857, 3.2,
          -2.0, 3.142857142857, 5.285714285714, 1.0, -5.428571428571, -3.714285714286, 2.0},
         {8.971428571429, 10.657142857143, 16.657142857143, 16.6, 21.314285714286, 39.342857142857, 38.314285714286,
          50.914285714286, 45.0, 53.228571428571, 60.971428571429, 57.457142857143, 73.857142857143, 63.4,
          73.314285714286});
  beside({5, 7}, ResizeMode::nearest,
         {1, 1, 2, 4, 4, 8, 16, 1, 1, 2, 4, 4, 8, 16, 3, 3, 1, 4, 4, 1, 5, 3, 3, 1, 4, 4, 1, 5, -2, -2, 7, 1, 1, -8, 2},
         {20, 13, 32, 19, 21, 76, 41, 88, 47, 49, 59, 31, 65, 34, 35});
}

TEST(Resize, NanReachesWhatReadsIt) {
  for (const ResizeMode mode : {ResizeMode::bilinear, ResizeMode::nearest})
    for (const DType t : kTypes)
      for (const MemoryFormat format : kFormats) {
        const Tensor x = Tensor::full({2, 21, 4, 5}, 1, {t, format});
        x.slice(0, 1, 1).slice(1, 20, 1).slice(2, 2, 1).slice(3, 1, 1).fill(NAN);
        const Values y = resize(x, {6, 10}, mode).values();
        const auto reads = [&](int64_t n, int64_t m, int64_t o, int64_t i) {
          for (const auto& [from, weight] : naive_samples(n, m, o, mode))
            if (from == i && weight > 1e-9) return true;
          return false;
        };
        for (size_t i = 0; i < y.size(); ++i) {
          const auto o = static_cast<int64_t>(i % 60);
          EXPECT_EQ(std::isnan(y[i]), i / 60 == 41 && reads(4, 6, o / 10, 2) && reads(5, 10, o % 10, 1)) << i;
        }
      }
}

TEST(Resize, SameSizeBatchOfNoneAndKeepsNothing) {
  const Tensor x = normal({2, 3, 4, 5}, 1);
  EXPECT_TRUE(resize(x, {4, 5}, ResizeMode::bilinear).shares_storage(x));
  for (const Dims& shape : {Dims{0, 3, 4, 4}, Dims{2, 0, 4, 4}})
    for (const MemoryFormat format : kFormats) {
      const Tensor none = Tensor::zeros(shape, {.format = format});
      none.set_requires_grad();
      Tape tape;
      const Tape::Scope scope(&tape);
      const Tensor y = resize(none, {2, 7}, ResizeMode::bilinear);
      EXPECT_EQ(y.shape(), Dims({shape[0], shape[1], 2, 7}));
      EXPECT_EQ(tape.saved_bytes().at(0).bytes, 0u);
      tape.backward(y, Tensor::zeros(y.shape()));
      EXPECT_EQ(none.grad().shape(), shape);
    }
}

TEST(Resize, ErrorsAtTheDoor) {
  const auto error_with = [](const Dims& shape, const Dims& size, DType t = DType::f32) {
    return error_of([&] { resize(Tensor::zeros(shape, {t}), size, ResizeMode::nearest); });
  };
  EXPECT_EQ(error_with({2, 3}, {}), "[resize] expected an input N x C x spatial, got the shape 2x3");
  EXPECT_EQ(error_with({2, 3, 4, 4}, {4}),
            "[resize] expected a size of 2 lengths for an input of shape 2x3x4x4, got 4");
  EXPECT_EQ(error_with({2, 3, 4, 4}, {4, 0}), "[resize] expected lengths of 1 or more, got the size 4x0");
  EXPECT_EQ(error_with({2, 3, 0, 4}, {4, 2}), "[resize] an input of shape 2x3x0x4 has no positions");
  EXPECT_EQ(error_with({2, 3, 4, 4}, {4, 2}, DType::u8), "[resize] expected an input of f32, f64 or bf16, got u8");
}

// -- stochastic depth ------------------------------------------------------------------------------------------------

TEST(StochasticDepth, Battery) {
  for (const Dims& shape : {Dims{9, 37}, Dims{7, 5, 3, 7}, Dims{6, 40, 19, 11}, Dims{5, 3, 3, 4, 5}, Dims{9}}) {
    Case c;
    c.name = shape.str();
    c.inputs = {normal(shape, 1)};
    c.op = [](const std::vector<Tensor>& t) { return stochastic_depth(t[0], 0.5, 7, 11); };
    c.reference = [=](const std::vector<Values>& in, const Values& dy) {
      std::vector<Values> r{dy, dy};
      int kept = 0;
      for (int64_t n = 0; n < shape[0]; ++n) {
        const auto number = static_cast<uint64_t>(n);
        const uint32_t word = random_words(7, 0x7374646500000000u ^ 11u, number / 4)[number % 4];
        const double factor = word >> 8 >= (1u << 23) ? 2 : 0;  // half of 2^24
        kept += factor > 0;
        for (int64_t i = n * (shape.product() / shape[0]); i < (n + 1) * (shape.product() / shape[0]); ++i) {
          r[0][at(i)] = in[0][at(i)] * factor;
          r[1][at(i)] = dy[at(i)] * factor;
        }
      }
      EXPECT_GT(kept, 0);
      EXPECT_LT(kept, shape[0]);
      return r;
    };
    believe(c);
  }
}

TEST(StochasticDepth, RateSeedsAndSteps) {
  const Tensor x = Tensor::full({20000, 2}, 1);
  const auto kept = [&](double p, uint64_t seed, uint64_t step) {
    double n = 0;
    for (double v : stochastic_depth(x, p, seed, step).values()) n += v != 0;
    return n / 4e4;
  };
  EXPECT_NEAR(kept(0.5, 1, 0), 0.5, 0.018);  // five standard errors
  EXPECT_NEAR(kept(0.1, 1, 0), 0.9, 0.011);
  EXPECT_TRUE(same_bits(stochastic_depth(x, 0.0, 1, 0), x));
  EXPECT_FALSE(same_bits(stochastic_depth(x, 0.5, 1, 0), stochastic_depth(x, 0.5, 2, 0)));
  EXPECT_FALSE(same_bits(stochastic_depth(x, 0.5, 1, 0), stochastic_depth(x, 0.5, 1, 1)));
}

TEST(StochasticDepth, KeepsNothingPassesNanAndErrors) {
  const Tensor x = Tensor::full({8, 16, 2, 2}, NAN);
  x.set_requires_grad();
  Tape tape;
  const Tape::Scope scope(&tape);
  for (double v : stochastic_depth(x, 0.5, 1, 2).values()) EXPECT_TRUE(std::isnan(v));
  EXPECT_EQ(tape.saved_bytes().at(0).bytes, 0u);
  EXPECT_EQ(stochastic_depth(Tensor::zeros({0, 3}), 0.5, 1, 2).shape(), Dims({0, 3}));
  EXPECT_EQ(error_of([] {
              stochastic_depth(Tensor::zeros({2, 3}), 1.0, 0, 0);
            }),
            "[stochastic_depth] expected p in [0, 1), got 1");
  EXPECT_EQ(error_of([] {
              stochastic_depth(Tensor::zeros({2, 3}), NAN, 0, 0);
            }),
            "[stochastic_depth] expected p in [0, 1), got nan");
  EXPECT_EQ(error_of([] { stochastic_depth(Tensor::zeros({}), 0.5, 0, 0); }),
            "[stochastic_depth] expected an input N x ..., got a scalar");
  EXPECT_EQ(error_of([] { stochastic_depth(Tensor::zeros({2}, {DType::i64}), 0.5, 0, 0); }),
            "[stochastic_depth] expected an input of f32, f64 or bf16, got i64");
}

}  // namespace
}  // namespace tidepool::testing
