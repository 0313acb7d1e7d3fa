#include "core/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "core/error.h"

namespace tidepool {
namespace fs = std::filesystem;

AtomicFile::AtomicFile(const fs::path& path) : path_(path) {
  std::error_code code;
  if (path_.empty()) throw Error("a file to be written needs a name");
  if (fs::is_symlink(path_, code)) path_ = fs::weakly_canonical(path_, code);
  const fs::path folder = path_.has_parent_path() ? path_.parent_path() : fs::path(".");
  if (!fs::is_directory(folder, code)) throw Error("{}: the folder {} does not exist", path.string(), folder.string());
  if (fs::exists(path_, code) && !fs::is_regular_file(path_, code))
    throw Error("{}: cannot be replaced: it is {}", path.string(),
                fs::is_directory(path_, code) ? "a folder" : "no regular file");
  if (path_.filename().empty()) throw Error("{}: is no name of a file", path.string());

  static std::atomic<unsigned> next{0};
  for (int attempt = 0; attempt < 1000 && descriptor_ < 0; ++attempt) {
    temporary_ = folder / fmt::format(".{}.{}-{}.tmp", path_.filename().string(), getpid(), next++);
    descriptor_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ < 0 && errno != EEXIST) break;  // a leftover of a killed process that had our number: the next name
  }
  if (descriptor_ < 0) {
    const int reason = errno;
    temporary_.clear();
    fail("cannot be written", reason);
  }
}

AtomicFile::~AtomicFile() {
  discard();
}

void AtomicFile::discard() noexcept {
  if (descriptor_ >= 0) close(descriptor_);
  descriptor_ = -1;
  if (!temporary_.empty()) unlink(temporary_.c_str());
  temporary_.clear();
}

void AtomicFile::fail(const char* what, int code) {
  discard();
  throw Failure("{}: {}: {}", path_.string(), what, std::strerror(code));
}

void AtomicFile::write(const void* data, size_t bytes) {
  constexpr size_t kMost = size_t{1} << 30;  // one write() takes no more than 2 GiB
  const char* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t done = ::write(descriptor_, at, std::min(bytes, kMost));
    if (done < 0) {
      if (errno == EINTR) continue;
      fail("cannot be written", errno);
    }
    at += done;
    bytes -= static_cast<size_t>(done);
  }
}

void AtomicFile::commit() {
  if (fsync(descriptor_) != 0 && errno != EINVAL) fail("cannot be written to the disk", errno);
  const int descriptor = descriptor_;
  descriptor_ = -1;
  if (close(descriptor) != 0) fail("cannot be written", errno);
  if (rename(temporary_.c_str(), path_.c_str()) != 0) fail("cannot be given its name", errno);
  temporary_.clear();
  const fs::path folder = path_.has_parent_path() ? path_.parent_path() : fs::path(".");
  if (const int handle = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); handle >= 0) {
    fsync(handle);  // so that the new name, too, survives a power cut; a file system that cannot is left in peace
    close(handle);
  }
}

void make_folder(const fs::path& folder, std::string_view what) {
  std::error_code code, unseen;
  if (fs::exists(folder, unseen) && !fs::is_directory(folder, unseen))
    throw Error("{} {}: expected a folder, it is a file", what, folder.string());
  fs::create_directories(folder, code);
  if (!fs::is_directory(folder, unseen))
    throw Error("{} {}: this folder cannot be made: {}", what, folder.string(), code.message());
}

void write_file_atomically(const fs::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

}  // namespace tidepool
