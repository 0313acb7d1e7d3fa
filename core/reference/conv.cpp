// Convolutions and matrix products: sums in f64 in a fixed order, over any strides. Serves f64, what oneDNN refuses,
// and the tests.
#include "core/parallel.h"
#include "core/reference/tables.h"

namespace tidepool {
namespace {

// A map or a kernel as five axes: (N or O), C, D, H, W, missing ones of length 1 in front of the spatial ones.
struct Five {
  std::array<int64_t, 5> n{1, 1, 1, 1, 1}, stride{};

  explicit Five(const Tensor& t) {
    const int missing = 5 - t.rank();
    for (int i = 0; i < t.rank(); ++i) {
      const auto to = static_cast<size_t>(i < 2 ? i : i + missing);
      n[to] = t.size(i);
      stride[to] = t.strides()[i];
    }
  }
  int64_t at(int64_t a, int64_t b, int64_t d, int64_t h, int64_t w) const {
    return a * stride[0] + b * stride[1] + d * stride[2] + h * stride[3] + w * stride[4];
  }
};

struct Geometry {
  std::array<int64_t, 3> stride{1, 1, 1}, padding{0, 0, 0}, dilation{1, 1, 1};

  Geometry(const ConvOptions& o, int spatial) {
    for (int i = 0; i < spatial; ++i) {
      const auto from = static_cast<size_t>(i), to = static_cast<size_t>(i + 3 - spatial);
      stride[to] = o.stride[from];
      padding[to] = o.padding[from];
      dilation[to] = o.dilation[from];
    }
  }
  /// Where in x tap k of output i stands on an axis; may lie outside.
  int64_t input(size_t axis, int64_t i, int64_t k) const {
    return i * stride[axis] - padding[axis] + k * dilation[axis];
  }
  /// Which output sees x at position p through tap k; -1 when none.
  int64_t output(size_t axis, int64_t p, int64_t k, int64_t outputs) const {
    const int64_t q = p + padding[axis] - k * dilation[axis];
    if (q < 0 || q % stride[axis] != 0 || q / stride[axis] >= outputs) return -1;
    return q / stride[axis];
  }
};

bool inside(int64_t i, int64_t n) {
  return i >= 0 && i < n;
}

template <class T>
double value(const T* p, int64_t i) {
  return static_cast<double>(static_cast<Acc<T>>(p[i]));
}
template <class T>
T rounded(double v) {
  return static_cast<T>(static_cast<Acc<T>>(v));
}

// Calls f with a value of x's type and one of the weights' type.
template <class F>
void dispatch_pair(DType x, DType w, const F& f) {
  dispatch_floating(x, "conv", [&]<class T>(T t) { dispatch_floating(w, "conv", [&]<class U>(U u) { f(t, u); }); });
}

bool conv_forward_reference(const Tensor& x, const Tensor& w, const Tensor& bias, const ConvOptions& o,
                            const Tensor& y) {
  const Five fx(x), fw(w), fy(y);
  const Geometry g(o, x.rank() - 2);
  const int64_t group_out = fw.n[0] / o.groups, group_in = fw.n[1];
  dispatch_pair(x.dtype(), w.dtype(), [&]<class T, class U>(T, U) {
    const T* px = x.data<T>();
    const U *pw = w.data<U>(), *pb = bias ? bias.data<U>() : nullptr;
    T* py = y.mutable_data<T>();
    parallel_chunks(fy.n[0] * fy.n[1], 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const int64_t n = row / fy.n[1], out = row % fy.n[1], first = out / group_out * group_in;
        for (int64_t d = 0; d < fy.n[2]; ++d)
          for (int64_t h = 0; h < fy.n[3]; ++h)
            for (int64_t v = 0; v < fy.n[4]; ++v) {
              double sum = pb ? value(pb, out) : 0.0;
              for (int64_t c = 0; c < group_in; ++c)
                for (int64_t kd = 0; kd < fw.n[2]; ++kd) {
                  const int64_t id = g.input(0, d, kd);
                  if (!inside(id, fx.n[2])) continue;
                  for (int64_t kh = 0; kh < fw.n[3]; ++kh) {
                    const int64_t ih = g.input(1, h, kh);
                    if (!inside(ih, fx.n[3])) continue;
                    for (int64_t kw = 0; kw < fw.n[4]; ++kw) {
                      const int64_t iw = g.input(2, v, kw);
                      if (!inside(iw, fx.n[4])) continue;
                      sum += value(px, fx.at(n, first + c, id, ih, iw)) * value(pw, fw.at(out, c, kd, kh, kw));
                    }
                  }
                }
              py[fy.at(n, out, d, h, v)] = rounded<T>(sum);
            }
      }
    });
  });
  return true;
}

