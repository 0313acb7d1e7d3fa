// Tensors of other frameworks as ours and back, without a copy.
#pragma once
#include <span>
#include <stdexcept>
#include <string>
#include <utility>

#include "core/tensor.h"
#include "python/src/dlpack.h"

namespace tidepool::python {

/// An argument of a type that is not served; a TypeError in Python.
class WrongType : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Our name of an element type; throws WrongType for one that we do not have, naming `who` and `what` ("[soft] x").
DType dtype_of(dlpack::ElementType type, const std::string& who);
dlpack::ElementType element_type(DType type);

/// A tensor that reads memory of someone else in place, where that is dense in one of our formats; a copy else. Handles
/// to the tensor may outlive this: they then have no memory.
class Borrowed {
 public:
  /// Throws WrongType, Error for a rank or a device that is not served. `who` names the tensor: "[soft] x".
  Borrowed(const dlpack::Array& array, const std::string& who);
  Borrowed(Borrowed&& o) noexcept
      : tensor_(std::exchange(o.tensor_, {})), in_place_(std::exchange(o.in_place_, false)) {}
  Borrowed& operator=(Borrowed&&) = delete;
  ~Borrowed();

  const Tensor& tensor() const { return tensor_; }
  /// Whether no handle but this one is left.
  bool is_sole_owner() const { return tensor_.is_sole_owner(); }

 private:
  Tensor tensor_;
  bool in_place_ = false;
};

/// For another framework: keeps the tensor until its deleter is called.
dlpack::Managed* export_tensor(Tensor tensor);

}  // namespace tidepool::python
