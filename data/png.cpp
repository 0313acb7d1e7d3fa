#include "data/png.h"

#include <png.h>

#include <string>

#include "core/atomic_file.h"
#include "core/error.h"

namespace tidepool {
namespace fs = std::filesystem;

void write_png(const fs::path& path, const RgbImage& image) {
  if (image.height < 1 || image.width < 1 ||
      static_cast<int64_t>(image.pixels.size()) != image.height * image.width * 3) {
    throw Error("png: {}: a picture of {}x{} with {} bytes", path.string(), image.height, image.width,
                image.pixels.size());
  }
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  png.width = static_cast<png_uint_32>(image.width);
  png.height = static_cast<png_uint_32>(image.height);
  png.format = PNG_FORMAT_RGB;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(png);
  std::string bytes(size, '\0');
  if (png_image_write_to_memory(&png, bytes.data(), &size, 0, image.pixels.data(), 0, nullptr) == 0) {
    throw Failure("png: cannot compress {}: {}", path.string(), png.message);
  }
  write_file_atomically(path, std::string_view(bytes).substr(0, size));
}

RgbImage read_png(const fs::path& path) {
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  RgbImage image;
  png_color background{};
  if (png_image_begin_read_from_file(&png, path.c_str()) != 0) {
    png.format = PNG_FORMAT_RGB;
    image.height = png.height;
    image.width = png.width;
    image.pixels.resize(PNG_IMAGE_SIZE(png));
    if (png_image_finish_read(&png, &background, image.pixels.data(), 0, nullptr) != 0) return image;
  }
  const std::string why = png.message;
  png_image_free(&png);
  throw Error("png: cannot read {}: {}", path.string(), why);
}

}  // namespace tidepool
