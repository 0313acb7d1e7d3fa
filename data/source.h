// Data sets of images: what every one of them offers, and how one is opened by its name.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tidepool {

/// Channels x height x width of one image, in elements.
struct ImageShape {
  int64_t channels = 0, height = 0, width = 0;
  int64_t elements() const { return channels * height * width; }
  bool operator==(const ImageShape&) const = default;
};

enum class Split { kTrain, kTest };
std::string_view split_name(Split split);

/// An image data set, one split of it. Every const function may be called from several threads at once.
class Source {
 public:
  virtual ~Source() = default;
  virtual std::string_view name() const = 0;
  /// Images in use: indices run from 0 to size() - 1.
  virtual int64_t size() const = 0;
  virtual int32_t classes() const = 0;
  virtual ImageShape shape() const = 0;
  /// In [0, classes()).
  virtual int32_t label(int64_t index) const = 0;
  /// Image `index`, planar (C, H, W) bytes; valid as long as the source lives.
  virtual const uint8_t* pixels(int64_t index) const = 0;
  /// What the label means, or "" when that is not known.
  virtual std::string_view class_name(int32_t label) const = 0;
};

struct SourceOptions {
  Split split = Split::kTrain;
  std::filesystem::path root = {};  ///< folder of the files; a data set that is made up needs none
  std::optional<int64_t> images =
      {};             ///< the first so many (config keys data.train_images, data.test_images); unset: all
  uint64_t seed = 0;  ///< of a data set that is made up
};

/// Opens a data set. An unknown name, missing files and more images than exist are Errors.
std::unique_ptr<Source> make_source(std::string_view name, const SourceOptions& options);

/// What the images of a data set look like, known without its files.
struct SourceFormat {
  ImageShape shape;
  int32_t classes = 0;
};
/// Error for an unknown name.
SourceFormat source_format(std::string_view name);
/// The names that make_source knows.
std::vector<std::string> source_names();

/// How many of the `existing` images `options` ask for; Error naming the key when that cannot be.
int64_t used_images(std::string_view source, int64_t existing, const SourceOptions& options);

}  // namespace tidepool
