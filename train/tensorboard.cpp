#include "train/tensorboard.h"

#include <array>
#include <bit>
#include <chrono>

#include "core/error.h"
#include "core/protobuf.h"
#include "data/png.h"

namespace tidepool {
namespace {

namespace fs = std::filesystem;
using protobuf::bytes, protobuf::f32, protobuf::f64, protobuf::little_endian, protobuf::whole;

// Numbers of the fields.
namespace event {
constexpr int kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7;
}
namespace summary {
constexpr int kValue = 1, kTag = 1, kSimpleValue = 2, kImage = 4, kTensor = 8, kMetadata = 9;
constexpr int kHeight = 1, kWidth = 2, kColourSpace = 3, kEncoded = 4;  // of an image
constexpr int kPluginData = 1, kPluginName = 1;                         // of the metadata
}  // namespace summary
namespace tensor {
constexpr int kDtype = 1, kShape = 2, kStringValue = 8, kDim = 2, kSize = 1, kString = 7;
}
constexpr int kSessionStatus = 1, kSessionStart = 1, kRgb = 3;

constexpr std::array<uint32_t, 256> crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ (value & 1u ? 0x82f63b78u : 0u);
    table[i] = value;
  }
  return table;
}

fs::path new_name(const fs::path& folder, int64_t next_step) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now).count();
  // Readers take the files in the order of their names.
  for (int number = 0;; ++number) {
    fs::path path =
        folder / fmt::format("events.out.tfevents.{:010}.{:02}.step{}.tidepool", seconds, number, next_step);
    if (!fs::exists(path)) return path;
  }
}

}  // namespace

uint32_t masked_crc32c(std::string_view text) {
  static constexpr std::array<uint32_t, 256> kTable = crc_table();
  uint32_t crc = ~0u;
  for (const char c : text) crc = kTable[(crc ^ static_cast<uint8_t>(c)) & 255u] ^ crc >> 8;
  return std::rotr(~crc, 15) + 0xa282ead8u;
}

EventFile::EventFile(const fs::path& folder, int64_t next_step)
    : path_(new_name(folder, next_step)), out_(path_, std::ios::binary) {
  event(0, bytes(event::kFileVersion, "brain.Event:2"));
  event(next_step, bytes(event::kSessionLog, whole(kSessionStatus, kSessionStart)));
  flush();
}

void EventFile::event(int64_t step, std::string_view what) {
  const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  const std::string data = f64(event::kWallTime, now) + whole(event::kStep, step) + std::string(what);
  const std::string length = little_endian(static_cast<uint64_t>(data.size()));
  out_ << length << little_endian(masked_crc32c(length)) << data << little_endian(masked_crc32c(data));
}

void EventFile::scalars(int64_t step, std::span<const std::pair<std::string, double>> values) {
  std::string all;
  for (const auto& [tag, value] : values)
    all += bytes(summary::kValue, bytes(summary::kTag, tag) + f32(summary::kSimpleValue, value));
  event(step, bytes(event::kSummary, all));
}

void EventFile::text(int64_t step, const std::string& tag, std::string_view markdown) {
  const std::string shape = bytes(tensor::kShape, bytes(tensor::kDim, whole(tensor::kSize, 1)));
  const std::string value =
      bytes(summary::kTag, tag) +
      bytes(summary::kTensor, whole(tensor::kDtype, tensor::kString) + shape + bytes(tensor::kStringValue, markdown)) +
      bytes(summary::kMetadata, bytes(summary::kPluginData, bytes(summary::kPluginName, "text")));
  event(step, bytes(event::kSummary, bytes(summary::kValue, value)));
}

void EventFile::image(int64_t step, const std::string& tag, const RgbImage& image) {
  const Picture picture{.height = image.height, .width = image.width, .channels = 3, .bits = 8, .bytes = image.pixels};
  const std::string content = whole(summary::kHeight, image.height) + whole(summary::kWidth, image.width) +
                              whole(summary::kColourSpace, kRgb) + bytes(summary::kEncoded, encode_png(picture, tag));
  event(step,
        bytes(event::kSummary, bytes(summary::kValue, bytes(summary::kTag, tag) + bytes(summary::kImage, content))));
}

void EventFile::flush() {
  if (!out_.flush()) throw Failure("cannot write {} (disk full?)", path_.string());
}

}  // namespace tidepool
