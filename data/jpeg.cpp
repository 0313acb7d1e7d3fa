#include "data/jpeg.h"

#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstring>

#include <jpeglib.h>  // after cstdio, which it needs

#include <jerror.h>

#include "core/error.h"

namespace tidepool {
namespace {

// libjpeg reports an error by calling back; the way out is a long jump: functions with a setjmp hold nothing that wants
// a destructor.
struct Trap {
  jpeg_error_mgr manager;  // first: libjpeg hands back a pointer to it
  std::jmp_buf jump;
  char text[JMSG_LENGTH_MAX];
};
[[noreturn]] void on_error(j_common_ptr info) {
  auto* const trap = reinterpret_cast<Trap*>(info->err);
  info->err->format_message(info, trap->text);
  std::longjmp(trap->jump, 1);
}
// A message below 0 is of what it fixes, grey where data is missing. Bytes between two markers, a revision and a
// header's fields that say nothing of a sequential picture are nobody's pixels.
void on_message(j_common_ptr info, int level) {
  const int code = info->err->msg_code;
  const bool harmless = code == JWRN_EXTRANEOUS_DATA || code == JWRN_JFIF_MAJOR || code == JWRN_NOT_SEQUENTIAL;
  if (level < 0 && !harmless) on_error(info);
}

// Decoder states; ends with its scope.
struct Jpeg {
  Jpeg() {
    info.err = jpeg_std_error(&trap.manager);
    trap.manager.error_exit = on_error;
    trap.manager.emit_message = on_message;
    trap.text[0] = '\0';
  }
  ~Jpeg() { jpeg_destroy_decompress(&info); }
  Jpeg(const Jpeg&) = delete;
  Jpeg& operator=(const Jpeg&) = delete;
  jpeg_decompress_struct info{};
  Trap trap{};
};

bool read_header(Jpeg* jpeg, const char* data, size_t size) {
  if (setjmp(jpeg->trap.jump) != 0) return false;
  jpeg_create_decompress(&jpeg->info);
  jpeg_mem_src(&jpeg->info, reinterpret_cast<const unsigned char*>(data), size);
  jpeg_save_markers(&jpeg->info, JPEG_APP0 + 1, 0xFFFF);
  jpeg_read_header(&jpeg->info, TRUE);
  return true;
}

bool read_rows(Jpeg* jpeg, uint8_t* bytes, size_t row_bytes) {
  if (setjmp(jpeg->trap.jump) != 0) return false;
  jpeg->info.out_color_space = jpeg->info.num_components == 1   ? JCS_GRAYSCALE
                               : jpeg->info.num_components == 4 ? JCS_CMYK
                                                                : JCS_RGB;
  jpeg_start_decompress(&jpeg->info);
  while (jpeg->info.output_scanline < jpeg->info.output_height) {
    JSAMPROW row = bytes + jpeg->info.output_scanline * row_bytes;
    jpeg_read_scanlines(&jpeg->info, &row, 1);
  }
  jpeg_finish_decompress(&jpeg->info);
  return true;
}

[[noreturn]] void refuse(const Jpeg& jpeg, const std::string& name) {
  throw Error("{}: a damaged JPEG: {}", name, static_cast<const char*>(jpeg.trap.text));
}

int orientation_of(const jpeg_decompress_struct& info) {
  constexpr std::string_view kHead("Exif\0\0", 6);
  for (const jpeg_marker_struct* marker = info.marker_list; marker; marker = marker->next) {
    const std::string_view data(reinterpret_cast<const char*>(marker->data), marker->data_length);
    if (data.starts_with(kHead)) return exif_orientation(data.substr(kHead.size()));
  }
  return 1;
}

void read_header(Jpeg& jpeg, std::string_view bytes, const std::string& name) {
  if (!read_header(&jpeg, bytes.data(), bytes.size())) refuse(jpeg, name);
}

std::array<int64_t, 2> upright_size(const jpeg_decompress_struct& info, int orientation) {
  const int64_t height = info.image_height, width = info.image_width;
  return orientation >= 5 ? std::array{width, height} : std::array{height, width};
}

// CMYK, whose values Adobe's programs and those that follow them store inverted.
void make_rgb(Picture& picture) {
  const auto pixels = static_cast<size_t>(picture.height * picture.width);
  for (size_t i = 0; i < pixels; ++i) {
    const int key = picture.bytes[4 * i + 3];
    for (size_t c = 0; c < 3; ++c)
      picture.bytes[3 * i + c] = static_cast<uint8_t>((picture.bytes[4 * i + c] * key + 127) / 255);
  }
  picture.channels = 3;
  picture.bytes.resize(3 * pixels);
}

ReducedPicture decode(std::string_view bytes, const std::string& name, const Reduction& reduction, bool takes_cmyk) {
  Jpeg jpeg;
  read_header(jpeg, bytes, name);
  const J_COLOR_SPACE space = jpeg.info.jpeg_color_space;
  const bool cmyk = space == JCS_CMYK || space == JCS_YCCK;
  if (space != JCS_GRAYSCALE && space != JCS_YCbCr && space != JCS_RGB && !(cmyk && takes_cmyk))
    throw Error("{}: expected a JPEG that is grey or RGB, this one is {}", name, cmyk ? "CMYK" : "of another kind");
  const int orientation = orientation_of(jpeg.info);  // finishing forgets the markers
  const auto [full_height, full_width] = upright_size(jpeg.info, orientation);
  const int channels = space == JCS_GRAYSCALE ? 1 : cmyk ? 4 : 3;
  expect_picture_size({.height = full_height, .width = full_width, .channels = channels}, name);
  const int64_t factor = reduction ? reduction(full_height, full_width) : 1;
  const unsigned denominator = factor >= 8 ? 8 : factor >= 4 ? 4 : factor >= 2 ? 2 : 1;
  const auto reduced = [&](unsigned side) { return int64_t{(side + denominator - 1) / denominator}; };
  Picture picture{.height = reduced(jpeg.info.image_height),
                  .width = reduced(jpeg.info.image_width),
                  .channels = channels,
                  .bits = 8};
  picture.bytes.resize(static_cast<size_t>(picture.height * picture.width * picture.pixel_bytes()));
  jpeg.info.scale_num = 1;
  jpeg.info.scale_denom = denominator;
  if (!read_rows(&jpeg, picture.bytes.data(), static_cast<size_t>(picture.width * picture.channels)))
    refuse(jpeg, name);
  if (cmyk) make_rgb(picture);
  ReducedPicture result{.picture = upright(std::move(picture), orientation),
                        .full_height = full_height,
                        .full_width = full_width,
                        .scale = 1.0 / denominator};
  // Where turning upright reverses an axis, the cell that is not whole comes first.
  const auto reversed = [&](std::initializer_list<int> orientations) {
    return std::find(orientations.begin(), orientations.end(), orientation) != orientations.end();
  };
  if (reversed({3, 4, 7, 8}))
    result.offset[0] = static_cast<double>(result.picture.height) - static_cast<double>(full_height) * result.scale;
  if (reversed({2, 3, 6, 7}))
    result.offset[1] = static_cast<double>(result.picture.width) - static_cast<double>(full_width) * result.scale;
  return result;
}

}  // namespace

bool is_jpeg(std::string_view bytes) {
  return bytes.starts_with("\xff\xd8\xff");
}

Picture decode_jpeg(std::string_view bytes, const std::string& name) {
  return decode(bytes, name, {}, false).picture;
}

ReducedPicture decode_reduced_jpeg(std::string_view bytes, const std::string& name, const Reduction& reduction) {
  return decode(bytes, name, reduction, true);
}

std::array<int64_t, 2> jpeg_size(std::string_view bytes, const std::string& name) {
  Jpeg jpeg;
  read_header(jpeg, bytes, name);
  return upright_size(jpeg.info, orientation_of(jpeg.info));
}

}  // namespace tidepool
