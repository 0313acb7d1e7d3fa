#include "layers/pool/number.h"

#include "layers/init.h"

namespace tidepool {

Dims NumberSpec::shape(const Dims& x, const std::array<WindowAxis, 3>& axes) const {
  std::vector<int64_t> lengths;
  if (per == Per::channel) lengths.push_back(x[1]);
  if (per == Per::position)
    for (size_t i = 5 - static_cast<size_t>(x.rank()); i < 3; ++i) lengths.push_back(axes[i].m);
  for (int i = 0; i < table_rank; ++i) lengths.push_back(table[static_cast<size_t>(i)]);
  if (lengths.empty()) lengths.push_back(1);
  return Dims(std::span<const int64_t>(lengths));
}

std::vector<ParameterSpec> parameters_of(std::span<const NumberSpec> specs, const Dims& x,
                                         const std::array<WindowAxis, 3>& axes) {
  std::vector<ParameterSpec> list;
  for (const NumberSpec& s : specs)
    if (s.learned)
      list.push_back(
          {.name = s.name, .shape = s.shape(x, axes), .kind = ParameterKind::number, .init = constant_init(s.init)});
  return list;
}

void expect_numbers(const char* op, std::span<const NumberSpec> specs, std::span<const Tensor> parameters) {
  size_t i = 0;
  for (const NumberSpec& s : specs) {
    if (!s.learned) continue;
    const std::string bound = std::isfinite(s.above)      ? fmt::format(" > {}", s.above)
                              : std::isfinite(s.at_least) ? fmt::format(" >= {}", s.at_least)
                                                          : "";
    for (double v : parameters[i++].values())
      if (!std::isfinite(v) || !(v > s.above) || !(v >= s.at_least))
        throw Error("[{}] {}: expected finite numbers{}, got {}", op, s.name, bound, v);
  }
}

void project_numbers(std::span<const NumberSpec> specs, std::span<const Tensor> parameters) {
  size_t i = 0;
  for (const NumberSpec& s : specs) {
    if (!s.learned) continue;
    const Tensor& p = parameters[i++];
    const auto n = static_cast<size_t>(p.numel());
    if (std::isfinite(s.kept)) project_onto(p, std::vector<double>(n, s.kept), std::vector<double>(n, INFINITY));
  }
}

}  // namespace tidepool
