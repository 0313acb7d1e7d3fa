#include "data/jpeg.h"

#include <csetjmp>
#include <cstdio>
#include <cstring>

#include <jpeglib.h>  // after cstdio, which it needs

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
void on_message(j_common_ptr info, int level) {
  if (level < 0) on_error(info);  // what it would mend, grey where data is missing
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
  jpeg->info.out_color_space = jpeg->info.num_components == 1 ? JCS_GRAYSCALE : JCS_RGB;
  jpeg_start_decompress(&jpeg->info);
  while (jpeg->info.output_scanline < jpeg->info.output_height) {
    JSAMPROW row = bytes + jpeg->info.output_scanline * row_bytes;
    jpeg_read_scanlines(&jpeg->info, &row, 1);
  }
  jpeg_finish_decompress(&jpeg->info);
  return true;
}

int orientation_of(const jpeg_decompress_struct& info) {
  constexpr std::string_view kHead("Exif\0\0", 6);
  for (const jpeg_marker_struct* marker = info.marker_list; marker; marker = marker->next) {
    const std::string_view data(reinterpret_cast<const char*>(marker->data), marker->data_length);
    if (data.starts_with(kHead)) return exif_orientation(data.substr(kHead.size()));
  }
  return 1;
}

}  // namespace

bool is_jpeg(std::string_view bytes) {
  return bytes.starts_with("\xff\xd8\xff");
}

Picture decode_jpeg(std::string_view bytes, const std::string& name) {
  Jpeg jpeg;
  const auto refuse = [&] { throw Error("{}: a damaged JPEG: {}", name, static_cast<const char*>(jpeg.trap.text)); };
  if (!read_header(&jpeg, bytes.data(), bytes.size())) refuse();
  const J_COLOR_SPACE space = jpeg.info.jpeg_color_space;
  if (space != JCS_GRAYSCALE && space != JCS_YCbCr && space != JCS_RGB)
    throw Error("{}: expected a JPEG that is grey or RGB, this one is {}", name,
                space == JCS_CMYK || space == JCS_YCCK ? "CMYK" : "of another kind");
  Picture picture{.height = jpeg.info.image_height,
                  .width = jpeg.info.image_width,
                  .channels = space == JCS_GRAYSCALE ? 1 : 3,
                  .bits = 8};
  expect_picture_size(picture, name);
  picture.bytes.resize(static_cast<size_t>(picture.height * picture.width * picture.pixel_bytes()));
  const int orientation = orientation_of(jpeg.info);  // finishing forgets the markers
  if (!read_rows(&jpeg, picture.bytes.data(), static_cast<size_t>(picture.width * picture.channels))) refuse();
  return upright(std::move(picture), orientation);
}

}  // namespace tidepool
