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
#include "data/dataset.h"

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

/// Images whose bytes are a hash of (image, position), labels index % 7 or maps of (index + position) % 7; image `bad`
/// throws. With `own_memory` the bytes are written into the sample, pixel by pixel, else they are a view of planes.
class MadeDataset final : public Dataset {
 public:
  struct Options {
    int64_t bad = -1;
    bool own_memory = false, label_maps = false;
  };
  MadeDataset(int64_t size, ImageShape shape) : MadeDataset(size, shape, Options{}) {}
  MadeDataset(int64_t size, ImageShape shape, Options options) : size_(size), shape_(shape), options_(options) {
    bytes_.resize(static_cast<size_t>(size * shape.elements()));
    for (size_t i = 0; i < bytes_.size(); ++i) bytes_[i] = static_cast<uint8_t>(i * 2654435761u >> 13);
  }
  std::string_view name() const override { return "made"; }
  DatasetFormat format() const override { return {.shape = shape_, .classes = 7, .label_maps = options_.label_maps}; }
  int64_t size() const override { return size_; }
  int32_t label(int64_t index) const override {
    return options_.label_maps ? kNoLabel : static_cast<int32_t>(index % 7);
  }
  std::string_view class_name(int32_t) const override { return ""; }
  void read(int64_t index, Sample& sample) const override {
    if (index == options_.bad) throw std::runtime_error("image is bad");
    const int64_t pixels = shape_.height * shape_.width;
    sample.label = label(index);
    sample.label_map = nullptr;
    if (options_.label_maps) {
      sample.label_memory.resize(static_cast<size_t>(pixels));
      for (int64_t p = 0; p < pixels; ++p) sample.label_memory[static_cast<size_t>(p)] = map_label(index, p);
      sample.label_map = sample.label_memory.data();
    }
    if (!options_.own_memory) return sample.show_planes(planes(index), shape_);
    sample.pixel_memory.resize(static_cast<size_t>(shape_.elements()));
    for (int64_t p = 0; p < pixels; ++p)
      for (int64_t c = 0; c < shape_.channels; ++c)
        sample.pixel_memory[static_cast<size_t>(p * shape_.channels + c)] = planes(index)[c * pixels + p];
    sample.show_interleaved(sample.pixel_memory.data(), shape_);
  }

  const uint8_t* planes(int64_t index) const { return bytes_.data() + index * shape_.elements(); }
  static uint8_t map_label(int64_t index, int64_t p) { return static_cast<uint8_t>((index + p) % 7); }

 private:
  int64_t size_;
  ImageShape shape_;
  Options options_;
  std::vector<uint8_t> bytes_;
};

/// The bytes of an image, planes (C, H, W).
inline std::vector<uint8_t> planes_of(const Dataset& dataset, int64_t index) {
  Sample sample;
  dataset.read(index, sample);
  std::vector<uint8_t> bytes;
  for (int64_t c = 0; c < dataset.shape().channels; ++c)
    for (int64_t y = 0; y < sample.height; ++y)
      for (int64_t x = 0; x < sample.width; ++x)
        bytes.push_back(sample.pixels[c * sample.channel_stride + y * sample.row_stride + x * sample.column_stride]);
  return bytes;
}

}  // namespace tidepool::testing
