// PNG files.
#pragma once
#include <filesystem>
#include <string>
#include <string_view>

#include "data/picture.h"

namespace tidepool {

bool is_png(std::string_view bytes);
/// See read_picture. `name` stands in errors.
Picture decode_png(std::string_view bytes, const std::string& name);
/// The bytes of a file. Throws Error for a picture without pixels or with another number of bytes than its shape asks
/// for.
std::string encode_png(const Picture& picture, const std::string& name);
/// Likewise; Error too for an index that the palette does not have.
std::string encode_png(const IndexedImage& image, const std::string& name);

/// Whole or not at all under its final name. Errors as AtomicFile's and encode_png's.
void write_png(const std::filesystem::path& path, const RgbImage& image);
void write_png(const std::filesystem::path& path, const Picture& picture);
void write_png(const std::filesystem::path& path, const IndexedImage& image);

}  // namespace tidepool
