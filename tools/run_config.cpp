#include "tools/run_config.h"

#include <nlohmann/json.hpp>

#include "core/philox.h"
#include "core/version.h"
#include "tools/data_root.h"

namespace tidepool {

Config config_of(const Call& call, size_t i, const std::string& otherwise) {
  return config_in(call, expand_home(call.argument(i).empty() ? otherwise : call.argument(i)));
}

Config config_in(const Call& call, const std::filesystem::path& file) {
  std::vector<std::string> sets = call.texts("set");
  if (call.given("seed")) sets.push_back(fmt::format("train.seed={}", call.seed()));
  if (call.given("device")) call.device();  // refused under its own name
  if (call.given("device")) sets.push_back(fmt::format("train.device={}", call.text("device")));
  Config config = load_config(file, sets);
  if (parse_device(config.train.device) != kCpu)
    throw Error("train.device: networks run on the CPU in this version; cuda serves `tidepool op`");
  return config;
}

std::string shell_word(const std::string& word) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
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

Json provenance(const std::vector<std::string>& command) {
  Json libraries = Json::object();
  for (size_t i = 0; i < kLibraryCount; ++i) libraries[kLibraries[i].name] = kLibraries[i].version;
  return {{"command", command},    {"version", kVersion},    {"revision", *kRevision ? Json(kRevision) : Json(nullptr)},
          {"compiler", kCompiler}, {"libraries", libraries}, {"threads", cpu_threads()}};
}

}  // namespace tidepool
