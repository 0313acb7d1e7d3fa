#include "tools/progress.h"

#include <fmt/format.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <memory>
#include <mutex>
#include <utility>

namespace tidepool {
namespace {

constexpr std::chrono::milliseconds kRedraw{100};
constexpr std::chrono::seconds kLine{10};

Progress* newest = nullptr;

// Writes log lines to stderr; a bar steps aside.
class StderrSink : public spdlog::sinks::base_sink<std::mutex> {
 protected:
  void sink_it_(const spdlog::details::log_msg& message) override;
  void flush_() override { std::fflush(stderr); }
};

// Where a UTF-8 character ends that begins at `i`.
size_t next_character(std::string_view text, size_t i) {
  for (++i; i < text.size() && (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80;) ++i;
  return i;
}

// Two columns for what may take two (East Asian characters, pictures begin with U+1100): too many at times, never too
// few.
size_t columns_at(std::string_view text, size_t i) {
  const auto first = static_cast<unsigned char>(text[i]);
  const auto second = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0;
  return first > 0xE1 || (first == 0xE1 && second >= 0x84) ? 2 : 1;
}

}  // namespace

std::optional<size_t> terminal_width(int descriptor) {
  if (isatty(descriptor) == 0) return std::nullopt;
  winsize size = {};
  return ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

size_t text_width(std::string_view text) {
  size_t columns = 0;
  for (size_t i = 0; i < text.size(); i = next_character(text, i)) columns += columns_at(text, i);
  return columns;
}

std::string shortened(std::string_view text, size_t width) {
  if (text_width(text) <= width) return std::string(text);
  constexpr size_t kDots = 3;
  if (width <= kDots) return "";
  size_t columns = 0, i = 0;
  for (; columns + columns_at(text, i) <= width - kDots; i = next_character(text, i)) columns += columns_at(text, i);
  return std::string(text.substr(0, i)) + "...";
}

std::string fitted_line(const std::vector<std::string>& parts, std::string_view between, std::optional<size_t> width) {
  std::string line;
  for (const std::string& part : parts) {
    if (!line.empty() && width && text_width(line) + between.size() + text_width(part) > *width) break;
    line.append(line.empty() ? "" : between).append(part);
  }
  return line;
}

void erase_bar() {
  if (newest) newest->erase();
}
void draw_bar() {
  if (newest && newest->drawn_) newest->draw();
}

void say(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

void print_progress_line(std::string_view line) {
  erase_bar();
  say(fmt::format("{}\n", line));
  draw_bar();
}

namespace {

void StderrSink::sink_it_(const spdlog::details::log_msg& message) {
  spdlog::memory_buf_t text;
  formatter_->format(message, text);
  erase_bar();
  std::fwrite(text.data(), 1, text.size(), stderr);
  draw_bar();
}

}  // namespace

void log_to_stderr() {
  auto logger = std::make_shared<spdlog::logger>("tidepool", std::make_shared<StderrSink>());
  logger->set_pattern("%H:%M:%S %l: %v");
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
}

std::string duration_text(double seconds) {
  const auto s = static_cast<int64_t>(std::ceil(std::max(0.0, std::min(seconds, 1e9))));
  if (s < 60) return fmt::format("{} s", s);
  if (s < 3600) return fmt::format("{} min {} s", s / 60, s % 60);
  return fmt::format("{} h {} min", s / 3600, s % 3600 / 60);
}

std::string bytes_text(double bytes) {
  constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  int unit = 0;
  while (bytes >= 1000 && unit < 4) {
    bytes /= 1000;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.1f} {}", bytes, kUnits[unit]);
}

Progress::Progress(std::string what, int64_t total, std::string unit, Unit kind)
    : what_(std::move(what)),
      unit_(std::move(unit)),
      total_(total),
      kind_(kind),
      terminal_(isatty(STDERR_FILENO) != 0),
      begin_(Clock::now()),
      last_draw_(terminal_ ? begin_ - kRedraw : begin_),
      last_mark_(begin_),
      outer_(std::exchange(newest, this)),
      exceptions_(std::uncaught_exceptions()) {
  if (outer_) outer_->erase();
}

Progress::~Progress() {
  if (std::uncaught_exceptions() > exceptions_)
    abandon();  // the error has the last word
  else
    finish();
  newest = outer_;
}

void Progress::update(int64_t done, std::vector<std::string> notes) {
  done_ = done;
  notes_ = std::move(notes);
  const Clock::time_point now = Clock::now();
  const double since = std::chrono::duration<double>(now - last_mark_).count();
  if (since >= 0.5) {
    const double rate = static_cast<double>(done_ - mark_) / since;
    const double weight = rate_ == 0 ? 1.0 : 1.0 - std::exp(-since / 10.0);
    rate_ += weight * (rate - rate_);
    mark_ = done_;
    last_mark_ = now;
  }
  if (ended_ || now - last_draw_ < (terminal_ ? Clock::duration(kRedraw) : Clock::duration(kLine))) return;
  last_draw_ = now;
  draw();
}

std::string Progress::line(size_t width) const {
  const auto amount = [&](double n) { return kind_ == Unit::kBytes ? bytes_text(n) : fmt::format("{:.0f}", n); };
  const double elapsed = std::chrono::duration<double>(Clock::now() - begin_).count();
  const double rate = ended_ || rate_ == 0 ? static_cast<double>(done_ - start_) / std::max(elapsed, 1e-9) : rate_;
  std::string count = amount(static_cast<double>(done_)), speed, left;
  if (total_ > 0) count += " of " + amount(static_cast<double>(total_));
  if (kind_ == Unit::kCount && !unit_.empty()) count += " " + unit_;
  if (done_ > 0) {
    speed = kind_ == Unit::kBytes ? fmt::format("{}/s", bytes_text(rate))
                                  : fmt::format("{:.{}f} {}/s", rate, rate < 10 ? 1 : 0, unit_);
    if (ended_)
      left = "took " + duration_text(elapsed);
    else if (total_ > done_ && rate > 0)
      left = duration_text(static_cast<double>(total_ - done_) / rate) + " left";
  }
  const double share =
      total_ > 0 ? std::clamp(static_cast<double>(done_) / static_cast<double>(total_), 0.0, 1.0) : 0.0;

  struct Shown {
    size_t what, notes;
    bool count = true, speed = true, left = true;
  };
  // The line, its bar as long as there is room for; none where it does not fit the terminal.
  const auto made = [&](const Shown& shown, bool bar) -> std::optional<std::string> {
    std::vector<std::string> parts(notes_.begin(),
                                   notes_.begin() + static_cast<std::ptrdiff_t>(std::min(shown.notes, notes_.size())));
    for (const auto& [wanted, part] : {std::pair(shown.left, left), {shown.speed, speed}, {shown.count, count}})
      if (wanted && !part.empty()) parts.push_back(part);
    std::string before = shortened(what_, shown.what), after;
    if (!before.empty()) before += ' ';
    if (total_ > 0) after = fmt::format("{:3.0f}% ", std::floor(100 * share));
    after += fmt::format("{}", fmt::join(parts, ", "));
    const size_t used = text_width(before) + text_width(after);
    if (!terminal_ || total_ == 0 || !bar) {
      if (terminal_ && used >= width) return std::nullopt;
      return before + after;
    }
    constexpr size_t kLeast = 10, kMost = 30, kFrame = 3;  // cells, and "[] "
    if (used + kFrame + kLeast >= width) return std::nullopt;
    const size_t cells = std::min(kMost, width - 1 - used - kFrame);
    const auto full = static_cast<size_t>(share * static_cast<double>(cells));
    return fmt::format("{}[{}{}] {}", before, std::string(full, '#'), std::string(cells - full, '.'), after);
  };
  Shown shown{.what = std::string::npos, .notes = notes_.size()};
  if (const auto all = made(shown, true)) return *all;
  if (!notes_.empty()) {
    shown.count = false;
    if (const auto line = made(shown, true)) return *line;
    shown.notes = 3;
    if (const auto line = made(shown, true)) return *line;
    shown.speed = false;
    if (const auto line = made(shown, true)) return *line;
    shown.notes = 2;
  }
  for (const bool with_left : {true, false}) {
    shown.left = with_left;
    for (const size_t columns : {48, 32, 24, 16, 12}) {
      shown.what = columns;
      if (const auto line = made(shown, true)) return *line;
    }
  }
  shown.count = shown.speed = false;
  for (const size_t notes : {2, 1, 0}) {
    shown.notes = notes;
    for (const bool bar : {true, false})
      if (const auto line = made(shown, bar)) return *line;
  }
  shown.what = 0;
  return made(shown, false).value_or("");
}

void Progress::draw() {
  if (terminal_)
    say(fmt::format("\r\x1b[K{}", line(terminal_width(STDERR_FILENO).value_or(80))));
  else
    say(fmt::format("{}\n", line(200)));
  drawn_ = terminal_;
}

void Progress::erase() {
  if (drawn_) say("\r\x1b[K");
}

void Progress::finish() {
  if (ended_) return;
  ended_ = true;
  const double elapsed = std::chrono::duration<double>(Clock::now() - begin_).count();
  if (terminal_ ? drawn_ : done_ > 0 && elapsed >= 1.0) draw();
  if (drawn_) say("\n");
  drawn_ = false;
}

void Progress::abandon() {
  if (ended_) return;
  erase();
  ended_ = true;
  drawn_ = false;
}

}  // namespace tidepool
