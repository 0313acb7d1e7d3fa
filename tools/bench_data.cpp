#include "tools/bench_data.h"

#include <nlohmann/json.hpp>
#include <set>

#include "data/loader.h"
#include "tools/machine.h"
#include "tools/run_config.h"
#include "tools/timing.h"
#include "train/setup.h"

namespace tidepool {
namespace {

// Images per second of training batches, the median of `epochs`; one before them does not count, in which a data set
// draws or reads its images for the first time.
double loader_speed(const RunData& data, LoaderOptions options, int64_t workers, int64_t epochs) {
  options.workers = workers;
  options.drop_last = false;
  Loader loader(data.train, data.normalisation, options);
  std::vector<double> seconds;
  TensorBatch batch;
  for (int64_t epoch = 0; epoch <= epochs; ++epoch) {
    const auto begin = Clock::now();
    loader.start_epoch(epoch);
    while (loader.next(batch)) {
    }
    if (epoch > 0) seconds.push_back(seconds_between(begin, Clock::now()));
  }
  return static_cast<double>(data.train->size()) / median(seconds);
}

}  // namespace

int bench_data(const Call& call) {
  const Config config = config_of(call, 1, "toy_procedural.json");
  const int64_t epochs = call.integer("steps", 1, 1000);
  const RunData data = open_data(config.data, data_root_of(call, config.data));
  const LoaderOptions options = loader_options(config, true);
  const ImageShape shape = data.shape();
  const double bytes = static_cast<double>(shape.elements()) * static_cast<double>(size_of(options.dtype));
  const double copy = copy_bandwidth({32, 64, 64, 64}, DType::f32, 5);

  Json list = Json::array();
  std::vector<std::vector<std::string>> rows;
  for (const int64_t workers : std::set<int64_t>{0, 1, config.data.workers}) {
    const double speed = loader_speed(data, options, workers, epochs);
    const double share = 2 * speed * bytes / copy;  // a copy reads as much as it writes
    list.push_back({{"workers", workers},
                    {"images_per_second", speed},
                    {"microseconds_per_image", 1e6 / speed},
                    {"written_gbps", 1e-9 * speed * bytes},
                    {"share", share}});
    rows.push_back({std::to_string(workers), fmt::format("{:.0f}", speed), fmt::format("{:.2f}", 1e6 / speed),
                    fmt::format("{:.3f}", 1e-9 * speed * bytes), fmt::format("{:.3f}", share)});
  }
  if (call.json()) {
    print_json({{"data", data.train->name()},
                {"shape", {shape.channels, shape.height, shape.width}},
                {"dtype", config.train.dtype},
                {"batch", config.train.batch},
                {"images", data.train->size()},
                {"epochs", epochs},
                {"loader", list},
                {"machine", {{"copy_gbps", 1e-9 * copy}}}});
    return 0;
  }
  print(text_table({"workers", "images/s", "us per image", "GB/s written", "of a copy"}, rows));
  print(
      fmt::format("{}: {} images of {}x{}x{} in {}, training batches of {}; without workers the caller makes them; a "
                  "plain copy writes {:.1f} GB/s\n",
                  data.train->name(), data.train->size(), shape.channels, shape.height, shape.width, config.train.dtype,
                  config.train.batch, 0.5e-9 * copy));
  return 0;
}

}  // namespace tidepool
