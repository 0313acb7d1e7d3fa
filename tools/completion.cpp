// tidepool completion: what bash, zsh and fish need to complete a command line, from the table of commands.
#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "core/error.h"
#include "core/key_values.h"
#include "data/dataset.h"
#include "layers/pool/operator.h"
#include "tools/command.h"
#include "train/config.h"
#include "train/table_file.h"

namespace tidepool {
namespace {

/// What may stand at a place of a command line.
struct Values {
  std::vector<std::string> words = {};
  enum class Paths { none, folders, files } paths = Paths::none;  ///< offered beside the words
  auto operator<=>(const Values&) const = default;
};

std::vector<std::string> operator_names() {
  std::vector<std::string> names;
  for (const PoolDescription* d : pool_operators()) names.push_back(d->name);
  return names;
}

// Every key that stands in a config under this very name: not those of a slot or a group, whose path says which.
std::vector<std::string> key_paths(const std::string& suffix) {
  std::set<std::string> paths;
  for (const KeyRow& row : key_rows(config_keys()))
    if (std::none_of(row.path.begin(), row.path.end(), [](char c) { return c >= 'A' && c <= 'Z'; }))
      paths.insert(row.path + suffix);
  return {paths.begin(), paths.end()};
}

// By what the help calls a value. A name that is not here has any text.
Values values_named(const std::string& name) {
  using enum Values::Paths;
  static const std::map<std::string, std::function<Values()>> kNamed = {
      {"CONFIG",
       [] {
         return Values{embedded_configs(), files};
       }},
      {"CONFIG_OR_RUN",
       [] {
         return Values{embedded_configs(), files};
       }},
      {"DATA_SET", [] { return Values{dataset_names()}; }},
      {"DIR",
       [] {
         return Values{{}, folders};
       }},
      {"FILE",
       [] {
         return Values{{}, files};
       }},
      {"IMAGE",
       [] {
         return Values{{}, files};
       }},
      {"KEY", [] { return Values{key_paths("")}; }},
      {"KEY=VALUE", [] { return Values{key_paths("=")}; }},
      {"NAME[,NAME...]", [] { return Values{operator_names()}; }},
      {"PATH",
       [] {
         return Values{{}, files};
       }},
      {"RUN",
       [] {
         return Values{{}, files};
       }},
      {"RUN_OR_CHECKPOINT",
       [] {
         return Values{{}, files};
       }},
      {"TABLE",
       [] {
         return Values{table_names(), files};
       }},
  };
  const auto it = kNamed.find(name);
  return it == kNamed.end() ? Values{} : it->second();
}

Values values_of(const Option& option) {
  return option.choices.empty() ? values_named(option.value) : Values{option.choices};
}

struct Argument {
  std::string name;  // "RUN" of "[RUN...]"
  bool optional = false, repeated = false;
  Values values;
};

std::vector<Argument> arguments_of(const Command& command) {
  std::vector<Argument> arguments;
  for (const std::string& text : command.arguments) {
    Argument a{.name = text, .optional = text.starts_with('['), .values = {}};
    if (a.optional) a.name = a.name.substr(1, a.name.size() - 2);
    if (a.name.ends_with("...")) {
      a.repeated = true;
      a.name.resize(a.name.size() - 3);
    }
    if (a.name.find('|') != std::string::npos) {  // the words themselves: "info|preview|fetch"
      for (size_t at = 0; at <= a.name.size();) {
        const size_t end = std::min(a.name.find('|', at), a.name.size());
        a.values.words.push_back(a.name.substr(at, end - at));
        at = end + 1;
      }
    } else {
      a.values = a.name == "NAME" ? Values{operator_names()} : values_named(a.name);
    }
    arguments.push_back(std::move(a));
  }
  return arguments;
}

std::vector<Option> options_of(const Command& command) {
  std::vector<Option> options = command.options;
  options.push_back(help_option());
  return options;
}

std::string in_quotes(const std::string& text) {  // of bash and zsh
  std::string out = "'";
  for (char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::string in_fish_quotes(const std::string& text) {
  std::string out = "'";
  for (char c : text) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c;
  }
  return out + "'";
}

std::string joined(const std::vector<std::string>& words) {
  return fmt::format("{}", fmt::join(words, " "));
}

// ---- bash

constexpr const char* kBashFrame = R"bash(_tidepool() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]}
  local words='' paths='' options='' last=-1 place=0 i
  COMPREPLY=()
  if [ "$COMP_CWORD" -le 1 ]; then
    COMPREPLY=($(compgen -W "$_tidepool_commands" -- "$word"))
    return
  fi
  _tidepool_command "$command"
  # bash makes a word of its own of the = in --name=value.
  if [ "$word" = = ]; then
    word=''
    _tidepool_has_value "$command $before" || return
  elif [ "$before" = = ]; then
    before=${COMP_WORDS[COMP_CWORD-2]}
    _tidepool_has_value "$command $before" || return
  fi
  if _tidepool_has_value "$command $before"; then
    _tidepool_values "$command $before"
  elif [[ $word == -* ]]; then
    words=$options
  else
    for ((i = 2; i < COMP_CWORD; ++i)); do
      if [ "${COMP_WORDS[i]}" = = ]; then
        ((++i))
      elif _tidepool_has_value "$command ${COMP_WORDS[i]}"; then
        [ "${COMP_WORDS[i+1]}" != = ] || ((++i))
        ((++i))
      elif [[ ${COMP_WORDS[i]} != -* ]]; then
        ((++place))
      fi
    done
    [ "$last" -lt 0 ] || [ "$place" -le "$last" ] || place=$last
    _tidepool_values "$command $place"
  fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
  [[ $words != *= ]] || compopt -o nospace
  if [ -n "$paths" ]; then
    compopt -o filenames
    while IFS= read -r i; do COMPREPLY+=("$i"); done < <(compgen "$paths" -- "$word")
  fi
}
complete -F _tidepool tidepool
)bash";

std::string bash() {
  std::vector<std::string> names, with_value;
  std::map<Values, std::vector<std::string>> places;  // "train --device", "table 0"
  std::string cases;
  const auto add = [&](const Values& values, const std::string& place) {
    if (values != Values{}) places[values].push_back(place);
  };
  for (const auto& [name, command] : commands()) {
    names.push_back(name);
    std::vector<std::string> options;
    for (const Option& option : options_of(command)) {
      options.push_back("--" + option.name);
      if (option.value.empty()) continue;
      const std::string place = fmt::format("{} --{}", name, option.name);
      with_value.push_back(in_quotes(place));
      add(values_of(option), place);
    }
    const std::vector<Argument> arguments = arguments_of(command);
    for (size_t i = 0; i < arguments.size(); ++i) add(arguments[i].values, fmt::format("{} {}", name, i));
    cases += fmt::format("    {}) options={}", name, in_quotes(joined(options)));
    if (!arguments.empty() && arguments.back().repeated) cases += fmt::format(" last={}", arguments.size() - 1);
    cases += " ;;\n";
  }
  std::string text = "# Completion of tidepool for bash. Written by `tidepool completion bash`.\n";
  text += fmt::format("_tidepool_commands={}\n", in_quotes(joined(names)));
  text += fmt::format("_tidepool_command() {{\n  case $1 in\n{}  esac\n}}\n", cases);
  text += fmt::format("_tidepool_has_value() {{\n  case $1 in\n    {}) return 0 ;;\n  esac\n  return 1\n}}\n",
                      fmt::join(with_value, " | "));
  text += "_tidepool_values() {\n  case $1 in\n";
  for (const auto& [values, at] : places) {
    std::vector<std::string> patterns;
    for (const std::string& place : at) patterns.push_back(in_quotes(place));
    text += fmt::format("    {})", fmt::join(patterns, " | "));
    if (!values.words.empty()) text += fmt::format(" words={}", in_quotes(joined(values.words)));
    if (values.paths != Values::Paths::none) text += values.paths == Values::Paths::files ? " paths=-f" : " paths=-d";
    text += " ;;\n";
  }
  return text + "  esac\n}\n" + kBashFrame;
}

// ---- zsh

std::string zsh_action(const Values& values) {
  const bool keys = !values.words.empty() && values.words.front().ends_with('=');
  std::vector<std::string> parts;
  if (!values.words.empty())
    parts.push_back(fmt::format("compadd {}-- {}", keys ? "-S \"\" " : "", joined(values.words)));
  if (values.paths == Values::Paths::files) parts.push_back("_files");
  if (values.paths == Values::Paths::folders) parts.push_back("_files -/");
  return parts.empty() ? " " : fmt::format("{{{}}}", fmt::join(parts, "; "));
}

std::string zsh_escaped(const std::string& text, const std::string& special) {
  std::string out;
  for (char c : text) {
    if (special.find(c) != std::string::npos) out += '\\';
    out += c;
  }
  return out;
}

std::string zsh() {
  std::string text =
      "#compdef tidepool\n# Completion of tidepool for zsh. Written by `tidepool completion zsh`.\n_tidepool() {\n"
      "  if (( CURRENT == 2 )); then\n    local -a commands=(\n";
  for (const auto& [name, command] : commands())
    text += fmt::format("      {}\n", in_quotes(name + ":" + zsh_escaped(command.help, ":\\")));
  text +=
      "    )\n    _describe command commands\n    return\n  fi\n"
      "  local command=$words[2]\n  shift words\n  (( CURRENT-- ))\n  case $command in\n";
  for (const auto& [name, command] : commands()) {
    text += fmt::format("    {}) _arguments", name);
    for (const Option& option : options_of(command)) {
      std::string spec = fmt::format("{}--{}{}[{}]", option.repeated ? "*" : "", option.name,
                                     option.value.empty() ? "" : "=", zsh_escaped(full_help_of(option), ":[]\\"));
      if (!option.value.empty())
        spec += fmt::format(":{}:{}", zsh_escaped(option.value, ":\\"), zsh_action(values_of(option)));
      text += " \\\n      " + in_quotes(spec);
    }
    const std::vector<Argument> arguments = arguments_of(command);
    for (size_t i = 0; i < arguments.size(); ++i) {
      const Argument& a = arguments[i];
      text +=
          " \\\n      " + in_quotes(fmt::format("{}{}{}:{}", a.repeated ? "*" : std::to_string(i + 1),
                                                a.optional && !a.repeated ? "::" : ":", a.name, zsh_action(a.values)));
    }
    text += " ;;\n";
  }
  return text +
         "  esac\n}\nif [[ $funcstack[1] = _tidepool ]]; then _tidepool \"$@\"; else compdef _tidepool tidepool; fi\n";
}

// ---- fish

std::string fish_values(const Values& values, bool option) {
  std::string text;
  if (!values.words.empty()) text += " -a " + in_fish_quotes(joined(values.words));
  if (values.paths == Values::Paths::files) return (option ? " -r -F" : " -F") + text;
  if (values.paths == Values::Paths::folders) text += " -a '(__fish_complete_directories)'";
  return (option ? " -x" : "") + text;
}

std::string fish() {
  std::string text =
      "# Completion of tidepool for fish. Written by `tidepool completion fish`.\n"
      "function __tidepool_command\n  set -l words (commandline -opc)\n"
      "  test (count $words) -ge 2; and test $words[2] = $argv[1]\nend\n"
      "complete -c tidepool -f\n";
  for (const auto& [name, command] : commands())
    text += fmt::format("complete -c tidepool -n 'test (count (commandline -opc)) -eq 1' -a {} -d {}\n", name,
                        in_fish_quotes(command.help));
  for (const auto& [name, command] : commands()) {
    const std::string call = fmt::format("complete -c tidepool -n '__tidepool_command {}'", name);
    for (const Argument& a : arguments_of(command))
      if (a.values != Values{})
        text += fmt::format("{}{} -d {}\n", call, fish_values(a.values, false), in_fish_quotes(a.name));
    for (const Option& option : options_of(command))
      text += fmt::format("{} -l {}{} -d {}\n", call, option.name,
                          option.value.empty() ? "" : fish_values(values_of(option), true),
                          in_fish_quotes(full_help_of(option)));
  }
  return text;
}

int run(const Call& call) {
  static const std::map<std::string, std::string (*)()> kShells = {{"bash", bash}, {"fish", fish}, {"zsh", zsh}};
  const auto it = kShells.find(call.argument());
  if (it == kShells.end()) throw Error("expected one of bash, zsh, fish, got '{}'", call.argument());
  print(it->second());
  return 0;
}

const Registered registered(
    {.name = "completion",
     .help = "prints what a shell needs to complete tidepool's command lines",
     .arguments = {"bash|zsh|fish"},
     .details = "Commands, options, their values where they are few, configs, tables, operators, data sets and keys.\n"
                "  bash: source <(tidepool completion bash)\n"
                "  zsh:  source <(tidepool completion zsh), after compinit\n"
                "  fish: tidepool completion fish | source\n\n"
                "`cmake --install` and the Debian package put all three where the shells look for them.",
     .run = run});

}  // namespace
}  // namespace tidepool
