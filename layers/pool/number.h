// Learnable numbers of windowed operators: what an operator declares, what its kernels read, and how a gradient is put
// together. A number is fixed by a key or, with "learned", a tensor: one for the layer, a channel or a position of the
// output. A table is several numbers that go together (a weight for each element of the kernel).
#pragma once
#include <array>
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "core/parallel.h"
#include "core/tensor.h"
#include "layers/parameter.h"
#include "layers/pool/geometry.h"
#include "layers/pool/keys.h"

namespace tidepool {

/// What there is one number of.
enum class Per : uint8_t { layer, channel, position };

/// What an operator sees of a tensor's element a.
enum class Through : uint8_t {
  itself,
  sigmoid,
  softplus,
  log_softmax,  ///< a table: elements a_0 .. a_(K-1), then K running log sums of exponentials: log sum over i <= j
                ///< e^(a_i)
};

/// The keys of a learnable number.
struct Learned {
  bool learned = false;
  Per per = Per::layer;

  void keys(Keys& k) {
    k.flag("learned", learned, "Whether the number is a parameter; the key's value is then its initial value.");
    k.choice("per", per, {"layer", "channel"}, "What there is one parameter of.");
  }
};

/// A number as an operator declares it.
struct NumberSpec {
  const char* name = "";  ///< of the tensor
  double value = 0;       ///< where it is fixed: what the operator sees
  bool learned = false;
  Per per = Per::layer;
  Through through = Through::itself;
  double init = 0;                                 ///< of the tensor
  double above = -INFINITY, at_least = -INFINITY;  ///< what a tensor's elements are checked for
  double kept = -INFINITY;                         ///< after each optimizer step: at least this
  int table_rank = 0;                              ///< of a table: its shape
  std::array<int64_t, 3> table{1, 1, 1};

  int64_t count() const { return table[0] * table[1] * table[2]; }
  int64_t units(const Dims& x, const std::array<WindowAxis, 3>& axes) const {
    return per == Per::layer ? 1 : per == Per::channel ? x[1] : axes[0].m * axes[1].m * axes[2].m;
  }
  /// [1], [C] or [positions...]; a table's [K...] or [C, K...].
  Dims shape(const Dims& x, const std::array<WindowAxis, 3>& axes) const;
};
template <int n>
using NumberSpecs = std::array<NumberSpec, static_cast<size_t>(n)>;

/// The specs of what is learned, in their order.
std::vector<ParameterSpec> parameters_of(std::span<const NumberSpec> specs, const Dims& x,
                                         const std::array<WindowAxis, 3>& axes);
/// Throws Error unless every element is finite and in its number's range.
void expect_numbers(const char* op, std::span<const NumberSpec> specs, std::span<const Tensor> parameters);
/// Brings parameters back into their range after an optimizer step.
void project_numbers(std::span<const NumberSpec> specs, std::span<const Tensor> parameters);

/// The same as kernels see it.
struct Number {
  double fixed = 0, inverse = 0;  ///< where it is fixed: itself, and 1 / it
  float fixed_f32 = 0, inverse_f32 = 0;
  const double* learned = nullptr;  ///< [count][units], of log_softmax [3 count][units]
  int64_t units = 1;
  Per per = Per::layer;
  bool single = false;  ///< learned, and one for the whole layer

  void fix(double value) {
    fixed = value;
    inverse = 1 / value;
    fixed_f32 = static_cast<float>(fixed);
    inverse_f32 = static_cast<float>(inverse);
    learned = nullptr;
  }
  /// In a kernel's arithmetic, f32 or f64.
  template <class A>
  TP_HD TP_INLINE A fixed_as() const {
    return sizeof(A) == sizeof(float) ? static_cast<A>(fixed_f32) : static_cast<A>(fixed);
  }
  template <class A>
  TP_HD TP_INLINE A inverse_as() const {
    return sizeof(A) == sizeof(float) ? static_cast<A>(inverse_f32) : static_cast<A>(inverse);
  }
};
template <int n>
struct Numbers {
  Number all[n > 0 ? n : 1];

