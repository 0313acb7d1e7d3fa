// The tape: what autograd remembers of a step. An operator records one node with the tensors that it keeps for its
// backward; backward walks the nodes in reverse order of creation, without recursion, and drops what it no longer
// needs.
#pragma once
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "core/observer.h"
#include "core/tensor.h"

namespace tidepool {

/// What a node's backward sees. Gradients are set (not added): the tape sums them.
class BackwardContext {
 public:
  /// The i-th tensor that the node saved.
  const Tensor& saved(size_t i) const { return saved_[i]; }
  /// Gradient of the i-th output; undefined when nothing depends on it (never for a node of one output).
  const Tensor& dy(size_t i = 0) const { return dy_[i]; }
  /// Whether anything wants the gradient of the i-th input.
  bool needs(size_t i) const { return needs_[i]; }
  /// Where the gradient of the i-th input goes; of the input's shape.
  Tensor& dx(size_t i) { return dx_[i]; }

 private:
  friend class Tape;
  std::vector<Tensor> saved_, dy_, dx_;
  std::vector<bool> needs_;
};

/// What one operator keeps for its backward.
struct SavedBytes {
  std::string op;     ///< "conv2d"
  std::string layer;  ///< "features.3"
  size_t bytes = 0;   ///< storage that no earlier node of the tape keeps already, parameters not counted
};

class Tape {
 public:
  Tape();
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  /// Records on `tape` while it lives, on this thread. Tape::Scope(nullptr) is PyTorch's no_grad.
  class Scope {
   public:
    explicit Scope(Tape* tape) : outer_(current_) { current_ = tape; }
    ~Scope() { current_ = outer_; }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Tape* outer_;
  };
  static Tape* current() { return current_; }

  /// Remembers how `outputs` came from `inputs`, when a tape is recording and an input wants a gradient. `backward` is
  /// called once by backward, void(BackwardContext&); it must be trivially copyable: a tensor to be kept goes into
  /// `saved`, where its bytes are counted, and cannot hide in a closure.
  template <class F>
  static void record(const char* op, std::initializer_list<Tensor> inputs, std::initializer_list<Tensor> outputs,
                     std::initializer_list<Tensor> saved, F backward) {
    record(op, std::span(inputs.begin(), inputs.size()), std::span(outputs.begin(), outputs.size()),
           std::span(saved.begin(), saved.size()), backward);
  }
  template <class F>
  static void record(const char* op, std::span<const Tensor> inputs, std::span<const Tensor> outputs,
                     std::span<const Tensor> saved, F backward) {
    static_assert(std::is_trivially_copyable_v<F>, "tensors kept for the backward belong into `saved`");
    if (current_) current_->add(op, inputs, outputs, saved, backward);
    if (Observer* const observer = Observer::current()) observer->output(op, inputs, outputs);
  }
  /// Whether an operator with these inputs would be recorded: what only the backward needs can be left out otherwise.
  static bool wants(std::initializer_list<Tensor> inputs);

  /// Gradients of y (times dy; without dy, y must have one element) are added to grad() of every leaf that y depends
  /// on. The tape is empty afterwards. `ready`, when given, is called with each leaf of the tape once, as soon as
  /// nothing more is added to its gradient. Throws Error when y was not recorded here.
  void backward(const Tensor& y, Tensor dy = {}, const std::function<void(const Tensor& leaf)>& ready = {});
  /// Forgets everything.
  void clear();

  size_t nodes() const { return nodes_.size(); }
  /// Per recorded operator, in order of creation.
  std::vector<SavedBytes> saved_bytes() const;

 private:
  struct Edge {
    int32_t value = -1;  // of this tape, or
    Tensor leaf;         // a leaf
  };
  struct Node {
    const char* op;
    std::string layer;
    std::vector<Edge> inputs;
    std::vector<int32_t> outputs;
    std::vector<Tensor> saved;
    std::function<void(BackwardContext&)> backward;
  };

  void add(const char* op, std::span<const Tensor> inputs, std::span<const Tensor> outputs,
           std::span<const Tensor> saved, std::function<void(BackwardContext&)> backward);
  bool tracks(const Tensor& t) const { return t && (t.impl_->requires_grad || t.impl_->link.tape == id_); }

  static constinit thread_local Tape* current_;
  uint64_t id_;
  std::vector<Node> nodes_;
  int32_t values_ = 0;
};

}  // namespace tidepool
