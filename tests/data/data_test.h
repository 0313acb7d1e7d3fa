// What the tests of the data room share.
#pragma once
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/error.h"
#include "data/source.h"

namespace tidepool::testing {

/// A folder of its own for each test, gone at its end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    static std::atomic<int> count = 0;
    path_ = std::filesystem::temp_directory_path() / fmt::format("tidepool-data-{}-{}", ::getpid(), count++);
    std::filesystem::create_directories(path_);
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline void write_file(const std::filesystem::path& path, const std::string& bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// The number of things in a folder, at any depth.
inline size_t count_entries(const std::filesystem::path& folder) {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::recursive_directory_iterator(folder)) ++count;
  return count;
}

/// The message of the E that `work` throws; the test fails when it throws none.
template <class E, class F>
std::string message_of(F work) {
  try {
    work();
  } catch (const E& problem) {
    return problem.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

#define EXPECT_SAYS(message, part) EXPECT_NE((message).find(part), std::string::npos) << (message)

/// Images whose bytes are a hash of (image, position), labels index % 7; image `bad` throws.
class MadeSource final : public Source {
 public:
  MadeSource(int64_t size, ImageShape shape, int64_t bad = -1) : size_(size), shape_(shape), bad_(bad) {
    bytes_.resize(static_cast<size_t>(size * shape.elements()));
    for (size_t i = 0; i < bytes_.size(); ++i) bytes_[i] = static_cast<uint8_t>(i * 2654435761u >> 13);
  }
  std::string_view name() const override { return "made"; }
  int64_t size() const override { return size_; }
  int32_t classes() const override { return 7; }
  ImageShape shape() const override { return shape_; }
  int32_t label(int64_t index) const override { return static_cast<int32_t>(index % 7); }
  const uint8_t* pixels(int64_t index) const override {
    if (index == bad_) throw std::runtime_error("image is bad");
    return bytes_.data() + index * shape_.elements();
  }
  std::string_view class_name(int32_t) const override { return ""; }

 private:
  int64_t size_;
  ImageShape shape_;
  int64_t bad_;
  std::vector<uint8_t> bytes_;
};

}  // namespace tidepool::testing
