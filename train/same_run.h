// Whether a saved run and a config are the same run.
#pragma once
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "core/json.h"
#include "train/config.h"

namespace tidepool {

/// The first key in which a saved config and `now` (Config::resolved) differ, as "train.batch was 16, is 8"; "" where
/// they decide the same weights. Keys that decide none (workers, log lines, the folder of the data ...) are ignored,
/// and so are the dotted paths in `ignored`. `origin` names the saved config in errors. Keys that the saved config has
/// not, because an older program wrote it, have their defaults. Where it holds the numbers of data.normalize, the word
/// that they came from is the same.
std::string config_difference(const Json& saved, const Json& now, std::string_view origin,
                              std::span<const std::string_view> ignored = {});

/// The config with which the run in `folder` resumes when `asked` asks for it: `asked`, with the saved numbers of
/// data.normalize and, where it names none, the saved folder of the data. Throws Error where the folder holds no
/// config.json, or that of another run.
Config resumed_config(const Config& asked, const std::filesystem::path& folder);

}  // namespace tidepool
