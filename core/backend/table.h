// How an operator finds its implementation. A family of operators (convolution, norm, ...) is a struct of function
// pointers, a table, with one header in this folder; the layers call that header's free functions. Each device has a
// list of the family's tables (lists.cpp), and the first entry that does a case does it. On the CPU the naive reference
// is last. Nothing above core/ asks for a device. Entries set what they write, and never add to it; results are
// allocated by the caller.
#pragma once
#include <span>

#include "core/tensor.h"

namespace tidepool::backend {

/// The tables of a family for a device, in the order in which they are asked. Each family's header declares its own.
template <class Table>
std::span<const Table* const> tables(Device device);

/// Throws Failure("norm on cuda is not supported yet").
[[noreturn]] void throw_unsupported(const char* what, Device device);
/// Throws Error("[norm] expected tensors of one device, got cpu and cuda").
[[noreturn]] void throw_mixed_devices(const char* what, Device a, Device b);

/// The one device of an operator's tensors; undefined ones are of any.
class CommonDevice {
 public:
  explicit CommonDevice(const char* what) : what_(what) {}

  void see(const Tensor& t) {
    if (!t) return;
    if (known_ && device_ != t.device()) throw_mixed_devices(what_, device_, t.device());
    device_ = t.device();
    known_ = true;
  }
  template <class T>
  void see(std::span<const T> many) {
    for (const T& one : many) see(one);
  }
  /// An argument of another type has tensors when it says so.
  template <class T>
  void see(const T& argument) {
    if constexpr (requires { argument.each_tensor([](const Tensor&) {}); })
      argument.each_tensor([this](const Tensor& t) { see(t); });
  }
  Device device() const { return device_; }

 private:
  const char* what_;
  Device device_{};
  bool known_ = false;
};

/// Calls the first of the tables of the arguments' device whose `entry` does the case, and returns that table; null:
/// none does. An entry returns false, having written nothing, when it does not do such a case; a null one does none.
/// `what` names the operator in errors.
template <class Table, class... P, class... A>
const Table* try_run(const char* what, bool (*Table::*entry)(P...), const A&... arguments) {
  CommonDevice common(what);
  (common.see(arguments), ...);
  for (const Table* table : tables<Table>(common.device()))
    if (table->*entry && (table->*entry)(arguments...)) return table;
  return nullptr;
}
/// The same of what every device does.
template <class Table, class... P, class... A>
const Table& run(const char* what, bool (*Table::*entry)(P...), const A&... arguments) {
  if (const Table* const did = try_run(what, entry, arguments...)) return *did;
  CommonDevice common(what);
  (common.see(arguments), ...);
  throw_unsupported(what, common.device());
}

}  // namespace tidepool::backend
