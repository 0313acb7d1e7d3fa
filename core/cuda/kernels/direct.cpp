// Convolutions and matrix products as direct sums, a thread per element: for f64, which the libraries do not all do,
// and what tests compare the libraries with. Sums are in f64.
#include "core/backend/conv.h"
#include "core/backend/matmul.h"
#include "core/cuda/block.h"
#include "core/cuda/tables.h"

namespace tidepool::cuda {
namespace {

// An image, a filter and its result on three spatial axes, absent ones of length 1, in element strides.
struct Geometry {
  int32_t n[3] = {1, 1, 1}, m[3] = {1, 1, 1}, k[3] = {1, 1, 1};
  int32_t stride[3] = {1, 1, 1}, padding[3] = {0, 0, 0}, dilation[3] = {1, 1, 1};
  int64_t x[5] = {}, y[5] = {};  // strides N, C, D, H, W
  uint32_t images, in, out, groups;

  Geometry(const Tensor& of_x, const Tensor& of_y, const Dims& w, const ConvOptions& o)
      : images(narrow(of_x.size(0))), in(narrow(of_x.size(1))), out(narrow(of_y.size(1))), groups(narrow(o.groups)) {
    const int rank = of_x.rank() - 2, first = 3 - rank;
    for (int i = 0; i < 2; ++i) {
      x[i] = of_x.strides()[i];
      y[i] = of_y.strides()[i];
    }
    for (int i = 0; i < rank; ++i) {
      const auto a = static_cast<size_t>(i);
      n[first + i] = static_cast<int32_t>(of_x.size(2 + i));
      m[first + i] = static_cast<int32_t>(of_y.size(2 + i));
      k[first + i] = static_cast<int32_t>(w[2 + i]);
      stride[first + i] = static_cast<int32_t>(o.stride[a]);
      padding[first + i] = static_cast<int32_t>(o.padding[a]);
      dilation[first + i] = static_cast<int32_t>(o.dilation[a]);
      x[2 + first + i] = of_x.strides()[2 + i];
      y[2 + first + i] = of_y.strides()[2 + i];
    }
  }
  TP_HD uint32_t taps() const { return static_cast<uint32_t>(k[0] * k[1] * k[2]); }
  /// Element i of a map in the order position, channel: lanes along channels.
  TP_HD static void split(uint32_t i, uint32_t channels, const int32_t* length, uint32_t& image, uint32_t& channel,
                          int32_t* at) {
    channel = i % channels;
    i /= channels;
    for (int a = 2; a >= 0; --a) {
      at[a] = static_cast<int32_t>(i % static_cast<uint32_t>(length[a]));
      i /= static_cast<uint32_t>(length[a]);
    }
    image = i;
  }
  TP_HD static int64_t offset(const int64_t* strides, uint32_t image, uint32_t channel, const int32_t* at) {
    return image * strides[0] + channel * strides[1] + at[0] * strides[2] + at[1] * strides[3] + at[2] * strides[4];
  }
  TP_HD static void tap(const int32_t* k, uint32_t t, int32_t* at) {
    for (int a = 2; a >= 0; --a) {
      at[a] = static_cast<int32_t>(t % static_cast<uint32_t>(k[a]));
      t /= static_cast<uint32_t>(k[a]);
    }
  }
};

template <class T, class W>
struct ConvForward {
  Geometry g;
  const T* x;
  const W *w, *bias;
  T* y;

  TP_HD void operator()(uint32_t i) const {
    uint32_t image, channel;
    int32_t at[3];
    Geometry::split(i, g.out, g.m, image, channel, at);
    const uint32_t ins = g.in / g.groups, first = channel / (g.out / g.groups) * ins, taps = g.taps();
    double sum = bias ? static_cast<double>(value_of(bias[channel])) : 0;
    for (uint32_t t = 0; t < taps; ++t) {
      int32_t tap[3], from[3];
      Geometry::tap(g.k, t, tap);
      bool inside = true;
      for (int a = 0; a < 3; ++a) {
        from[a] = at[a] * g.stride[a] - g.padding[a] + tap[a] * g.dilation[a];
        inside = inside && from[a] >= 0 && from[a] < g.n[a];
      }
      if (!inside) continue;
      const T* const p = x + Geometry::offset(g.x, image, first, from);
      for (uint32_t c = 0; c < ins; ++c)
        sum += static_cast<double>(value_of(p[c * g.x[1]])) *
               static_cast<double>(value_of(w[(size_t{channel} * ins + c) * taps + t]));
    }
    y[Geometry::offset(g.y, image, channel, at)] = rounded<T>(sum);
  }
};

template <class T, class W>
struct ConvBackwardData {
  Geometry g;
  const T* dy;
  const W* w;
  T* dx;

