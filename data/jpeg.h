// JPEG files.
#pragma once
#include <string>
#include <string_view>

#include "data/picture.h"

namespace tidepool {

bool is_jpeg(std::string_view bytes);
/// See read_picture: grey or RGB of 8 bits. `name` stands in errors. A file that its decoder would fix is
/// damaged, but for bytes that stand between two markers.
Picture decode_jpeg(std::string_view bytes, const std::string& name);
/// See read_reduced_picture.
ReducedPicture decode_reduced_jpeg(std::string_view bytes, const std::string& name, const Reduction& reduction);
/// Height and width of the upright picture.
std::array<int64_t, 2> jpeg_size(std::string_view bytes, const std::string& name);

}  // namespace tidepool
