// A contact sheet: the same images in every variant.
#pragma once
#include "data/dataset.h"
#include "data/picture.h"
#include "data/variant.h"

namespace tidepool {

struct PreviewOptions {
  std::vector<VariantOptions> variants = {
      {}, {.type = "stretch_v"}, {.type = "tile"}, {.type = "large"}};  ///< the rows
  std::vector<int64_t> images = {};                                     ///< the columns: indices into the data set
  int64_t scale = 3;                                                    ///< each pixel becomes scale x scale
  int64_t margin = 4;  ///< white, around and between the images, in pixels of the sheet
};

/// Images as evaluation sees them, before normalisation; below them, in a data set of label maps, the maps in PASCAL
/// VOC's colours. Errors: no image, an index outside of the data set, one that is not RGB, a scale below 1, variants of
/// images that have label maps.
RgbImage make_preview(const Dataset& dataset, const PreviewOptions& options);

/// `count` indices that show as many classes as there are: the first image of each class in turn, in the order of
/// labels, then the second of each, and so on; of a data set of label maps the first ones. Fewer when it has fewer.
std::vector<int64_t> preview_indices(const Dataset& dataset, int64_t count);

}  // namespace tidepool
