// The networks by name. A new network is a file of its own and two lines in registry.cpp.
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

}  // namespace tidepool
