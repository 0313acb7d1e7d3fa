// One label per image: cross-entropy with label smoothing, top-1 and top-5.
#include <limits>
#include <nlohmann/json.hpp>

#include "core/atomic_file.h"
#include "core/backend/copy.h"
#include "core/safetensors.h"
#include "layers/loss.h"
#include "train/task.h"

namespace tidepool {
namespace {

class ClassificationEvaluator final : public Evaluator {
 public:
  void add(const Tensor& output, const Tensor& labels) override {
    const int64_t n = output.size(0);
    loss_ += cross_entropy(output, labels).item() * static_cast<double>(n);
    top1_ += correct_top(output, labels, 1);
    top5_ += correct_top(output, labels, 5);
    images_ += n;
  }
  Evaluation result() const override {
    const auto n = static_cast<double>(std::max<int64_t>(1, images_));
    return {.metrics = {static_cast<double>(top1_) / n, static_cast<double>(top5_) / n},
            .loss = loss_ / n,
            .images = images_};
  }

 private:
  double loss_ = 0;
  int64_t top1_ = 0, top5_ = 0, images_ = 0;
};

// `logits` (images x classes, in the data set's order), f32, or f64 of an f64 network; NaN where data.damaged left an
// image out.
class Logits final : public Predictions {
 public:
  Logits(std::filesystem::path file, int64_t images, std::string checkpoint)
      : file_(std::move(file)), images_(images), checkpoint_(std::move(checkpoint)) {
    AtomicFile is_possible(file_);  // told before the evaluation, not behind it
  }

  void add(const Tensor& output, const Tensor& /*labels*/, std::span<const int64_t> indices) override {
    const Tensor here = on_host(output);
    if (!logits_)
      logits_ = Tensor::full({images_, output.size(1)}, std::numeric_limits<double>::quiet_NaN(),
                             {.dtype = output.dtype() == DType::f64 ? DType::f64 : DType::f32});
    for (int64_t i = 0; i < here.size(0); ++i)
      logits_.slice(0, indices[static_cast<size_t>(i)], 1).copy_from(here.slice(0, i, 1));
  }
  void finish() override {
    write_safetensors(file_, {.tensors = {{"logits", logits_}}, .metadata = {{"checkpoint", checkpoint_}}});
  }

 private:
  std::filesystem::path file_;
  int64_t images_;
  std::string checkpoint_;
  Tensor logits_;
};

class Classification final : public Task {
 public:
  explicit Classification(const TaskOptions& options) : options_(options) {}

  Tensor loss(const Tensor& output, const Tensor& labels) const override {
    return cross_entropy(output, labels, options_.label_smoothing);
  }
  std::unique_ptr<Evaluator> evaluator() const override { return std::make_unique<ClassificationEvaluator>(); }
  std::unique_ptr<Predictions> predictions(const std::filesystem::path& path, int64_t images,
                                           const std::string& checkpoint) const override {
    return std::make_unique<Logits>(path, images, checkpoint);
  }
  Tensor random_labels(const Tensor& images, Random& random) const override {
    const Tensor labels = Tensor::empty({images.size(0)}, {.dtype = DType::i32});
    for (int64_t i = 0; i < labels.numel(); ++i)
      labels.mutable_data<int32_t>()[i] = static_cast<int32_t>(random.below(static_cast<uint32_t>(options_.classes)));
    return labels;
  }

 private:
  TaskOptions options_;
};

}  // namespace

const TaskDescription& task_classification() {
  static const TaskDescription kTask{
      .name = "classification",
      .help = "one label per image; cross-entropy, top-1 and top-5",
      .metrics = {{"top1", "top-1"}, {"top5", "top-5"}},
      .predictions = "a file with `logits` (images x classes, in the data set's order; NaN where an image is left out)",
      .make = [](const TaskOptions& options) -> std::unique_ptr<Task> {
        return std::make_unique<Classification>(options);
      }};
  return kTask;
}

}  // namespace tidepool
