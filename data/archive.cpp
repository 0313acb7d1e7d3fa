#include "data/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <vector>

#include "core/error.h"

namespace tidepool {
namespace {

namespace fs = std::filesystem;
using Reader = std::unique_ptr<archive, decltype(&archive_read_free)>;

// A folder that is gone when this is.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(fs::path path) : path_(std::move(path)) { fs::create_directories(path_); }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

bool stays_inside(const fs::path& path) {
  if (path.empty() || path.is_absolute()) return false;
  for (const fs::path& part : path) {
    if (part == "..") return false;
  }
  return true;
}

void write_entry(archive* reader, const fs::path& path, const std::string& from) {
  fs::create_directories(path.parent_path());
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  std::vector<char> block(1 << 18);
  la_ssize_t came = 0;
  while (file && (came = archive_read_data(reader, block.data(), block.size())) > 0) file.write(block.data(), came);
  if (came < 0) throw Failure("extract: {} is damaged: {}", from, archive_error_string(reader));
  file.close();
  if (!file) throw Failure("extract: cannot write {} (disk full?)", path.string());
}

// Moves what `from` holds into `to`: a name that is free takes the whole folder, else the files one by one.
void merge(const fs::path& from, const fs::path& to) {
  for (const fs::directory_entry& entry : fs::directory_iterator(from)) {
    const fs::path target = to / entry.path().filename();
    if (entry.is_directory() && fs::is_directory(target)) {
      merge(entry.path(), target);
    } else {
      fs::rename(entry.path(), target);
    }
  }
}

void extract(const fs::path& archive_path, const fs::path& folder) {
  const std::string from = archive_path.string();
  const Reader reader(archive_read_new(), &archive_read_free);
  archive_read_support_format_tar(reader.get());
  archive_read_support_filter_all(reader.get());
  if (archive_read_open_filename(reader.get(), from.c_str(), 1 << 18) != ARCHIVE_OK) {
    throw Failure("extract: cannot open {}: {}", from, archive_error_string(reader.get()));
  }
  fs::create_directories(folder);
  const TemporaryFolder temporary(folder / fmt::format(".{}.{}.partial", archive_path.filename().string(), ::getpid()));
  archive_entry* entry = nullptr;
  int status = 0;
  while ((status = archive_read_next_header(reader.get(), &entry)) == ARCHIVE_OK) {
    const char* const name = archive_entry_pathname(entry);
    const fs::path path = name == nullptr ? "" : name;
    const auto type = archive_entry_filetype(entry);
    if (!stays_inside(path)) throw Failure("extract: {} has an entry outside its folder: '{}'", from, path.string());
    if (archive_entry_hardlink(entry) != nullptr || (type != AE_IFREG && type != AE_IFDIR)) {
      throw Failure("extract: {} has an entry that is neither file nor folder: '{}'", from, path.string());
    }
    if (type == AE_IFDIR) {
      fs::create_directories(temporary.path() / path);
    } else {
      write_entry(reader.get(), temporary.path() / path, from);
    }
  }
  if (status != ARCHIVE_EOF) throw Failure("extract: {} is damaged: {}", from, archive_error_string(reader.get()));
  merge(temporary.path(), folder);
}

}  // namespace

void extract_archive(const fs::path& archive, const fs::path& folder) {
  try {
    extract(archive, folder);
  } catch (const fs::filesystem_error& problem) {
    throw Failure("extract: {} into {}: {}", archive.string(), folder.string(), problem.what());
  }
}

}  // namespace tidepool
