#include "train/figures/learned_shapes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "models/network.h"
#include "train/config.h"
#include "train/figures/curves.h"
#include "train/setup.h"
#include "train/statistics.h"

namespace tidepool::figures {
namespace {

constexpr double kMargin = 12, kNames = 196, kInput = 92, kBoxSide = 64, kSmall = 9.5, kPathHeight = 100;

struct MapSize {
  double height = 0, width = 0;
};

// The maps after one slot in the runs of a row.
struct SlotMaps {
  MapSize mean;
  std::vector<MapSize> seeds = {};
};

struct ShapeRow {
  const RunGroup* group;
  std::string method, data;  // "DynOPool"; "stretch_v"
  Colour colour;
  int order = 0;  // of the method
  std::map<std::string, SlotMaps> maps = {};
};

struct Block {
  std::string title;
  MapSize input;
  std::vector<std::string> slots = {};
  std::map<std::string, int64_t> convolutions = {};  // by slot, those that read its map's size; "" of the input's
  std::vector<ShapeRow> rows = {};
};

// The maps at the end of a run: of its result, else of the last lines of shapes.csv.
std::vector<std::pair<std::string, MapSize>> maps_of(const RunRecord& run) {
  std::vector<std::pair<std::string, MapSize>> maps;
  if (run.result && run.result->contains("shapes") && run.result->at("shapes").is_object()) {
    for (const auto& [slot, size] : run.result->at("shapes").items())
      if (size.is_array() && size.size() == 2 && size[0].is_number() && size[1].is_number())
        maps.emplace_back(slot, MapSize{size[0].get<double>(), size[1].get<double>()});
    return maps;
  }
  for (const ShapePath& path : run.shapes) {
    if (!path.name.ends_with(".size") || path.points.empty()) continue;
    const std::string slot = path.name.substr(0, path.name.size() - 5);
    if (path.index == 0) maps.emplace_back(slot, MapSize{path.points.back().second, path.points.back().second});
    if (path.index == 1 && !maps.empty() && maps.back().first == slot)
      maps.back().second.width = path.points.back().second;
  }
  return maps;
}

double penalty(const Json& config) {
  return config.contains("loss") && config.at("loss").is_object() ? config.at("loss").value("gmacs_lambda", 0.0) : 0;
}

ShapeRow shape_row(const RunGroup& group) {
  const Json& config = group.runs.front().config;
  ShapeRow row{.group = &group, .method = pool_text(config), .data = variant_text(config), .colour = kColours[3]};
  constexpr Colour kMethods[] = {kColours[3], kColours[1], kColours[2], kColours[0]};
  row.order = pool_rank(row.method);
  row.colour = kMethods[row.order];
  if (row.order == 0 && !learns_shapes(group.runs.front())) row.colour = kColours[6];
  if (const double lambda = penalty(config); lambda > 0) row.method += fmt::format(", penalty {:g}", lambda);
  for (const RunRecord& run : group.runs)
    for (const auto& [slot, size] : maps_of(run)) row.maps[slot].seeds.push_back(size);
  for (auto& [slot, maps] : row.maps)
    for (const MapSize& seed : maps.seeds) {
      maps.mean.height += seed.height / static_cast<double>(maps.seeds.size());
      maps.mean.width += seed.width / static_cast<double>(maps.seeds.size());
    }
  return row;
}

// The size of the images, and how many convolutions stand behind each slot: what only the network itself knows. Left
// out where its config is of a program that this one does not understand.
void read_network(const Json& saved, Block& block) {
  try {
    const Config config = load_config_text(completed_config(saved).dump());
    const std::unique_ptr<Network> network = make_run_network(config);
    const Dims& input = network->options().input;
    block.input = {static_cast<double>(input[2]), static_cast<double>(input[3])};
    std::map<std::string, int32_t> nodes;
    const Graph& graph = network->graph();
    for (size_t i = 0; i < graph.nodes.size(); ++i) nodes.emplace(graph.nodes[i].name, static_cast<int32_t>(i));
    if (block.title.starts_with("hrnet")) return;  // branches of several sizes side by side
    for (const TracedLayer& layer : network->trace().layers) {
      const auto node = nodes.find(layer.name);
      if (!layer.convolution || node == nodes.end()) continue;
      const Dims& x = layer.convolution->input;
      if (x[2] * x[3] == 1) continue;  // of squeeze-excitation, on one position
      std::string slot;
      for (const Slot& s : graph.slots)
        if (s.node <= node->second) slot = s.name;
      ++block.convolutions[slot];
    }
  } catch (const Error&) {
    block.convolutions.clear();
  }
}

std::vector<Block> blocks_of(std::span<const RunGroup> groups) {
  std::vector<Block> blocks;
  for (const RunGroup& group : groups) {
    const RunRecord& first = group.runs.front();
    const std::string title = context_text(first.config, /*with_variant=*/false);
    ShapeRow row = shape_row(group);
    if (row.maps.empty()) continue;
    auto block = std::find_if(blocks.begin(), blocks.end(), [&](const Block& b) { return b.title == title; });
    if (block == blocks.end()) {
      block = blocks.insert(block, Block{.title = title, .input = {}});
      read_network(first.config, *block);
    }
    for (const auto& [slot, size] : maps_of(first))
      if (std::find(block->slots.begin(), block->slots.end(), slot) == block->slots.end()) block->slots.push_back(slot);
    block->rows.push_back(std::move(row));
  }
  for (Block& block : blocks) {
    std::vector<std::string> data = {"plain", "stretch_v", "stretch_h", "tile", "large"};
    for (const ShapeRow& row : block.rows)
      if (std::find(data.begin(), data.end(), row.data) == data.end()) data.push_back(row.data);
    const auto place = [&](const ShapeRow& row) {
      return std::pair{std::find(data.begin(), data.end(), row.data) - data.begin(), row.order};
    };
    std::stable_sort(block.rows.begin(), block.rows.end(),
                     [&](const ShapeRow& a, const ShapeRow& b) { return place(a) < place(b); });
  }
  return blocks;
}

std::string length_text(double length) {
  return length == std::round(length) ? fmt::format("{:.0f}", length) : fmt::format("{:.1f}", length);
}

// "0.0196 GMACs, top-1 61.2 %", as far as the runs have ended.
std::string result_text(const RunGroup& group) {
  const Metric& metric = group.runs.front().task->primary();
  std::vector<double> gmacs, values;
  for (const RunRecord& run : group.runs) {
    if (const auto cost = run.result_number("gmacs")) gmacs.push_back(*cost);
    if (const auto value = run.result_number(metric.name + "_last")) values.push_back(100 * *value);
  }
  std::string text;
  if (const auto s = summarize(gmacs)) text += fmt::format("{:.3g} GMACs", s->mean);
  if (const auto s = summarize(values)) {
    text += fmt::format("{}{} {:.1f}", text.empty() ? "" : ", ", metric.label, s->mean);
    if (s->deviation) text += fmt::format(" \u00b1 {:.1f}", *s->deviation);
    text += " %";
  }
  return text;
}

// The columns of a block and what is drawn in them, from `top` on.
class BlockPainter {
 public:
  BlockPainter(Drawing& drawing, const Block& block, bool paths)
      : drawing_(drawing), block_(block), paths_(paths && learns()), pitch_(paths_ ? 158 : 104) {
    double longest = std::max(block.input.height, block.input.width);
    for (const ShapeRow& row : block.rows)
      for (const auto& [slot, maps] : row.maps)
        for (const MapSize& size : maps.seeds) longest = std::max({longest, size.height, size.width});
    scale_ = kBoxSide / longest;
  }

