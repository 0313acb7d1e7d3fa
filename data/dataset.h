// Data sets of images: what each of them offers, and how one is opened by its name.
#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/keys.h"

namespace tidepool {

/// Channels x height x width of one image, in elements.
struct ImageShape {
  int64_t channels = 0, height = 0, width = 0;
  int64_t elements() const { return channels * height * width; }
  bool operator==(const ImageShape&) const = default;
};

enum class Split { kTrain, kTest };
std::string_view split_name(Split split);

/// In a label map: a pixel that belongs to no class; loss and metrics leave it out.
inline constexpr uint8_t kIgnoredLabel = 255;
/// Sample::label of an image that has a label map.
inline constexpr int32_t kNoLabel = -1;

/// One image with its label or label map, filled by Dataset::read. A caller keeps one per thread and uses it again and
/// again: the vectors keep their memory.
struct Sample {
  int64_t height = 0, width = 0;            ///< of `pixels` and `label_map`
  int64_t full_height = 0, full_width = 0;  ///< of the image before a reduction; else the same
  /// Row or column p of the image before a reduction lies at scale * p + offset, offset by axis.
  double scale = 1;
  std::array<double, 2> offset{};
  /// Byte (c, y, x) is pixels[c * channel_stride + y * row_stride + x * column_stride]: a view of what the data set
  /// holds, valid as long as that lives, or of `pixel_memory`.
  const uint8_t* pixels = nullptr;
  int64_t channel_stride = 0, row_stride = 0, column_stride = 0;
  int32_t label = kNoLabel;            ///< in [0, classes)
  const uint8_t* label_map = nullptr;  ///< height x width, row by row: classes or kIgnoredLabel; null with one label

  std::vector<uint8_t> pixel_memory, label_memory;  ///< for what the data set has to decode or to draw

  /// Set by the caller, for data sets that decode a smaller image faster (JPEG): by what factor, 1 or more, an image of
  /// this height and width may come smaller without harm. Unset: 1. A label map is reduced alike.
  std::function<int64_t(int64_t height, int64_t width)> reduction;

  /// Sets `pixels`, sizes and strides: planes (C, H, W), or pixels with their channels side by side (H, W, C).
  void show_planes(const uint8_t* bytes, const ImageShape& shape);
  void show_interleaved(const uint8_t* bytes, const ImageShape& shape);
};

/// How an image is brought to the size that a network sees.
enum class Cropping {
  /// Where it has another size, resized to the smallest that covers the result. Training: padding and a random
  /// position.
  kCover,
  /// Training: a part of 0.08 to 1 of its area and of a ratio of 3/4 to 4/3, resized (torchvision's RandomResizedCrop).
  /// Evaluation: the middle, after its shorter side was brought to 256/224 of the result's.
  kRandomResized,
  /// Training: 0.5 to 2 times as large, then a random position. Evaluation: all of it, made smaller only where it does
  /// not fit. What the image does not reach is black and has no label.
  kRandomScale,
};

/// What a data set's images look like.
struct DatasetFormat {
  ImageShape shape;         ///< of what a network sees; images of another size are resized and cropped to it
  int32_t classes = 0;      ///< 0: only the files say
  bool label_maps = false;  ///< one label per pixel (segmentation), not per image
  Cropping cropping = Cropping::kCover;
};

/// Thrown by Dataset::read for an image that cannot be read and is to be left out (data.damaged).
class SkippedImage : public Error {
 public:
  using Error::Error;
};

/// One split of a data set. Every const function may be called from several threads at once.
class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual std::string_view name() const = 0;
  virtual DatasetFormat format() const = 0;
  /// Images in use: indices run from 0 to size() - 1.
  virtual int64_t size() const = 0;
  /// Fills `sample`, in the thread that asks. Throws Error when the image cannot be read, and SkippedImage
  /// when the work is to go on without it.
  virtual void read(int64_t index, Sample& sample) const = 0;
  /// The label of an image, which need not be read for it; kNoLabel in a data set of label maps.
  virtual int32_t label(int64_t index) const = 0;
  /// What a label means, or "" when that is not known.
  virtual std::string_view class_name(int32_t label) const = 0;

  ImageShape shape() const { return format().shape; }
  int32_t classes() const { return format().classes; }
};

struct DatasetOptions {
  Split split = Split::kTrain;
  std::filesystem::path root = {};  ///< folder of the files; a data set that is made up needs none
  std::optional<int64_t> images =
      {};             ///< the first so many (config keys data.train_images, data.test_images); unset: all
  uint64_t seed = 0;  ///< of a data set that is made up
  std::optional<std::array<int64_t, 2>> size = {};  ///< data.size: height and width; unset: the data set's own
  std::optional<int64_t> classes = {};              ///< data.classes; unset: the data set's own
  std::optional<bool> skip_damaged = {};            ///< data.damaged is "skip"
  std::optional<std::string> train_list = {}, test_list = {};  ///< data.train_split, data.test_split; unset: likewise
};

/// A data set as it is registered; each is a file in data/sets/ and a line in dataset.cpp.
struct DatasetDescription {
  std::string_view name;
  std::string_view help;     ///< a sentence
  int64_t train_images = 0;  ///< of its whole training split; 0: only the files say
  /// Lists the keys of `data` that are its own, and their members; null: there are none.
  void (*keys)(Keys& k, DatasetOptions& options) = nullptr;
  /// Known without any file. Throws Error naming the key.
  DatasetFormat (*format)(const DatasetOptions&) = nullptr;
  std::unique_ptr<Dataset> (*open)(const DatasetOptions&) = nullptr;
  /// The folder at or below `root` that holds the files, if one does. Null: the data set is made up.
  std::optional<std::filesystem::path> (*find)(const std::filesystem::path& root) = nullptr;
  /// What is missing where `root` holds a part of the files; "" where it holds none of them, or all.
  std::string (*incomplete)(const std::filesystem::path& root) = nullptr;
  /// Where it has files: which are expected, below what folder.
  std::string_view layout = {};
};

std::vector<const DatasetDescription*> datasets();
std::vector<Key> own_keys(const DatasetDescription& dataset);
std::vector<std::string> dataset_names();
/// Throws Error for an unknown name.
const DatasetDescription& find_dataset(std::string_view name);

/// Opens a data set. An unknown name, an option that the data set does not read, missing files and more images than
/// exist are Errors.
std::unique_ptr<Dataset> open_dataset(std::string_view name, const DatasetOptions& options);
/// What the images will look like; no file is read. Errors as open_dataset's.
DatasetFormat dataset_format(std::string_view name, const DatasetOptions& options);

/// For data sets: how many of the `existing` images `options` ask for; Error naming the key when that cannot be.
int64_t used_images(std::string_view dataset, int64_t existing, const DatasetOptions& options);
/// For data sets of any size: their key data.size, with its default; and the size, or `otherwise`. Throws Error when it
/// is not `least` pixels or more per side, or more than 2^30 numbers per image.
inline constexpr int64_t kMadeUpSize = 32;
void size_key(Keys& k, DatasetOptions& options);
void size_key(Keys& k, DatasetOptions& options, int64_t default_size);
ImageShape sized_shape(const DatasetOptions& options, const ImageShape& otherwise, int64_t least);

}  // namespace tidepool
