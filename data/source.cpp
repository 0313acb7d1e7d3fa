#include "data/source.h"

#include <algorithm>

#include "core/error.h"
#include "data/cifar100.h"
#include "data/procedural.h"

namespace tidepool {
namespace {

struct Entry {
  std::string_view name;
  std::unique_ptr<Source> (*open)(const SourceOptions&);
  SourceFormat format;
};

// A data set is added by its file and a line here.
constexpr Entry kEntries[] = {
    {"cifar100", open_cifar100, kCifar100Format},
    {"procedural", open_procedural, kProceduralFormat},
};

const Entry& find_entry(std::string_view name) {
  for (const Entry& entry : kEntries)
    if (entry.name == name) return entry;
  const auto names = source_names();
  throw Error("data.name: no data set is called '{}'{}; there are: {}", name, did_you_mean(name, names),
              fmt::join(names, ", "));
}

}  // namespace

std::string_view split_name(Split split) {
  return split == Split::kTrain ? "train" : "test";
}

std::vector<std::string> source_names() {
  std::vector<std::string> names;
  for (const Entry& entry : kEntries) names.emplace_back(entry.name);
  return names;
}

std::unique_ptr<Source> make_source(std::string_view name, const SourceOptions& options) {
  return find_entry(name).open(options);
}

SourceFormat source_format(std::string_view name) {
  return find_entry(name).format;
}

int64_t used_images(std::string_view source, int64_t existing, const SourceOptions& options) {
  if (!options.images) return existing;
  const int64_t wanted = *options.images;
  if (wanted < 1 || wanted > existing) {
    throw Error("data.{}_images: expected 1 to {} (what the {} split of {} holds), came {}", split_name(options.split),
                existing, split_name(options.split), source, wanted);
  }
  return wanted;
}

}  // namespace tidepool