  // The human-designed row on the data of one whose shapes are learned.
  const ShapeRow* designed(const ShapeRow& row) const {
    const auto learned = [](const ShapeRow& r) { return r.order > 0 || learns_shapes(r.group->runs.front()); };
    for (const ShapeRow& other : block_.rows)
      if (learned(row) && other.data == row.data && !learned(other)) return &other;
    return nullptr;
  }

  double width() const { return kNames + kInput + pitch_ * static_cast<double>(block_.slots.size()); }

  // Returns where it ends.
  double paint(double top) {
    top = header(top);
    std::string data;
    for (const ShapeRow& row : block_.rows) {
      if (row.data != data) {
        drawing_.line({kMargin, top}, {kMargin + width(), top}, {.colour = kFaint, .width = 1, .dash = {}});
        data = row.data;
      }
      top = shapes(row, top);
    }
    if (!paths_) return top;
    drawing_.line({kMargin, top}, {kMargin + width(), top}, {.colour = kSoft, .width = 1, .dash = {}});
    top += 8;
    for (const ShapeRow& row : block_.rows)
      if (learns_shapes(row.group->runs.front())) top = strip(row, top, &row == last_learned());
    return top;
  }

 private:
  bool learns() const {
    return std::any_of(block_.rows.begin(), block_.rows.end(),
                       [](const ShapeRow& row) { return learns_shapes(row.group->runs.front()); });
  }
  double column(size_t slot) const { return kMargin + kNames + kInput + pitch_ * static_cast<double>(slot); }

