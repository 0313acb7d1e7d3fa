// The choice among a device's tables, and each entry of the CPU's against the naive reference: types, layouts, shapes
// that are no whole vectors. Convolutions have tests of their own (onednn_test, depthwise_test, winograd_test).
#include <algorithm>

#include "core/backend/libraries.h"
#include "core/cpu/tables.h"
#include "core/cuda/library_versions.h"
#include "core/reference/tables.h"
#include "tests/layers/battery.h"

namespace tidepool {

/// A family that only this test has.
struct MadeUpTable {
  const char* name;
  bool (*one)(const Tensor& x, int number);
};

namespace {
std::vector<const MadeUpTable*> made_up_tables;
}

namespace backend {
template <>
std::span<const MadeUpTable* const> tables<MadeUpTable>(Device device) {
  return device == kCpu ? std::span<const MadeUpTable* const>(made_up_tables) : std::span<const MadeUpTable* const>{};
}
}  // namespace backend

namespace testing {
namespace {

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const std::exception& e) {
    return e.what();
  }
  return "";
}

TEST(Backend, TheFirstEntryThatDoesACaseDoesIt) {
  const MadeUpTable none{.name = "none", .one = nullptr};
  const MadeUpTable even{.name = "even", .one = [](const Tensor&, int number) { return number % 2 == 0; }};
  const MadeUpTable positive{.name = "positive", .one = [](const Tensor&, int number) { return number > 0; }};
  made_up_tables = {&none, &even, &positive};
  const Tensor x = Tensor::zeros({1});
  EXPECT_STREQ(backend::run("made up", &MadeUpTable::one, x, 2).name, "even");
  EXPECT_STREQ(backend::run("made up", &MadeUpTable::one, x, 3).name, "positive");
  EXPECT_STREQ(backend::run("made up", &MadeUpTable::one, Tensor(), 3).name, "positive") << "undefined: of any device";
  EXPECT_EQ(message_of([&] { backend::run("made up", &MadeUpTable::one, x, -1); }),
            "made up on cpu is not supported yet");
  made_up_tables.clear();
}

template <class Table>
void expect_lists(const char* family) {
  const auto on_cpu = backend::tables<Table>(kCpu);
  ASSERT_GE(on_cpu.size(), 2u) << family;
  EXPECT_STREQ(on_cpu.back()->name, "reference") << family;
  EXPECT_EQ(backend::tables<Table>(kCuda).empty(), !built_with_cuda()) << family;
}

TEST(Backend, TheReferenceIsLastInEveryListOfTheCpu) {
  expect_lists<ConvTable>("convolution");
  expect_lists<MatmulTable>("matrix product");
  expect_lists<NormTable>("norm");
  expect_lists<ActivationTable>("activation");
  expect_lists<ElementwiseTable>("elementwise");
  expect_lists<ReductionTable>("reduction");
  expect_lists<ResizeTable>("resize");
  expect_lists<LossTable>("loss");
  expect_lists<UpdateTable>("update");
  expect_lists<CopyTable>("copy");
}

TEST(Backend, ErrorsNameOperatorAndDevice) {
  EXPECT_EQ(message_of([] { backend::throw_unsupported("batch_norm", kCuda); }),
            "batch_norm on cuda is not supported yet");
  EXPECT_EQ(message_of([] { backend::throw_mixed_devices("gate", kCpu, kCuda); }),
            "[gate] expected tensors of one device, got cpu and cuda");
}

// -- the CPU's entries against the reference --------------------------------------------------------------------------

constexpr DType kTypes[] = {DType::f32, DType::f64, DType::bf16};
const std::vector<Dims> kMaps{{3, 5, 7, 9}, {2, 17, 4, 3}, {2, 33, 6}, {1, 3, 2, 3, 4}, {2, 40, 1, 1}, {9, 64, 17, 17}};

Tensor made(const Dims& shape, uint64_t seed, DType t, MemoryFormat f, double mean = 0) {
  return normal(shape, seed, 1.0, mean).contiguous(f).to(t);
}
Tensor like(const Tensor& t) {
  return Tensor::empty(t.shape(), t.options());
}

// Calls f with a description, the shape, type and format of every case.
template <class F>
void each_map(const F& f) {
  for (const Dims& shape : kMaps)
    for (const DType t : kTypes)
      for (const MemoryFormat format : {MemoryFormat::plain, MemoryFormat::channels_last}) {
        SCOPED_TRACE(fmt::format("{} {} {}", shape.str(), tidepool::name_of(t), tidepool::name_of(format)));
        f(shape, t, format);
      }
}

// f(table) gives what that table has computed.
template <class Table, class F>
void expect_agreement(const char* what, const Table& own, const Table& reference, DType t, const F& f) {
  poison();
  const std::vector<Tensor> got = f(own), expected = f(reference);
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i)
    EXPECT_LE(error(got[i].values(), expected[i].values()), tolerance(t)) << what << ", result " << i;
}

