#include "tools/command.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

#include "core/error.h"
#include "core/text.h"
#include "core/version.h"
#include "tools/data_root.h"
#include "tools/progress.h"
#include "train/config.h"

// Options are split nowhere: --set a=1,2 is one value.
#define CXXOPTS_VECTOR_DELIMITER '\0'
#include <cxxopts.hpp>

namespace tidepool {
namespace {

std::map<std::string, Command>& table() {
  static std::map<std::string, Command> commands;
  return commands;
}

constexpr const char* kArguments = "arguments";

struct ArgumentCount {
  size_t least = 0, most = 0;
};

ArgumentCount count_arguments(const Command& command) {
  ArgumentCount count;
  for (const std::string& name : command.arguments) {
    if (!name.starts_with('[')) ++count.least;
    count.most = name.find("...") != std::string::npos ? std::numeric_limits<size_t>::max() : count.most + 1;
  }
  return count;
}

// Words of `text` in lines of at most `width` characters, the lines after the first indented.
std::string wrap(const std::string& text, size_t width, size_t indent) {
  std::string out;
  size_t column = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(' ', at), text.size());
    if (column > 0 && column + 1 + (end - at) > width) {
      out += "\n" + std::string(indent, ' ');
      column = 0;
    } else if (column > 0) {
      out += ' ';
      ++column;
    }
    out.append(text, at, end - at);
    column += end - at;
    at = end + 1;
  }
  return out;
}

std::string help_of(const Command& command) {
  std::vector<Option> options = command.options;
  options.push_back(help_option());
  size_t wide = 0;
  for (const Option& option : options) wide = std::max(wide, shown(option).size());
  std::string text = fmt::format("tidepool {} [options]\n{}\n", usage_of(command), wrap(command.help, 100, 0));
  if (!command.details.empty()) text += fmt::format("\n{}\n", command.details);
  if (command.list) text += command.list() + "\n";
  text += "\nOptions:\n";
  for (const Option& option : options)
    text += fmt::format("  {:<{}}  {}\n", shown(option), wide,
                        wrap(full_help_of(option), 96 - std::min<size_t>(wide, 40), wide + 4));
  return text;
}

std::string help() {
  size_t wide = 0;
  for (const auto& [name, command] : commands()) wide = std::max(wide, name.size());
  std::string text = "tidepool COMMAND [arguments] [options]: a deep-learning framework for research on pooling\n\n";
  for (const auto& [name, command] : commands()) text += fmt::format("  {:<{}}  {}\n", name, wide, command.help);
  text +=
      "\n`tidepool COMMAND --help` shows the options of a command with their defaults; `tidepool --version` the "
      "version.\n"
      "Exit status: 0 done, 1 the work failed, 2 the request was wrong, 130 or 143 interrupted (a checkpoint is "
      "saved).\n";
  return text;
}

std::vector<std::string> command_names() {
  std::vector<std::string> names;
  for (const auto& [name, command] : commands()) names.push_back(name);
  return names;
}

void report(const std::string& who, std::string what) {
  // One line of text, whatever a library's message or a file has in it.
  std::replace(what.begin(), what.end(), '\n', ' ');
  what = printable(what);
  while (!what.empty() && what.back() == ' ') what.pop_back();
  std::fflush(stdout);
  say(fmt::format("{}: {}\n", who, what));
}

}  // namespace

// The reading of argv.
struct Frame {
  // Names, paths and values stand in configs, logs and JSON, which are UTF-8.
  static void expect_texts(int argc, char** argv) {
    std::string option;  // whose value comes next
    for (int i = 1; i < argc; ++i) {
      const std::string_view word = argv[i];
      if (first_bad_byte(word)) {
        std::string what = i == 1 ? "the command" : option.empty() ? "an argument" : option;
        std::string_view value = word;
        const auto cut = [&] {  // "--out=x", "key=x": what stands before the = names the rest
          const size_t equals = value.find('=');
          if (equals == std::string_view::npos) return std::string_view();
          const std::string_view name = value.substr(0, equals);
          value.remove_prefix(equals + 1);
          return name;
        };
        if (word.starts_with("--"))
          if (const std::string_view name = cut(); !name.empty()) what = printable(name);
        if (what == "--set")
          if (const std::string_view key = cut(); !key.empty()) what += " " + printable(key);
        expect_text(word, what);
      }
      option = word.starts_with("--") && word.find('=') == std::string_view::npos ? word : "";
    }
  }

