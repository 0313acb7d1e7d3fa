// tidepool man: the manual page, from the table of commands.
#include <algorithm>
#include <string>
#include <string_view>

#include "core/version.h"
#include "tools/command.h"

namespace tidepool {
namespace {

// Text as roff takes it: nothing in it is a request or an escape, and dashes, quotes and carets are those typed in a
// shell.
std::string roff(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool first = i == 0 || text[i - 1] == '\n';
    switch (text[i]) {
      case '\\':
        out += "\\e";
        break;
      case '-':
        out += "\\-";
        break;
      case '^':
        out += "\\(ha";
        break;
      case '~':
        out += "\\(ti";
        break;
      case '`':
        out += "\\(ga";
        break;
      case '\'':
        out += "\\(aq";
        break;
      case '.':
        out += first ? "\\&." : ".";
        break;
      default:
        out += text[i];
    }
  }
  return out;
}

// Lines that run on to the end of a sentence at a line's end, and indented ones by themselves; an empty one divides
// paragraphs.
std::string paragraphs(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    out += (line.empty() ? ".PP" : roff(line)) + "\n";
    if (line.ends_with('.') && end + 1 < text.size() && text[end + 1] != '\n') out += ".br\n";
    at = end + 1;
  }
  return out;
}

// Lines that stand as they are.
std::string as_it_is(const std::string& text) {
  return ".PP\n.nf\n" + roff(text) + (text.ends_with('\n') ? "" : "\n") + ".fi\n";
}

std::string section_of(const Command& command) {
  std::string text = fmt::format(".SS tidepool {}\n.B tidepool {}\n[options]\n.PP\n{}", roff(command.name),
                                 roff(usage_of(command)), paragraphs(command.help + "."));
  if (!command.details.empty()) text += ".PP\n" + paragraphs(command.details);
  if (command.list) text += as_it_is(command.list());
  for (const Option& option : command.options)
    text += fmt::format(".TP\n.B {}\n{}", roff(shown(option)), paragraphs(full_help_of(option) + "."));
  return text;
}

int run(const Call&) {
  std::string text = fmt::format(
      ".\\\" Written by `tidepool man`.\n.TH TIDEPOOL 1 \"\" \"tidepool {}\" \"User Commands\"\n"
      ".SH NAME\ntidepool \\- a deep\\-learning framework for research on pooling\n"
      ".SH SYNOPSIS\n.B tidepool\n.I COMMAND\n[arguments] [options]\n.br\n.B tidepool\n.I COMMAND\n.B \\-\\-help\n.br\n"
      ".B tidepool \\-\\-version\n.SH DESCRIPTION\n",
      kVersion);
  text += paragraphs(
      "Trains networks with pooling operators of every kind, among them those that learn the sizes of their maps, from "
      "configs in JSON, and prints tables that compare them.\n"
      "Progress and errors go to stderr; with --json a command prints one JSON value on stdout.\n");
  text += ".SH COMMANDS\n";
  for (const auto& [name, command] : commands()) text += section_of(command);
  text += ".SH EXIT STATUS\n";
  for (const auto& [status, meaning] : {std::pair("0", "Done."),
                                        {"1", "The work failed."},
                                        {"2", "The request was wrong: one line on stderr says what, and where."},
                                        {"130, 143", "Interrupted: the step was finished and a checkpoint saved."}})
    text += fmt::format(".TP\n.B {}\n{}", status, paragraphs(meaning));
  text += ".SH ENVIRONMENT\n.TP\n.B TIDEPOOL_DATA\n" +
          paragraphs("Folder of data sets, where neither --data nor data.root of a config names one.");
  text += ".SH FILES\n.TP\n.B \\(ti/.cache/tidepool\n" + paragraphs("Folder of data sets where nothing names one.");
  text += ".TP\n.B runs/NAME\n" +
          paragraphs("A run: config.json, log.jsonl, shapes.csv, last.safetensors, best.safetensors, result.json.");
  print(text);
  return 0;
}

const Registered registered({.name = "man",
                             .help = "prints the manual page, as roff",
                             .details = "tidepool man | man -l -   shows it.",
                             .run = run});

}  // namespace
}  // namespace tidepool
