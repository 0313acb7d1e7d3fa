// What every operator must pass, for the layers that are no pools: a case is an operator,
// its tensors and a reference in f64 written apart; types, layouts, strided views, poisoned memory, finite differences,
// repeats and numbers of threads belong to this harness.
#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/philox.h"
#include "core/tape.h"

namespace tidepool::testing {

using Values = std::vector<double>;

/// Row-major standard normals times `scale` plus `mean`, rounded to bf16, so that every type holds them exactly.
inline Tensor normal(const Dims& shape, uint64_t seed, double scale = 1.0, double mean = 0.0) {
  Random random(seed, 77);
  Values v(static_cast<size_t>(shape.product()));
  for (double& e : v)
    e = static_cast<double>(static_cast<float>(bf16(static_cast<float>(mean + scale * random.normal()))));
  return Tensor::from<double>(v, shape);
}

/// Where operators run; references are always on the CPU.
inline Device battery_device = kCpu;

/// The same values there, a strided view as one (of every second position of the last axis).
inline Tensor on_device(const Tensor& t) {
  if (t.device() == battery_device) return t;
  const Tensor there = t.to(battery_device);
  if (t.is_contiguous(t.format())) return there;
  const int axis = t.rank() - 1;
  Dims larger = t.shape();
  larger[axis] = 2 * larger[axis] + 1;
  const bool last = t.rank() > 2 && t.strides()[1] < t.strides()[axis];
  const MemoryFormat format = last ? MemoryFormat::channels_last : MemoryFormat::plain;
  const Tensor view = Tensor::full(larger, 1e30, {t.dtype(), format, battery_device}).slice(axis, 1, t.size(axis), 2);
  view.copy_from(there);
  return view;
}
inline std::vector<Tensor> on_device(const std::vector<Tensor>& tensors) {
  std::vector<Tensor> there;
  for (const Tensor& t : tensors) there.push_back(on_device(t));
  return there;
}

/// Leaves blocks full of NaN in the allocator's cache, so that what an operator forgets to fill shows.
inline void poison() {
  std::vector<Tensor> blocks;
  for (int64_t bytes = 256; bytes <= 1 << 16; bytes += bytes / 4)
    for (int i = 0; i < 6; ++i) {
      if (battery_device != kCpu) {
        static const Tensor nan = Tensor::full({1 << 13}, NAN, {.dtype = DType::f64});
        blocks.push_back(Tensor::empty({bytes}, {.dtype = DType::u8, .device = battery_device}));
        device_memory::copy(blocks.back().mutable_raw(), battery_device, nan.raw(), kCpu, static_cast<size_t>(bytes));
        break;
      }
      blocks.push_back(Tensor::empty({bytes}, {.dtype = DType::u8}));
      std::memset(blocks.back().mutable_raw(), 0xff, static_cast<size_t>(bytes));
    }
}

/// Largest difference over the largest magnitude of what is expected; NaN must meet NaN.
inline double error(const Values& got, const Values& expected) {
  if (got.size() != expected.size()) return INFINITY;
  double most = 0, worst = 0;
  for (double e : expected)
    if (std::isfinite(e)) most = std::max(most, std::abs(e));
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(expected[i]) != std::isnan(got[i])) return INFINITY;
    if (std::isinf(expected[i]) && got[i] != expected[i]) return INFINITY;
    if (std::isfinite(expected[i]) || std::isfinite(got[i])) worst = std::max(worst, std::abs(got[i] - expected[i]));
  }
  return worst == 0 ? 0 : worst / (most > 0 ? most : 1);
}

inline bool same_bits(const Tensor& a, const Tensor& b) {
  if (a.shape() != b.shape() || a.dtype() != b.dtype()) return false;
  if (a.numel() == 0) return true;
  const Tensor x = a.contiguous(MemoryFormat::plain).to(kCpu), y = b.contiguous(MemoryFormat::plain).to(kCpu);
  return std::memcmp(x.raw(), y.raw(), static_cast<size_t>(a.numel()) * size_of(a.dtype())) == 0;
}

