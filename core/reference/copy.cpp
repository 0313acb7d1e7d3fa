#include "core/backend/copy.h"

#include <cstring>

#include "core/philox.h"
#include "core/reference/elements.h"
#include "core/reference/tables.h"

namespace tidepool::reference {
namespace {

bool copy(const Tensor& from, const Tensor& to) {
  const Elements in(from);
  const Results out(to);
  const size_t size = size_of(to.dtype());
  for (int64_t i = 0; i < out.size(); ++i)
    if (from.dtype() == to.dtype())  // f64 does not hold every i64
      std::memcpy(static_cast<char*>(to.mutable_raw()) + static_cast<size_t>(out.offset(i)) * size,
                  static_cast<const char*>(from.raw()) + static_cast<size_t>(in.offset(i)) * size, size);
    else
      out.set(i, in[i]);
  return true;
}

bool fill(const Tensor& to, double value) {
  const Results out(to);
  for (int64_t i = 0; i < out.size(); ++i) out.set(i, value);
  return true;
}

bool read(const Tensor& from, double* values) {
  const Elements in(from);
  for (int64_t i = 0; i < in.size(); ++i) values[i] = in[i];
  return true;
}

// In the order of memory.
bool fill_normal(const Tensor& to, uint64_t seed, double deviation) {
  Random random(seed, 0);
  dispatch_floating(to.dtype(), "init", [&]<class T>(T) {
    T* values = to.mutable_data<T>();
    for (int64_t i = 0; i < to.numel(); ++i)
      values[i] = static_cast<T>(static_cast<float>(deviation * random.normal()));
  });
  return true;
}

}  // namespace

const CopyTable kCopy{.name = "reference",
                      .copy = copy,
                      .fill = fill,
                      .read = read,
                      .expect_read = [](std::span<const Tensor>) { return true; },  // it has them
                      .fill_normal = fill_normal};

}  // namespace tidepool::reference