  static Call parse(const Command& command, int argc, char** argv) {
    Call call;
    call.command_ = &command;
    std::vector<std::string> names = {"help"};
    cxxopts::Options parser("tidepool");
    parser.allow_unrecognised_options();
    parser.add_options()("h,help", "");
    for (const Option& option : command.options) {
      names.push_back(option.name);
      if (option.value.empty())
        parser.add_options()(option.name, "");
      else
        parser.add_options()(option.name, "", cxxopts::value<std::vector<std::string>>());
    }
    parser.add_options()(kArguments, "", cxxopts::value<std::vector<std::string>>());
    parser.parse_positional({kArguments});

    // A value that was left out would swallow the next option.
    for (int i = 1; i < argc; ++i) {
      const std::string word = argv[i];
      if (word == "--") break;
      if (!word.starts_with("--") || word.find('=') != std::string::npos) continue;
      const auto* option = find_option(command, word.substr(2));
      if (!option || option->value.empty()) continue;
      const std::string next = i + 1 < argc ? argv[i + 1] : "";
      const bool swallows =
          next.starts_with("--") && (next == "--" || known(command, next.substr(2, next.find('=') - 2)));
      if (i + 1 >= argc || swallows)
        throw Error("--{} wants a value: --{} {}", option->name, option->name, option->value);
      ++i;
    }
    cxxopts::ParseResult result;
    try {
      result = parser.parse(argc, argv);
    } catch (const std::exception& error) {
      throw Error("{} (see `tidepool {} --help`)", error.what(), command.name);
    }
    for (const std::string& word : result.unmatched()) {
      if (!word.starts_with('-')) continue;
      const std::string bare = word.substr(std::min(word.find_first_not_of('-'), word.size()));
      const std::string name = bare.substr(0, bare.find('='));
      throw Error("unknown option '{}'{}", word.substr(0, word.find('=')), suggestion(name, names, command));
    }
    if (result.count("help") > 0) call.given_["help"] = {};
    for (const Option& option : command.options) {
      if (result.count(option.name) == 0) continue;
      if (option.value.empty()) {
        if (result[option.name].as<bool>()) call.given_[option.name] = {};
        continue;
      }
      auto& values = call.given_[option.name];
      for (const std::string& value : result[option.name].as<std::vector<std::string>>()) values.push_back(value);
    }
    if (result.count(kArguments) > 0) call.arguments_ = result[kArguments].as<std::vector<std::string>>();
    return call;
  }

  static void check(const Call& call) {
    const Command& command = *call.command_;
    const ArgumentCount count = count_arguments(command);
    if (call.arguments_.size() > count.most)
      throw Error("unexpected argument '{}': usage: tidepool {}", call.arguments_[count.most], usage_of(command));
    if (call.arguments_.size() < count.least)
      throw Error("{} is missing: usage: tidepool {}", command.arguments[call.arguments_.size()], usage_of(command));
    for (const Option& option : command.options) {
      if (option.required && !call.given(option.name))
        throw Error("--{} {} is missing: usage: tidepool {}", option.name, option.value, usage_of(command));
      if (!option.repeated && !option.value.empty() && call.given(option.name) &&
          call.given_.at(option.name).size() > 1)
        throw Error("--{} is given twice", option.name);
    }
  }

