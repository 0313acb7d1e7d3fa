// Optimizers and moving averages: one launch for up to kListed tensors. Arithmetic is in f64, as the reference's: these
// kernels wait for memory.
#include "core/backend/update.h"

#include <cmath>

#include "core/cuda/kernels/tensor_list.h"
#include "core/cuda/tables.h"

namespace tidepool::cuda {
namespace {

/// f(tensor, i) for every element of every tensor.
template <class P, class F>
__global__ void for_each_of(TensorList<P> list, F f) {
  if (f.stopped()) return;
  list.each_of_block(f);
}

/// `tensor(k)` of n, of `elements(k)` elements.
template <class P, class Tensors, class Elements, class F>
void launch_lists(size_t n, const Tensors& tensor, const Elements& elements, const F& f) {
  static_assert(sizeof(TensorList<P>) + sizeof(F) <= 4096, "a kernel's parameters, before CUDA 12.1");
  each_list<P>(n, tensor, elements, [&](const TensorList<P>& list) {
    launch(for_each_of<P, F>, Grid(dim3(list.blocks()), dim3(256)), list, f);
  });
}

template <class T>
struct Parameter {
  T* value;
  const void* grad;  // of T, or of bf16
  bool narrow_grad;
  T* state[3];
  double weight_decay;

  TP_HD double gradient(uint32_t i) const {
    return narrow_grad ? static_cast<double>(value_of(static_cast<const bf16*>(grad)[i]))
                       : static_cast<double>(static_cast<const T*>(grad)[i]);
  }
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
    const double g = p.gradient(i) * scale() + p.weight_decay * w;
    const double v = first ? g : constants.momentum * static_cast<double>(p.state[0][i]) + g;
    p.value[i] = static_cast<T>(w - rate * (constants.nesterov ? g + constants.momentum * v : v));
    p.state[0][i] = static_cast<T>(v);
  }
};

template <class T>
struct AdamW : Common {
  double b1, b2, eps, first_left, second_left;  // 1 - b^t

  TP_HD void operator()(const Parameter<T>& p, uint32_t i) const {
    const double g = p.gradient(i) * scale();
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
    const double g = p.gradient(i) * scale() + p.weight_decay * w;
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
        Parameter<T> one{p.value.mutable_data<T>(), p.grad.raw(), p.grad.dtype() == DType::bf16, {}, p.weight_decay};
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
  each_type(average, [&]<class T>(T, std::span<const size_t> places) {
    launch_lists<Average<T>>(
        places.size(),
        [&](size_t k) {
          return Average<T>{current[places[k]].template data<T>(), average[places[k]].template mutable_data<T>()};
        },
        [&](size_t k) { return average[places[k]].numel(); }, Mix<T>{go ? go.data<int32_t>() : nullptr, decay});
  });
  return true;
}

}  // namespace

const UpdateTable kUpdate{
    .name = "kernels", .sgd = sgd, .adamw = adamw, .rmsprop = rmsprop, .moving_average = moving_average};

}  // namespace tidepool::cuda