  TP_HD void operator()(uint32_t i) const {
    uint32_t image, channel;
    int32_t at[3];
    Geometry::split(i, g.in, g.n, image, channel, at);
    const uint32_t ins = g.in / g.groups, outs = g.out / g.groups, taps = g.taps();
    const uint32_t first = channel / ins * outs, c = channel % ins;
    double sum = 0;
    for (uint32_t t = 0; t < taps; ++t) {
      int32_t tap[3], to[3];
      Geometry::tap(g.k, t, tap);
      bool inside = true;
      for (int a = 0; a < 3; ++a) {
        const int32_t q = at[a] + g.padding[a] - tap[a] * g.dilation[a];
        to[a] = q / g.stride[a];
        inside = inside && q >= 0 && q % g.stride[a] == 0 && to[a] < g.m[a];
      }
      if (!inside) continue;
      const T* const p = dy + Geometry::offset(g.y, image, first, to);
      for (uint32_t o = 0; o < outs; ++o)
        sum += static_cast<double>(value_of(p[o * g.y[1]])) *
               static_cast<double>(value_of(w[(size_t{first + o} * ins + c) * taps + t]));
    }
    dx[Geometry::offset(g.x, image, channel, at)] = rounded<T>(sum);
  }
};

template <class T, class W>
struct ConvBackwardWeights {
  Geometry g;
  const T *x, *dy;
  W* dw;

  TP_HD void operator()(uint32_t i) const {
    const uint32_t taps = g.taps(), ins = g.in / g.groups, t = i % taps, c = i / taps % ins, o = i / taps / ins;
    const uint32_t channel = o / (g.out / g.groups) * ins + c;
    int32_t tap[3], at[3], from[3];
    Geometry::tap(g.k, t, tap);
    double sum = 0;
    for (uint32_t image = 0; image < g.images; ++image)
      for (at[0] = 0; at[0] < g.m[0]; ++at[0])
        for (at[1] = 0; at[1] < g.m[1]; ++at[1])
          for (at[2] = 0; at[2] < g.m[2]; ++at[2]) {
            bool inside = true;
            for (int a = 0; a < 3; ++a) {
              from[a] = at[a] * g.stride[a] - g.padding[a] + tap[a] * g.dilation[a];
              inside = inside && from[a] >= 0 && from[a] < g.n[a];
            }
            if (inside)
              sum += static_cast<double>(value_of(x[Geometry::offset(g.x, image, channel, from)])) *
                     static_cast<double>(value_of(dy[Geometry::offset(g.y, image, o, at)]));
          }
    dw[i] = rounded<W>(sum);
  }
};

template <class T>
struct BiasGradient {
  Geometry g;
  const T* dy;

  TP_HD double operator()(uint32_t channel) const {
    double sum = 0;
    int32_t at[3];
    for (uint32_t image = 0; image < g.images; ++image)
      for (at[0] = 0; at[0] < g.m[0]; ++at[0])
        for (at[1] = 0; at[1] < g.m[1]; ++at[1])
          for (at[2] = 0; at[2] < g.m[2]; ++at[2])
            sum += static_cast<double>(value_of(dy[Geometry::offset(g.y, image, channel, at)]));
    return sum;
  }
};
template <class T, class W>
struct SetBiasGradient {
  BiasGradient<T> of;
  W* dbias;

