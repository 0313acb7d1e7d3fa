// `tidepool figure 1`: a sheet of images of the variants.
#pragma once
#include <cstdint>

#include "data/dataset.h"
#include "data/variant.h"
#include "train/figures/drawing.h"

namespace tidepool::figures {

struct VariantSheetOptions {
  std::vector<VariantOptions> variants = {
      {}, {.type = "stretch_v"}, {.type = "tile"}, {.type = "large"}};  ///< the rows
  int64_t images = 8;                                                   ///< the columns, of as many classes
  double pixel = 2.5;                                                   ///< CSS pixels that an image's pixel takes
};

/// "plain", "stretch_v" and so on.
std::string variant_name(const VariantOptions& variant);
/// What is done to images of this shape, in a few words: "to 64x32, middle 32 rows".
std::string variant_note(const VariantOptions& variant, const ImageShape& shape);

/// Rows of variants as evaluation sees them, the classes' names below. Throws Error as make_preview does.
Drawing draw_variants(const Dataset& dataset, const VariantSheetOptions& options = {});

}  // namespace tidepool::figures
