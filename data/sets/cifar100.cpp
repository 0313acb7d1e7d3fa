// CIFAR-100 (Krizhevsky 2009, "Learning multiple layers of features from tiny images") in its official binary layout:
// train.bin and test.bin, records of 3,074 bytes: coarse label, fine label, 32x32 red, green, blue. Classes are the 100
// fine labels. A split is mapped into memory.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "core/error.h"
#include "core/text.h"
#include "data/dataset.h"

namespace tidepool {
namespace {

namespace fs = std::filesystem;

constexpr int32_t kClasses = 100;
constexpr DatasetFormat kFormat{.shape = {3, 32, 32}, .classes = kClasses};
constexpr int64_t kRecord = 2 + 3 * 32 * 32;
constexpr std::string_view kFix = "`tidepool data fetch cifar100` downloads it";

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

// A whole file, read-only, in memory.
class MappedFile {
 public:
  explicit MappedFile(const fs::path& path) {
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) throw Error("cifar100: cannot read {}: {}", path.string(), std::strerror(errno));
    struct stat status {};
    const bool known = ::fstat(file, &status) == 0;
    size_ = known ? static_cast<int64_t>(status.st_size) : 0;
    void* mapped = MAP_FAILED;
    if (size_ > 0) mapped = ::mmap(nullptr, static_cast<size_t>(size_), PROT_READ, MAP_SHARED, file, 0);
    const int problem = errno;
    ::close(file);
    if (size_ > 0 && mapped == MAP_FAILED) {
      throw Failure("cifar100: cannot map {} into memory: {}", path.string(), std::strerror(problem));
    }
    if (size_ > 0) bytes_ = static_cast<const uint8_t*>(mapped);
  }
  ~MappedFile() {
    if (bytes_ != nullptr) ::munmap(const_cast<uint8_t*>(bytes_), static_cast<size_t>(size_));
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const uint8_t* bytes() const { return bytes_; }
  int64_t size() const { return size_; }

 private:
  const uint8_t* bytes_ = nullptr;
  int64_t size_ = 0;
};

class Cifar100 final : public Dataset {
 public:
  Cifar100(const fs::path& folder, const DatasetOptions& options)
      : path_(folder / fmt::format("{}.bin", split_name(options.split))), file_(path_) {
    if (file_.size() == 0 || file_.size() % kRecord != 0) {
      throw Error("cifar100: {} has {} bytes, expected whole records of {}: cut short, or another format; {}",
                  path_.string(), file_.size(), kRecord, kFix);
    }
    size_ = used_images("cifar100", file_.size() / kRecord, options);
    for (int64_t i = 0; i < size_; ++i) {
      if (label(i) >= kClasses) {
        throw Error("cifar100: {}: record {} has label {}, expected 0 to {}: not the binary version of CIFAR-100? {}",
                    path_.string(), i, label(i), kClasses - 1, kFix);
      }
    }
    std::ifstream names(folder / "fine_label_names.txt");
    for (std::string line; std::getline(names, line);) {
      expect_text(line, "cifar100: " + (folder / "fine_label_names.txt").string());
      if (!line.empty()) class_names_.push_back(line);
    }
    if (class_names_.size() != kClasses) class_names_.clear();
  }

  std::string_view name() const override { return "cifar100"; }
  DatasetFormat format() const override { return kFormat; }
  int64_t size() const override { return size_; }
  int32_t label(int64_t index) const override { return file_.bytes()[index * kRecord + 1]; }
  void read(int64_t index, Sample& sample) const override {
    sample.show_planes(file_.bytes() + index * kRecord + 2, kFormat.shape);
    sample.label = label(index);
    sample.label_map = nullptr;
  }
  std::string_view class_name(int32_t label) const override {
    return class_names_.empty() ? std::string_view() : class_names_.at(static_cast<size_t>(label));
  }

 private:
  fs::path path_;
  MappedFile file_;
  int64_t size_ = 0;
  std::vector<std::string> class_names_;
};

std::optional<fs::path> find_folder(const fs::path& root) {
  for (const fs::path& folder : {root, root / "cifar-100-binary"}) {
    if (is_file(folder / "train.bin") && is_file(folder / "test.bin")) return folder;
  }
  return std::nullopt;
}

std::string missing_part(const fs::path& root) {
  for (const fs::path& folder : {root, root / "cifar-100-binary"}) {
    const bool train = is_file(folder / "train.bin"), test = is_file(folder / "test.bin");
    if (train != test)
      return fmt::format("{} without {} beside it", (folder / (train ? "train.bin" : "test.bin")).string(),
                         train ? "test.bin" : "train.bin");
  }
  return "";
}

std::unique_ptr<Dataset> open(const DatasetOptions& options) {
  const auto folder = find_folder(options.root);
  if (!folder) {
    const std::string incomplete = missing_part(options.root);
    throw Error("cifar100: expected train.bin and test.bin in '{}' or its folder cifar-100-binary, found {}; {}",
                options.root.string(),
                !incomplete.empty()        ? incomplete
                : fs::exists(options.root) ? "no such files"
                                           : "no such folder",
                kFix);
  }
  return std::make_unique<Cifar100>(*folder, options);
}

}  // namespace

extern const DatasetDescription kCifar100;
constinit const DatasetDescription kCifar100{.name = "cifar100",
                                             .help = "CIFAR-100, the official binary files",
                                             .train_images = 50000,
                                             .format = [](const DatasetOptions&) { return kFormat; },
                                             .open = open,
                                             .find = find_folder,
                                             .incomplete = missing_part};

}  // namespace tidepool