inline double tolerance(DType t) {
  return t == DType::f64 ? 1e-10 : t == DType::f32 ? 1e-5 : 0x1p-7;
}

enum class Layout { plain, channels_last, strided_plain, strided_channels_last };
inline const char* name_of(Layout l) {
  switch (l) {
    case Layout::plain:
      return "plain";
    case Layout::channels_last:
      return "channels_last";
    case Layout::strided_plain:
      return "strided view, plain";
    default:
      return "strided view, channels_last";
  }
}

/// The same values laid out so. A strided view is every second position of the last axis of a larger tensor.
inline Tensor laid_out(const Tensor& t, Layout l) {
  const MemoryFormat f =
      l == Layout::plain || l == Layout::strided_plain ? MemoryFormat::plain : MemoryFormat::channels_last;
  if (l == Layout::plain || l == Layout::channels_last) {
    const Tensor copy = Tensor::empty(t.shape(), {t.dtype(), f, kCpu});
    copy.copy_from(t);
    return copy;
  }
  const int axis = t.rank() - 1;
  Dims larger = t.shape();
  larger[axis] = 2 * larger[axis] + 1;
  const Tensor view = Tensor::full(larger, 1e30, {t.dtype(), f, kCpu}).slice(axis, 1, t.size(axis), 2);
  view.copy_from(t);
  return view;
}

struct Case {
  std::string name;
  std::vector<Tensor> inputs;  ///< f64; the first is the map, the others are parameters
  std::function<Tensor(const std::vector<Tensor>&)> op;
  /// {y, gradient of every input} from the inputs' values and the cotangent's, row-major.
  std::function<std::vector<Values>(const std::vector<Values>&, const Values& dy)> reference;
  double loosen = 1;        ///< factor on the tolerance (a reason stands beside it)
  bool own_kernels = true;  ///< bits must not depend on the number of threads
  bool differences = true;  ///< finite differences make sense at these inputs
  bool maps = false;        ///< every input is a map: of the first one's type and layout
};

struct Outcome {
  Tensor y;
  std::vector<Tensor> gradients;
};

inline Outcome run(const Case& c, const std::vector<Tensor>& given, const Tensor& dy) {
  const std::vector<Tensor> inputs = on_device(given);
  poison();
  std::vector<Tensor> leaves;
  for (const Tensor& t : inputs) {
    leaves.push_back(t.slice(0, 0, t.size(0)));  // a handle of its own on the same memory
    leaves.back().set_requires_grad();
  }
  Tape tape;
  const Tape::Scope scope(&tape);
  Outcome o;
  o.y = c.op(leaves);
  EXPECT_EQ(tape.nodes(), 1u) << c.name << ": one operator, one node";
  poison();
  tape.backward(o.y, on_device(dy.to(o.y.dtype())));
  for (const Tensor& t : leaves) o.gradients.push_back(t.grad());
  return o;
}