TEST(Backend, Activations) {
  each_map([](const Dims& shape, DType t, MemoryFormat f) {
    const Tensor x = made(shape, 1, t, f), dy = made(shape, 2, t, f);
    const double corners[] = {NAN, 0, -3, 3, 6, 7, -4, 90, -90};  // and -0 by rounding
    for (size_t i = 0; i < std::min<size_t>(std::size(corners), static_cast<size_t>(shape[0] * shape[1])); ++i)
      x.select(0, static_cast<int64_t>(i) % shape[0]).slice(0, static_cast<int64_t>(i) / shape[0], 1).fill(corners[i]);
    for (const Act act : {Act::relu, Act::relu6, Act::silu, Act::hardswish, Act::sigmoid}) {
      const Tensor y = like(x);
      ASSERT_TRUE(reference::kActivation.forward(x, act, y));
      expect_agreement(tidepool::name_of(act), cpu::kActivation, reference::kActivation, t,
                       [&](const ActivationTable& table) {
                         const Tensor out = like(x), dx = like(x);
                         EXPECT_TRUE(table.forward(x, act, out));
                         EXPECT_TRUE(table.backward(keeps_output(act) ? y : x, dy, act, dx));
                         return std::vector{out, dx};
                       });
    }
  });
}

TEST(Backend, Elementwise) {
  each_map([](const Dims& shape, DType t, MemoryFormat f) {
    const Tensor x = made(shape, 1, t, f), dy = made(shape, 2, t, f), s = made({shape[0], shape[1]}, 3, t, f);
    Dims wider = shape;
    wider[1] = 2;
    const std::vector<Tensor> inputs{x, made(wider, 4, t, f), dy};
    const std::vector<int64_t> channels{shape[1], 2, shape[1]};
    wider[1] = 2 * shape[1] + 2;
    const MaskDraw draw{.p = 0.3, .seed = 5, .step = 7},
        counted{.p = 0.3, .seed = 5, .step = 1, .counter = Tensor::from<int64_t>({7}, {1})};
    expect_agreement("elementwise", cpu::kElementwise, reference::kElementwise, t, [&](const ElementwiseTable& table) {
      const Tensor sum = like(x), product = like(x), dx = like(x), ds = like(s), ds_alone = like(s),
                   joined = Tensor::empty(wider, x.options()), dropped = like(x), depth = like(x), other = like(x);
      const std::vector<Tensor> parts{like(x), {}, like(x)};
      EXPECT_TRUE(table.add(x, dy, sum));
      EXPECT_TRUE(table.gate(x, s, product));
      EXPECT_TRUE(table.gate_backward(x, s, dy, dx, ds));
      EXPECT_TRUE(table.gate_backward(x, {}, dy, {}, ds_alone));
      EXPECT_TRUE(table.concat(inputs, joined));
      EXPECT_TRUE(table.split(joined, channels, parts));
      EXPECT_TRUE(table.dropout(x, draw, dropped));
      EXPECT_TRUE(table.stochastic_depth(x, draw, depth));
      EXPECT_TRUE(table.dropout(x, counted, other));
      EXPECT_EQ(other.values(), dropped.values());
      EXPECT_TRUE(table.stochastic_depth(x, counted, other));
      EXPECT_EQ(other.values(), depth.values());
      return std::vector{sum, product, dx, ds, ds_alone, joined, parts[0], parts[2], dropped, depth};
    });
  });
}

