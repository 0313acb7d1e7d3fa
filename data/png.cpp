#include "data/png.h"

#include <png.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "core/error.h"

namespace tidepool {
namespace fs = std::filesystem;

void write_png(const fs::path& path, const RgbImage& image) {
  if (image.height < 1 || image.width < 1 ||
      static_cast<int64_t>(image.pixels.size()) != image.height * image.width * 3) {
    throw Error("png: {}: a picture of {}x{} with {} bytes", path.string(), image.height, image.width,
                image.pixels.size());
  }
  const fs::path temporary = fmt::format("{}.{}.partial", path.string(), ::getpid());
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  png.width = static_cast<png_uint_32>(image.width);
  png.height = static_cast<png_uint_32>(image.height);
  png.format = PNG_FORMAT_RGB;
  const auto fail = [&](const std::string& why) {
    std::error_code ignored;
    fs::remove(temporary, ignored);
    throw Failure("png: cannot write {}: {}", path.string(), why);
  };
  if (png_image_write_to_file(&png, temporary.c_str(), 0, image.pixels.data(), 0, nullptr) == 0) fail(png.message);
  std::error_code problem;
  fs::rename(temporary, path, problem);
  if (problem) fail(problem.message());
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
