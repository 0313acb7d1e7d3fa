// Operators that are no plain windows: from the formulas, in naive loops, apart from the operators.
#include <complex>

#include "tests/layers/pool/reference_parts.h"

namespace tidepool::reference {
namespace {

using Lengths = std::array<int64_t, 3>;

struct Range {
  int64_t begin, end;
};

Result empty_result(const Dims& shape, size_t x) {
  return {.shape = shape, .y = {}, .dx = Values(x, 0.0), .parameters = {}, .sizes = {}};
}

/// The elements of a cell: where they lie, in row-major order.
std::vector<size_t> cell(const Map& map, int64_t plane, Range d, Range h, Range w) {
  std::vector<size_t> at;
  for (int64_t i = d.begin; i < d.end; ++i)
    for (int64_t j = h.begin; j < h.end; ++j)
      for (int64_t l = w.begin; l < w.end; ++l) at.push_back(map.at(plane, i, j, l));
  return at;
}

/// The largest or the mean of some elements; adds their gradients.
double reduce(const Values& x, const std::vector<size_t>& at, bool max, double dy, Values& dx) {
  Values v;
  double sum = 0;
  for (size_t i : at) v.push_back(x[i]), sum += x[i];
  if (max) {
    dx[at[first_largest(v)]] += dy;
    return v[first_largest(v)];
  }
  for (size_t i : at) dx[i] += dy / static_cast<double>(at.size());
  return sum / static_cast<double>(at.size());
}

Lengths sizes_of(const json& c, const Map& map, const char* name) {
  Lengths m{1, 1, 1};
  for (int i = 0; i < 3; ++i) m[static_cast<size_t>(i)] = key<int64_t>(c, name, i, map.rank, 1);
  return m;
}

Range adaptive(int64_t i, int64_t n, int64_t m) {
  const double step =
      static_cast<double>(n) / static_cast<double>(m);  // lengths are small: these products are exact enough
  return {static_cast<int64_t>(std::floor(static_cast<double>(i) * step + 1e-9)),
          static_cast<int64_t>(std::ceil(static_cast<double>(i + 1) * step - 1e-9))};
}

Result adaptive_pool(const Dims& shape, const Values& x, const Lengths& m, bool max, const Values& dy) {
  const Map map(shape);
  Result r = empty_result(out_shape(shape, m), x.size());
  Map(r.shape).each([&](int64_t p, int64_t d, int64_t h, int64_t w) {
    const auto at = cell(map, p, adaptive(d, map.n[0], m[0]), adaptive(h, map.n[1], m[1]), adaptive(w, map.n[2], m[2]));
    r.y.push_back(reduce(x, at, max, dy.empty() ? 0 : dy[r.y.size()], r.dx));
  });
  return r;
}

Result spp(const json& c, const Dims& shape, const Values& x, const Values& dy) {
  const Map map(shape);
  const bool max = c.value("aggregate", "max") == "max";
  const std::vector<int64_t> levels = c.value("levels", std::vector<int64_t>{1, 2, 4});
  Result r = empty_result({shape[0], shape[1], 0}, x.size());
  for (int64_t p = 0; p < map.planes; ++p)
    for (int64_t m : levels) {
      Lengths grid{1, 1, 1};
      for (int i = 3 - map.rank; i < 3; ++i) grid[static_cast<size_t>(i)] = m;
      for (int64_t d = 0; d < grid[0]; ++d)
        for (int64_t h = 0; h < grid[1]; ++h)
          for (int64_t w = 0; w < grid[2]; ++w) {
            const auto at = cell(map, p, adaptive(d, map.n[0], grid[0]), adaptive(h, map.n[1], grid[1]),
                                 adaptive(w, map.n[2], grid[2]));
            r.y.push_back(reduce(x, at, max, dy.empty() ? 0 : dy[r.y.size()], r.dx));
          }
    }
  r.shape[2] = static_cast<int64_t>(r.y.size()) / std::max<int64_t>(1, map.planes);
  return r;
}

Lengths scaled(const json& c, const Map& map) {
  Lengths m = sizes_of(c, map, "output_size");
  if (c.contains("output_size")) return m;
  for (int i = 3 - map.rank; i < 3; ++i) {
    const double ratio = key<double>(c, "ratio", i, map.rank, 0.5);
    const auto axis = static_cast<size_t>(i);
    m[axis] = std::max<int64_t>(1, static_cast<int64_t>(std::floor(static_cast<double>(map.n[axis]) * ratio)));
  }
  return m;
}

/// parameters: none (u = 1/2), or u [N, C, axes].
Result fractional_max(const json& c, const Dims& shape, const Values& x, const std::vector<Values>& parameters,
                      const Values& dy) {
  const Map map(shape);
  const Lengths m = scaled(c, map);
  Result r = empty_result(out_shape(shape, m), x.size());
  Map(r.shape).each([&](int64_t p, int64_t d, int64_t h, int64_t w) {
    std::array<Range, 3> range;
    const Lengths o{d, h, w};
    for (int i = 0; i < 3; ++i) {
      const auto axis = static_cast<size_t>(i);
      const int64_t k = key<int64_t>(c, "kernel", i, map.rank, i < 3 - map.rank ? 1 : 2), room = map.n[axis] - k;
      int64_t start = room;
      if (o[axis] < m[axis] - 1 && parameters.empty()) {
        start = (2 * o[axis] + 1) * room / (2 * (m[axis] - 1)) - room / (2 * (m[axis] - 1));
      } else if (o[axis] < m[axis] - 1) {
        const double u = parameters[0][static_cast<size_t>(p * map.rank + i - (3 - map.rank))];
        const double a = static_cast<double>(room) / static_cast<double>(m[axis] - 1);
        start = static_cast<int64_t>(std::floor((static_cast<double>(o[axis]) + u) * a)) -
                static_cast<int64_t>(std::floor(u * a));
      }
      range[axis] = {start, start + k};
    }
    const auto at = cell(map, p, range[0], range[1], range[2]);
    r.y.push_back(reduce(x, at, true, dy.empty() ? 0 : dy[r.y.size()], r.dx));
  });
  return r;
}

/// Windows of `kernel` at stride 1: the largest element of each, and where it lies.
struct Maxima {
  Dims shape;
  std::vector<size_t> at;
};
Maxima maxima(const json& c, const Dims& shape, const Values& x, int64_t otherwise) {
  const Map map(shape);
  Lengths k{1, 1, 1}, pad{0, 0, 0}, m = map.n;
  for (int i = 3 - map.rank; i < 3; ++i) {
    const auto axis = static_cast<size_t>(i);
    k[axis] = key<int64_t>(c, "kernel", i, map.rank, otherwise);
    pad[axis] = key<int64_t>(c, "padding", i, map.rank, 0);
    m[axis] = map.n[axis] + 2 * pad[axis] - k[axis] + 1;
  }
  Maxima all{out_shape(shape, m), {}};
  Map(all.shape).each([&](int64_t p, int64_t d, int64_t h, int64_t w) {
    const Lengths o{d, h, w};
    std::array<Range, 3> range;
    for (size_t i = 0; i < 3; ++i)
      range[i] = {std::max<int64_t>(0, o[i] - pad[i]), std::min(map.n[i], o[i] - pad[i] + k[i])};
    const auto at = cell(map, p, range[0], range[1], range[2]);
    Values v;
    for (size_t i : at) v.push_back(x[i]);
    all.at.push_back(at[first_largest(v)]);
  });
  return all;
}

Result s3(const json& c, const Dims& shape, const Values& x, const Values& dy) {
  const Maxima max = maxima(c, shape, x, 2);
  const Map sharp(max.shape);
  Lengths stride{1, 1, 1}, m{1, 1, 1};
  for (int i = 0; i < 3; ++i) {
    const auto axis = static_cast<size_t>(i);
    stride[axis] = key<int64_t>(c, "stride", i, sharp.rank, i < 3 - sharp.rank ? 1 : 2);
    m[axis] = (sharp.n[axis] + stride[axis] - 1) / stride[axis];
  }
  Result r = empty_result(out_shape(shape, m), x.size());
  Map(r.shape).each([&](int64_t p, int64_t d, int64_t h, int64_t w) {
    const Lengths o{d, h, w};
    std::array<Range, 3> range;
    for (size_t i = 0; i < 3; ++i) range[i] = {o[i] * stride[i], std::min(sharp.n[i], (o[i] + 1) * stride[i])};
    const auto at = cell(sharp, p, range[0], range[1], range[2]);
    double sum = 0;
    const double g = dy.empty() ? 0 : dy[r.y.size()], count = static_cast<double>(at.size());
    for (size_t i : at) {
      sum += x[max.at[i]];
      r.dx[max.at[i]] += g / count;
    }
    r.y.push_back(sum / count);
  });
  return r;
}

double choose(int64_t n, int64_t k) {
  double c = 1;
  for (int64_t i = 1; i <= k; ++i) c = c * static_cast<double>(n - k + i) / static_cast<double>(i);
  return c;
}

/// Positions and weights of the filter at output o of an axis of n.
std::vector<std::pair<int64_t, double>> taps(int64_t o, int64_t n, int64_t k, int64_t stride) {
  std::vector<std::pair<int64_t, double>> list;
  for (int64_t t = 0; t < k; ++t) {
    int64_t at = o * stride - (k - 1) / 2 + t;
    while (at < 0 || at >= n) at = at < 0 ? -at : 2 * (n - 1) - at;
    list.push_back({at, choose(k - 1, t) / std::pow(2.0, static_cast<double>(k - 1))});
  }
  return list;
}

Result blur(const json& c, const Dims& shape, const Values& x, const Values& dy) {
  const bool with_max = c.at("type") == "max_blur";
  const char* size = with_max ? "filter" : "kernel";
  const Maxima max = with_max ? maxima(c, shape, x, 2) : maxima(json::object({{"kernel", 1}}), shape, x, 1);
  const Map sharp(max.shape);
  Lengths m{1, 1, 1}, k{1, 1, 1}, stride{1, 1, 1};
  for (int i = 3 - sharp.rank; i < 3; ++i) {
    const auto axis = static_cast<size_t>(i);
    k[axis] = key<int64_t>(c, size, i, sharp.rank, 3);
    stride[axis] = key<int64_t>(c, "stride", i, sharp.rank, key<int64_t>(c, "kernel", i, sharp.rank, with_max ? 2 : 3));
    m[axis] = (sharp.n[axis] - 1) / stride[axis] + 1;
  }
  Result r = empty_result(out_shape(shape, m), x.size());
  Map(r.shape).each([&](int64_t p, int64_t d, int64_t h, int64_t w) {
    double sum = 0;
    const double g = dy.empty() ? 0 : dy[r.y.size()];
    for (const auto& [i, wi] : taps(d, sharp.n[0], k[0], stride[0]))
      for (const auto& [j, wj] : taps(h, sharp.n[1], k[1], stride[1]))
        for (const auto& [l, wl] : taps(w, sharp.n[2], k[2], stride[2])) {
          const size_t from = max.at[sharp.at(p, i, j, l)];
          sum += wi * wj * wl * x[from];
          r.dx[from] += wi * wj * wl * g;
        }
    r.y.push_back(sum);
  });
  return r;
}

Result space_to_depth(const json& c, const Dims& shape, const Values& x, const Values& weight, const Values& dy) {
  const int64_t b = c.value("block", 2), channels = shape[1], out = c.value("channels", channels);
  const int64_t h = shape[2] / b, w = shape[3] / b, deep = channels * b * b;
  Result r = empty_result({shape[0], out, h, w}, x.size());
  r.parameters = {Values(weight.size(), 0.0)};
  r.sizes = r.parameters;
  for (int64_t n = 0; n < shape[0]; ++n)
    for (int64_t o = 0; o < out; ++o)
      for (int64_t i = 0; i < h; ++i)
        for (int64_t j = 0; j < w; ++j) {
          const double g = dy.empty() ? 0 : dy[r.y.size()];
          double y = 0;
          for (int64_t u = 0; u < deep; ++u) {  // torch.nn.functional.pixel_unshuffle
            const int64_t from = u / (b * b), row = i * b + u % (b * b) / b, column = j * b + u % b;
            const auto at = static_cast<size_t>(((n * channels + from) * shape[2] + row) * shape[3] + column);
            const auto k = static_cast<size_t>(o * deep + u);
            y += weight[k] * x[at];
            r.dx[at] += weight[k] * g;
            r.parameters[0][k] += x[at] * g;
            r.sizes[0][k] += x[at] * g * x[at] * g;
          }
          r.y.push_back(y);
        }
  return r;
}

/// parameters: row.weight, row.bias, col.weight, col.bias, fuse.weight, fuse.bias.
Result strip(const Dims& shape, const Values& x, const std::vector<Values>& p, const Values& dy) {
  const int64_t c = shape[1], height = shape[2], width = shape[3];
  Result r = empty_result(shape, x.size());
  for (const Values& v : p) r.parameters.push_back(Values(v.size(), 0.0));
  r.sizes = r.parameters;
  r.y.assign(x.size(), 0.0);
  const auto note = [&](size_t parameter, int64_t at, double term) {
    r.parameters[parameter][static_cast<size_t>(at)] += term;
    r.sizes[parameter][static_cast<size_t>(at)] += term * term;
  };
  const auto idx = [&](int64_t n, int64_t ch, int64_t i, int64_t j) {
    return static_cast<size_t>(((n * c + ch) * height + i) * width + j);
  };
  for (int64_t n = 0; n < shape[0]; ++n) {
    // means, their convolutions: [channel][position]
    std::vector<Values> mean[2], line[2], dline[2];
    for (size_t side = 0; side < 2; ++side) {
      const int64_t length = side == 0 ? height : width, across = side == 0 ? width : height;
      for (int64_t ch = 0; ch < c; ++ch) {
        Values m(static_cast<size_t>(length), 0.0);
        for (int64_t i = 0; i < length; ++i)
          for (int64_t j = 0; j < across; ++j)
            m[static_cast<size_t>(i)] +=
                x[side == 0 ? idx(n, ch, i, j) : idx(n, ch, j, i)] / static_cast<double>(across);
        mean[side].push_back(m);
      }
      for (int64_t o = 0; o < c; ++o) {
        Values v(static_cast<size_t>(length), p[2 * side + 1][static_cast<size_t>(o)]);
        for (int64_t i = 0; i < length; ++i)
          for (int64_t ch = 0; ch < c; ++ch)
            for (int64_t t = 0; t < 3; ++t)
              if (i + t - 1 >= 0 && i + t - 1 < length)
                v[static_cast<size_t>(i)] += p[2 * side][static_cast<size_t>((o * c + ch) * 3 + t)] *
                                             mean[side][static_cast<size_t>(ch)][static_cast<size_t>(i + t - 1)];
        line[side].push_back(v);
        dline[side].push_back(Values(static_cast<size_t>(length), 0.0));
      }
    }
    for (int64_t i = 0; i < height; ++i)
      for (int64_t j = 0; j < width; ++j) {
        Values s, ds(static_cast<size_t>(c), 0.0);
        for (size_t ch = 0; ch < static_cast<size_t>(c); ++ch) {
          const double v = line[0][ch][static_cast<size_t>(i)] + line[1][ch][static_cast<size_t>(j)];
          s.push_back(v > 0 || std::isnan(v) ? v : 0);
        }
        for (int64_t o = 0; o < c; ++o) {
          double f = p[5][static_cast<size_t>(o)];
          for (int64_t ch = 0; ch < c; ++ch) f += p[4][static_cast<size_t>(o * c + ch)] * s[static_cast<size_t>(ch)];
          const double gate = 1 / (1 + std::exp(-f));
          const size_t at = idx(n, o, i, j);
          r.y[at] = x[at] * gate;
          if (dy.empty()) continue;
          r.dx[at] += dy[at] * gate;
          const double df = dy[at] * x[at] * gate * (1 - gate);
          note(5, o, df);
          for (int64_t ch = 0; ch < c; ++ch) {
            note(4, o * c + ch, df * s[static_cast<size_t>(ch)]);
            ds[static_cast<size_t>(ch)] += df * p[4][static_cast<size_t>(o * c + ch)];
          }
        }
        for (size_t ch = 0; ch < static_cast<size_t>(c); ++ch)
          if (s[ch] > 0) {
            dline[0][ch][static_cast<size_t>(i)] += ds[ch];
            dline[1][ch][static_cast<size_t>(j)] += ds[ch];
          }
      }
    if (dy.empty()) continue;
    for (size_t side = 0; side < 2; ++side) {
      const int64_t length = side == 0 ? height : width, across = side == 0 ? width : height;
      for (int64_t o = 0; o < c; ++o)
        for (int64_t i = 0; i < length; ++i) {
          const double g = dline[side][static_cast<size_t>(o)][static_cast<size_t>(i)];
          note(2 * side + 1, o, g);
          for (int64_t ch = 0; ch < c; ++ch)
            for (int64_t t = 0; t < 3; ++t) {
              const int64_t from = i + t - 1;
              if (from < 0 || from >= length) continue;
              note(2 * side, (o * c + ch) * 3 + t, g * mean[side][static_cast<size_t>(ch)][static_cast<size_t>(from)]);
              for (int64_t j = 0; j < across; ++j)
                r.dx[side == 0 ? idx(n, ch, from, j) : idx(n, ch, j, from)] +=
                    g * p[2 * side][static_cast<size_t>((o * c + ch) * 3 + t)] / static_cast<double>(across);
            }
        }
    }
  }
  return r;
}

// ---- Fourier

/// Transform, weigh, crop as scipy.signal.resample does, transform back: of every unit vector. `mask` weighs a signed
/// frequency.
std::vector<Values> cropped(int64_t n, int64_t m, const std::function<double(int64_t)>& mask) {
  constexpr double kTurn = 6.283185307179586476925;
  std::vector<Values> rows(static_cast<size_t>(m), Values(static_cast<size_t>(n), 0.0));
  for (int64_t j = 0; j < n; ++j) {
    const auto spectrum = [&](int64_t k) {  // of the unit vector at j
      return mask(k) *
             std::exp(std::complex<double>(0, -kTurn * static_cast<double>(k * j % n) / static_cast<double>(n)));
    };
    std::vector<std::complex<double>> kept(static_cast<size_t>(m));
    for (int64_t k = -((m - 1) / 2); k <= (m - 1) / 2; ++k) kept[static_cast<size_t>((k + m) % m)] = spectrum(k);
    if (m % 2 == 0) kept[static_cast<size_t>(m / 2)] = m < n ? spectrum(m / 2) + spectrum(-m / 2) : spectrum(m / 2);
    for (int64_t o = 0; o < m; ++o) {
      std::complex<double> sum = 0;
      for (int64_t k = 0; k < m; ++k)
        sum += kept[static_cast<size_t>(k)] *
               std::exp(std::complex<double>(0, kTurn * static_cast<double>(k * o % m) / static_cast<double>(m)));
      // inverse transform 1 / m, then the scale m / n
      rows[static_cast<size_t>(o)][static_cast<size_t>(j)] = sum.real() / static_cast<double>(n);
    }
  }
  return rows;
}

/// Matrices along the axes, one after the other; a NaN reaches whatever it is multiplied with.
Values along_axes(const Values& x, Lengths n, int64_t planes, const std::array<std::vector<Values>, 3>& matrices,
                  bool transposed) {
  Values from = x;
  for (size_t axis = 0; axis < 3; ++axis) {
    const auto& a = matrices[axis];
    if (a.empty()) continue;
    const int64_t out = static_cast<int64_t>(transposed ? a[0].size() : a.size());
    int64_t before = planes, behind = 1;
    for (size_t i = 0; i < axis; ++i) before *= n[i];
    for (size_t i = axis + 1; i < 3; ++i) behind *= n[i];
    Values to(static_cast<size_t>(before * out * behind), 0.0);
    for (int64_t b = 0; b < before; ++b)
      for (int64_t o = 0; o < out; ++o)
        for (int64_t j = 0; j < n[axis]; ++j)
          for (int64_t i = 0; i < behind; ++i)
            to[static_cast<size_t>((b * out + o) * behind + i)] +=
                (transposed ? a[static_cast<size_t>(j)][static_cast<size_t>(o)]
                            : a[static_cast<size_t>(o)][static_cast<size_t>(j)]) *
                from[static_cast<size_t>((b * n[axis] + j) * behind + i)];
    from = to;
    n[axis] = out;
  }
  return from;
}

Result spectral(const json& c, const Dims& shape, const Values& x, const Values& dy) {
  const Map map(shape);
  const Lengths m = scaled(c, map);
  std::array<std::vector<Values>, 3> matrices;
  for (size_t i = 0; i < 3; ++i)
    if (m[i] != map.n[i]) matrices[i] = cropped(map.n[i], m[i], [](int64_t) { return 1.0; });
  Result r = empty_result(out_shape(shape, m), x.size());
  r.y = along_axes(x, map.n, map.planes, matrices, false);
  if (!dy.empty()) r.dx = along_axes(dy, m, map.planes, matrices, true);
  return r;
}

Result diffstride(const json& c, const Dims& shape, const Values& x, const Values& stride, const Values& dy) {
  const Map map(shape);
  const double smooth = c.value("smoothness", 4.0);
  Lengths m{1, 1, 1};
  std::array<std::vector<Values>, 3> matrices, slopes;
  for (size_t i = 0; i < 3; ++i) {
    if (static_cast<int>(i) < 3 - map.rank) continue;
    const double n = static_cast<double>(map.n[i]), s = stride[i - static_cast<size_t>(3 - map.rank)];
    m[i] = std::min(map.n[i], std::max<int64_t>(2, static_cast<int64_t>(std::floor(n / s + 2 * smooth))));
    const auto argument = [=](int64_t k) { return (smooth + n / (2 * s) - std::abs(static_cast<double>(k))) / smooth; };
    matrices[i] = cropped(map.n[i], m[i], [=](int64_t k) { return std::min(1.0, std::max(0.0, argument(k))); });
    slopes[i] = cropped(map.n[i], m[i], [=](int64_t k) {
      const double a = argument(k), inside = -n / (2 * smooth * s * s);
      return a > 0 && a < 1 ? inside : a == 0 || a == 1 ? inside / 2 : 0;
    });
  }
  Result r = empty_result(out_shape(shape, m), x.size());
  r.y = along_axes(x, map.n, map.planes, matrices, false);
  if (dy.empty()) return r;
  r.dx = along_axes(dy, m, map.planes, matrices, true);
  r.parameters = {{}};
  r.sizes = {{}};
  for (int i = 3 - map.rank; i < 3; ++i) {
    auto tilted = matrices;
    tilted[static_cast<size_t>(i)] = slopes[static_cast<size_t>(i)];
    const Values moved = along_axes(x, map.n, map.planes, tilted, false);
    // the terms are dy_o M_oj x_j: on a flat map they cancel, and what is left is nothing but rounding
    const auto squared = [](Values v) {
      for (double& e : v) e *= e;
      return v;
    };
    for (auto& matrix : tilted)
      for (Values& row : matrix) row = squared(row);
    const Values terms = along_axes(squared(x), map.n, map.planes, tilted, false);
    double sum = 0, size = 0;
    for (size_t j = 0; j < moved.size(); ++j) {
      sum += dy[j] * moved[j];
      size += dy[j] * dy[j] * terms[j];
    }
    r.parameters[0].push_back(sum);
    r.sizes[0].push_back(size);
  }
  return r;
}

}  // namespace

Result maps(const json& c, const Dims& shape, const Values& x, const std::vector<Values>& parameters,
            const Values& dy) {
  const std::string type = c.at("type");
  const bool max = type.ends_with("max");
  if (type == "adaptive_avg" || type == "adaptive_max")
    return adaptive_pool(shape, x, sizes_of(c, Map(shape), "output_size"), max, dy);
  if (type == "global_avg" || type == "global_max") return adaptive_pool(shape, x, {1, 1, 1}, max, dy);
  if (type == "spp") return spp(c, shape, x, dy);
  if (type == "fractional_max") return fractional_max(c, shape, x, parameters, dy);
  if (type == "s3") return s3(c, shape, x, dy);
  if (type == "blur" || type == "max_blur") return blur(c, shape, x, dy);
  if (type == "space_to_depth") return space_to_depth(c, shape, x, parameters[0], dy);
  if (type == "spectral") return spectral(c, shape, x, dy);
  if (type == "diffstride") return diffstride(c, shape, x, parameters[0], dy);
  if (type == "strip") return strip(shape, x, parameters, dy);
  return {};
}

}  // namespace tidepool::reference
