#include "data/dataset.h"

#include <algorithm>

#include "core/error.h"
#include "core/find_named.h"

namespace tidepool {

// A table and not a matter of static constructors, which a linker may leave out of a static library.
extern const DatasetDescription kCifar10, kCifar100, kFolder, kProcedural, kRandom, kShapes, kVoc;

std::vector<const DatasetDescription*> datasets() {
  return {&kCifar10, &kCifar100, &kFolder, &kProcedural, &kRandom, &kShapes, &kVoc};
}

std::vector<Key> own_keys(const DatasetDescription& dataset) {
  KeyList list;
  Keys keys(list);
  DatasetOptions options;
  if (dataset.keys) dataset.keys(keys, options);
  return list.keys;
}

namespace {

// A config cannot give a key to a data set that does not have it, a caller can.
void refuse_unread(const DatasetDescription& dataset, std::string_view name, bool given) {
  const auto reads = [&](const DatasetDescription* each) {
    const std::vector<Key> keys = own_keys(*each);
    return std::any_of(keys.begin(), keys.end(), [&](const Key& key) { return key.name == name; });
  };
  if (!given || reads(&dataset)) return;
  std::vector<std::string_view> having;
  for (const DatasetDescription* each : datasets())
    if (reads(each)) having.push_back(each->name);
  throw Error("data.{}: {} has no such key, but {}", name, dataset.name, fmt::join(having, " and "));
}

const DatasetDescription& checked(std::string_view name, const DatasetOptions& options) {
  const DatasetDescription& dataset = find_dataset(name);
  refuse_unread(dataset, "size", options.size.has_value());
  refuse_unread(dataset, "classes", options.classes.has_value());
  refuse_unread(dataset, "train_split", options.train_list.has_value());
  refuse_unread(dataset, "test_split", options.test_list.has_value());
  refuse_unread(dataset, "damaged", options.skip_damaged.has_value());
  return dataset;
}

}  // namespace

std::string_view split_name(Split split) {
  return split == Split::kTrain ? "train" : "test";
}

void Sample::show_planes(const uint8_t* bytes, const ImageShape& shape) {
  pixels = bytes;
  height = full_height = shape.height;
  width = full_width = shape.width;
  scale = 1, offset = {};
  channel_stride = shape.height * shape.width;
  row_stride = shape.width;
  column_stride = 1;
}

void Sample::show_interleaved(const uint8_t* bytes, const ImageShape& shape) {
  pixels = bytes;
  height = full_height = shape.height;
  width = full_width = shape.width;
  scale = 1, offset = {};
  channel_stride = 1;
  row_stride = shape.width * shape.channels;
  column_stride = shape.channels;
}

std::vector<std::string> dataset_names() {
  return names_of(datasets());
}

const DatasetDescription& find_dataset(std::string_view name) {
  return find_named(datasets(), name, "data.name: no data set is called");
}

std::unique_ptr<Dataset> open_dataset(std::string_view name, const DatasetOptions& options) {
  return checked(name, options).open(options);
}

DatasetFormat dataset_format(std::string_view name, const DatasetOptions& options) {
  return checked(name, options).format(options);
}

int64_t used_images(std::string_view dataset, int64_t existing, const DatasetOptions& options) {
  if (!options.images) return existing;
  const int64_t wanted = *options.images;
  if (wanted < 1 || wanted > existing) {
    throw Error("data.{}_images: expected 1 to {} (what the {} split of {} holds), got {}", split_name(options.split),
                existing, split_name(options.split), dataset, wanted);
  }
  return wanted;
}

void size_key(Keys& k, DatasetOptions& options) {
  size_key(k, options, kMadeUpSize);
}

void size_key(Keys& k, DatasetOptions& options, int64_t default_size) {
  PerAxis<int64_t> size = PerAxis<int64_t>::all(default_size);
  k.integers("size", size, "Height and width of the images: one number for both, or [H, W].")
      .axes(2)
      .at_least(1)
      .at_most(65536);
  options.size = {size[0], size[1]};
}

ImageShape sized_shape(const DatasetOptions& options, const ImageShape& otherwise, int64_t least) {
  if (!options.size) return otherwise;
  const auto [height, width] = *options.size;
  constexpr int64_t kMostNumbers = int64_t{1} << 30;
  if (height < least || width < least)
    throw Error("data.size: expected {} pixels or more, got {}x{}", least, height, width);
  if (height > kMostNumbers / otherwise.channels / width)
    throw Error("data.size: expected at most {} numbers per image, got {}x{}x{}", kMostNumbers, otherwise.channels,
                height, width);
  return {otherwise.channels, height, width};
}

}  // namespace tidepool