TEST(Backend, Reductions) {
  each_map([](const Dims& shape, DType t, MemoryFormat f) {
    const Tensor x = made(shape, 1, t, f), dy = made({shape[0], shape[1]}, 2, t, MemoryFormat::plain);
    expect_agreement("global mean", cpu::kReduction, reference::kReduction, t, [&](const ReductionTable& table) {
      const Tensor y = like(dy), dx = like(x);
      EXPECT_TRUE(table.global_mean(x, y));
      EXPECT_TRUE(table.global_mean_backward(dy, dx));
      return std::vector{y, dx};
    });
    for (const double wrong : {0.0, static_cast<double>(INFINITY), static_cast<double>(NAN)}) {
      x.slice(1, shape[1] - 1, 1).fill(wrong);
      for (const ReductionTable* table : {&cpu::kReduction, &reference::kReduction}) {
        bool finite = wrong != 0;
        EXPECT_TRUE(table->all_finite(x.contiguous(f), &finite));
        EXPECT_EQ(finite, wrong == 0) << table->name;
      }
    }
  });
  for (const DType t : kTypes)
    for (const DType out : kTypes) {
      const Tensor x = made({37, 131}, 3, t, MemoryFormat::plain);
      expect_agreement("column sums", cpu::kReduction, reference::kReduction, out, [&](const ReductionTable& table) {
        const Tensor sums = Tensor::empty({131}, {.dtype = out});
        EXPECT_TRUE(table.column_sums(x, sums));
        return std::vector{sums};
      });
    }
  const std::vector<Tensor> two{Tensor::full({3}, 2.0), Tensor::full({2}, 0.5, {.dtype = DType::bf16})};
  EXPECT_EQ(sum_of_squares(two).item(), 12.5);
}

TEST(Backend, Norms) {
  each_map([](const Dims& shape, DType t, MemoryFormat f) {
    const DType sums = t == DType::f64 ? DType::f64 : DType::f32;
    const int64_t c = shape[1];
    const TensorOptions wide{.dtype = DType::f64};
    const Tensor x = made(shape, 1, t, f, 3), dy = made(shape, 2, t, f);
    const Tensor constants = made({3, c}, 3, sums, MemoryFormat::plain, 0.5),
                 line = made({2, c}, 4, sums, MemoryFormat::plain);
    expect_agreement("moments", cpu::kNorm, reference::kNorm, sums, [&](const NormTable& table) {
      const Tensor moments = Tensor::empty({2, c}, wide);
      EXPECT_TRUE(table.moments(x, moments));
      return std::vector{moments.slice(0, 0, 1), moments.slice(0, 1, 1)};
    });
    for (const Act act : {Act::none, Act::relu, Act::relu6, Act::silu})
      expect_agreement(tidepool::name_of(act), cpu::kNorm, reference::kNorm, t, [&](const NormTable& table) {
        const Tensor y = like(x), dx = like(x), sum = Tensor::empty({2, c}, wide);
        EXPECT_TRUE(table.apply(x, constants, act, y));
        EXPECT_TRUE(table.gradient_sums(x, dy, constants, act, sum));
        EXPECT_TRUE(table.apply_gradient(x, dy, constants, line, act, dx));
        return std::vector{y, dx, sum};
      });
  });
  const Tensor parts = normal({7, 2, 19}, 5),
               counts = Tensor::from<double>(std::vector<double>{3, 1, 4, 1, 5, 9, 2}, {7});
  expect_agreement("joined", cpu::kNorm, reference::kNorm, DType::f64, [&](const NormTable& table) {
    const Tensor moments = Tensor::empty({2, 19}, {.dtype = DType::f64}), sums = like(moments);
    EXPECT_TRUE(table.join_moments(parts, counts, moments));
    EXPECT_TRUE(table.join_sums(parts, sums));
    return std::vector{moments, sums};
  });
}

TEST(Backend, Resizes) {
  // Results of one to six terms.
  const auto axis = [](int64_t n, int64_t m) {
    AxisMap map(n, m);
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t k = 0; k <= i % 6 && i % n + k < n; ++k)
        map.terms.push_back({i % n + k, 0.25 * static_cast<double>(k + 1)});
      map.starts.push_back(static_cast<int64_t>(map.terms.size()));
    }
    return map;
  };
  each_map([&](const Dims& shape, DType t, MemoryFormat f) {
    const auto length = [&](int i) { return i - 3 + shape.rank() < 2 ? 1 : shape[i - 3 + shape.rank()]; };
    AxisMaps maps{axis(length(0), length(0)), axis(length(1), length(1) + 2), axis(length(2), length(2) + 5)};
    Dims larger = shape;
    for (int i = 2; i < shape.rank(); ++i) larger[i] = maps[static_cast<size_t>(i + 3 - shape.rank())].m;
    if (shape.rank() == 3) maps[1] = axis(1, 1);
    const Tensor x = made(shape, 1, t, f);
    expect_agreement("resize", cpu::kResize, reference::kResize, t, [&](const ResizeTable& table) {
      const Tensor y = Tensor::empty(larger, x.options());
      EXPECT_TRUE(table.resize(x, maps, y));
      return std::vector{y};
    });
  });
}

