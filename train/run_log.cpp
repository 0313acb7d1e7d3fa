#include "train/run_log.h"

#include <spdlog/spdlog.h>
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "data/preview.h"

namespace tidepool {
namespace {

// TensorBoard's tag of a key of log.jsonl: "train/loss", "val/top1", "test/loss", "test_best/top1".
std::string event_tag(const std::string& key, const std::string& weights) {
  for (const char* part : {"val_", "test_"})
    if (key.starts_with(part)) {
      const std::string name = std::string(part, std::string_view(part).size() - 1);
      return fmt::format("{}{}{}/{}", name, weights.empty() ? "" : "_", weights, key.substr(name.size() + 1));
    }
  return "train/" + key;
}

}  // namespace

void RunLog::open(int64_t step, bool resumed, const Config& config, const RunData& data) {
  directory_.open_logs(resumed ? step : RunDirectory::kFromTheStart);
  if (!config.train.tensorboard) return;
  events_.emplace(directory_.folder(), step + 1);
  if (!resumed) begin_events(config, data);
}

void RunLog::begin_events(const Config& config, const RunData& data) {
  events_->text(0, "config", "```json\n" + config.resolved.dump(2) + "\n```");
  const int64_t longest = std::max(data.shape().height, data.shape().width);
  constexpr int64_t kImages = 8, kSide = 64;
  try {
    const bool maps = data.train->format().label_maps;
    events_->image(0, "images",
                   make_preview(*data.train, {.variants = {maps ? VariantOptions() : config.data.variant},
                                              .images = preview_indices(*data.train, kImages),
                                              .scale = std::max<int64_t>(1, kSide / longest)}));
  } catch (const SkippedImage& damaged) {  // training goes on without it, and so does this
    spdlog::warn("tensorboard: no pictures: {}", damaged.what());
  }
}

void RunLog::line(const Json& line) {
  directory_.log(line);
  if (!events_) return;
  std::vector<std::pair<std::string, double>> scalars;
  for (const auto& [key, value] : line.items())
    if (value.is_number() && key != "step" && key != "epoch")
      scalars.emplace_back(event_tag(key, line.value("weights", std::string())), value.get<double>());
  events_->scalars(line.at("step").get<int64_t>(), scalars);
}

void RunLog::shapes(int64_t step, int64_t epoch, const Network& network) {
  std::vector<std::pair<std::string, double>> scalars;
  const auto row = [&](const std::string& name, int64_t i, double value) {
    directory_.shape_row(step, epoch, name, i, value);
    scalars.emplace_back(fmt::format("shapes/{}.{}", name, i), value);
  };
  for (const Parameter& p : network.parameters()) {
    if (p.kind != ParameterKind::shape) continue;
    const auto values = p.value.values();
    for (size_t i = 0; i < values.size(); ++i) row(p.name, static_cast<int64_t>(i), values[i]);
  }
  for (const auto& [slot, size] : network.slot_shapes())
    for (int i = 0; i < size.rank(); ++i) row(slot + ".size", i, static_cast<double>(size[i]));
  if (events_) events_->scalars(step, scalars);
}

void RunLog::flush() {
  directory_.flush();
  if (events_) events_->flush();
}

}  // namespace tidepool