bool conv_backward_data_reference(const Tensor& dy, const Tensor& w, const ConvOptions& o, const Tensor& dx) {
  const Five fx(dx), fw(w), fy(dy);
  const Geometry g(o, dx.rank() - 2);
  const int64_t group_out = fw.n[0] / o.groups, group_in = fw.n[1];
  dispatch_pair(dx.dtype(), w.dtype(), [&]<class T, class U>(T, U) {
    const T* py = dy.data<T>();
    const U* pw = w.data<U>();
    T* px = dx.mutable_data<T>();
    parallel_chunks(fx.n[0] * fx.n[1], 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const int64_t n = row / fx.n[1], c = row % fx.n[1], first = c / group_in * group_out;
        for (int64_t d = 0; d < fx.n[2]; ++d)
          for (int64_t h = 0; h < fx.n[3]; ++h)
            for (int64_t v = 0; v < fx.n[4]; ++v) {
              double sum = 0.0;
              for (int64_t out = first; out < first + group_out; ++out)
                for (int64_t kd = 0; kd < fw.n[2]; ++kd) {
                  const int64_t od = g.output(0, d, kd, fy.n[2]);
                  if (od < 0) continue;
                  for (int64_t kh = 0; kh < fw.n[3]; ++kh) {
                    const int64_t oh = g.output(1, h, kh, fy.n[3]);
                    if (oh < 0) continue;
                    for (int64_t kw = 0; kw < fw.n[4]; ++kw) {
                      const int64_t ow = g.output(2, v, kw, fy.n[4]);
                      if (ow < 0) continue;
                      sum += value(py, fy.at(n, out, od, oh, ow)) * value(pw, fw.at(out, c % group_in, kd, kh, kw));
                    }
                  }
                }
              px[fx.at(n, c, d, h, v)] = rounded<T>(sum);
            }
      }
    });
  });
  return true;
}

bool conv_backward_weights_reference(const Tensor& x, const Tensor& dy, const ConvOptions& o, const Tensor& dw,
                                     const Tensor& dbias) {
  const Five fx(x), fw(dw), fy(dy);
  const Geometry g(o, x.rank() - 2);
  const int64_t group_out = fw.n[0] / o.groups, group_in = fw.n[1];
  dispatch_pair(x.dtype(), dw.dtype(), [&]<class T, class U>(T, U) {
    const T *px = x.data<T>(), *py = dy.data<T>();
    U *pw = dw.mutable_data<U>(), *pb = dbias ? dbias.mutable_data<U>() : nullptr;
    parallel_chunks(fw.n[0], 1, [&](int64_t begin, int64_t end) {
      for (int64_t out = begin; out < end; ++out) {
        const int64_t first = out / group_out * group_in;
        for (int64_t c = 0; c < group_in; ++c)
          for (int64_t kd = 0; kd < fw.n[2]; ++kd)
            for (int64_t kh = 0; kh < fw.n[3]; ++kh)
              for (int64_t kw = 0; kw < fw.n[4]; ++kw) {
                double sum = 0.0;
                for (int64_t n = 0; n < fy.n[0]; ++n)
                  for (int64_t d = 0; d < fy.n[2]; ++d) {
                    const int64_t id = g.input(0, d, kd);
                    if (!inside(id, fx.n[2])) continue;
                    for (int64_t h = 0; h < fy.n[3]; ++h) {
                      const int64_t ih = g.input(1, h, kh);
                      if (!inside(ih, fx.n[3])) continue;
                      for (int64_t v = 0; v < fy.n[4]; ++v) {
                        const int64_t iw = g.input(2, v, kw);
                        if (!inside(iw, fx.n[4])) continue;
                        sum += value(px, fx.at(n, first + c, id, ih, iw)) * value(py, fy.at(n, out, d, h, v));
                      }
                    }
                  }
                pw[fw.at(out, c, kd, kh, kw)] = rounded<U>(sum);
              }
        if (!pb) continue;
        double sum = 0.0;
        for (int64_t n = 0; n < fy.n[0]; ++n)
          for (int64_t d = 0; d < fy.n[2]; ++d)
            for (int64_t h = 0; h < fy.n[3]; ++h)
              for (int64_t v = 0; v < fy.n[4]; ++v) sum += value(py, fy.at(n, out, d, h, v));
        pb[out] = rounded<U>(sum);
      }
    });
  });
  return true;
}

bool matmul_reference(const Tensor& a, const Tensor& b, const Tensor& bias, const Tensor& y) {
  const int64_t rows = a.size(0), inner = a.size(1), columns = b.size(1);
  const Dims &sa = a.strides(), &sb = b.strides(), &sy = y.strides();
  dispatch_pair(a.dtype(), y.dtype(), [&]<class T, class U>(T, U) {
    const T *pa = a.data<T>(), *pb = b.data<T>();
    U* py = y.mutable_data<U>();
    parallel_chunks(rows, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        for (int64_t j = 0; j < columns; ++j) {
          double sum = 0.0;
          if (bias) sum = bias.dtype() == y.dtype() ? value(bias.data<U>(), j) : value(bias.data<float>(), j);
          for (int64_t k = 0; k < inner; ++k)
            sum += value(pa, i * sa[0] + k * sa[1]) * value(pb, k * sb[0] + j * sb[1]);
          py[i * sy[0] + j * sy[1]] = rounded<U>(sum);
        }
    });
  });
  return true;
}

}  // namespace

const ConvTable reference::kConv{.name = "reference",
                                 .forward = conv_forward_reference,
                                 .backward_data = conv_backward_data_reference,
                                 .backward_weights = conv_backward_weights_reference};
const MatmulTable reference::kMatmul{.name = "reference", .matmul = matmul_reference};

}  // namespace tidepool
