#include "core/tape.h"

#include <atomic>
#include <map>
#include <set>

#include "core/backend/elementwise.h"
#include "core/keep_tapes.h"

namespace tidepool {
namespace {

uint64_t next_tape_id() {
  static std::atomic<uint64_t> next{1};
  return next++;
}

thread_local bool keep_tapes = false;

}  // namespace

KeepTapes::KeepTapes() : outer_(keep_tapes) {
  keep_tapes = true;
}
KeepTapes::~KeepTapes() {
  keep_tapes = outer_;
}

constinit thread_local Tape* Tape::current_ = nullptr;

Tape::Tape() : id_(next_tape_id()) {}

bool Tape::wants(std::initializer_list<Tensor> inputs) {
  if (!current_) return false;
  for (const Tensor& t : inputs)
    if (current_->tracks(t)) return true;
  return false;
}

void Tape::add(const char* op, std::span<const Tensor> inputs, std::span<const Tensor> outputs,
               std::span<const Tensor> saved, std::function<void(BackwardContext&)> backward) {
  bool any = false;
  for (const Tensor& t : inputs) any = any || tracks(t);
  if (!any) return;
  Node node{
      .op = op, .layer = LayerScope::path(), .inputs = {}, .outputs = {}, .saved = {}, .backward = std::move(backward)};
  for (const Tensor& t : inputs) {
    Edge edge;
    if (t && t.impl_->link.tape == id_)
      edge.value = t.impl_->link.value;
    else if (t && t.impl_->requires_grad)
      edge.leaf = t;
    node.inputs.push_back(std::move(edge));
  }
  for (const Tensor& t : outputs) {
    t.impl_->link = {id_, values_};
    node.outputs.push_back(values_++);
  }
  node.saved.assign(saved.begin(), saved.end());
  nodes_.push_back(std::move(node));
}

void Tape::backward(const Tensor& y, Tensor dy, const std::function<void(const Tensor&)>& ready) {
  if (!y || y.impl_->link.tape != id_) throw Error("backward: the tensor was not recorded on this tape");
  if (!dy) {
    if (y.numel() != 1) throw Error("backward: a tensor of shape {} needs a gradient to start from", y.shape().str());
    dy = Tensor::full(y.shape(), 1.0, {y.dtype(), y.format(), y.device()});
  }
  expect_shape("backward", "dy", dy, y.shape());
  const Scope none(nullptr);
  std::vector<Tensor> grads(static_cast<size_t>(values_));
  grads[static_cast<size_t>(y.impl_->link.value)] = std::move(dy);

  const auto give = [](Tensor& sum, Tensor&& g) {
    if (!sum)
      sum = std::move(g);
    else
      sum = tidepool::add(sum, g);
  };
  std::map<const void*, size_t> uses;  // of a leaf, by nodes that backward has not reached
  if (ready)
    for (const Node& node : nodes_)
      for (const Edge& edge : node.inputs)
        if (edge.leaf) ++uses[edge.leaf.impl_.get()];
  const auto used = [&](const Node& node) {
    if (!ready) return;
    for (const Edge& edge : node.inputs)
      if (edge.leaf && --uses.at(edge.leaf.impl_.get()) == 0) ready(edge.leaf);
  };
  const bool keep = keep_tapes;
  for (size_t left = nodes_.size(); left > 0; --left) {
    Node node = keep ? nodes_[left - 1] : std::move(nodes_.back());
    if (!keep) nodes_.pop_back();
    BackwardContext ctx;
    bool reached = false;
    for (int32_t value : node.outputs) {
      ctx.dy_.push_back(std::move(grads[static_cast<size_t>(value)]));
      reached = reached || ctx.dy_.back();
    }
    if (!reached) {
      used(node);
      continue;
    }
    ctx.saved_ = std::move(node.saved);
    ctx.dx_.resize(node.inputs.size());
    for (const Edge& edge : node.inputs) ctx.needs_.push_back(edge.value >= 0 || edge.leaf);
    {
      const LayerScope::Restored layer(node.layer);
      node.backward(ctx);
      if (Observer* const observer = Observer::current()) observer->gradients_computed(node.op, node.layer, ctx.dx_);
    }
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const Edge& edge = node.inputs[i];
      if (!ctx.needs_[i] || !ctx.dx_[i]) continue;
      if (edge.value >= 0) {
        give(grads[static_cast<size_t>(edge.value)], std::move(ctx.dx_[i]));
      } else {
        expect_shape(node.op, "a gradient", ctx.dx_[i], edge.leaf.shape());
        Tensor sum = edge.leaf.grad();
        give(sum, std::move(ctx.dx_[i]));
        edge.leaf.set_grad(std::move(sum));
      }
    }
    used(node);
  }
  if (keep) return;
  values_ = 0;
  id_ = next_tape_id();  // what was recorded is a constant from here on
}

void Tape::clear() {
  nodes_.clear();
  values_ = 0;
  id_ = next_tape_id();
}

std::vector<SavedBytes> Tape::saved_bytes() const {
  std::vector<SavedBytes> report;
  std::set<const void*> seen;
  for (const Node& node : nodes_) {
    SavedBytes row{.op = node.op, .layer = node.layer, .bytes = 0};
    for (const Tensor& t : node.saved)
      if (t && !t.requires_grad() && seen.insert(&t.storage()).second) row.bytes += t.storage().bytes;
    report.push_back(std::move(row));
  }
  return report;
}

}  // namespace tidepool
