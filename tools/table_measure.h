// What a table measures of networks and operators without a run.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>

#include "core/json.h"
#include "train/experiments.h"
#include "train/report.h"

namespace tidepool {

/// What the operator that fills a network's first slot costs alone on that slot's map; none where no operator fills
/// one.
std::optional<OperatorCost> operator_cost(const Config& config);

/// Where the files of a config's data set are.
using RootOf = std::function<std::filesystem::path(const Config&)>;

/// What a plan's selected rows are to cost, without a run: rows, runs, those that are finished, steps, and hours from a
/// training step and an evaluation of each distinct network, measured now on made-up images.
Json dry_run(const TablePlan& plan, const RootOf& root);
/// The same for people.
std::string dry_run_text(const Json& report);

}  // namespace tidepool
