// TensorBoard's event files, written without TensorFlow: records with masked CRC-32C (TFRecord), each an Event message
// of protocol buffers (tensorboard/compat/proto/event.proto, summary.proto).
#pragma once
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/picture.h"

namespace tidepool {

/// CRC-32C (Castagnoli, reflected 0x82f63b78), as TFRecord masks it: rotated right by 15 bits, plus 0xa282ead8.
uint32_t masked_crc32c(std::string_view bytes);

/// One event file of a run. What is written is on its way to the disk after flush().
class EventFile {
 public:
  /// Makes a new file in `folder`. `next_step` is the first step that it will tell of: what older files of the folder
  /// say of it and later steps is of a process that was killed, and readers drop it. Throws Failure.
  EventFile(const std::filesystem::path& folder, int64_t next_step);

  /// Numbers of one step, by tag; f32 in the file.
  void scalars(int64_t step, std::span<const std::pair<std::string, double>> values);
  /// Markdown.
  void text(int64_t step, const std::string& tag, std::string_view markdown);
  void image(int64_t step, const std::string& tag, const RgbImage& image);
  /// Throws Failure when the disk refuses.
  void flush();

  const std::filesystem::path& path() const { return path_; }

 private:
  void event(int64_t step, std::string_view what);

  std::filesystem::path path_;
  std::ofstream out_;
};

}  // namespace tidepool
