// Files that appear under their final name whole or not at all.
#pragma once
#include <cstddef>
#include <filesystem>
#include <string_view>

namespace tidepool {

/// Bytes go to a hidden temporary file in the same folder; commit() brings them to the disk and renames it. Without a
/// commit nothing is left. A symbolic link is followed, so that its target is replaced. Throws Error when the folder
/// does not exist or the name belongs to something that is no regular file, Failure when the system refuses.
class AtomicFile {
 public:
  explicit AtomicFile(const std::filesystem::path& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  /// fsync, rename, fsync of the folder. To be called once, last.
  void commit();

 private:
  [[noreturn]] void fail(const char* what, int code);
  void discard() noexcept;

  std::filesystem::path path_, temporary_;
  int descriptor_ = -1;
};

/// Makes a folder and those above it, where they are missing. Throws Error, with `what` (--out) before the name, when
/// it is no folder and cannot become one.
void make_folder(const std::filesystem::path& folder, std::string_view what);

/// Writes a whole file. Errors as AtomicFile's.
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

}  // namespace tidepool
