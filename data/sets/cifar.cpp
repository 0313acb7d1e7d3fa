// CIFAR-10 and CIFAR-100 (Krizhevsky 2009, "Learning multiple layers of features from tiny images") in their official
// binary layouts: records of one or two labels and 32x32 red, green, blue. CIFAR-10: five files of training images and
// one of test images, records of 3,073 bytes. CIFAR-100: one file per split, records of 3,074 bytes, coarse label and
// fine label; the classes are the 100 fine ones. A split is mapped into memory.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <span>

#include "core/error.h"
#include "core/text.h"
#include "data/dataset.h"

namespace tidepool {
namespace {

namespace fs = std::filesystem;

constexpr ImageShape kShape{3, 32, 32};

// What the two differ in.
struct Layout {
  std::string_view name, title, folder;  // folder: of the files where the archive was unpacked
  int32_t classes = 0;
  int64_t labels = 0;  // bytes before the pixels; the last one is the class
  std::vector<std::string> train, test;
  std::string class_names;  // a file

  DatasetFormat format() const { return {.shape = kShape, .classes = classes}; }
  int64_t record() const { return labels + kShape.elements(); }
  std::string fix() const { return fmt::format("`tidepool data fetch {}` downloads it", name); }
};

const Layout& cifar10() {
  static const Layout layout{
      .name = "cifar10",
      .title = "CIFAR-10",
      .folder = "cifar-10-batches-bin",
      .classes = 10,
      .labels = 1,
      .train = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"},
      .test = {"test_batch.bin"},
      .class_names = "batches.meta.txt"};
  return layout;
}

const Layout& cifar100() {
  static const Layout layout{.name = "cifar100",
                             .title = "CIFAR-100",
                             .folder = "cifar-100-binary",
                             .classes = 100,
                             .labels = 2,
                             .train = {"train.bin"},
                             .test = {"test.bin"},
                             .class_names = "fine_label_names.txt"};
  return layout;
}

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

// A whole file, read-only, in memory.
class MappedFile {
 public:
  MappedFile(std::string_view dataset, const fs::path& path) {
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) throw Error("{}: cannot read {}: {}", dataset, path.string(), std::strerror(errno));
    struct stat status {};
    const bool known = ::fstat(file, &status) == 0;
    size_ = known ? static_cast<int64_t>(status.st_size) : 0;
    void* mapped = MAP_FAILED;
    if (size_ > 0) mapped = ::mmap(nullptr, static_cast<size_t>(size_), PROT_READ, MAP_SHARED, file, 0);
    const int problem = errno;
    ::close(file);
    if (size_ > 0 && mapped == MAP_FAILED) {
      throw Failure("{}: cannot map {} into memory: {}", dataset, path.string(), std::strerror(problem));
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

class Cifar final : public Dataset {
 public:
  Cifar(const Layout& layout, const fs::path& folder, const DatasetOptions& options) : layout_(layout) {
    int64_t existing = 0;
    for (const std::string& file : options.split == Split::kTrain ? layout.train : layout.test) {
      const fs::path path = folder / file;
      parts_.push_back({path, std::make_unique<MappedFile>(layout.name, path), existing});
      const int64_t bytes = parts_.back().file->size();
      if (bytes == 0 || bytes % layout.record() != 0)
        throw Error("{}: {} has {} bytes, expected whole records of {}: cut short, or another format; {}", layout.name,
                    path.string(), bytes, layout.record(), layout.fix());
      existing += bytes / layout.record();
    }
    size_ = used_images(layout.name, existing, options);
    for (int64_t i = 0; i < size_; ++i) {
      if (label(i) >= layout.classes) {
        const Part& part = part_of(i);
        throw Error("{}: {}: record {} has label {}, expected 0 to {}: not the binary version of {}? {}", layout.name,
                    part.path.string(), i - part.first, label(i), layout.classes - 1, layout.title, layout.fix());
      }
    }
    std::ifstream names(folder / layout.class_names);
    for (std::string line; std::getline(names, line);) {
      expect_text(line, fmt::format("{}: {}", layout.name, (folder / layout.class_names).string()));
      while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
      if (!line.empty()) class_names_.push_back(line);
    }
    if (static_cast<int32_t>(class_names_.size()) != layout.classes) class_names_.clear();
  }

  std::string_view name() const override { return layout_.name; }
  DatasetFormat format() const override { return layout_.format(); }
  int64_t size() const override { return size_; }
  int32_t label(int64_t index) const override { return record(index)[layout_.labels - 1]; }
  void read(int64_t index, Sample& sample) const override {
    sample.show_planes(record(index) + layout_.labels, kShape);
    sample.label = label(index);
    sample.label_map = nullptr;
  }
  std::string_view class_name(int32_t label) const override {
    return class_names_.empty() ? std::string_view() : class_names_.at(static_cast<size_t>(label));
  }

 private:
  struct Part {
    fs::path path;
    std::unique_ptr<MappedFile> file;
    int64_t first;  // the index of its first record
  };

  const Part& part_of(int64_t index) const {
    return *std::find_if(parts_.rbegin(), parts_.rend(), [&](const Part& part) { return part.first <= index; });
  }
  const uint8_t* record(int64_t index) const {
    const Part& part = part_of(index);
    return part.file->bytes() + (index - part.first) * layout_.record();
  }

  const Layout& layout_;
  std::vector<Part> parts_;
  int64_t size_ = 0;
  std::vector<std::string> class_names_;
};

std::vector<std::string> files_of(const Layout& layout) {
  std::vector<std::string> files = layout.train;
  files.insert(files.end(), layout.test.begin(), layout.test.end());
  return files;
}

std::optional<fs::path> find_folder(const Layout& layout, const fs::path& root) {
  const std::vector<std::string> files = files_of(layout);
  for (const fs::path& folder : {root, root / layout.folder})
    if (std::all_of(files.begin(), files.end(), [&](const std::string& file) { return is_file(folder / file); }))
      return folder;
  return std::nullopt;
}

std::string missing_part(const Layout& layout, const fs::path& root) {
  for (const fs::path& folder : {root, root / layout.folder}) {
    std::string there, missing;
    for (const std::string& file : files_of(layout)) (is_file(folder / file) ? there : missing) = file;
    if (!there.empty() && !missing.empty())
      return fmt::format("{} without {} beside it", (folder / there).string(), missing);
  }
  return "";
}

std::unique_ptr<Dataset> open(const Layout& layout, const DatasetOptions& options) {
  const auto folder = find_folder(layout, options.root);
  if (!folder) {
    const std::string incomplete = missing_part(layout, options.root);
    const std::vector<std::string> files = files_of(layout);
    throw Error("{}: expected {} and {} in '{}' or its folder {}, found {}; {}", layout.name,
                fmt::join(std::span(files).first(files.size() - 1), ", "), files.back(), options.root.string(),
                layout.folder,
                !incomplete.empty()        ? incomplete
                : fs::exists(options.root) ? "no such files"
                                           : "no such folder",
                layout.fix());
  }
  return std::make_unique<Cifar>(layout, *folder, options);
}

// The table of data sets holds plain functions.
template <const Layout& (*layout)()>
constexpr DatasetDescription describe(std::string_view name, std::string_view help) {
  return {.name = name,
          .help = help,
          .train_images = 50000,
          .format = [](const DatasetOptions&) { return layout().format(); },
          .open = [](const DatasetOptions& options) { return open(layout(), options); },
          .find = [](const fs::path& root) { return find_folder(layout(), root); },
          .incomplete = [](const fs::path& root) { return missing_part(layout(), root); }};
}

}  // namespace

extern const DatasetDescription kCifar10, kCifar100;
constinit const DatasetDescription kCifar10 = describe<cifar10>("cifar10", "CIFAR-10, the official binary files");
constinit const DatasetDescription kCifar100 = describe<cifar100>("cifar100", "CIFAR-100, the official binary files");

}  // namespace tidepool