 private:
  static const Option* find_option(const Command& command, const std::string& name) {
    const auto it = std::find_if(command.options.begin(), command.options.end(),
                                 [&](const Option& option) { return option.name == name; });
    return it == command.options.end() ? nullptr : &*it;
  }
  static bool known(const Command& command, const std::string& name) {
    return name == "help" || find_option(command, name) != nullptr;
  }
  static std::string suggestion(const std::string& name, const std::vector<std::string>& names,
                                const Command& command) {
    for (const char* device : {"cpu", "cuda", "gpu"})
      if (name == device && find_option(command, "device") != nullptr)
        return fmt::format(" (did you mean '--device {}'?)", name == "gpu" ? "cuda" : name);
    const std::string best = nearest_name(name, names);
    if (!best.empty()) return fmt::format(" (did you mean '--{}'?)", best);
    if (find_option(command, "set") == nullptr) return "";
    std::map<std::string, std::string> paths;  // of a config's keys, by their last part
    keys_below(load_config_text("{}").resolved, "", paths);
    std::vector<std::string> keys;
    for (const auto& [key, path] : paths) keys.push_back(key);
    const std::string key = nearest_name(name, keys);
    return key.empty() ? "" : fmt::format(" (did you mean '--set {}=...'?)", paths.at(key));
  }
  static void keys_below(const Json& object, const std::string& at, std::map<std::string, std::string>& paths) {
    for (const auto& [key, value] : object.items()) {
      const std::string path = join_path(at, key);
      paths.emplace(key, path);
      if (value.is_object()) keys_below(value, path, paths);
    }
  }
};

std::string usage_of(const Command& command) {
  std::string usage = command.name;
  for (const std::string& name : command.arguments) usage += " " + name;
  for (const Option& option : command.options)
    if (option.required) usage += fmt::format(" --{} {}", option.name, option.value);
  return usage;
}

std::string shown(const Option& option) {
  return option.value.empty() ? "--" + option.name : fmt::format("--{} {}", option.name, option.value);
}

std::string full_help_of(const Option& option) {
  std::string help = option.help;
  if (option.required) help += " (required)";
  if (option.repeated) help += " (may be repeated)";
  if (!option.default_value.empty()) help += fmt::format(" (default: {})", option.default_value);
  if (option.value.empty() && option.name != "help") help += " (default: off)";
  return help;
}

Option help_option() {
  return {.name = "help", .help = "prints this"};
}
Option json_option() {
  return {.name = "json", .help = "prints one JSON value on stdout"};
}
Option set_option() {
  return {.name = "set",
          .value = "KEY=VALUE",
          .help = "sets a key of the config by its dotted path: optim.lr=0.05",

          .repeated = true};
}
Option device_option() {
  return {.name = "device",
          .value = "NAME",
          .help = "auto, cpu or cuda",
          .default_value = "auto",
          .choices = {"auto", "cpu", "cuda"}};
}
Option data_option() {
  return {
      .name = "data",
      .value = "DIR",
      .help = "folder of the data set; else data.root of a config, $TIDEPOOL_DATA, ~/.cache/tidepool, in this order",
      .default_value = ""};
}
Option seed_option(std::string default_value, std::string help) {
  return {.name = "seed", .value = "N", .help = std::move(help), .default_value = std::move(default_value)};
}

const std::string& Call::argument(size_t i) const {
  static const std::string none;
  return i < arguments_.size() ? arguments_[i] : none;
}

const Option& Call::find(const std::string& option) const {
  for (const Option& o : command_->options)
    if (o.name == option) return o;
  throw std::logic_error(
      fmt::format("command {} reads the option --{}, which it does not have", command_->name, option));
}

const std::string& Call::text(const std::string& option) const {
  const Option& o = find(option);
  const auto it = given_.find(option);
  return it == given_.end() || it->second.empty() ? o.default_value : it->second.back();
}

std::vector<std::string> Call::texts(const std::string& option) const {
  find(option);
  const auto it = given_.find(option);
  return it == given_.end() ? std::vector<std::string>{} : it->second;
}

std::filesystem::path Call::path(const std::string& option) const {
  const std::string& value = text(option);
  if (value.empty() && given(option)) throw Error("--{}: expected a {}, got nothing", option, find(option).value);
  return expand_home(value);
}

int64_t Call::integer(const std::string& option, int64_t lowest, int64_t highest) const {
  const std::string& value = text(option);
  int64_t number = 0;
  const auto [end, code] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (value.empty() || code != std::errc{} || end != value.data() + value.size() || number < lowest ||
      number > highest) {
    std::string range;
    if (lowest != std::numeric_limits<int64_t>::min()) range += fmt::format(" from {}", lowest);
    if (highest != std::numeric_limits<int64_t>::max()) range += fmt::format(" to {}", highest);
    throw Error("--{}: expected a whole number{}, got '{}'", option, range, value);
  }
  return number;
}

