// Pictures with a class per pixel in PASCAL VOC's layout (Everingham et al. 2010): JPEGImages/NAME.jpg,
// SegmentationClass/NAME.png, whose palette indices (or grey values) are the classes and 255 no class, and
// ImageSets/Segmentation/train.txt and val.txt, the test split, with a NAME a line; data.train_split and
// data.test_split name other lists. The layout serves other data sets too: data.classes says how many classes there
// are. All label pictures of a split are checked when it is opened.
#include <algorithm>
#include <array>
#include <cmath>
#include <exception>
#include <fstream>

#include "core/error.h"
#include "core/text.h"
#include "data/picture.h"
#include "data/picture_files.h"

namespace tidepool {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kSize = 512;
constexpr std::array<std::string_view, 21> kClassNames = {
    "background", "aeroplane", "bicycle",     "bird",  "boat",        "bottle", "bus",
    "car",        "cat",       "chair",       "cow",   "diningtable", "dog",    "horse",
    "motorbike",  "person",    "pottedplant", "sheep", "sofa",        "train",  "tvmonitor"};
constexpr auto kClasses = static_cast<int64_t>(kClassNames.size());
constexpr std::string_view kLayout =
    "JPEGImages/NAME.jpg, SegmentationClass/NAME.png and lists of names ImageSets/Segmentation/train.txt and val.txt";

DatasetFormat format_of(const DatasetOptions& options) {
  const int64_t classes = options.classes.value_or(kClasses);
  if (classes < 1 || classes > kIgnoredLabel)
    throw Error("data.classes: expected 1 to {}, got {}", kIgnoredLabel, classes);
  return {.shape = sized_shape(options, {3, kSize, kSize}, 1),
          .classes = static_cast<int32_t>(classes),
          .label_maps = true,
          .cropping = Cropping::kRandomScale};
}

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

fs::path split_file(const fs::path& root, const std::string& list) {
  return root / "ImageSets" / "Segmentation" / (list + ".txt");
}

class Voc final : public Dataset {
 public:
  explicit Voc(const DatasetOptions& options)
      : format_(format_of(options)), damaged_("voc", options.skip_damaged.value_or(false)), root_(options.root) {
    const bool train = options.split == Split::kTrain;
    list_names(split_file(root_, (train ? options.train_list : options.test_list).value_or(train ? "train" : "val")),
               options);
    check_labels();
  }

  std::string_view name() const override { return "voc"; }
  DatasetFormat format() const override { return format_; }
  int64_t size() const override { return static_cast<int64_t>(names_.size()); }
  int32_t label(int64_t /*index*/) const override { return kNoLabel; }
  std::string_view class_name(int32_t label) const override {
    return format_.classes == kClasses ? kClassNames.at(static_cast<size_t>(label)) : std::string_view();
  }

  void read(int64_t index, Sample& sample) const override {
    const std::string& name = names_[static_cast<size_t>(index)];
    IndexedImage map;
    damaged_.guard(image_path(name), [&] {
      read_into(image_path(name), sample);
      map = read_indices(label_path(name));
    });
    expect_fit(name, map, sample.full_height, sample.full_width);
    if (sample.height == map.height && sample.width == map.width)
      sample.label_memory = std::move(map.indices);
    else
      reduce(map, sample);
    sample.label = kNoLabel;
    sample.label_map = sample.label_memory.data();
  }

 private:
  fs::path image_path(const std::string& name) const { return root_ / "JPEGImages" / (name + ".jpg"); }
  fs::path label_path(const std::string& name) const { return root_ / "SegmentationClass" / (name + ".png"); }

  void list_names(const fs::path& list, const DatasetOptions& options) {
    std::ifstream file(list);
    if (!is_file(list) || !file)
      throw Error("voc: {}: {}; expected {}", list.string(), is_file(list) ? "cannot be read" : "no such file",
                  kLayout);
    int64_t number = 0;
    for (std::string line; std::getline(file, line);) {
      ++number;
      while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
      if (line.empty()) continue;
      expect_text(line, fmt::format("voc: {}:{}", list.string(), number));
      for (const fs::path& path : {image_path(line), label_path(line)})
        if (!is_file(path))
          throw Error("voc: {}:{}: '{}': {}: no such file", list.string(), number, line, path.string());
      names_.push_back(std::move(line));
    }
    if (names_.empty()) throw Error("voc: {}: expected a name of a picture per line, found none", list.string());
    names_.resize(static_cast<size_t>(used_images("voc", size(), options)));
  }

