// Where the values of JSON files came from, for errors.
#pragma once
#include <string>

#include "core/json.h"

namespace tidepool {

/// The origin of the value at a dotted path, or of the nearest object around it that has one, with ": " behind it; ""
/// when none is known.
inline std::string origin_of(const Origins& origins, std::string path) {
  while (true) {
    if (const auto found = origins.find(path); found != origins.end()) return found->second + ": ";
    if (path.empty()) return "";
    const size_t dot = path.rfind('.');
    path = dot == std::string::npos ? "" : path.substr(0, dot);
  }
}

}  // namespace tidepool