double Call::number(const std::string& option, double lowest, double highest) const {
  const std::string& value = text(option);
  double number = 0;
  const auto [end, code] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (value.empty() || code != std::errc{} || end != value.data() + value.size() || !(number >= lowest) ||
      !(number <= highest))
    throw Error("--{}: expected a number from {} to {}, got '{}'", option, lowest, highest, value);
  return number;
}

uint64_t Call::seed(const std::string& option) const {
  const std::string& value = text(option);
  uint64_t number = 0;
  const auto [end, code] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (value.empty() || code != std::errc{} || end != value.data() + value.size())
    throw Error("--{}: expected a whole number from 0 to 2^64 - 1, got '{}'", option, value);
  return number;
}

const std::string& Call::choice(const std::string& option) const {
  const std::vector<std::string>& names = find(option).choices;
  const std::string& value = text(option);
  if (std::find(names.begin(), names.end(), value) == names.end())
    throw Error("--{}: expected one of {}, got '{}'{}", option, fmt::join(names, ", "), value,
                did_you_mean(value, names));
  return value;
}

Device Call::device(const std::string& option) const {
  return parse_device(choice(option));
}

Registered::Registered(Command command) {
  std::string name = command.name;
  table().emplace(std::move(name), std::move(command));
}

const std::map<std::string, Command>& commands() {
  return table();
}

void print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    throw Failure("stdout: cannot be written: {}", std::strerror(errno));
}

void refuse_options(const Call& call, const std::string& use, const std::vector<std::string>& options) {
  for (const std::string& option : options)
    if (call.given(option)) throw Error("--{} means nothing to `{}`", option, use);
}

