// One label per pixel: cross-entropy per pixel and mean IoU (intersection over union). The network's map of logits is
// resized to the labels' size; pixels with the ignored label count nowhere.
#include <nlohmann/json.hpp>

#include "core/atomic_file.h"
#include "core/backend/copy.h"
#include "data/dataset.h"
#include "data/png.h"
#include "data/voc_colours.h"
#include "layers/loss.h"
#include "layers/resize.h"
#include "train/task.h"

namespace tidepool {
namespace {

// Logits (N, K, height, width) at the size of the labels.
Tensor at_label_size(const Tensor& output, const Tensor& labels) {
  return resize(output, Dims(std::span(labels.shape().begin() + 1, labels.shape().end())), ResizeMode::bilinear);
}

// Of every class the row sum, column sum and diagonal entry of the confusion matrix: IoU needs no more of it.
class SegmentationEvaluator final : public Evaluator {
 public:
  explicit SegmentationEvaluator(int64_t classes)
      : labelled_(static_cast<size_t>(classes)), predicted_(labelled_.size()), correct_(labelled_.size()) {}

  void add(const Tensor& output, const Tensor& labels) override {
    const Tensor logits = at_label_size(output, labels), prediction = on_host(predicted_classes(logits));
    const Tensor here = on_host(labels);
    const int32_t *label = here.data<int32_t>(), *predicted = prediction.data<int32_t>();
    int64_t counted = 0;
    for (int64_t i = 0; i < labels.numel(); ++i) {
      if (label[i] == kIgnoredLabel) continue;
      const auto own = static_cast<size_t>(label[i]);
      ++counted;
      ++labelled_[own];
      if (predicted[i] >= 0) ++predicted_[static_cast<size_t>(predicted[i])];  // -1: a logit is NaN, which is wrong
      correct_[own] += predicted[i] == label[i];
    }
    loss_ += cross_entropy(logits, labels, 0, kIgnoredLabel).item() * static_cast<double>(counted);
    counted_ += counted;
    images_ += labels.size(0);
  }

  Evaluation result() const override {
    const auto share = [](int64_t part, int64_t whole) {
      return static_cast<double>(part) / static_cast<double>(whole);
    };
    double sum = 0;
    int64_t present = 0, correct = 0;
    Json rows = Json::array();
    for (size_t c = 0; c < labelled_.size(); ++c) {
      const int64_t either = labelled_[c] + predicted_[c] - correct_[c];
      const double iou = either > 0 ? share(correct_[c], either) : 0;
      rows.push_back({{"class", c},
                      {"iou", either > 0 ? Json(iou) : Json(nullptr)},
                      {"accuracy", labelled_[c] > 0 ? Json(share(correct_[c], labelled_[c])) : Json(nullptr)},
                      {"pixels", labelled_[c]}});
      sum += iou;
      present += either > 0;
      correct += correct_[c];
    }
    const int64_t pixels = std::max<int64_t>(1, counted_);
    return {.metrics = {sum / static_cast<double>(std::max<int64_t>(1, present)), share(correct, pixels)},
            .loss = loss_ / static_cast<double>(pixels),
            .images = images_,
            .tables = {{"classes", rows}}};
  }

 private:
  std::vector<int64_t> labelled_, predicted_, correct_;  // pixels, by class
  double loss_ = 0;
  int64_t counted_ = 0, images_ = 0;
};

// One picture per image, 000000.png and on by its number in the data set, at the size of its labels.
class LabelPictures final : public Predictions {
 public:
  explicit LabelPictures(std::filesystem::path folder) : folder_(std::move(folder)) {
    make_folder(folder_, "--output");
    for (const auto& entry : std::filesystem::directory_iterator(folder_))
      if (entry.path().extension() == ".png")
        throw Error("--output {}: holds pictures already, {} among them; expected a new folder", folder_.string(),
                    entry.path().filename().string());
  }

  void add(const Tensor& output, const Tensor& labels, std::span<const int64_t> indices) override {
    const Tensor classes = on_host(predicted_classes(at_label_size(output, labels)));
    IndexedImage picture{.height = classes.size(1), .width = classes.size(2), .palette = kVocColours};
    for (int64_t i = 0; i < classes.size(0); ++i) {
      const int32_t* first = classes.data<int32_t>() + i * picture.height * picture.width;
      picture.indices.resize(static_cast<size_t>(picture.height * picture.width));
      std::transform(first, first + picture.indices.size(), picture.indices.begin(),
                     [](int32_t c) { return c < 0 ? kIgnoredLabel : static_cast<uint8_t>(c); });
      write_png(folder_ / fmt::format("{:06}.png", indices[static_cast<size_t>(i)]), picture);
    }
  }

 private:
  std::filesystem::path folder_;
};

class Segmentation final : public Task {
 public:
  explicit Segmentation(const TaskOptions& options) : options_(options) {
    if (options.classes > kIgnoredLabel)
      throw Error("model.classes: task segmentation serves at most {}, as label {} is ignored; got {}", kIgnoredLabel,
                  kIgnoredLabel, options.classes);
  }

  Tensor loss(const Tensor& output, const Tensor& labels) const override {
    return cross_entropy(at_label_size(output, labels), labels, options_.label_smoothing, kIgnoredLabel);
  }
  std::unique_ptr<Evaluator> evaluator() const override {
    return std::make_unique<SegmentationEvaluator>(options_.classes);
  }
  std::unique_ptr<Predictions> predictions(const std::filesystem::path& path, int64_t /*images*/,
                                           const std::string& /*checkpoint*/) const override {
    return std::make_unique<LabelPictures>(path);
  }
  Tensor random_labels(const Tensor& images, Random& random) const override {
    const Tensor labels = Tensor::empty({images.size(0), images.size(2), images.size(3)}, {.dtype = DType::i32});
    for (int64_t i = 0; i < labels.numel(); ++i)
      labels.mutable_data<int32_t>()[i] = static_cast<int32_t>(random.below(static_cast<uint32_t>(options_.classes)));
    return labels;
  }

 private:
  TaskOptions options_;
};

}  // namespace

const TaskDescription& task_segmentation() {
  static const TaskDescription kTask{
      .name = "segmentation",
      .help =
          "one label per pixel, 255 ignored; cross-entropy per pixel, mean IoU and pixel accuracy, at the size "
          "of the labels",
      .metrics = {{"mean_iou", "mean IoU"}, {"pixel_accuracy", "pixel accuracy"}},
      .of_pixels = true,
      .predictions = "a folder with one palette PNG per image, by its number in the data set (PASCAL VOC's colours)",
      .make = [](const TaskOptions& options) -> std::unique_ptr<Task> {
        return std::make_unique<Segmentation>(options);
      }};
  return kTask;
}

}  // namespace tidepool
