#include "data/picture_files.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstring>

#include "data/picture.h"

namespace tidepool {
namespace fs = std::filesystem;

void damaged_key(Keys& k, DatasetOptions& options) {
  bool skip = false;
  k.choice("damaged", skip, {"fail", "skip"},
           "A picture that cannot be decoded ends the run (fail), or is named in the log and left out of its batch "
           "(skip).");
  options.skip_damaged = skip;
}

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

bool is_picture_name(const fs::path& path) {
  std::string ending = path.extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return ending == ".jpg" || ending == ".jpeg" || ending == ".png";
}

void read_into(const fs::path& path, Sample& sample) {
  auto [picture, full_height, full_width, scale, offset] = read_reduced_picture(path, sample.reduction);
  sample.pixel_memory = std::move(picture.bytes);
  if (picture.bits == 16) {
    std::vector<uint8_t>& bytes = sample.pixel_memory;
    for (size_t i = 0; i < bytes.size() / 2; ++i) {
      uint16_t value = 0;
      std::memcpy(&value, bytes.data() + 2 * i, 2);
      bytes[i] = static_cast<uint8_t>((value * 255u + 32767u) / 65535u);
    }
  }
  sample.show_interleaved(sample.pixel_memory.data(), {picture.channels, picture.height, picture.width});
  if (picture.colours() == 1) sample.channel_stride = 0;
  sample.full_height = full_height;
  sample.full_width = full_width;
  sample.scale = scale;
  sample.offset = offset;
}

void DamagedPictures::refuse(const fs::path& path, const std::string& problem) const {
  if (!skips_)
    throw Error("{}: {}; a new run with \"damaged\": \"skip\" in `data` leaves such pictures out", dataset_, problem);
  size_t count = 0;
  {
    const std::lock_guard lock(mutex_);
    if (seen_.insert(path).second) count = seen_.size();
  }
  if (count > 0) spdlog::warn("{}: {}; left out ({} so far)", dataset_, problem, count);
  throw SkippedImage("{}: {}", dataset_, problem);
}

}  // namespace tidepool