void print_json(const Json& value) {
  print(value.dump(2, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n");
}

namespace {

constexpr size_t kBetween = 2;  // spaces between columns

struct Columns {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;

  size_t wide(size_t i) const {
    size_t most = text_width(header[i]);
    for (const auto& row : rows) most = std::max(most, text_width(row.at(i)));
    return most;
  }
  size_t wide() const {
    size_t sum = 0;
    for (size_t i = 0; i < header.size(); ++i) sum += wide(i) + (i > 0 ? kBetween : 0);
    return sum;
  }
  bool right(size_t i) const {
    return !rows.empty() && std::all_of(rows.begin(), rows.end(), [&](const auto& row) {
      return row[i].empty() || row[i] == "-" ||
             row[i].find_first_not_of("0123456789.,+-e% []\u00b1") == std::string::npos;
    });
  }
  bool constant(size_t i) const {
    return rows.size() > 1 && std::all_of(rows.begin(), rows.end(), [&](const auto& row) {
             return row[i] == rows.front()[i] && !row[i].empty();
           });
  }
  void erase(size_t i) {
    header.erase(header.begin() + static_cast<std::ptrdiff_t>(i));
    for (auto& row : rows) row.erase(row.begin() + static_cast<std::ptrdiff_t>(i));
  }
};

// Takes columns away until the rest fits; the lines that say so.
std::vector<std::string> fold(Columns& columns, const TableFit& fit) {
  std::vector<std::string> everywhere, gone, lines;
  for (size_t i = 0; i < columns.header.size() && columns.wide() > *fit.width;) {
    const bool kept = std::find(fit.keep.begin(), fit.keep.end(), columns.header[i]) != fit.keep.end();
    if (kept || !columns.constant(i) || columns.header.size() == 1) {
      ++i;
      continue;
    }
    everywhere.push_back(columns.header[i] + " " + columns.rows.front()[i]);
    columns.erase(i);
  }
  for (const std::string& minor : fit.minor)
    for (size_t i = columns.header.size(); i-- > 0 && columns.wide() > *fit.width && columns.header.size() > 1;)
      if (columns.header[i] == minor) {
        if (std::find(gone.begin(), gone.end(), minor) == gone.end()) gone.push_back(minor);
        columns.erase(i);
      }
  if (!everywhere.empty()) lines.push_back(fmt::format("in every row: {}", fmt::join(everywhere, ", ")));
  if (!gone.empty())
    lines.push_back(fmt::format("left out at {} columns: {}; whole {}", *fit.width, fmt::join(gone, ", "),
                                fit.whole.empty() ? "in a pipe or a wider terminal" : "in " + fit.whole));
  return lines;
}

}  // namespace

std::string wrapped(std::string_view text, size_t width, size_t indent) {
  std::string all, line;
  for (size_t i = 0; i < text.size();) {
    const size_t end = std::min(text.find(' ', i), text.size());
    const std::string_view word = text.substr(i, end - i);
    if (line.find_first_not_of(' ') != std::string::npos && text_width(line) + 1 + text_width(word) > width) {
      all += line + "\n";
      line = std::string(indent, ' ');
    } else if (i > 0) {
      line += ' ';
    }
    line += word;
    i = end + 1;
  }
  return all + line + "\n";
}

std::string text_table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows,
                       TableFit fit) {
  Columns columns{header, rows};
  const std::vector<std::string> folded = fit.width ? fold(columns, fit) : std::vector<std::string>();
  const size_t last = columns.header.size() - 1;
  size_t before = 0;  // columns left of the last one
  std::vector<size_t> wide;
  std::vector<bool> right;
  for (size_t i = 0; i <= last; ++i) {
    wide.push_back(columns.wide(i));
    right.push_back(columns.right(i));
    if (i < last) before += wide[i] + kBetween;
  }
  std::string text;
  const auto add = [&](const std::vector<std::string>& row) {
    std::string line;
    for (size_t i = 0; i <= last; ++i) {
      const std::string pad(wide[i] - text_width(row[i]), ' ');
      if (i > 0) line += std::string(kBetween, ' ');
      line += right[i] ? pad + row[i] : row[i] + pad;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    constexpr size_t kNarrow = 12;  // a last column below it is not worth wrapping
    if (fit.width && text_width(line) > *fit.width && before + kNarrow <= *fit.width) {
      line.resize(line.size() - row[last].size());
      const std::string cell = wrapped(row[last], *fit.width - before);
      for (size_t at = 0; at < cell.size();) {  // the later lines of the cell below its first
        const size_t end = cell.find('\n', at) + 1;
        text += (at == 0 ? line : std::string(before, ' ')) + cell.substr(at, end - at);
        at = end;
      }
    } else {
      text += line + "\n";
    }
  };
  add(columns.header);
  for (const auto& row : columns.rows) add(row);
  for (const std::string& line : folded) text += wrapped(line, *fit.width, 2);
  return text;
}

int run_command_line(int argc, char** argv) {
  std::string who = "tidepool";
  try {
    log_to_stderr();
    Frame::expect_texts(argc, argv);
    const bool asks = argc == 3 && std::string_view(argv[1]) == "help";  // `help train` is `train --help`
    const std::string name = argc > 1 ? argv[asks ? 2 : 1] : "";
    if (name.empty()) throw Error("a command is missing (`tidepool --help` lists them)");
    if (name == "--help" || name == "-h" || name == "help") {
      print(help());
      return 0;
    }
    if (name == "--version") {
      print(fmt::format("tidepool {}{}{}\n", kVersion, *kRevision ? " " : "", kRevision));
      return 0;
    }
    if (name.starts_with('-'))
      throw Error("unknown option '{}' before a command (`tidepool --help` lists the commands)", name);
    const auto it = commands().find(name);
    if (it == commands().end()) {
      const std::vector<std::string> names = command_names();
      throw Error("unknown command '{}'{} (`tidepool --help` lists them)", name, did_you_mean(name, names));
    }
    who = "tidepool " + name;
    const Command& command = it->second;
    if (asks) {
      print(help_of(command));
      return 0;
    }
    const Call call = Frame::parse(command, argc - 1, argv + 1);
    if (call.given("help")) {
      print(help_of(command));
      return 0;
    }
    Frame::check(call);
    return command.run(call);
  } catch (const Error& error) {
    report(who, error.what());
    return 2;
  } catch (const Failure& error) {
    report(who, error.what());
    return 1;
  } catch (const std::filesystem::filesystem_error& error) {  // a name that is too long, a folder that may not be read
    report(who, fmt::format("{}: {}", error.path1().string(), error.code().message()));
    return 2;
  } catch (const std::bad_alloc&) {
    report(who, "out of memory");
    return 1;
  } catch (const std::exception& error) {
    report(who, fmt::format("failed unexpectedly: {}", error.what()));
    return 1;
  }
}

}  // namespace tidepool
