// Optimizers and moving averages: one launch for up to 64 tensors. Arithmetic is in f64, as the reference's: these
// kernels wait for memory.
#include "core/backend/update.h"

#include <cmath>

#include "core/cuda/block.h"
#include "core/cuda/tables.h"

namespace tidepool::cuda {
namespace {

constexpr uint32_t kMost = 64, kChunk = 4096;  // tensors of a launch; elements of a block

/// Tensors of one launch, with the first of each one's blocks.
template <class P>
struct List {
  P tensors[kMost];
  uint32_t elements[kMost], first_block[kMost + 1];
  uint32_t count;
};

/// f(tensor, i) for every element of every tensor.
template <class P, class F>
__global__ void for_each_of(List<P> list, F f) {
  if (f.stopped()) return;
  uint32_t t = 0;
  while (blockIdx.x >= list.first_block[t + 1]) ++t;
  const uint32_t begin = (blockIdx.x - list.first_block[t]) * kChunk;
  const uint32_t end = list.elements[t] - begin < kChunk ? list.elements[t] : begin + kChunk;
  for (uint32_t i = begin + threadIdx.x; i < end; i += blockDim.x) f(list.tensors[t], i);
}

/// `tensor(k)` of n, of `elements(k)` elements.
template <class P, class Tensors, class Elements, class F>
void launch_lists(size_t n, const Tensors& tensor, const Elements& elements, const F& f) {
  for (size_t k = 0; k < n;) {
    List<P> list{};
    while (k < n && list.count < kMost) {
      const uint32_t size = narrow(elements(k));
      if (size > 0) {
        list.tensors[list.count] = tensor(k);
        list.elements[list.count] = size;
        list.first_block[list.count + 1] = list.first_block[list.count] + (size + kChunk - 1) / kChunk;
        ++list.count;
      }
      ++k;
    }
    launch(for_each_of<P, F>, Grid(dim3(list.first_block[list.count]), dim3(256)), list, f);
  }
}

template <class T>
struct Parameter {
  T* value;
  const T* grad;
  T* state[3];
  double weight_decay;
};

/// What the rules share: whether a loss was not finite, and the clipping.
struct Common {
  const int32_t* go;      // null: always
  const double* squares;  // null: no clipping
  double clip, rate;

  explicit Common(const UpdateStep& step)
      : go(step.go ? step.go.data<int32_t>() : nullptr),
        squares(step.squares ? step.squares.data<double>() : nullptr),
        clip(step.clip),
        rate(step.rate) {}
  TP_HD bool stopped() const { return go && *go == 0; }
  TP_HD double scale() const {
    if (!squares) return 1;
    const double norm = sqrt(*squares);
    return norm > clip ? clip / (norm + kClipEpsilon) : 1;
  }
};

template <class T>
struct Sgd : Common {
  SgdConstants constants;
  bool first;

  TP_HD void operator()(const Parameter<T>& p, uint32_t i) const {
    const double w = static_cast<double>(p.value[i]);
    const double g = static_cast<double>(p.grad[i]) * scale() + p.weight_decay * w;
    const double v = first ? g : constants.momentum * static_cast<double>(p.state[0][i]) + g;
    p.value[i] = static_cast<T>(w - rate * (constants.nesterov ? g + constants.momentum * v : v));
    p.state[0][i] = static_cast<T>(v);
  }
};

template <class T>
struct AdamW : Common {
  double b1, b2, eps, first_left, second_left;  // 1 - b^t

  TP_HD void operator()(const Parameter<T>& p, uint32_t i) const {
    const double g = static_cast<double>(p.grad[i]) * scale();
    const double m = b1 * static_cast<double>(p.state[0][i]) + (1 - b1) * g;
    const double v = b2 * static_cast<double>(p.state[1][i]) + (1 - b2) * g * g;
    p.value[i] = static_cast<T>(static_cast<double>(p.value[i]) * (1 - rate * p.weight_decay) -
                                rate * m / first_left / (sqrt(v / second_left) + eps));
    p.state[0][i] = static_cast<T>(m);
    p.state[1][i] = static_cast<T>(v);
  }
};

template <class T>
struct Rmsprop : Common {
  RmspropConstants constants;