TEST(Backend, Losses) {
  for (const DType t : kTypes)
    for (const DType labels_type : {DType::i64, DType::i32})
      for (const Dims& shape : {Dims{9, 23}, Dims{3, 23, 3}, Dims{1, 2, 3, 3}}) {
        SCOPED_TRACE(fmt::format("{} {} {}", shape.str(), tidepool::name_of(t), tidepool::name_of(labels_type)));
        const DType sums = t == DType::f64 ? DType::f64 : DType::f32;  // the loss is formed in it
        const Tensor x = made(shape, 1, t, shape.rank() > 2 ? MemoryFormat::channels_last : MemoryFormat::plain);
        Values numbers(9);
        for (size_t i = 0; i < 9; ++i)
          numbers[i] = i == 3 ? 99 : static_cast<double>(i * 5 % static_cast<size_t>(shape[1]));
        const Tensor labels = Tensor::from<double>(numbers, {9}).to(labels_type);
        LabelCounts counts;
        ASSERT_TRUE(reference::kLoss.count_labels(labels, shape[1], 99, &counts));
        EXPECT_EQ(counts.counted, 8);
        EXPECT_EQ(counts.wrong, -1);
        ASSERT_TRUE(reference::kLoss.count_labels(labels, shape[1], {}, &counts));
        EXPECT_EQ(counts.wrong, 3);
        for (const double smoothing : {0.0, 0.1}) {
          const CrossEntropy o{.smoothing = smoothing, .ignored = 99};
          const Tensor known = Tensor::empty({9, 2}, {.dtype = sums}),
                       unused = Tensor::empty({9}, {.dtype = DType::f64});
          ASSERT_TRUE(reference::kLoss.cross_entropy(x, labels, o, known, unused));
          expect_agreement("loss", cpu::kLoss, reference::kLoss, sums, [&](const LossTable& table) {
            const Tensor constants = Tensor::zeros({9, 2}, {.dtype = sums}), losses = like(unused);
            EXPECT_TRUE(table.cross_entropy(x, labels, o, constants, losses));
            return std::vector{constants, losses};
          });
          expect_agreement("gradient", cpu::kLoss, reference::kLoss, t, [&](const LossTable& table) {
            const Tensor dx = like(x);
            EXPECT_TRUE(
                table.cross_entropy_backward(x, labels, o, known, Tensor::full({}, 0.5, known.options()), 4, dx));
            return std::vector{dx};
          });
        }
        x.slice(1, 1, 1).slice(0, 0, 1).fill(NAN);
        expect_agreement("classes", cpu::kLoss, reference::kLoss, DType::f64, [&](const LossTable& table) {
          const Tensor classes = Tensor::empty({9}, {.dtype = DType::i32});
          EXPECT_TRUE(table.predicted_classes(x, classes));
          return std::vector{classes};
        });
      }
}

TEST(Backend, Updates) {
  for (const DType t : {DType::f32, DType::f64})
    for (const int64_t updates : {0, 3})
      for (int variant = 0; variant < 6; ++variant) {
        SCOPED_TRACE(fmt::format("{}, {} updates, variant {}", tidepool::name_of(t), updates, variant));
        const UpdateStep step{.rate = 0.1, .squares = Tensor::from<double>({100}, {1}), .clip = 7, .updates = updates};
        const auto run = [&](const UpdateTable& table) {
          std::vector<Tensor> written;
          std::vector<std::vector<Tensor>> states;
          std::vector<ParameterUpdate> parameters;
          uint64_t seed = 1;
          for (const int64_t count : {5, 4097, 64}) {
            std::vector<Tensor> state;
            for (int k = 0; k < 3; ++k) {  // the first is a mean of squares too, the third a mean well below its root
              const Tensor s = normal({count}, seed++, k == 2 ? 0.1 : 1.0).to(t);
              const Values v = s.values();
              Values magnitude(v.size());
              std::ranges::transform(v, magnitude.begin(), [](double e) { return 1 + std::abs(e); });
              state.push_back(k == 0 || (k == 1 && variant == 2) ? Tensor::from<double>(magnitude, {count}).to(t) : s);
            }
            written.insert(written.end(), state.begin(), state.end());
            states.push_back(std::move(state));
          }
          for (size_t i = 0; i < states.size(); ++i) {
            const Tensor w = made(states[i][0].shape(), seed++, t, MemoryFormat::plain),
                         g = made(states[i][0].shape(), seed++, t, MemoryFormat::plain);
            parameters.push_back({.value = w, .grad = g, .state = states[i], .weight_decay = 0.01});
            written.push_back(w);
          }
          switch (variant) {
            case 0:
            case 1:
              EXPECT_TRUE(table.sgd(parameters, step, {.momentum = 0.9, .nesterov = variant == 1}));
              break;
            case 2:
              EXPECT_TRUE(table.adamw(parameters, step, {}));
              break;
            default:
              EXPECT_TRUE(
                  table.rmsprop(parameters, step, {.momentum = variant == 4 ? 0.0 : 0.9, .centered = variant == 5}));
          }
          return written;
        };
        expect_agreement("update", cpu::kUpdate, reference::kUpdate, t, run);
      }
  for (const DType t : kTypes)
    expect_agreement("moving average", cpu::kUpdate, reference::kUpdate, t, [&](const UpdateTable& table) {
      const Tensor average = made({1000}, 1, t, MemoryFormat::plain);
      EXPECT_TRUE(
          table.moving_average(std::vector{made({1000}, 2, t, MemoryFormat::plain)}, 0.9, std::vector{average}, {}));
      return std::vector{average};
    });
}

