// The fuse pass, and the release of values after their last reader.
#include "core/backend/norm.h"
#include "models/network.h"
#include "models/nodes.h"

namespace tidepool {
namespace {

// The only reader of a value, or -1.
std::vector<int32_t> only_readers(const Graph& graph) {
  std::vector<int32_t> readers(graph.nodes.size(), -1);
  std::vector<int> counts(graph.nodes.size(), 0);
  for (size_t i = 0; i < graph.nodes.size(); ++i)
    for (const int32_t x : graph.nodes[i].inputs) {
      readers[static_cast<size_t>(x)] = static_cast<int32_t>(i);
      ++counts[static_cast<size_t>(x)];
    }
  ++counts[static_cast<size_t>(graph.output)];
  for (size_t i = 0; i < readers.size(); ++i)
    if (counts[i] != 1) readers[i] = -1;
  if (counts[static_cast<size_t>(graph.output)] == 1) readers[static_cast<size_t>(graph.output)] = -1;
  return readers;
}

void release_after_last_reader(const Graph& graph, Schedule& schedule) {
  std::vector<size_t> last(graph.nodes.size(), schedule.size());
  for (size_t s = 0; s < schedule.size(); ++s)
    for (const int32_t x : graph.nodes[static_cast<size_t>(schedule[s].node)].inputs) last[static_cast<size_t>(x)] = s;
  for (size_t v = 0; v < last.size(); ++v)
    if (last[v] < schedule.size() && static_cast<int32_t>(v) != graph.output)
      schedule[last[v]].releases.push_back(static_cast<int32_t>(v));
}

}  // namespace

Schedule plain_schedule(const Graph& graph) {
  Schedule schedule;
  for (int32_t i = 1; i < static_cast<int32_t>(graph.nodes.size()); ++i)
    schedule.push_back({.node = i, .output = i, .releases = {}});
  release_after_last_reader(graph, schedule);
  return schedule;
}

Schedule fused_schedule(const Graph& graph) {
  const std::vector<int32_t> reader = only_readers(graph);
  const auto op_of = [&](int32_t node) { return node < 0 ? nullptr : graph.nodes[static_cast<size_t>(node)].op.get(); };
  std::vector<bool> taken(graph.nodes.size(), false);
  Schedule schedule;
  for (int32_t i = 1; i < static_cast<int32_t>(graph.nodes.size()); ++i) {
    if (taken[static_cast<size_t>(i)]) continue;
    ScheduledStep step{.node = i, .output = i, .releases = {}};
    if (dynamic_cast<const ConvNode*>(op_of(i))) {
      const int32_t norm = reader[static_cast<size_t>(i)];
      if (dynamic_cast<const BatchNormNode*>(op_of(norm))) {
        step.norm = step.output = norm;
        taken[static_cast<size_t>(norm)] = true;
        const int32_t act = reader[static_cast<size_t>(norm)];
        const auto* activation = dynamic_cast<const ActivationNode*>(op_of(act));
        if (activation && norm::serves(activation->act())) {
          step.act = step.output = act;
          taken[static_cast<size_t>(act)] = true;
        }
      }
    }
    schedule.push_back(step);
  }
  release_after_last_reader(graph, schedule);
  return schedule;
}

}  // namespace tidepool