  /// On the CPU: resolves per-layer parameters to constants, so that loops need not look them up.
  Numbers resolved() const {
    Numbers numbers = *this;
    for (Number& one : numbers.all)
      if (one.single) one.fix(*one.learned);
    return numbers;
  }
  /// Whether none is a tensor's.
  bool fixed() const {
    for (const Number& one : all)
      if (one.learned) return false;
    return true;
  }
};

namespace window {

/// 1 / (1 + exp(-v)).
TP_HD inline double sigmoid(double v) {
  return 1 / (1 + std::exp(-v));
}
/// log(1 + exp(v)).
TP_HD inline double softplus(double v) {
  return (v > 0 ? v : 0) + std::log1p(std::exp(v > 0 ? -v : v));
}

/// out [count][units] (set; of log_softmax [3 count][units]) from a parameter a [units][count].
template <class P>
struct PrepareNumber {
  const P* a;
  double* out;
  int64_t units, count;
  Through through;

  TP_HD void operator()(int64_t unit, int64_t /*lane*/, int64_t /*lanes*/) const {
    double running = -INFINITY;
    for (int64_t j = 0; j < count; ++j) {
      const double v = static_cast<double>(static_cast<Acc<P>>(a[unit * count + j]));
      double seen = v;
      if (through == Through::sigmoid) seen = sigmoid(v);
      if (through == Through::softplus) seen = softplus(v);
      out[j * units + unit] = seen;
      if (through != Through::log_softmax) continue;
      const double high = running > v ? running : v;
      running = high + std::log(std::exp(running - high) + std::exp(v - high));
      out[(count + j) * units + unit] = running;
    }
    if (through == Through::log_softmax)
      for (int64_t j = 0; j < count; ++j)
        out[(2 * count + j) * units + unit] = std::exp(out[j * units + unit] - running);
  }
};

/// gradient [units][count] (set) from the sums [chunks][count][slots], in a fixed order, times d seen / d a.
template <class P>
struct FinishNumber {
  const double *sums, *seen;
  int64_t chunks, units, count, slots;
  Through through;
  P* gradient;

  TP_HD void operator()(int64_t i, int64_t /*lane*/, int64_t /*lanes*/) const {
    const int64_t unit = quotient(i, count), j = i - unit * count, width = quotient(slots, units);
    double total = 0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk)
      for (int64_t s = 0; s < width; ++s) total += sums[(chunk * count + j) * slots + unit * width + s];
    const double v = seen[j * units + unit];
    if (through == Through::sigmoid) total *= v * (1 - v);
    if (through == Through::softplus) total *= -std::expm1(-v);
    gradient[i] = static_cast<P>(static_cast<Acc<P>>(total));
  }
};

/// What kernels see of a learned parameter's tensor: f64 on its device.
TP_OF_PASS Tensor prepare_number(const NumberSpec& spec, int64_t units, const Tensor& parameter) {
  const int64_t count = spec.count();
  const Tensor out = Tensor::empty({spec.through == Through::log_softmax ? 3 * count : count, units},
                                   {.dtype = DType::f64, .device = parameter.device()});
  const Tensor dense = parameter.contiguous(MemoryFormat::plain);
  dispatch_floating(parameter.dtype(), spec.name, [&]<class P>(P) {
    const PrepareNumber<P> kernel{dense.data<P>(), out.mutable_data<double>(), units, count, spec.through};
    parallel_rows(parameter.device(), units, 1, 32 * count, kernel);
  });
  return out;
}
TP_OF_PASS void finish_gradient(const NumberSpec& spec, const Number& number, int64_t chunks, int64_t slots,
                                const double* sums, const Tensor& gradient) {
  dispatch_floating(gradient.dtype(), spec.name, [&]<class P>(P) {
    const FinishNumber<P> kernel{sums,         number.learned, chunks,       number.units,
                                 spec.count(), slots,          spec.through, gradient.mutable_data<P>()};
    parallel_rows(gradient.device(), number.units * spec.count(), 1, chunks, kernel);
  });
}

}  // namespace window
}  // namespace tidepool
