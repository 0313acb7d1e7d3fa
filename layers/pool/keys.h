// Keys of an operator's config. An operator lists each key once; the same list parses a config, checks it, and writes
// what `tidepool ops` prints.
#pragma once
#include <array>
#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "layers/parameter.h"
#include "layers/pool/operator.h"

namespace tidepool {

/// A key's value that is one number for all axes or a number for each. POD: options travel in a tape's closures.
template <class T>
struct PerAxis {
  std::array<T, 3> values{};
  int count = 0;  ///< 1: for all axes; 2, 3: one each; 0: not given

  static PerAxis all(T v) { return {{v}, 1}; }
  T operator[](int axis) const { return values[static_cast<size_t>(count == 1 ? 0 : axis)]; }
  /// Throws Error when it lists another number of axes than a map has.
  void expect_axes(const char* op, const char* key, int rank) const {
    if (count > 1 && count != rank)
      throw Error("[{}] key '{}' lists {} numbers, but the map has {} {}", op, key, count, rank,
                  rank == 1 ? "axis" : "axes");
  }
};

/// Visits the keys of one operator. An options struct has `void keys(Keys& k)` that names each of its members once,
/// e.g. `k.number("beta", beta, "temperature").at_least(0)`; the member's value before is the default.
class Keys {
 public:
  /// Limits on the key named last, checked at once. They also stand in the description.
  class Limits {
   public:
    Limits at_least(double low) const;
    Limits at_most(double high) const;
    Limits above(double low) const;
    /// What the default is, when it depends on other keys ("kernel").
    Limits otherwise(const char* start) const;

   private:
    friend class Keys;
    Limits(Keys* keys, std::vector<double> values) : keys_(keys), values_(std::move(values)) {}
    Limits check(bool (*ok)(double, double), double bound, const char* words) const;
    Keys* keys_;
    std::vector<double> values_;
  };

  /// `config` null: only describes.
  Keys(const char* op, const nlohmann::json* config) : op_(op), config_(config) {}

  Limits integers(const char* name, PerAxis<int64_t>& v, const char* help);
  Limits integer(const char* name, int64_t& v, const char* help);
  /// As many as are listed, at least one.
  Limits list(const char* name, std::vector<int64_t>& v, const char* help);
  Limits numbers(const char* name, PerAxis<double>& v, const char* help);
  Limits number(const char* name, double& v, const char* help);
  void flag(const char* name, bool& v, const char* help);
  /// One of the words; the value is an enumeration in their order.
  template <class E>
  void choice(const char* name, E& v, std::initializer_list<const char*> words, const char* help) {
    v = static_cast<E>(choose(name, static_cast<int>(v), words, help));
  }

  /// Throws Error("[op] " + help) when a config's keys contradict each other.
  void expect(bool ok, const char* help) const {
    if (config_ && !ok) throw Error("[{}] {}", op_, help);
  }

  /// Throws Error for keys that nobody named.
  void finish() const;
  const std::vector<PoolKey>& described() const { return described_; }

 private:
  int choose(const char* name, int v, std::initializer_list<const char*> words, const char* help);
  /// The config's value, or null; describes the key on the way.
  const nlohmann::json* find(const char* name, const char* type, std::string default_value, const char* help);
  template <class T>
  void per_axis(const char* name, PerAxis<T>& v, bool lists, const char* type, const char* help);

  const char* op_;
  const nlohmann::json* config_;
  std::vector<PoolKey> described_;
};

/// Options with a `keys` list, from a config's object. Throws Error.
template <class Options>
Options parse_keys(const char* op, const nlohmann::json& config) {
  Options o;
  Keys keys(op, &config);
  o.keys(keys);
  keys.finish();
  return o;
}
template <class Options>
std::vector<PoolKey> describe_keys(const char* op) {
  Options o;
  Keys keys(op, nullptr);
  o.keys(keys);
  return keys.described();
}

/// "1", "1 and 2", "1, 2 and 3".
std::string join_ranks(std::span<const int> ranks);
/// Spatial rank of x (N, C, spatial); throws Error unless it is one of `ranks`.
int expect_rank(const char* op, const Dims& x, std::initializer_list<int> ranks);
/// Throws Error unless these are the tensors that `specs` ask for: their number, shapes and a floating type.
void expect_parameters(const char* op, std::span<const ParameterSpec> specs, std::span<const Tensor> parameters);
}  // namespace tidepool
