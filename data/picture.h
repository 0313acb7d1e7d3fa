// Pictures as they are in files: PNG and JPEG, 8 or 16 bits, grey or RGB, with or without alpha.
#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace tidepool {

/// Rows from the top, channels interleaved: 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha. A number of 16 bits takes
/// two bytes in the machine's order.
struct Picture {
  int64_t height = 0, width = 0, channels = 0;
  int bits = 8;  ///< 8 or 16
  std::vector<uint8_t> bytes = {};

  bool has_alpha() const { return channels == 2 || channels == 4; }
  /// Channels that are no alpha.
  int64_t colours() const { return has_alpha() ? channels - 1 : channels; }
  int64_t pixel_bytes() const { return channels * bits / 8; }
};

/// 8 bits a channel, (height, width, 3), rows from the top: what is drawn here.
struct RgbImage {
  int64_t height = 0, width = 0;
  std::vector<uint8_t> pixels = {};
};

/// Indices into a palette, (height, width), rows from the top: a map of classes.
struct IndexedImage {
  int64_t height = 0, width = 0;
  std::vector<uint8_t> indices = {};
  std::span<const std::array<uint8_t, 3>> palette = {};  ///< RGB of each index; at most 256
};

/// A PNG or JPEG file, told by its first bytes, turned upright as its EXIF orientation says. Palettes become RGB, 1 to
/// 4 bits become 8; values are as stored (no colour profile, no gamma). Throws Error when the file is missing, no such
/// picture, damaged, CMYK, or over 2^30 numbers.
Picture read_picture(const std::filesystem::path& path);

/// By what factor, 1 or more, a picture of this height and width may come smaller without harm.
using Reduction = std::function<int64_t(int64_t height, int64_t width)>;

/// A picture that was decoded at a smaller scale, and the size that it has in its file. Its pixels are cells of 1 /
/// scale pixels of the file; the last cell of a row or column, in an upright picture perhaps the first, is a part of
/// one. So the file's position p lies at scale * p + offset here, offset by axis.
struct ReducedPicture {
  Picture picture;
  int64_t full_height = 0, full_width = 0;
  double scale = 1;
  std::array<double, 2> offset{};
};

/// As read_picture, for training: a JPEG comes smaller by the largest of 2, 4 and 8 that `reduction` allows (unset: 1),
/// which saves most of its decoding, its sides rounded up; CMYK becomes RGB (Adobe's inverted values, without a colour
/// profile).
ReducedPicture read_reduced_picture(const std::filesystem::path& path, const Reduction& reduction);
/// Height and width of the upright picture, from its header where it is a JPEG. Errors as read_picture's.
std::array<int64_t, 2> read_picture_size(const std::filesystem::path& path);
/// A PNG with a palette, or grey of up to 8 bits: its values as they are stored. `palette` is left empty. Errors as
/// read_picture's, and for any other picture.
IndexedImage read_indices(const std::filesystem::path& path);

/// For decoders, before they make room: throws Error when the picture has no pixels or over 2^30 numbers.
void expect_picture_size(const Picture& picture, const std::string& name);

/// The orientation (1 to 8) that a block of EXIF (a TIFF header and what follows) gives; 1 when it gives none.
int exif_orientation(std::string_view exif);
/// The picture as it is to be seen. EXIF 2.32, tag 0x0112.
Picture upright(Picture picture, int orientation);

/// (1, channels, height, width) f32, plain; 0 to 1.
Tensor to_planes(const Picture& picture);
/// Back, from a dense plain map of one image: values outside of 0 to 1 are cut off, NaN is 0, the rest is rounded.
Picture from_planes(const Tensor& planes, int bits);

}  // namespace tidepool