TEST(Backend, Copies) {
  constexpr DType kAll[] = {DType::f32, DType::f64, DType::bf16, DType::i64, DType::i32, DType::u8};
  for (const Dims& shape : kMaps)
    for (const DType from_type : kAll)
      for (const DType to_type : kAll)
        for (int layouts = 0; layouts < 8; ++layouts) {
          SCOPED_TRACE(fmt::format("{} {} to {}, layouts {}", shape.str(), tidepool::name_of(from_type),
                                   tidepool::name_of(to_type), layouts));
          if (shape.product() > 2000 && from_type != to_type) continue;
          const MemoryFormat f = layouts & 1 ? MemoryFormat::channels_last : MemoryFormat::plain,
                             g = layouts & 2 ? MemoryFormat::channels_last : MemoryFormat::plain;
          Values numbers(static_cast<size_t>(shape.product()));
          for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<double>(i * 7 % 201);
          const Tensor from = Tensor::from<double>(numbers, shape).contiguous(f).to(from_type);
          Dims larger = shape;
          larger[1] += 2;
          for (const CopyTable* table : {&cpu::kCopy, &reference::kCopy}) {
            const Tensor to = layouts & 4 ? Tensor::empty(larger, {to_type, g}).slice(1, 1, shape[1])
                                          : Tensor::empty(shape, {to_type, g});
            EXPECT_TRUE(table->copy(from, to));
            Values out(numbers.size());
            EXPECT_TRUE(table->read(to, out.data()));
            EXPECT_EQ(out, numbers) << table->name;
            EXPECT_TRUE(table->fill(to, 3));
            EXPECT_EQ(to.values(), Values(numbers.size(), 3)) << table->name;
          }
        }
  for (const DType t : kTypes) {
    const Tensor own = Tensor::empty({10001}, {.dtype = t}), reference = like(own);
    EXPECT_TRUE(cpu::kCopy.fill_normal(own, 3, 0.25));
    EXPECT_TRUE(reference::kCopy.fill_normal(reference, 3, 0.25));
    EXPECT_TRUE(same_bits(own, reference)) << tidepool::name_of(t);
  }
}

TEST(Libraries, ANetworkOnAGpuNeedsThem) {
  const cuda::LibraryVersions all{.runtime = "13.0", .cudnn = "9.19.0", .cublaslt = "13.1.0"};
  EXPECT_EQ(network_problem(kCuda, DType::f32, all), "");
  cuda::LibraryVersions some = all;
  some.cublaslt_problem = "no libcublasLt.so.13";
  EXPECT_TRUE(network_problem(kCuda, DType::f32, some).starts_with("matrix products on cuda: no libcublasLt.so.13; "));
  some.cudnn_problem = "no libcudnn.so.9";
  EXPECT_TRUE(network_problem(kCuda, DType::bf16, some).starts_with("convolutions on cuda: no libcudnn.so.9; "));
  EXPECT_EQ(network_problem(kCuda, DType::f64, some), "");
  EXPECT_EQ(network_problem(kCpu, DType::f32, some), "");
}

}  // namespace
}  // namespace testing
}  // namespace tidepool
