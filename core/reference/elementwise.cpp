#include "core/backend/elementwise.h"

#include "core/philox.h"
#include "core/reference/elements.h"
#include "core/reference/tables.h"

namespace tidepool::reference {
namespace {

bool add(const Tensor& a, const Tensor& b, const Tensor& y) {
  const Elements pa(a), pb(b);
  const Results out(y);
  for (int64_t i = 0; i < out.size(); ++i) out.set(i, pa[i] + pb[i]);
  return true;
}

bool divide(const Tensor& x, double by, const Tensor& y) {
  const Elements in(x);
  const Results out(y);
  for (int64_t i = 0; i < out.size(); ++i) out.set(i, in[i] / by);
  return true;
}

bool gate(const Tensor& x, const Tensor& s, const Tensor& y) {
  const MapShape m(x);
  const Elements in(x), factor(s);
  const Results out(y);
  for (int64_t i = 0; i < out.size(); ++i) out.set(i, in[i] * factor[i / m.positions]);
  return true;
}

bool gate_backward(const Tensor& x, const Tensor& s, const Tensor& dy, const Tensor& dx, const Tensor& ds) {
  if (dx) gate(dy, s, dx);
  const MapShape m(x);
  const Elements in(x), g(dy);
  const Results out(ds);
  for (int64_t row = 0; row < out.size(); ++row) {
    double sum = 0;
    for (int64_t p = 0; p < m.positions; ++p) sum += g[row * m.positions + p] * in[row * m.positions + p];
    out.set(row, sum);
  }
  return true;
}

bool concat(std::span<const Tensor> inputs, const Tensor& y) {
  const MapShape m(y);
  const Results out(y);
  int64_t first = 0;
  for (const Tensor& x : inputs) {
    const MapShape part(x);
    const Elements in(x);
    for (int64_t i = 0; i < in.size(); ++i)
      out.set(m.at(part.image(i), first + part.channel(i), i % part.positions), in[i]);
    first += part.channels;
  }
  return true;
}

bool split(const Tensor& y, std::span<const int64_t> channels, std::span<const Tensor> parts) {
  const MapShape m(y);
  const Elements in(y);
  int64_t first = 0;
  for (size_t k = 0; k < parts.size(); first += channels[k++]) {
    if (!parts[k]) continue;
    const MapShape part(parts[k]);
    const Results out(parts[k]);
    for (int64_t i = 0; i < out.size(); ++i)
      out.set(i, in[m.at(part.image(i), first + part.channel(i), i % part.positions)]);
  }
  return true;
}

double factor_of(const MaskDraw& draw, uint64_t stream, int64_t number) {
  const auto i = static_cast<uint64_t>(number);
  const auto words = random_words(draw.seed, stream ^ step_of(draw), i / 4);
  return static_cast<double>(uniform24(words[i % 4])) >= draw.p ? 1 / (1 - draw.p) : 0;
}

bool dropout(const Tensor& x, const MaskDraw& draw, const Tensor& y) {
  const MapShape m(x);
  const Elements in(x);
  const Results out(y);
  for (int64_t n = 0; n < m.images; ++n)
    for (int64_t p = 0; p < m.positions; ++p)
      for (int64_t c = 0; c < m.channels; ++c)
        out.set(m.at(n, c, p),
                in[m.at(n, c, p)] * factor_of(draw, kDropoutStream, (n * m.positions + p) * m.channels + c));
  return true;
}

bool stochastic_depth(const Tensor& x, const MaskDraw& draw, const Tensor& y) {
  const MapShape m(x);
  const Elements in(x);
  const Results out(y);
  for (int64_t i = 0; i < out.size(); ++i) out.set(i, in[i] * factor_of(draw, kStochasticDepthStream, m.image(i)));
  return true;
}

}  // namespace

const ElementwiseTable kElementwise{.name = "reference",
                                    .add = add,
                                    .divide = divide,
                                    .gate = gate,
                                    .gate_backward = gate_backward,
                                    .concat = concat,
                                    .split = split,
                                    .dropout = dropout,
                                    .stochastic_depth = stochastic_depth};

}  // namespace tidepool::reference