  double header(double top) {
    drawing_.add(Text{.text = block_.title, .at = {kMargin, top + 14}, .size = 13, .bold = true});
    top += 22;
    const auto head = [&](double middle, const std::string& name, const std::string& slot) {
      drawing_.add(Text{.text = name, .at = {middle, top + 12}, .size = 11, .anchor = Anchor::middle, .bold = true});
      if (const auto n = block_.convolutions.find(slot); n != block_.convolutions.end())
        drawing_.add(Text{.text = fmt::format("{} convolution{}", n->second, n->second == 1 ? "" : "s"),
                          .at = {middle, top + 25},
                          .size = kSmall,
                          .anchor = Anchor::middle,
                          .colour = kSoft});
    };
    head(kMargin + kNames + kInput / 2, "input", "");
    for (size_t i = 0; i < block_.slots.size(); ++i)
      head(column(i) + pitch_ / 2, "after " + block_.slots[i], block_.slots[i]);
    return top + 34;
  }

  Box box_at(double middle, double top, double high, const MapSize& size) const {
    const double h = std::max(1.5, size.height * scale_), w = std::max(1.5, size.width * scale_);
    return {middle - w / 2, top + (high - h) / 2, w, h};
  }

  double shapes(const ShapeRow& row, double top) {
    double high = block_.input.height * scale_;
    for (const auto& [slot, maps] : row.maps) high = std::max(high, maps.mean.height * scale_);
    const double middle = top + 6 + high / 2;
    const double names = kNames - 10;
    drawing_.add(Text{.text = fitted_text(row.method, names, 12, true),
                      .at = {kMargin, middle - 9},
                      .size = 12,
                      .colour = row.colour,
                      .bold = true});
    std::vector<std::string> lines = {
        fmt::format("{}, {} seed{}", row.data, row.group->runs.size(), row.group->runs.size() == 1 ? "" : "s"),
        result_text(*row.group)};
    for (size_t i = 0; i < lines.size(); ++i)
      drawing_.add(Text{.text = fitted_text(lines[i], names, kSmall),
                        .at = {kMargin, middle + 6 + 13 * static_cast<double>(i)},
                        .size = kSmall,
                        .colour = kSoft});
    const auto text = [&](double at, const MapSize& size) {
      drawing_.add(Text{.text = fmt::format("{}\u00d7{}", length_text(size.height), length_text(size.width)),
                        .at = {at, top + 6 + high + 13},
                        .size = kSmall + 0.5,
                        .anchor = Anchor::middle});
    };
    if (block_.input.height > 0) {
      const double at = kMargin + kNames + kInput / 2;
      drawing_.box(box_at(at, top + 6, high, block_.input), kFaint, Stroke{kSoft, 1, {}});
      text(at, block_.input);
    }
    const ShapeRow* const reference = designed(row);
    for (size_t i = 0; i < block_.slots.size(); ++i) {
      const auto found = row.maps.find(block_.slots[i]);
      if (found == row.maps.end()) continue;
      const double at = column(i) + pitch_ / 2;
      const SlotMaps& maps = found->second;
      drawing_.box(box_at(at, top + 6, high, maps.mean), row.colour.faded(0.28), Stroke{row.colour, 1.5, {}});
      if (maps.seeds.size() > 1)
        for (const MapSize& seed : maps.seeds)
          drawing_.box(box_at(at, top + 6, high, seed), {}, Stroke{row.colour.faded(0.5), 0.7, {}});
      if (reference != nullptr)
        if (const auto other = reference->maps.find(block_.slots[i]); other != reference->maps.end())
          drawing_.box(box_at(at, top + 6, high, other->second.mean), {}, Stroke{kInk, 0.9, {2.5, 2}});
      text(at, maps.mean);
    }
    return top + high + 26;
  }

