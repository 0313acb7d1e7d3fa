// What data sets of picture files share: finding, decoding into samples, and what becomes of a damaged picture.
#pragma once
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <set>
#include <string>
#include <string_view>

#include "core/error.h"
#include "data/dataset.h"

namespace tidepool {

/// The key data.damaged.
void damaged_key(Keys& k, DatasetOptions& options);

bool is_folder(const std::filesystem::path& path);
/// By its ending: .jpg, .jpeg or .png, in any case.
bool is_picture_name(const std::filesystem::path& path);

/// Decodes a picture as three channels of 8 bits into the sample's own memory: grey is shown three times, alpha is left
/// out, 16 bits are rounded to 8. Errors as read_reduced_picture's.
void read_into(const std::filesystem::path& path, Sample& sample);

/// Pictures of a data set that cannot be decoded: an Error, or left out with a warning for each and their number.
class DamagedPictures {
 public:
  DamagedPictures(std::string_view dataset, bool skips) : dataset_(dataset), skips_(skips) {}
  bool skips() const { return skips_; }

  /// Calls `work`, which decodes what belongs to `path`. Its Error is thrown again, as a SkippedImage where damaged
  /// pictures are left out.
  template <class F>
  void guard(const std::filesystem::path& path, const F& work) const {
    try {
      work();
    } catch (const Error& error) {
      refuse(path, error.what());
    }
  }

 private:
  [[noreturn]] void refuse(const std::filesystem::path& path, const std::string& problem) const;

  std::string dataset_;
  bool skips_;
  mutable std::mutex mutex_;
  mutable std::set<std::filesystem::path> seen_;  // guarded by mutex_
};

}  // namespace tidepool
