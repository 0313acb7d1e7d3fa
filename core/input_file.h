// A file open for reading, at any offset; and what files of weights have in common.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>

namespace tidepool {

class InputFile {
 public:
  /// Throws Error when there is no such file, or something that is no regular file and so no `what` ("safetensors
  /// file").
  InputFile(const std::filesystem::path& path, const char* what);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const std::string& path() const { return path_; }
  uint64_t size() const { return size_; }
  /// Throws Failure when the disk fails, or the file ends before.
  void read(uint64_t offset, void* to, uint64_t bytes) const;

 private:
  std::string path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
};

/// IEEE 754 binary16, all of whose values f32 has.
float float_from_half(uint16_t bits);

}  // namespace tidepool
