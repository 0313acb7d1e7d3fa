// A folder of pictures, one folder per class, as ImageNet and torchvision's ImageFolder have them: train/CLASS/*.jpeg
// and val/CLASS/*.jpeg, the test split. PNG and JPEG, of any size, told by their first bytes; folders in a class's
// folder are looked into. A class's number is the place of its folder's name among the sorted names in train/; a file
// classes.txt beside train/ may give the folders names that people read, a line each: "n01440764 tench, Tinca tinca".
//
// Index order: the first picture of every class, then the second one of every class, and so on, by name; the first so
// many images hold all classes alike.
#include <algorithm>
#include <fstream>

#include "core/error.h"
#include "core/text.h"
#include "data/picture_files.h"

namespace tidepool {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kSize = 224, kMostClasses = 1 << 24;
constexpr std::string_view kLayout = "train/CLASS/*.jpg (or .jpeg, .png) and val/CLASS/*.jpg";

DatasetFormat format_of(const DatasetOptions& options) {
  return {.shape = sized_shape(options, {3, kSize, kSize}, 1),
          .classes = static_cast<int32_t>(options.classes.value_or(0)),
          .cropping = Cropping::kRandomResized};
}

// Names of the folders in a folder, sorted.
std::vector<std::string> folders_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    std::string name = entry.path().filename().string();
    if (name.starts_with('.') || !entry.is_directory()) continue;
    expect_text(name, fmt::format("folder: a name in {}", folder.string()));
    names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end());
  return names;
}

// Adds the pictures below `folder`, relative to `top`. `open`: the folders that hold it, without links.
void add_pictures(const fs::path& folder, const fs::path& top, std::vector<fs::path>& open,
                  std::vector<std::string>& names) {
  fs::path real = fs::canonical(folder);
  if (std::find(open.begin(), open.end(), real) != open.end())
    throw Error("folder: {}: is a link to a folder that holds it", folder.string());
  open.push_back(std::move(real));
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.path().filename().string().starts_with('.')) continue;
    if (entry.is_directory())
      add_pictures(entry.path(), top, open, names);
    else if (is_picture_name(entry.path()) && entry.is_regular_file())
      names.push_back(entry.path().lexically_relative(top).string());
  }
  open.pop_back();
}

// Paths of the pictures in a folder at any depth, sorted, relative to it; nothing hidden.
std::vector<std::string> pictures_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::vector<fs::path> open;
  add_pictures(folder, folder, open, names);
  std::sort(names.begin(), names.end());
  return names;
}

class Folder final : public Dataset {
 public:
  explicit Folder(const DatasetOptions& options)
      : format_(format_of(options)), damaged_("folder", options.skip_damaged.value_or(false)) {
    const fs::path train = options.root / "train";
    root_ = options.split == Split::kTrain ? train : options.root / "val";
    for (const fs::path& folder : {train, root_})
      if (!is_folder(folder)) throw Error("folder: {}: no such folder; expected {}", folder.string(), kLayout);
    try {
      classes_ = folders_in(train);
      if (classes_.empty())
        throw Error("folder: {}: expected a folder of pictures for each class, found none", train.string());
      if (options.classes && *options.classes != static_cast<int64_t>(classes_.size()))
        throw Error("data.classes: expected {}, the number of folders in {}, got {}", classes_.size(), train.string(),
                    *options.classes);
      format_.classes = static_cast<int32_t>(classes_.size());
      for (const std::string& name : folders_in(root_))
        if (!std::binary_search(classes_.begin(), classes_.end(), name))
          throw Error("folder: {}: no class, {} has no such folder", (root_ / name).string(), train.string());
      list_pictures();
    } catch (const fs::filesystem_error& problem) {
      throw Error("folder: {} cannot be read: {}", problem.path1().string(), problem.code().message());
    }
    pictures_.resize(static_cast<size_t>(used_images("folder", static_cast<int64_t>(pictures_.size()), options)));
    read_names(options.root / "classes.txt");
  }