  const ShapeRow* last_learned() const {
    const ShapeRow* last = nullptr;
    for (const ShapeRow& row : block_.rows)
      if (learns_shapes(row.group->runs.front())) last = &row;
    return last;
  }

  // The last one names the x axis of all.
  double strip(const ShapeRow& row, double top, bool last) {
    drawing_.add(Text{.text = fitted_text(row.method, kNames - 10, 12, true),
                      .at = {kMargin, top + kPathHeight / 2 - 9},
                      .size = 12,
                      .colour = row.colour,
                      .bold = true});
    drawing_.add(Text{.text = row.data + ": path of the",
                      .at = {kMargin, top + kPathHeight / 2 + 6},
                      .size = kSmall,
                      .colour = kSoft});
    drawing_.add(
        Text{.text = "shape parameters", .at = {kMargin, top + kPathHeight / 2 + 19}, .size = kSmall, .colour = kSoft});
    const std::span<const RunGroup> group(row.group, 1);
    const bool steps = !counts_epochs(group);
    for (size_t i = 0; i < block_.slots.size(); ++i) {
      std::string name;
      for (const ShapePath& path : row.group->runs.front().shapes)
        if (path.name.starts_with(block_.slots[i] + ".") && !path.name.ends_with(".size")) name = path.name;
      if (name.empty()) continue;
      Panel panel = shape_panel(group, name, steps);
      for (Series& s : panel.series) s.look.colour = row.colour;
      panel.title = name;
      const double axis = last ? 16 : 0;
      if (last) panel.x_label = steps ? "step" : "epoch";
      draw_panel(drawing_, {column(i), top, pitch_ - 4, kPathHeight + axis}, panel, 40);
    }
    return top + kPathHeight + (last ? 24 : 8);
  }

  Drawing& drawing_;
  const Block& block_;
  bool paths_;
  double pitch_, scale_ = 1;
};

}  // namespace

Drawing draw_learned_shapes(std::span<const RunGroup> groups, const LearnedShapesOptions& options) {
  const std::vector<Block> blocks = blocks_of(groups);
  if (blocks.empty())
    throw Error("{}: expected a run with shapes in result.json or shapes.csv",
                groups.front().runs.front().folder.string());
  Drawing drawing{.title = options.title};
  double top = kMargin, width = 0;
  if (!options.title.empty()) {
    drawing.add(Text{.text = options.title, .at = {kMargin, top + 14}, .size = 14, .bold = true});
    top += 28;
  }
  bool seeds = false, dashed = false, learned = false;
  for (const Block& block : blocks) {
    BlockPainter painter(drawing, block, options.paths);
    top = painter.paint(top) + 6;
    width = std::max(width, painter.width());
    for (const ShapeRow& row : block.rows) {
      seeds = seeds || row.group->runs.size() > 1;
      dashed = dashed || painter.designed(row) != nullptr;
      learned = learned || learns_shapes(row.group->runs.front());
    }
  }
  std::string note = "Maps to scale, height \u00d7 width";
  if (seeds) note += ": filled the mean over the seeds, thin lines each seed";
  note += ".";
  if (dashed) note += " Dashed: the human-designed map on the same data.";
  if (options.paths && learned) note += " Paths: a line per seed, solid for the height, dashed for the width.";
  top += draw_note(drawing, {kMargin, top}, width, note);
  drawing.width = std::ceil(2 * kMargin + width);
  drawing.height = std::ceil(top + kMargin);
  drawing.ground();
  return drawing;
}

}  // namespace tidepool::figures
