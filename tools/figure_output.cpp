#include "tools/figure_output.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/atomic_file.h"
#include "core/error.h"
#include "train/figures/raster.h"

namespace tidepool {

namespace fs = std::filesystem;

fs::path figure_path(const Call& call) {
  const fs::path path = call.path("out");
  const std::string ending = path.extension().string();
  if (ending != ".svg" && ending != ".png")
    throw Error("--out {}: expected a file that ends in .svg or .png", path.string());
  if (ending == ".png" && !figures::has_raster()) figures::png({});  // says what is missing
  std::error_code code;
  if (const fs::path folder = path.parent_path(); !folder.empty() && !fs::is_directory(folder, code))
    throw Error("--out {}: there is no folder {}", path.string(), folder.string());
  if (fs::is_directory(path, code)) throw Error("--out {}: expected a file, it is a folder", path.string());
  return path;
}

void write_figure(const Call& call, const fs::path& path, const figures::Drawing& drawing, const Json& more) {
  write_file_atomically(path, path.extension() == ".png" ? figures::png(drawing) : figures::svg(drawing));
  Json json{{"file", path.string()}, {"width", drawing.width}, {"height", drawing.height}};
  json.update(more);
  if (call.json())
    print_json(json);
  else
    print(fmt::format("{}: {}\n", path.string(), drawing.title));
}

}  // namespace tidepool
