#include "tools/run_config.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/philox.h"
#include "core/version.h"
#include "tools/data_root.h"

namespace tidepool {

Config config_of(const Call& call, size_t i, const std::string& otherwise) {
  std::vector<std::string> sets = call.texts("set");
  if (call.given("seed")) sets.push_back(fmt::format("train.seed={}", call.seed()));
  if (call.given("device")) call.device();  // refused under its own name
  if (call.given("device")) sets.push_back(fmt::format("train.device={}", call.text("device")));
  const std::string& name = call.argument(i).empty() ? otherwise : call.argument(i);
  Config config = load_config(expand_home(name), sets);
  if (parse_device(config.train.device) != kCpu)
    throw Error("train.device: networks run on the CPU in this version; cuda serves `tidepool op`");
  return config;
}

std::filesystem::path data_root_of(const Call& call, const DataConfig& config) {
  return require_data(config.name, call.given("data") ? call.path("data").string() : "", config.root);
}

TensorBatch made_up_batch(const Config& config, const Network& network, int64_t n) {
  Dims shape = network.options().input;
  shape[0] = n;
  TensorBatch batch{.images = Tensor::empty(shape, {.format = MemoryFormat::channels_last}),
                    .labels = Tensor::empty({n}, {.dtype = DType::i64})};
  Random random(config.train.seed, 1);
  for (int64_t i = 0; i < batch.images.numel(); ++i)
    batch.images.data<float>()[i] = static_cast<float>(2 * random.uniform() - 1);
  for (int64_t i = 0; i < n; ++i)
    batch.labels.data<int64_t>()[i] = random.below(static_cast<uint32_t>(network.options().classes));
  batch.images = batch.images.to(network.options().dtype);
  return batch;
}

std::vector<std::string> progress_notes(const RunProgress& progress) {
  std::vector<std::string> notes{
      fmt::format("epoch {}/{}", std::min(progress.epoch + 1, progress.epochs), progress.epochs)};
  if (progress.step > 0) notes.push_back(fmt::format("loss {:.3f}", progress.loss));
  if (progress.top1) notes.push_back(fmt::format("top-1 {:.2f}%", 100 * *progress.top1));
  if (progress.images_per_second > 0) notes.push_back(fmt::format("{:.0f} images/s", progress.images_per_second));
  return notes;
}

Json provenance(const std::vector<std::string>& command) {
  Json libraries = Json::object();
  for (size_t i = 0; i < kLibraryCount; ++i) libraries[kLibraries[i].name] = kLibraries[i].version;
  return {{"command", command},    {"version", kVersion},    {"revision", *kRevision ? Json(kRevision) : Json(nullptr)},
          {"compiler", kCompiler}, {"libraries", libraries}, {"threads", cpu_threads()}};
}

}  // namespace tidepool