  void expect_fit(const std::string& name, const IndexedImage& map, int64_t height, int64_t width) const {
    if (map.height != height || map.width != width)
      throw Error("voc: {} has {}x{} pixels, expected {}x{} as {}", label_path(name).string(), map.height, map.width,
                  height, width, image_path(name).string());
    for (size_t i = 0; i < map.indices.size(); ++i)
      if (map.indices[i] >= format_.classes && map.indices[i] != kIgnoredLabel)
        throw Error("voc: {}: label {} at row {}, column {}; expected 0 to {} (data.classes is {}), or {} for none",
                    label_path(name).string(), map.indices[i], static_cast<int64_t>(i) / map.width,
                    static_cast<int64_t>(i) % map.width, format_.classes - 1, format_.classes, kIgnoredLabel);
  }

  // Damaged pictures are dealt with when they are read.
  void check_labels() const {
    std::vector<std::string> problems(names_.size());
    std::exception_ptr failure;  // what is not of a file must not leave the parallel region
#pragma omp parallel for schedule(dynamic)
    for (size_t i = 0; i < names_.size(); ++i) {
      IndexedImage map;
      std::array<int64_t, 2> size{};
      try {
        size = read_picture_size(image_path(names_[i]));
        map = read_indices(label_path(names_[i]));
      } catch (const Error& problem) {
        if (!damaged_.skips()) problems[i] = fmt::format("voc: {}", problem.what());
        continue;
      } catch (...) {
#pragma omp critical(tidepool_voc)
        failure = std::current_exception();
        continue;
      }
      try {
        expect_fit(names_[i], map, size[0], size[1]);
      } catch (const Error& problem) {
        problems[i] = problem.what();
      }
    }
    if (failure) std::rethrow_exception(failure);
    for (const std::string& problem : problems)
      if (!problem.empty()) throw Error(problem);
  }

  // The label map at the size of the sample's image, which was decoded at a smaller scale: the nearest pixels.
  static void reduce(const IndexedImage& map, Sample& sample) {
    sample.label_memory.resize(static_cast<size_t>(sample.height * sample.width));
    const auto nearest = [&](int64_t i, size_t axis, int64_t full) {
      const double at = (static_cast<double>(i) + 0.5 - sample.offset[axis]) / sample.scale;
      return std::clamp<int64_t>(static_cast<int64_t>(std::floor(at)), 0, full - 1);
    };
    for (int64_t y = 0; y < sample.height; ++y)
      for (int64_t x = 0; x < sample.width; ++x)
        sample.label_memory[static_cast<size_t>(y * sample.width + x)] =
            map.indices[static_cast<size_t>(nearest(y, 0, map.height) * map.width + nearest(x, 1, map.width))];
  }

  DatasetFormat format_;
  DamagedPictures damaged_;
  fs::path root_;
  std::vector<std::string> names_;
};

// The folder itself, or where the archive's parent folders were kept.
std::vector<fs::path> candidates(const fs::path& root) {
  return {root, root / "VOC2012", root / "VOCdevkit" / "VOC2012"};
}

// The first part of the layout that a folder lacks; "" when it has all.
std::string lacking(const fs::path& folder) {
  for (const char* part : {"JPEGImages", "SegmentationClass", "ImageSets/Segmentation"})
    if (!is_folder(folder / part)) return part;
  return "";
}

std::optional<fs::path> find_folder(const fs::path& root) {
  for (const fs::path& folder : candidates(root))
    if (lacking(folder).empty()) return folder;
  return std::nullopt;
}

std::string missing_part(const fs::path& root) {
  for (const fs::path& folder : candidates(root))
    if (is_folder(folder / "JPEGImages"))
      if (const std::string part = lacking(folder); !part.empty())
        return fmt::format("{} without {} beside it", (folder / "JPEGImages").string(), part);
  return "";
}

}  // namespace

extern const DatasetDescription kVoc;
constinit const DatasetDescription kVoc{
    .name = "voc",
    .help = "pictures with a class per pixel, as PASCAL VOC's",
    .keys =
        [](Keys& k, DatasetOptions& options) {
          size_key(k, options, kSize);
          int64_t classes = kClasses;
          k.integer("classes", classes, "Number of classes, background included.").at_least(1).at_most(kIgnoredLabel);
          options.classes = classes;
          std::string train = "train", test = "val";
          k.text("train_split", train, "Trains on the names in ImageSets/Segmentation/NAME.txt: train, trainaug.");
          k.text("test_split", test, "Evaluates on those of this list.");
          options.train_list = train;
          options.test_list = test;
          damaged_key(k, options);
        },
    .format = format_of,
    .open = [](const DatasetOptions& options) -> std::unique_ptr<Dataset> {
      DatasetOptions found = options;
      if (const auto folder = find_folder(options.root)) found.root = *folder;
      return std::make_unique<Voc>(found);
    },
    .find = find_folder,
    .incomplete = missing_part,
    .layout = kLayout};

}  // namespace tidepool
