#include "data/picture.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "core/error.h"
#include "core/input_file.h"
#include "core/parallel.h"
#include "data/jpeg.h"
#include "data/png.h"

namespace tidepool {
namespace fs = std::filesystem;
namespace {

std::string read_bytes(const fs::path& path) {
  const InputFile file(path, "picture");
  std::string bytes(file.size(), '\0');
  file.read(0, bytes.data(), bytes.size());
  return bytes;
}

// Numbers of `count` bytes in a TIFF block; -1 where the block ends before.
class Tiff {
 public:
  explicit Tiff(std::string_view bytes) : bytes_(bytes), little_(bytes.starts_with("II")) {}
  int64_t number(int64_t at, int count) const {
    if (at < 0 || at + count > static_cast<int64_t>(bytes_.size())) return -1;
    int64_t n = 0;
    for (int i = 0; i < count; ++i) {
      const int64_t place = at + (little_ ? count - 1 - i : i);
      n = n << 8 | static_cast<uint8_t>(bytes_[static_cast<size_t>(place)]);
    }
    return n;
  }

 private:
  std::string_view bytes_;
  bool little_;
};

// Bytes of an integer type of TIFF 6.0 (section 2) or BigTIFF; 0 for the other types. Signed ones are read as unsigned:
// a negative orientation is as invalid as a large one.
int integer_bytes(int64_t type) {
  if (type == 1 || type == 6) return 1;    // BYTE, SBYTE
  if (type == 3 || type == 8) return 2;    // SHORT, SSHORT
  if (type == 4 || type == 9) return 4;    // LONG, SLONG
  if (type == 16 || type == 17) return 8;  // LONG8, SLONG8
  return 0;
}

template <class T>
void spread(const Picture& picture, float* planes) {
  const auto* const from = reinterpret_cast<const T*>(picture.bytes.data());
  const int64_t c = picture.channels, positions = picture.height * picture.width;
  const float unit = 1.0f / static_cast<float>(std::numeric_limits<T>::max());
  parallel_chunks(picture.height, 16, [&](int64_t begin, int64_t end) {
    for (int64_t channel = 0; channel < c; ++channel) {
      const T* const source = from + channel;
      float* const plane = planes + channel * positions;
      for (int64_t i = begin * picture.width; i < end * picture.width; ++i)
        plane[i] = static_cast<float>(source[i * c]) * unit;
    }
  });
}

template <class T>
void gather(const float* planes, Picture& picture) {
  auto* const to = reinterpret_cast<T*>(picture.bytes.data());
  const int64_t c = picture.channels, positions = picture.height * picture.width;
  constexpr auto kWhite = static_cast<float>(std::numeric_limits<T>::max());
  parallel_chunks(picture.height, 16, [&](int64_t begin, int64_t end) {
    for (int64_t channel = 0; channel < c; ++channel)
      for (int64_t i = begin * picture.width; i < end * picture.width; ++i) {
        const float v = planes[channel * positions + i];
        to[i * c + channel] = static_cast<T>(v > 0 ? std::min(v, 1.0f) * kWhite + 0.5f : 0.0f);  // NaN is not > 0
      }
  });
}

}  // namespace

Picture read_picture(const fs::path& path) {
  const std::string bytes = read_bytes(path);
  if (is_png(bytes)) return decode_png(bytes, path.string());
  if (is_jpeg(bytes)) return decode_jpeg(bytes, path.string());
  throw Error("{}: expected a PNG or JPEG picture", path.string());
}

ReducedPicture read_reduced_picture(const fs::path& path, const Reduction& reduction) {
  const std::string bytes = read_bytes(path);
  if (is_jpeg(bytes)) return decode_reduced_jpeg(bytes, path.string(), reduction);
  if (!is_png(bytes)) throw Error("{}: expected a PNG or JPEG picture", path.string());
  ReducedPicture whole{.picture = decode_png(bytes, path.string())};
  whole.full_height = whole.picture.height;
  whole.full_width = whole.picture.width;
  return whole;
}

std::array<int64_t, 2> read_picture_size(const fs::path& path) {
  const std::string bytes = read_bytes(path);
  if (is_jpeg(bytes)) return jpeg_size(bytes, path.string());
  if (!is_png(bytes)) throw Error("{}: expected a PNG or JPEG picture", path.string());
  const Picture picture = decode_png(bytes, path.string());
  return {picture.height, picture.width};
}

IndexedImage read_indices(const fs::path& path) {
  const std::string bytes = read_bytes(path);
  if (!is_png(bytes)) throw Error("{}: expected a PNG whose values are classes", path.string());
  return decode_png_indices(bytes, path.string());
}

void expect_picture_size(const Picture& picture, const std::string& name) {
  constexpr int64_t kMost = int64_t{1} << 30;
  if (picture.height < 1 || picture.width < 1 || picture.height > kMost / picture.width / picture.channels)
    throw Error("{}: a picture of {}x{} with {} channels; expected at most 2^30 numbers", name, picture.height,
                picture.width, picture.channels);
}

int exif_orientation(std::string_view exif) {
  if (!exif.starts_with("II") && !exif.starts_with("MM")) return 1;
  const Tiff tiff(exif);
  const int64_t directory = tiff.number(4, 4);
  if (tiff.number(2, 2) != 42 || directory < 0) return 1;
  const int64_t entries = tiff.number(directory, 2);
  for (int64_t i = 0; i < entries; ++i) {
    const int64_t entry = directory + 2 + 12 * i;
    constexpr int kOrientation = 0x0112;
    const int bytes = integer_bytes(tiff.number(entry + 2, 2));
    if (tiff.number(entry, 2) != kOrientation || bytes == 0) continue;
    // Four bytes hold the values, left-justified; where they do not fit, they hold the position of the values.
    const int64_t count = tiff.number(entry + 4, 4), values = entry + 8;
    const int64_t value = tiff.number(bytes * count <= 4 ? values : tiff.number(values, 4), bytes);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

Picture upright(Picture picture, int orientation) {
  if (orientation <= 1 || orientation > 8) return picture;
  const bool turned = orientation >= 5;  // rows become columns
  // Where the row (column) that is read runs against the row (column) of the file.
  const bool rows_back = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7,
             columns_back = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const int64_t h = picture.height, w = picture.width, pixel = picture.pixel_bytes();
  Picture seen{.height = turned ? w : h, .width = turned ? h : w, .channels = picture.channels, .bits = picture.bits};
  seen.bytes.resize(picture.bytes.size());
  parallel_chunks(seen.height, 16, [&](int64_t begin, int64_t end) {
    for (int64_t y = begin; y < end; ++y)
      for (int64_t x = 0; x < seen.width; ++x) {
        const int64_t r = turned ? x : y, c = turned ? y : x;
        const int64_t from = (rows_back ? h - 1 - r : r) * w + (columns_back ? w - 1 - c : c);
        std::memcpy(seen.bytes.data() + (y * seen.width + x) * pixel, picture.bytes.data() + from * pixel,
                    static_cast<size_t>(pixel));
      }
  });
  return seen;
}

Tensor to_planes(const Picture& picture) {
  const Tensor planes = Tensor::empty({1, picture.channels, picture.height, picture.width});
  if (picture.bits == 16)
    spread<uint16_t>(picture, planes.mutable_data<float>());
  else
    spread<uint8_t>(picture, planes.mutable_data<float>());
  return planes;
}

Picture from_planes(const Tensor& planes, int bits) {
  Picture picture{.height = planes.size(2), .width = planes.size(3), .channels = planes.size(1), .bits = bits};
  picture.bytes.resize(static_cast<size_t>(picture.height * picture.width * picture.pixel_bytes()));
  if (bits == 16)
    gather<uint16_t>(planes.data<float>(), picture);
  else
    gather<uint8_t>(planes.data<float>(), picture);
  return picture;
}

}  // namespace tidepool
