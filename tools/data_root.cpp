#include "tools/data_root.h"

#include <pwd.h>
#include <unistd.h>

#include <cstdlib>

#include "core/error.h"
#include "core/text.h"
#include "data/dataset.h"
#include "data/fetch.h"

namespace tidepool {
namespace {

namespace fs = std::filesystem;

std::string home() {
  if (const char* value = std::getenv("HOME"); value && *value) {
    expect_text(value, "$HOME");
    return value;
  }
  const passwd* user = getpwuid(getuid());
  return user && user->pw_dir ? user->pw_dir : "/";
}

bool needs_files(const std::string& data_set) {
  return find_dataset(data_set).find != nullptr;
}

// What is missing in a location that holds a part of the data set; "" where there is nothing of it.
std::string incomplete(const std::string& data_set, const fs::path& root) {
  const auto missing = find_dataset(data_set).incomplete;
  return missing ? missing(root) : "";
}

}  // namespace

fs::path expand_home(std::string_view path) {
  if (path == "~") return home();
  if (path.starts_with("~/")) return fs::path(home()) / path.substr(2);
  return path;
}

std::vector<DataLocation> data_locations(std::string_view option, std::string_view config_root) {
  std::vector<DataLocation> locations;
  if (!option.empty()) locations.push_back({expand_home(option), "--data"});
  if (!config_root.empty()) locations.push_back({expand_home(config_root), "data.root"});
  if (const char* value = std::getenv("TIDEPOOL_DATA"); value && *value) {
    expect_text(value, "$TIDEPOOL_DATA");
    locations.push_back({expand_home(value), "$TIDEPOOL_DATA"});
  }
  locations.push_back({expand_home("~/.cache/tidepool"), "the default"});
  return locations;
}

std::optional<DataLocation> find_data(const std::string& data_set, std::string_view option,
                                      std::string_view config_root) {
  if (!needs_files(data_set)) return std::nullopt;
  for (const DataLocation& location : data_locations(option, config_root)) {
    if (const auto folder = find_dataset(data_set).find(location.folder))
      return DataLocation{*folder, location.said_by};
    std::error_code code;
    if (location.said_by != "--data") continue;
    if (const std::string part = incomplete(data_set, location.folder); !part.empty())
      throw Error("--data {}: {} is not whole: {}", location.folder.string(), data_set, part);
    throw Error("--data {}: {}", location.folder.string(),
                fs::is_directory(location.folder, code)
                    ? fmt::format("the data set {} is not in this folder; {}", data_set, how_to_get(data_set))
                    : std::string("no such folder"));
  }
  return std::nullopt;
}

std::optional<fs::path> available_data(const std::string& data_set, std::string_view option,
                                       std::string_view config_root) {
  if (!needs_files(data_set)) return fs::path();
  const auto location = find_data(data_set, option, config_root);
  return location ? std::optional(location->folder) : std::nullopt;
}

std::string how_to_get(const std::string& data_set) {
  const std::string_view layout = find_dataset(data_set).layout;
  return layout.empty() ? fmt::format("`tidepool data fetch {}` downloads it", data_set)
                        : fmt::format("expected {}", layout);
}

fs::path require_data(const std::string& data_set, std::string_view option, std::string_view config_root) {
  if (const auto folder = available_data(data_set, option, config_root)) return *folder;
  std::string looked;
  for (const DataLocation& location : data_locations(option, config_root)) {
    looked += fmt::format("{}{} ({})", looked.empty() ? "" : ", ", location.folder.string(), location.said_by);
    if (const std::string part = incomplete(data_set, location.folder); !part.empty()) looked += ": " + part;
  }
  throw Error("{} was not found in {}; {}", data_set, looked, how_to_get(data_set));
}

}  // namespace tidepool
