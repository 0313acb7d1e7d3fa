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

size_t terminal_width() {
  winsize size = {};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

// Writes log lines to stderr; a bar steps aside.
class StderrSink : public spdlog::sinks::base_sink<std::mutex> {
 protected:
  void sink_it_(const spdlog::details::log_msg& message) override;
  void flush_() override { std::fflush(stderr); }
};

}  // namespace

void erase_bar() {
  if (newest) newest->erase();
}
void draw_bar() {
  if (newest && newest->drawn_) newest->draw();
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

void Progress::update(int64_t done, std::string_view note) {
  done_ = done;
  note_ = note;
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
  std::string tail = amount(static_cast<double>(done_));
  if (total_ > 0) tail += " of " + amount(static_cast<double>(total_));
  if (kind_ == Unit::kCount && !unit_.empty()) tail += " " + unit_;
  if (done_ > 0) {
    tail += kind_ == Unit::kBytes ? fmt::format(", {}/s", bytes_text(rate))
                                  : fmt::format(", {:.{}f}/s", rate, rate < 10 ? 1 : 0);
    if (ended_)
      tail += ", took " + duration_text(elapsed);
    else if (total_ > done_ && rate > 0)
      tail += ", " + duration_text(static_cast<double>(total_ - done_) / rate) + " left";
  }
  if (!note_.empty()) tail += ", " + note_;
  std::string text = what_ + " ";
  if (total_ > 0) {
    const double share = std::clamp(static_cast<double>(done_) / static_cast<double>(total_), 0.0, 1.0);
    const size_t used = what_.size() + tail.size() + 10;
    if (terminal_ && width > used + 10) {
      const size_t cells = std::min<size_t>(30, width - used);
      const auto full = static_cast<size_t>(share * static_cast<double>(cells));
      text += fmt::format("[{}{}] ", std::string(full, '#'), std::string(cells - full, '.'));
    }
    text += fmt::format("{:3.0f}% ", std::floor(100 * share));
  }
  text += tail;
  if (terminal_ && text.size() >= width) text.resize(width - 1);
  return text;
}

void Progress::draw() {
  if (terminal_)
    fmt::print(stderr, "\r\x1b[K{}", line(terminal_width()));
  else
    fmt::print(stderr, "{}\n", line(200));
  std::fflush(stderr);
  drawn_ = terminal_;
}

void Progress::erase() {
  if (drawn_) fmt::print(stderr, "\r\x1b[K");
}

void Progress::finish() {
  if (ended_) return;
  ended_ = true;
  const double elapsed = std::chrono::duration<double>(Clock::now() - begin_).count();
  if (terminal_ ? drawn_ : done_ > 0 && elapsed >= 1.0) draw();
  if (drawn_) fmt::print(stderr, "\n");
  drawn_ = false;
}

void Progress::abandon() {
  if (ended_) return;
  erase();
  ended_ = true;
  drawn_ = false;
}

}  // namespace tidepool
