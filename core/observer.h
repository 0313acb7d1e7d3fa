// What runs and for how long: an observer sees every operator and kind of work of its thread. Profiles, and the search
// for the first value that is not finite, stand on this; autograd (core/tape.h) does not.
#pragma once
#include <initializer_list>
#include <span>
#include <string>

#include "core/tensor.h"

namespace tidepool {

class Observer {
 public:
  virtual ~Observer() = default;
  /// An operator has made its outputs, recorded or not.
  virtual void output(const char* op, std::span<const Tensor> inputs, std::span<const Tensor> outputs) = 0;
  /// The gradients of an operator's inputs have been computed; `layer` is the LayerScope of its forward.
  virtual void gradients_computed(const char* /*op*/, const std::string& /*layer*/, std::span<const Tensor> /*dx*/) {}
  /// The time since the last notice went into this kind of work ("convolution forward"): bytes that had to move,
  /// multiply-adds of the direct algorithm.
  virtual void span_ended(const char* /*kind*/, double /*bytes*/, double /*multiply_adds*/) {}

  /// Observes this thread while it lives. Scope(nullptr): nobody does.
  class Scope {
   public:
    explicit Scope(Observer* observer) : outer_(current_) { current_ = observer; }
    ~Scope() { current_ = outer_; }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Observer* outer_;
  };
  static Observer* current() { return current_; }

 private:
  static constinit thread_local Observer* current_;
};

/// Tells the observer what the time since the last notice went into; for operators that do several kinds of work.
void end_span(const char* kind, std::initializer_list<Tensor> moved = {}, double multiply_adds = 0);

/// Bytes of the elements that tensors have; undefined ones count nothing.
double bytes_of(std::span<const Tensor> tensors);

/// Names the layer that runs, for messages and reports: nested names are joined by dots.
class LayerScope {
 public:
  explicit LayerScope(const std::string& name);
  ~LayerScope();
  LayerScope(const LayerScope&) = delete;
  LayerScope& operator=(const LayerScope&) = delete;
  static const std::string& path();

  /// The path of a layer whose forward has ended, while its backward runs.
  class Restored {
   public:
    explicit Restored(const std::string& path);
    ~Restored();
    Restored(const Restored&) = delete;
    Restored& operator=(const Restored&) = delete;

   private:
    std::string outer_;
  };

 private:
  size_t outer_length_;
};

}  // namespace tidepool
