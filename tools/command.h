// The frame of the command line: a command is one file that states its arguments and options as data and registers
// itself, and one line in the list of sources. Help, checks of options, errors and exit statuses are written once,
// here.
//
//   int run(const Call& call) {...}
//   const Registered registered({.name = "eval", .help = "evaluates a run", .arguments = {"RUN"},
//                                .options = {json_option(), set_option()}, .run = run});
#pragma once
#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/device.h"
#include "core/json.h"
#include "tools/progress.h"

namespace tidepool {

struct Option {
  std::string name;                ///< "input"
  std::string value = {};          ///< what the help calls its value: "FILE"; "" for a switch
  std::string help = {};           ///< what it does, without a full stop
  std::string default_value = {};  ///< the value it has when it is not given; "" when it then has none
  bool required = false;
  bool repeated = false;
  std::vector<std::string> choices = {};  ///< all its values, where they are few: Call::choice takes no other
};

// Options that several commands share, so that they read and mean the same everywhere.
Option json_option();
Option set_option();     ///< read with Call::texts("set"), for load_config
Option device_option();  ///< read with Call::device()
Option data_option();    ///< read with Call::path("data"); see tools/data_root.h
Option seed_option(std::string default_value, std::string help = "seed of all random numbers");

/// What a command was called with. Every reader throws Error naming the option, what was expected and what came.
class Call {
 public:
  /// The i-th positional argument, or "" when an optional one was left out.
  const std::string& argument(size_t i = 0) const;
  const std::vector<std::string>& arguments() const { return arguments_; }

  /// Whether the option stands on the command line.
  bool given(const std::string& option) const { return given_.contains(option); }
  bool flag(const std::string& option) const { return given(option); }
  bool json() const { return flag("json"); }
  /// The value given last, else the option's start ("" when it has none).
  const std::string& text(const std::string& option) const;
  /// Every value given, in order.
  std::vector<std::string> texts(const std::string& option) const;
  /// As text; `~` is the home folder, an empty text given is an error.
  std::filesystem::path path(const std::string& option) const;
  int64_t integer(const std::string& option, int64_t lowest = std::numeric_limits<int64_t>::min(),
                  int64_t highest = std::numeric_limits<int64_t>::max()) const;
  double number(const std::string& option, double lowest, double highest) const;
  uint64_t seed(const std::string& option = "seed") const;
  /// One of the option's choices.
  const std::string& choice(const std::string& option) const;
  Device device(const std::string& option = "device") const;

 private:
  friend struct Frame;
  const Option& find(const std::string& option) const;

  const struct Command* command_ = nullptr;
  std::vector<std::string> arguments_;
  std::map<std::string, std::vector<std::string>> given_;
};

struct Command {
  std::string name;  ///< "op"
  std::string help;  ///< one line for `tidepool --help`
  /// "NAME" is required, "[NAME]" is optional, "NAME..." takes one or more, "[NAME...]" any number (last only).
  std::vector<std::string> arguments = {};
  std::vector<Option> options = {};
  std::string details = {};  ///< more for `tidepool CMD --help`; lines are printed as they are
  /// Returns the exit status; throws Error (status 2) or Failure (status 1).
  int (*run)(const Call& call) = nullptr;
  std::string (*list)() = nullptr;  ///< what stands behind the details, made when the help is shown; may be null
};

/// Puts a command into the table that main reads.
struct Registered {
  explicit Registered(Command command);
};

/// All commands, by name.
const std::map<std::string, Command>& commands();

/// "op NAME --input FILE --output FILE": what a call of the command must and may have, but for optional options.
std::string usage_of(const Command& command);
/// The option's help, with whether it is required, may be repeated, and its default.
std::string full_help_of(const Option& option);
/// "--input FILE".
std::string shown(const Option& option);
/// What every command takes beside its own options.
Option help_option();

/// The program: parses, runs, reports errors. What main returns.
int run_command_line(int argc, char** argv);

/// Throws Error when one of the options, which belong to another use of the command than `use` ("data info"), was
/// given, so that none is silently without effect.
void refuse_options(const Call& call, const std::string& use, const std::vector<std::string>& options);

/// One JSON value and a newline on stdout. To be called once, at the end, when nothing can fail any more.
void print_json(const Json& value);

/// Text on stdout. Failure when stdout takes no more (a full disk).
void print(std::string_view text);

/// How a table gives way to a terminal that is narrower than it.
struct TableFit {
  std::optional<size_t> width = terminal_width(1);  ///< columns; none: as wide as it is
  std::vector<std::string> minor = {};              ///< headers of the columns that may go, the first one first
  std::vector<std::string> keep = {};               ///< headers of the columns that stay, whatever they hold
  std::string whole = {};                           ///< where all of it stands; "": a pipe
};
/// The columns of a table, two spaces apart; a column of numbers is aligned to the right. Where it is wider than the
/// terminal, columns with the same text in every row move into a line below it, then the minor ones are left out, which
/// a line below it says. What is still too wide in its last column is wrapped there.
std::string text_table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows,
                       TableFit fit = {});

/// The text in lines of at most `width` columns, broken at spaces, each but the first with `indent` spaces before it;
/// with a newline at the end. A word that is longer stays whole.
std::string wrapped(std::string_view text, size_t width, size_t indent = 0);

}  // namespace tidepool
