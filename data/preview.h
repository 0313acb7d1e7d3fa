// A contact sheet: the same images in every variant.
#pragma once
#include "data/picture.h"
#include "data/source.h"
#include "data/variant.h"

namespace tidepool {

struct PreviewOptions {
  std::vector<VariantOptions> variants = {
      {}, {.type = "stretch_v"}, {.type = "tile"}, {.type = "large"}};  ///< the rows
  std::vector<int64_t> images = {};                                     ///< the columns: indices into the source
  int64_t scale = 3;                                                    ///< each pixel becomes scale x scale
  int64_t margin = 4;  ///< white, around and between the images, in pixels of the sheet
};

/// Images as evaluation sees them, before normalisation. Errors: no image, an index outside the source, a source that
/// is not RGB, a scale below 1.
RgbImage make_preview(const Source& source, const PreviewOptions& options);

/// `count` indices that show as many classes as there are: the first image of each class in turn, in the order of
/// labels, then the second of each, and so on. Fewer when the source has fewer.
std::vector<int64_t> preview_indices(const Source& source, int64_t count);

}  // namespace tidepool