inline void believe(const Case& c) {
  SCOPED_TRACE(c.name);
  Tensor y;
  {
    const Tape::Scope none(nullptr);
    y = c.op(c.inputs);
  }
  const Tensor dy = y.rank() == 0 ? Tensor::full({}, 0.75, {.dtype = DType::f64}) : normal(y.shape(), 4242);
  std::vector<Values> values;
  for (const Tensor& t : c.inputs) values.push_back(t.values());
  const std::vector<Values> expected = c.reference(values, dy.values());

  for (DType type : {DType::f64, DType::f32, DType::bf16})
    for (Layout layout : {Layout::plain, Layout::channels_last, Layout::strided_plain, Layout::strided_channels_last}) {
      SCOPED_TRACE(std::string(tidepool::name_of(type)) + ", " + name_of(layout));
      std::vector<Tensor> inputs;
      for (size_t i = 0; i < c.inputs.size(); ++i)
        inputs.push_back(i == 0 || c.maps ? laid_out(c.inputs[i].to(type), layout)
                                          : c.inputs[i].to(type == DType::f64 ? DType::f64 : DType::f32));
      const Tensor cotangent = laid_out(dy.to(type), dy.rank() < 3 ? Layout::plain : layout);
      const Outcome o = run(c, inputs, cotangent);
      const double most = c.loosen * tolerance(type);
      EXPECT_LE(error(o.y.values(), expected[0]), most) << "y";
      if (o.y.rank() > 0) {
        EXPECT_EQ(o.y.dtype(), type);
      }
      if (o.y.rank() >= 3) {
        EXPECT_EQ(o.y.format(), inputs[0].format());
      }
      for (size_t i = 0; i < inputs.size(); ++i) {
        ASSERT_TRUE(o.gradients[i]) << "gradient " << i;
        const bool narrow = battery_device == kCuda && type == DType::bf16 && o.gradients[i].dtype() == DType::bf16;
        EXPECT_TRUE(narrow || o.gradients[i].dtype() == inputs[i].dtype()) << name_of(o.gradients[i].dtype());
        EXPECT_LE(error(o.gradients[i].values(), expected[i + 1]), most) << "gradient of input " << i;
      }
      const Outcome again = run(c, inputs, cotangent);
      EXPECT_TRUE(same_bits(o.y, again.y)) << "y, repeated";
      for (size_t i = 0; i < inputs.size(); ++i)
        EXPECT_TRUE(same_bits(o.gradients[i], again.gradients[i])) << "gradient " << i << ", repeated";
      if (c.own_kernels && battery_device == kCpu) {
        const int threads = cpu_threads();
        for (int other : {1, 2, 3}) {
          set_cpu_threads(other);
          const Outcome there = run(c, inputs, cotangent);
          EXPECT_TRUE(same_bits(o.y, there.y)) << "y, " << other << " threads";
          for (size_t i = 0; i < inputs.size(); ++i)
            EXPECT_TRUE(same_bits(o.gradients[i], there.gradients[i]))
                << "gradient " << i << ", " << other << " threads";
        }
        set_cpu_threads(threads);
      }
    }

  if (!c.differences) return;
  // d/dt <dy, op(x + t v)> for random directions v, central, against the recorded gradients.
  const Outcome o = run(c, c.inputs, dy);
  const auto objective = [&](size_t i, const Values& direction, double t) {
    std::vector<Tensor> inputs = c.inputs;
    Values moved = c.inputs[i].values();
    for (size_t j = 0; j < moved.size(); ++j) moved[j] += t * direction[j];
    inputs[i] = Tensor::from<double>(moved, c.inputs[i].shape());
    const Tape::Scope none(nullptr);
    const Values out = c.op(inputs).values(), g = dy.values();
    double sum = 0;
    for (size_t j = 0; j < out.size(); ++j) sum += out[j] * g[j];
    return sum;
  };
  for (size_t i = 0; i < c.inputs.size(); ++i)
    for (uint64_t seed = 1; seed <= 3; ++seed) {
      const Values v = normal(c.inputs[i].shape(), 900 + seed).values(), g = o.gradients[i].values();
      constexpr double h = 1e-5;
      const double numeric = (objective(i, v, h) - objective(i, v, -h)) / (2 * h);
      double analytic = 0, size = 0;
      for (size_t j = 0; j < v.size(); ++j) {
        analytic += v[j] * g[j];
        size += v[j] * v[j] * g[j] * g[j];
      }
      EXPECT_NEAR(analytic, numeric, 1e-6 * std::max(1.0, std::sqrt(size))) << "finite difference of input " << i;
    }
}

/// The text of the Error that f throws.
template <class F>
std::string error_of(const F& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace tidepool::testing