  std::string_view name() const override { return "folder"; }
  DatasetFormat format() const override { return format_; }
  int64_t size() const override { return static_cast<int64_t>(pictures_.size()); }
  int32_t label(int64_t index) const override { return pictures_[static_cast<size_t>(index)].label; }
  std::string_view class_name(int32_t label) const override { return names_.at(static_cast<size_t>(label)); }

  void read(int64_t index, Sample& sample) const override {
    const Entry& entry = pictures_[static_cast<size_t>(index)];
    const fs::path path = root_ / classes_[static_cast<size_t>(entry.label)] / entry.file;
    damaged_.guard(path, [&] { read_into(path, sample); });
    sample.label = entry.label;
    sample.label_map = nullptr;
  }

 private:
  struct Entry {
    std::string file;  // in the folder of its class
    int32_t label;
  };

  void list_pictures() {
    std::vector<std::vector<std::string>> files;
    size_t most = 0;
    for (const std::string& name : classes_) {
      if (!is_folder(root_ / name))
        throw Error("folder: {}: no such folder; expected one for each class in train", (root_ / name).string());
      files.push_back(pictures_in(root_ / name));
      if (files.back().empty())
        throw Error("folder: {}: expected pictures of this class (.jpg, .jpeg or .png), found none",
                    (root_ / name).string());
      most = std::max(most, files.back().size());
    }
    for (size_t turn = 0; turn < most; ++turn)
      for (size_t label = 0; label < files.size(); ++label)
        if (turn < files[label].size())
          pictures_.push_back({std::move(files[label][turn]), static_cast<int32_t>(label)});
  }

  void read_names(const fs::path& path) {
    names_ = classes_;
    std::ifstream file(path);
    int64_t number = 0;
    for (std::string line; std::getline(file, line);) {
      ++number;
      expect_text(line, fmt::format("folder: {}:{}", path.string(), number));
      while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
      if (line.empty()) continue;
      const size_t space = line.find_first_of(" \t");
      const std::string folder = line.substr(0, space);
      const auto found = std::lower_bound(classes_.begin(), classes_.end(), folder);
      const size_t begin = line.find_first_not_of(" \t", space);
      if (found == classes_.end() || *found != folder || begin == std::string::npos)
        throw Error("folder: {}:{}: expected a folder of train and the name of its class, got '{}'", path.string(),
                    number, line);
      names_[static_cast<size_t>(found - classes_.begin())] = line.substr(begin);
    }
  }

  DatasetFormat format_;
  DamagedPictures damaged_;
  fs::path root_;  // of the split
  std::vector<std::string> classes_, names_;
  std::vector<Entry> pictures_;
};

std::optional<fs::path> find_folder(const fs::path& root) {
  return is_folder(root / "train") && is_folder(root / "val") ? std::optional(root) : std::nullopt;
}

std::string missing_part(const fs::path& root) {
  const bool train = is_folder(root / "train"), val = is_folder(root / "val");
  if (train == val) return "";
  return fmt::format("{} without {} beside it", (root / (train ? "train" : "val")).string(), train ? "val" : "train");
}

}  // namespace

extern const DatasetDescription kFolder;
constinit const DatasetDescription kFolder{
    .name = "folder",
    .help = "pictures in one folder per class, as ImageNet's",
    .keys =
        [](Keys& k, DatasetOptions& options) {
          size_key(k, options, kSize);
          k.integer("classes", options.classes,
                    "How many classes there have to be. null: as many as train/ has folders.")
              .at_least(1)
              .at_most(kMostClasses);
          damaged_key(k, options);
        },
    .format = format_of,
    .open = [](const DatasetOptions& options) -> std::unique_ptr<Dataset> { return std::make_unique<Folder>(options); },
    .find = find_folder,
    .incomplete = missing_part,
    .layout = kLayout};

}  // namespace tidepool
