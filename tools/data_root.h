// Where data sets are looked for: --data, data.root of the config, $TIDEPOOL_DATA, ~/.cache/tidepool, in this order.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tidepool {

/// "~" and "~/..." with the home folder; anything else as it is.
std::filesystem::path expand_home(std::string_view path);

struct DataLocation {
  std::filesystem::path folder;
  std::string said_by;  ///< "--data", "data.root", "$TIDEPOOL_DATA" or "the default"
};

/// The locations that are named, in the order in which they are looked at. Both texts may be empty.
std::vector<DataLocation> data_locations(std::string_view option, std::string_view config_root = {});

/// The first location that holds the data set; none when no location does, or when the data set needs no files. The
/// folder can be DatasetOptions::root. Throws Error for an unknown data set, and for --data naming a folder without it.
std::optional<DataLocation> find_data(const std::string& data_set, std::string_view option,
                                      std::string_view config_root = {});

/// The folder alone, "" for a data set that needs none; none when a data set's files are nowhere.
std::optional<std::filesystem::path> available_data(const std::string& data_set, std::string_view option,
                                                    std::string_view config_root = {});

/// The same; throws Error that names every location looked at and the command that fetches the data set, when there is
/// none and the data set needs files. Returns "" for one that needs none.
std::filesystem::path require_data(const std::string& data_set, std::string_view option,
                                   std::string_view config_root = {});

}  // namespace tidepool
