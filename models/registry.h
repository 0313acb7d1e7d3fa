// The networks by name. A new network is a file of its own and a line in registry.cpp.
#pragma once
#include <span>

#include "models/graph.h"

namespace tidepool {

struct NetworkRegistration {
  const char* name;
  const char* help;  ///< one sentence, with its source
  Graph (*build)(GraphBuilder& g);
};

std::span<const NetworkRegistration> network_registrations();

Graph vgg16(GraphBuilder& g);
Graph efficientnet_b0(GraphBuilder& g);
Graph hrnet_w18_small(GraphBuilder& g);
Graph hrnet_w48(GraphBuilder& g);
Graph mobilenet_v2(GraphBuilder& g);
Graph resnet18(GraphBuilder& g);
Graph resnet34(GraphBuilder& g);
Graph resnet50(GraphBuilder& g);
Graph resnet101(GraphBuilder& g);

}  // namespace tidepool
