#include "data/subset.h"

#include <utility>

#include "core/error.h"
#include "core/philox.h"
#include "data/streams.h"

namespace tidepool {
namespace {

class Subset final : public Dataset {
 public:
  Subset(std::shared_ptr<const Dataset> whole, std::vector<int64_t> indices)
      : whole_(std::move(whole)), indices_(std::move(indices)) {}

  std::string_view name() const override { return whole_->name(); }
  DatasetFormat format() const override { return whole_->format(); }
  int64_t size() const override { return static_cast<int64_t>(indices_.size()); }
  void read(int64_t index, Sample& sample) const override { whole_->read(at(index), sample); }
  int32_t label(int64_t index) const override { return whole_->label(at(index)); }
  std::string_view class_name(int32_t label) const override { return whole_->class_name(label); }

 private:
  int64_t at(int64_t index) const { return indices_[static_cast<size_t>(index)]; }

  std::shared_ptr<const Dataset> whole_;
  std::vector<int64_t> indices_;
};

}  // namespace

std::unique_ptr<Dataset> subset(std::shared_ptr<const Dataset> whole, std::vector<int64_t> indices) {
  return std::make_unique<Subset>(std::move(whole), std::move(indices));
}

ValidationSplit split_validation(int64_t size, int64_t validation, uint64_t seed) {
  if (validation < 0 || validation >= size)
    throw Error("data.val_images: expected 0 to {} of {} training images, got {}", size - 1, size, validation);
  // Selection sampling (Knuth, The Art of Computer Programming 2, 3.4.2, algorithm S): every subset is equally likely.
  Random random(seed, name_seed(Purpose::kValidation, 0));
  ValidationSplit split;
  split.train.reserve(static_cast<size_t>(size - validation));
  split.validation.reserve(static_cast<size_t>(validation));
  int64_t wanted = validation;
  for (int64_t i = 0; i < size; ++i) {
    const bool chosen = static_cast<int64_t>(random.below(static_cast<uint32_t>(size - i))) < wanted;
    (chosen ? split.validation : split.train).push_back(i);
    wanted -= chosen;
  }
  return split;
}

}  // namespace tidepool
