// tidepool pool: what operators do to a picture.
#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/atomic_file.h"
#include "core/error.h"
#include "data/contact_sheet.h"
#include "data/fidelity.h"
#include "data/png.h"
#include "layers/pool/prepared.h"
#include "tools/command.h"
#include "tools/data_root.h"
#include "tools/pool_request.h"
#include "tools/timing.h"

namespace tidepool {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSheet = "sheet.png";

// One operator on one picture.
struct Pooled {
  const PoolDescription* op = nullptr;
  nlohmann::json config = {};
  std::vector<std::string> parameters = {};  // at their initial values
  fs::path file;
  int64_t height = 0, width = 0;
  double seconds = 0;
  Fidelity fidelity = {};
};

// A picture of the command line.
struct Subject {
  fs::path file;
  int64_t height = 0, width = 0, channels = 0;
  int bits = 8;
  std::optional<Picture> picture = {};  // kept from the first look when there is room
  std::vector<Pooled> results = {};
};

Dims map_shape(const Subject& s) {
  return {1, s.channels, s.height, s.width};
}

fs::path output_of(const fs::path& folder, const fs::path& picture, const std::string& op) {
  return folder / fmt::format("{}.{}.png", picture.stem().string(), op);
}

bool same_file(const fs::path& a, const fs::path& b) {
  std::error_code code;
  return fs::equivalent(a, b, code) && !code;
}

// Reads every picture and asks every operator whether it can: nothing is written before all of it is right.
std::vector<Subject> look(const Call& call, const std::vector<PoolRequest>& requests, int64_t factor,
                          const fs::path& folder) {
  constexpr size_t kRoom = size_t{512} << 20;  // bytes of pictures that are kept, so that they are not read twice
  std::vector<Subject> subjects;
  std::map<fs::path, fs::path> written{{folder / kSheet, kSheet}};
  size_t kept = 0;
  for (const std::string& name : call.arguments()) {
    const fs::path file = expand_home(name);
    Picture picture = read_picture(file);
    Subject subject{.file = file,
                    .height = picture.height,
                    .width = picture.width,
                    .channels = picture.channels,
                    .bits = picture.bits};
    for (const PoolRequest& request : requests) {
      Pooled result{.op = request.op,
                    .config = config_for_factor(*request.op, factor, map_shape(subject), request.config),
                    .file = output_of(folder, file, request.op->name)};
      try {
        const auto op = make_pool_operator(result.config);
        for (const ParameterSpec& spec : op->parameters(map_shape(subject))) result.parameters.push_back(spec.name);
        const Dims y = op->output_shape(map_shape(subject), initial_values(*op, map_shape(subject), DType::f32, 0));
        if (y.rank() != 4) throw Error("[{}] gives {} numbers of a plane and no picture", request.op->name, y[2]);
        if (y[1] != subject.channels)
          throw Error("[{}] makes {} channels of {}; a picture keeps its own", request.op->name, y[1],
                      subject.channels);
        result.height = y[2];
        result.width = y[3];
      } catch (const Error& error) {
        throw Error("{}: {}", file.string(), error.what());
      }
      const auto [other, first] = written.emplace(result.file, file);
      if (!first)
        throw Error("{} and {} would both be written as {}", other->second.string(), file.string(),
                    result.file.string());
      subject.results.push_back(std::move(result));
    }
    if (kept + picture.bytes.size() <= kRoom) {
      kept += picture.bytes.size();
      subject.picture = std::move(picture);
    }
    subjects.push_back(std::move(subject));
  }
  for (const auto& [output, from] : written)
    for (const Subject& subject : subjects)
      if (same_file(output, subject.file))
        throw Error("{}: would be replaced by what is made of {}", subject.file.string(), from.string());
  return subjects;
}

// The pooled planes; fills in seconds and fidelity.
Tensor pool(const Tensor& planes, int64_t colours, Device device, Pooled& result, uint64_t seed) {
  const auto op = make_pool_operator(result.config);
  std::vector<Tensor> parameters = initial_values(*op, planes.shape(), DType::f32, seed);
  for (Tensor& p : parameters) p = p.to(device);
  const Tensor x = planes.to(device);
  const auto begin = Clock::now();
  const Tensor y =
      op->forward(x, parameters, {.training = false, .seed = seed}).to(kCpu).contiguous(MemoryFormat::plain);
  result.seconds = seconds_between(begin, Clock::now());
  const int64_t h = planes.size(2), w = planes.size(3);
  for (int64_t c = 0; c < colours; ++c)
    result.fidelity +=
        compare_enlarged({planes.data<float>() + c * h * w, h, w},
                         {y.data<float>() + c * result.height * result.width, result.height, result.width});
  return y;
}

std::string psnr_text(const Fidelity& f) {
  return std::isinf(f.psnr()) ? "inf" : fmt::format("{:.2f}", f.psnr());
}
std::string ssim_text(const Fidelity& f) {
  return f.ssim() ? fmt::format("{:.4f}", *f.ssim()) : "-";
}

// The panels of a picture, in rows of at most kAcross.
void add_panels(const Subject& subject, std::vector<Panel> panels, std::vector<std::vector<Panel>>& rows) {
  constexpr size_t kAcross = 6;
  panels.front().lines = {subject.file.filename().string(), fmt::format("{}x{}", subject.width, subject.height)};
  for (size_t i = 0; i < panels.size(); ++i) {
    if (i % kAcross == 0) rows.emplace_back();
    rows.back().push_back(std::move(panels[i]));
  }
}

int run(const Call& call) {
  const std::vector<PoolRequest> requests = pool_requests(call);
  const int64_t factor = call.integer("factor", 2, 1024);
  const uint64_t seed = call.seed();
  const Device device = call.device();
  const fs::path folder = call.path("out");
  std::vector<Subject> subjects = look(call, requests, factor, folder);
  make_folder(folder, "--out");

  flush_denormals();
  // A sheet of at most 64 million pixels, its panels of one size.
  constexpr double kSheetPixels = 64e6, kPanel = 320;
  const auto panels_in_all = static_cast<double>(subjects.size() * (requests.size() + 1));
  const double box = std::clamp(std::sqrt(kSheetPixels / panels_in_all), 16.0, kPanel);
  std::vector<std::vector<Panel>> rows;
  for (Subject& subject : subjects) {
    const Picture picture = subject.picture ? std::move(*subject.picture) : read_picture(subject.file);
    subject.picture.reset();
    if (picture.height != subject.height || picture.width != subject.width || picture.channels != subject.channels)
      throw Failure("{}: changed while it was read", subject.file.string());
    const Tensor planes = to_planes(picture);
    const double scale = box / static_cast<double>(std::max(picture.height, picture.width));
    // Whole steps where it grows, so that pixels stay squares.
    const double step = scale > 1 ? std::floor(scale) : scale;
    const auto shown = [&](int64_t length) {
      return std::max<int64_t>(1, std::llround(static_cast<double>(length) * step));
    };
    const int64_t high = shown(picture.height), wide = shown(picture.width);
    std::vector<Panel> panels{{.image = panel_image(picture, high, wide), .lines = {}}};
    for (Pooled& result : subject.results) {
      const Picture pooled = from_planes(pool(planes, picture.colours(), device, result, seed), picture.bits);
      write_png(result.file, pooled);
      panels.push_back({.image = panel_image(pooled, high, wide),
                        .lines = {result.op->name + (result.parameters.empty() ? "" : " (start)"),
                                  fmt::format("{} dB {}", psnr_text(result.fidelity), ssim_text(result.fidelity))}});
    }
    add_panels(subject, std::move(panels), rows);
  }
  write_png(folder / kSheet, contact_sheet(rows));

  if (call.json()) {
    Json pictures = Json::array();
    for (const Subject& s : subjects) {
      Json results = Json::array();
      for (const Pooled& r : s.results)
        results.push_back({{"op", r.op->name},
                           {"config", r.config},
                           {"file", r.file.string()},
                           {"width", r.width},
                           {"height", r.height},
                           {"psnr", std::isinf(r.fidelity.psnr()) ? Json(nullptr) : Json(r.fidelity.psnr())},
                           {"ssim", r.fidelity.ssim() ? Json(*r.fidelity.ssim()) : Json(nullptr)},
                           {"milliseconds", 1e3 * r.seconds},
                           {"parameters_at_start", r.parameters}});
      pictures.push_back({{"file", s.file.string()},
                          {"width", s.width},
                          {"height", s.height},
                          {"channels", s.channels},
                          {"bits", s.bits},
                          {"results", results}});
    }
    print_json({{"factor", factor}, {"sheet", (folder / kSheet).string()}, {"pictures", pictures}});
    return 0;
  }
  std::vector<std::vector<std::string>> table;
  std::vector<std::string> learned;
  for (const Subject& s : subjects)
    for (const Pooled& r : s.results) {
      table.push_back({s.file.filename().string(), r.op->name, fmt::format("{}x{}", r.width, r.height),
                       psnr_text(r.fidelity), ssim_text(r.fidelity), fmt::format("{:.1f}", 1e3 * r.seconds),
                       r.parameters.empty() ? "" : fmt::format("{} at the start", fmt::join(r.parameters, ", "))});
      if (!r.parameters.empty() && std::find(learned.begin(), learned.end(), r.op->name) == learned.end())
        learned.push_back(r.op->name);
    }
  std::string text = text_table({"picture", "operator", "pooled", "PSNR dB", "SSIM", "ms", "learned"}, table,
                                {.minor = {"learned", "ms"}});
  if (!learned.empty()) text += fmt::format("{}: untrained: shown at its initial value\n", fmt::join(learned, ", "));
  print(text + fmt::format("written to {}: PICTURE.OPERATOR.png, {}\n", folder.string(), kSheet));
  return 0;
}

const Registered registered(
    {.name = "pool",
     .help = "pools pictures; writes them with a contact sheet; prints PSNR and SSIM",
     .arguments = {"IMAGE..."},
     .options =
         {op_names_option(true),
          {.name = "factor", .value = "K", .help = "how many times shorter each side becomes", .default_value = "2"},
          op_config_option(),
          {.name = "out", .value = "DIR", .help = "where pictures and sheet go", .default_value = "pooled"},
          seed_option("0", "seed of random initial values"),
          device_option(),
          json_option()},
     .details =
         "IMAGE is PNG (8 or 16 bits; grey, RGB, palette, alpha) or JPEG, turned upright as its EXIF says. Values are\n"
         "pooled as stored, alpha as one more channel. PSNR and SSIM (Wang et al. 2004) are of the colour channels\n"
         "after bilinear enlargement to the original size, from the operator's own output, before it is rounded.\n"
         "--factor sets kernel, stride, block, r, ratio or output_size, whichever an operator has and --config does\n"
         "not give; an operator that has none of them makes the size that it starts with.",
     .run = run});

}  // namespace
}  // namespace tidepool
