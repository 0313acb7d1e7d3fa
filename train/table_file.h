// Tables and scales as files: JSON that says rows, columns and baseline. The tables and scales of this project are in
// configs/tables/; a user's own file is as good.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/json.h"
#include "train/config.h"

namespace tidepool {

/// How large a table's runs are: an object of configs/tables/scales.json.
struct Scale {
  std::string name;
  std::string purpose;  ///< "the first run on two cores"
  int64_t seeds = 1;    ///< of a row, where the call does not say
  std::vector<Setting> settings;
};
/// Those of scales.json: in configs/tables/ of the working directory, beside the program's source, or in the program.
/// Throws Error naming file, line and key.
const std::vector<Scale>& scales();
/// Throws Error with the names that there are.
const Scale& find_scale(const std::string& name);

/// What a label stands for: settings over the table's base.
struct TableEntry {
  std::string label;
  std::string origin;             ///< "mine.json:5:12"
  std::string base, base_origin;  ///< of its `extends`, in place of the table's base; "": none
  std::vector<Setting> settings;
};

/// A column of a grid: a row of the table is one label of each.
struct GridColumn {
  std::string name;
  std::vector<TableEntry> entries;
};

/// What a table does otherwise at one scale.
struct TableScale {
  std::string only, except;  ///< patterns of row names, joined by commas; "": all, none
  std::vector<Setting> settings;
};

/// A figure that others published, to stand beside a row's.
struct PublishedFigure {
  std::string rows;    ///< pattern of row names; "": of no row, it stands below the table
  std::string value;   ///< "72.93", in percent
  std::string what;    ///< "VGG-16-BN, 34.0 M parameters"
  std::string source;  ///< "weiaicunzai/pytorch-cifar100"
};

struct TableFile {
  std::string name;                             ///< "1", "mine": the file's, without its folder and ending
  std::string file;                             ///< where it was read
  std::optional<std::filesystem::path> folder;  ///< that `base` and `extends` are relative to; none: the program
  std::string title, base, caption;
  std::vector<GridColumn> grid;  ///< or
  std::vector<TableEntry> rows;  ///< rows by name
  /// Which row one is compared with: of a grid its labels by column, the others being equal; else its name by a pattern
  /// of the rows that it serves.
  std::vector<std::pair<std::string, std::string>> baseline;
  std::map<std::string, TableScale> scales;
  std::vector<std::string> columns;  ///< "": the usual ones
  std::vector<PublishedFigure> published;
  Origins origins;

  /// Stem of its files and of the folder of its runs: "table1", "pooling", "mine".
  std::string stem() const;
  /// "file:line:column: " of the value at a dotted path, or of what is around it.
  std::string place(const std::string& path) const;
};

/// The table that a command line names: a file's path, or the name of one in configs/tables/ of the working directory,
/// beside the program's source or in the program ("1", "pooling"). Throws Error naming file, line, column and key.
TableFile load_table(const std::string& name);
/// The same from text. `origin` names it in errors; configs are relative to `folder`.
TableFile load_table_text(const std::string& text, const std::string& origin,
                          const std::optional<std::filesystem::path>& folder = ".");
/// Names of all tables that need no path: "1", "2", ...
std::vector<std::string> table_names();

/// Whether a name fits one of the patterns, which commas divide.
bool matches_any(const std::string& patterns, const std::string& name);

}  // namespace tidepool
