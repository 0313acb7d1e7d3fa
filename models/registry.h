// The networks by name. A new network is a file of its own and a line in registry.cpp.
#pragma once
#include <memory>
#include <span>

#include "models/network.h"

namespace tidepool {

struct NetworkRegistration {
  const char* name;
  std::unique_ptr<Network> (*make)(const NetworkOptions& options, const Json& pool);
};

std::span<const NetworkRegistration> network_registrations();

std::unique_ptr<Network> make_vgg16(const NetworkOptions& options, const Json& pool);

}  // namespace tidepool