  TP_HD void operator()(uint32_t channel) const { dbias[channel] = rounded<W>(of(channel)); }
};

// Calls f(element of the maps, element of the weights).
template <class F>
void dispatch_types(DType maps, DType weights, const F& f) {
  dispatch_floating(maps, "conv", [&]<class T>(T) {
    if (weights == DTypeOf<T>::value)
      f(T{}, T{});
    else
      f(T{}, Acc<T>{});  // f32 with maps of bf16
  });
}

bool conv_forward(const Tensor& x, const Tensor& weight, const Tensor& added, const ConvOptions& o, const Tensor& y) {
  const Tensor w = weight.contiguous(MemoryFormat::plain), bias = added ? added.to(w.dtype()) : added;
  dispatch_types(x.dtype(), w.dtype(), [&]<class T, class W>(T, W) {
    launch_each(y.numel(), ConvForward<T, W>{Geometry(x, y, w.shape(), o), x.data<T>(), w.data<W>(),
                                             bias ? bias.data<W>() : nullptr, y.mutable_data<T>()});
  });
  return true;
}
bool conv_backward_data(const Tensor& dy, const Tensor& weight, const ConvOptions& o, const Tensor& dx) {
  const Tensor w = weight.contiguous(MemoryFormat::plain);
  dispatch_types(dx.dtype(), w.dtype(), [&]<class T, class W>(T, W) {
    launch_each(dx.numel(), ConvBackwardData<T, W>{Geometry(dx, dy, w.shape(), o), dy.data<T>(), w.data<W>(),
                                                   dx.mutable_data<T>()});
  });
  return true;
}
bool conv_backward_weights(const Tensor& x, const Tensor& dy, const ConvOptions& o, const Tensor& dw,
                           const Tensor& dbias) {
  const bool dense = dw.is_contiguous(MemoryFormat::plain);
  const Tensor to = dense ? dw : Tensor::empty(dw.shape(), {.dtype = dw.dtype(), .device = dw.device()});
  dispatch_types(x.dtype(), dw.dtype(), [&]<class T, class W>(T, W) {
    const Geometry g(x, dy, dw.shape(), o);
    launch_each(to.numel(), ConvBackwardWeights<T, W>{g, x.data<T>(), dy.data<T>(), to.mutable_data<W>()});
    if (!dbias) return;
    dispatch_floating(dbias.dtype(), "conv", [&]<class U>(U) {
      launch_each(dbias.numel(), SetBiasGradient<T, U>{{g, dy.data<T>()}, dbias.mutable_data<U>()});
    });
  });
  if (!dense) dw.copy_from(to);
  return true;
}

template <class T, class Y, class B>
struct Matmul {
  const T *a, *b;
  const B* bias;
  Y* y;
  int64_t a_row, a_column, b_row, b_column;
  uint32_t n, k;

  TP_HD void operator()(uint32_t i) const {
    const uint32_t row = i / n, column = i - row * n;
    double sum = bias ? static_cast<double>(value_of(bias[column])) : 0;
    for (uint32_t j = 0; j < k; ++j)
      sum += static_cast<double>(value_of(a[row * a_row + j * a_column])) *
             static_cast<double>(value_of(b[j * b_row + column * b_column]));
    y[i] = rounded<Y>(sum);
  }
};

bool matmul(const Tensor& a, const Tensor& b, const Tensor& bias, const Tensor& y) {
  dispatch_floating(a.dtype(), "matmul", [&]<class T>(T) {
    const auto run = [&]<class Y, class B>(Y, B) {
      launch_each(y.numel(), Matmul<T, Y, B>{a.data<T>(), b.data<T>(), bias ? bias.data<B>() : nullptr,
                                             y.mutable_data<Y>(), a.strides()[0], a.strides()[1], b.strides()[0],
                                             b.strides()[1], narrow(y.size(1)), narrow(a.size(1))});
    };
    using A = Acc<T>;
    const bool narrow_y = y.dtype() == DTypeOf<T>::value, narrow_bias = bias && bias.dtype() == DTypeOf<T>::value;
    if (narrow_y)
      narrow_bias ? run(T{}, T{}) : run(T{}, A{});
    else
      narrow_bias ? run(A{}, T{}) : run(A{}, A{});
  });
  return true;
}

}  // namespace

const ConvTable kDirectConv{.name = "direct sums",
                            .forward = conv_forward,
                            .backward_data = conv_backward_data,
                            .backward_weights = conv_backward_weights};
const MatmulTable kDirectMatmul{.name = "direct sums", .matmul = matmul};

}  // namespace tidepool::cuda