  TP_HD void operator()(const Parameter<T>& p, uint32_t i) const {
    const double w = static_cast<double>(p.value[i]), alpha = constants.alpha;
    const double g = static_cast<double>(p.grad[i]) * scale() + p.weight_decay * w;
    const double s = alpha * static_cast<double>(p.state[0][i]) + (1 - alpha) * g * g;
    double spread = s;
    if (constants.centered) {
      T& average = p.state[constants.momentum > 0 ? 2 : 1][i];
      const double a = alpha * static_cast<double>(average) + (1 - alpha) * g;
      average = static_cast<T>(a);
      spread = s - a * a > 0 ? s - a * a : 0;
    }
    double u = g / (sqrt(spread) + constants.eps);
    if (constants.momentum > 0) {
      T& buffer = p.state[1][i];
      u += constants.momentum * static_cast<double>(buffer);
      buffer = static_cast<T>(u);
    }
    p.state[0][i] = static_cast<T>(s);
    p.value[i] = static_cast<T>(w - rate * u);
  }
};

// f32 or f64.
template <class F>
void dispatch_masters(DType t, const F& f) {
  if (t == DType::f64)
    f(double{});
  else if (t == DType::f32)
    f(float{});
  else
    throw Error("[optimizer] expected parameters of f32 or f64, got {}", name_of(t));
}

template <class T, class F>
void update(std::span<const ParameterUpdate> parameters, const F& f) {
  launch_lists<Parameter<T>>(
      parameters.size(),
      [&](size_t k) {
        const ParameterUpdate& p = parameters[k];
        Parameter<T> one{p.value.mutable_data<T>(), p.grad.data<T>(), {}, p.weight_decay};
        for (size_t s = 0; s < p.state.size(); ++s) one.state[s] = p.state[s].mutable_data<T>();
        return one;
      },
      [&](size_t k) { return parameters[k].value.numel(); }, f);
}

bool sgd(std::span<const ParameterUpdate> parameters, const UpdateStep& step, const SgdConstants& constants) {
  dispatch_masters(parameters[0].value.dtype(), [&]<class T>(T) {
    update<T>(parameters, Sgd<T>{Common(step), constants, step.updates == 0});
  });
  return true;
}

bool adamw(std::span<const ParameterUpdate> parameters, const UpdateStep& step, const AdamWConstants& constants) {
  const auto t = static_cast<double>(step.updates + 1);
  const double b1 = constants.betas[0], b2 = constants.betas[1];
  dispatch_masters(parameters[0].value.dtype(), [&]<class T>(T) {
    update<T>(parameters, AdamW<T>{Common(step), b1, b2, constants.eps, 1 - std::pow(b1, t), 1 - std::pow(b2, t)});
  });
  return true;
}

bool rmsprop(std::span<const ParameterUpdate> parameters, const UpdateStep& step, const RmspropConstants& constants) {
  dispatch_masters(parameters[0].value.dtype(), [&]<class T>(T) {
    update<T>(parameters, Rmsprop<T>{Common(step), constants});
  });
  return true;
}

template <class T>
struct Average {
  const T* current;
  T* average;
};
template <class T>
struct Mix {
  const int32_t* go;
  double decay;

  TP_HD bool stopped() const { return go && *go == 0; }
  TP_HD void operator()(const Average<T>& p, uint32_t i) const {
    p.average[i] = rounded<T>(decay * static_cast<double>(value_of(p.average[i])) +
                              (1 - decay) * static_cast<double>(value_of(p.current[i])));
  }
};

bool moving_average(std::span<const Tensor> current, double decay, std::span<const Tensor> average, const Tensor& go) {
  for (const DType type : {DType::f32, DType::f64, DType::bf16}) {
    std::vector<size_t> of_type;
    for (size_t k = 0; k < current.size(); ++k)
      if (average[k].dtype() == type) of_type.push_back(k);
    dispatch_floating(type, "moving average", [&]<class T>(T) {
      launch_lists<Average<T>>(
          of_type.size(),
          [&](size_t k) {
            return Average<T>{current[of_type[k]].template data<T>(), average[of_type[k]].template mutable_data<T>()};
          },
          [&](size_t k) { return average[of_type[k]].numel(); }, Mix<T>{go ? go.data<int32_t>() : nullptr, decay});
    });
  }
  return true;
}

}  // namespace

const UpdateTable kUpdate{
    .name = "kernels", .sgd = sgd, .adamw = adamw, .rmsprop = rmsprop, .moving_average = moving_average};

}  // namespace tidepool::cuda
