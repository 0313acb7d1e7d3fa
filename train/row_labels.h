// What a table calls its rows: labels from the configs that run.
#pragma once
#include <string>

#include "core/json.h"
#include "train/config.h"
#include "train/experiments.h"

namespace tidepool {

/// model.pool in words: the operator of every slot, then those of single slots that have another, each with the keys
/// that are not its defaults: "avg (kernel 3, stride 2, padding 1), pool2 max".
std::string pool_text(const Json& pool);

/// model.pool with all defaults, so that two that are written otherwise compare equal.
Json canonical_pool(Json pool);

/// "plain", "tile", "tile (grid 2)": the variant, with what is not its default.
std::string data_label(const VariantOptions& variant);

/// The settings by which a config's shape parameters learn: those of optim.groups or optim.shape, the fastest where
/// there are several; null where no slot learns a size, or the network cannot be built.
const GroupSettings* shape_group(const Config& config);

/// Completes the labels of a row from the config that runs. `planned` is the same without --set: what the labels that
/// the file states stand for.
void label_row(Row& row, const Config& config, const Config& planned);

}  // namespace tidepool
