// A data set made up from a seed, for machines without any download: 32x32 RGB, 20 classes, 50,000 + 10,000 images.
//   8 textures  {rows, columns, diagonal, checks} x {fine: period 3.4 to 4.4 pixels, coarse: 9 to 12}
//   6 shapes    disc, ring, square, frame, cross, triangle, at a random place, size and turn
//   6 layouts   {two, three even, three uneven} blobs in {a column, a row}
// A class can be read only at its scale (fine textures are gone at 8x8) or along its axis (layouts). Foreground and
// background colours are drawn alike, and a texture has a random phase, so that the expected image of every class is
// the same: the best linear classifier on pixels is the constant one. Labels survive a horizontal flip.
#pragma once
#include <memory>

#include "data/source.h"

namespace tidepool {

inline constexpr SourceFormat kProceduralFormat{.shape = {3, 32, 32}, .classes = 20};

/// Image `i` is a function of (seed, split, i) alone, drawn when first asked for and kept in memory. Labels are
/// balanced: every 20 images in a row, from a multiple of 20 on, hold each class once. `root` is not looked at.
std::unique_ptr<Source> open_procedural(const SourceOptions& options);

}  // namespace tidepool
