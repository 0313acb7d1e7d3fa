// JPEG files.
#pragma once
#include <string>
#include <string_view>

#include "data/picture.h"

namespace tidepool {

bool is_jpeg(std::string_view bytes);
/// See read_picture: grey or RGB of 8 bits. `name` stands in errors. A file that its decoder would mend is damaged.
Picture decode_jpeg(std::string_view bytes, const std::string& name);

}  // namespace tidepool
