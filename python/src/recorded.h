// A pooling operator called from outside: a forward whose backward may come later, once, several times or never.
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "core/tape.h"
#include "layers/pool/operator.h"

namespace tidepool::python {

/// A forward and what it keeps for its backward: neither x nor y, unless the operator itself needs them.
class Recorded {
 public:
  /// `needs`: whether x, and each of `tensors`, wants a gradient.
  Recorded(std::shared_ptr<const PoolOperator> op, const Tensor& x, std::span<const Tensor> tensors,
           const PoolMode& mode, const std::vector<bool>& needs);
  Recorded(const Recorded&) = delete;
  Recorded& operator=(const Recorded&) = delete;

  /// Hands the result over; the first call only.
  Tensor take_output() { return std::move(y_); }
  /// Gradients of what wants one, in order, each in the type and shape of what it is the gradient of, dense. `keep`:
  /// may be called again. Any thread. Throws Error when dy is not like y, Failure after a call without `keep`.
  std::vector<Tensor> backward(const Tensor& dy, bool keep);

 private:
  /// An end of the tape: a node that takes a gradient out, so that the tape holds no memory of x's or y's.
  struct Input {
    Dims shape;
    TensorOptions options;
    Tensor gradient;
  };
  struct Output {
    Dims shape;
    TensorOptions options;
    Tensor gradient, end;
  };

  std::mutex mutex_;
  std::shared_ptr<const PoolOperator> op_;  ///< outlives the tape
  Tape tape_;
  std::vector<Input> inputs_;
  Output output_;
  Tensor y_;
  bool depends_ = false;  ///< y on anything that wants a gradient
  bool spent_ = false;
};

}  // namespace tidepool::python
