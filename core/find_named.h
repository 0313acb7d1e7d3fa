// Registries are lists whose entries, or what these point to, have a name.
#pragma once
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "core/error.h"

namespace tidepool {

template <class Entry>
const auto& registered_entry(const Entry& entry) {
  if constexpr (std::is_pointer_v<Entry>)
    return *entry;
  else
    return entry;
}

template <class List>
std::vector<std::string> names_of(const List& list) {
  std::vector<std::string> names;
  for (const auto& each : list) names.emplace_back(registered_entry(each).name);
  return names;
}

/// The entry of that name. Throws Error that begins with `what` ("model.name: there is no network"), then has the name,
/// the nearest one and all that there are.
template <class List>
const auto& find_named(const List& list, std::string_view name, std::string_view what) {
  for (const auto& each : list)
    if (registered_entry(each).name == name) return registered_entry(each);
  const std::vector<std::string> names = names_of(list);
  throw Error("{} '{}'{}; there are: {}", what, name, did_you_mean(name, names), fmt::join(names, ", "));
}

}  // namespace tidepool
