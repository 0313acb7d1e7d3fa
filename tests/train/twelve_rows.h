// A table for tests: four variants, three operators, VGG-16.
#pragma once
#include <string>

#include "train/table_file.h"

namespace tidepool {

inline const char* const kTwelveRows = R"({
  "title": "Table 1: operators on four variants",
  "base": "cifar100_vgg16.json",
  "grid": [
    {"column": "data", "rows": {
      "plain": {},
      "stretch_v": {"data.variant": {"type": "stretch_v"}},
      "tile": {"data.variant": {"type": "tile"}},
      "large": {"data.variant": {"type": "large"}}}},
    {"column": "model", "rows": {"vgg16": {}}},
    {"column": "pool", "rows": {
      "max": {},
      "soft": {"model.pool": {"default": {"type": "soft"}}},
      "dynopool": {"model.pool": {"default": {"type": "dynopool"}}}}}
  ],
  "baseline": {"pool": "max"}
})";

inline TableFile twelve_rows() {
  return load_table_text(kTwelveRows, "table1.json");
}

}  // namespace tidepool
