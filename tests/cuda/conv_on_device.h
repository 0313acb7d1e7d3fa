// A convolution in all three directions on one device.
#pragma once
#include "layers/conv.h"
#include "tests/layers/battery.h"

namespace tidepool::testing {

struct ConvCase {
  const char* name;
  Dims x, w;
  ConvOptions options;
};

struct Results {
  Tensor y, dx, dw;
};

/// All three directions of a case in one type on one device; dw in the weights' type.
inline Results convolve(const ConvCase& c, DType maps, DType weights, MemoryFormat format, Device device) {
  const auto there = [&](const Tensor& t, DType type, MemoryFormat f) { return t.to(type).contiguous(f).to(device); };
  const Dims shape = convolution_shape(c.x, c.w, c.options);
  const Tensor x = there(normal(c.x, 1), maps, format), dy = there(normal(shape, 3), maps, format),
               w = there(normal(c.w, 2, 0.3), weights, MemoryFormat::plain);
  const Results r{Tensor::empty(shape, dy.options()), Tensor::empty(c.x, x.options()), Tensor::empty(c.w, w.options())};
  conv_forward(x, w, {}, c.options, r.y);
  conv_backward_data(dy, w, c.options, r.dx);
  conv_backward_weights(x, dy, c.options, r.dw, {});
  return r;
}

inline Values values_of(const Tensor& t) {
  return t.to(kCpu).values();
}

}  // namespace tidepool::testing
