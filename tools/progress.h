// Progress on stderr: a bar with rate and time left on a terminal, a line now and then in a pipe.
#pragma once
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tidepool {

/// Log lines (spdlog) go to stderr, and past a bar that is being drawn.
void log_to_stderr();

/// Columns of the terminal behind `descriptor` (1: stdout); none where it is no terminal.
std::optional<size_t> terminal_width(int descriptor);

/// Columns that a terminal gives to UTF-8 text.
size_t text_width(std::string_view text);
/// The text, or its beginning and "..." where it takes more than `width` columns.
std::string shortened(std::string_view text, size_t width);
/// The parts of a line with `between` between them; on a terminal of `width` columns without those at the end that do
/// not fit. The first is always there.
std::string fitted_line(const std::vector<std::string>& parts, std::string_view between, std::optional<size_t> width);

/// Text on stderr. Where it cannot be written (the log's disk is full, the terminal is gone) the work goes on.
void say(std::string_view text);
/// One line on stderr, past a bar that is being drawn.
void print_progress_line(std::string_view line);

/// One thing in progress. Not thread-safe; one at a time is drawn (the newest).
class Progress {
 public:
  enum class Unit { kCount, kBytes };

  /// `what` names the work ("epoch 3 of 6"), `unit` what is counted ("images"; ignored for bytes). total 0: not known.
  explicit Progress(std::string what, int64_t total = 0, std::string unit = "", Unit kind = Unit::kCount);
  /// Ends the bar's line; removes it when an exception ends the work.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `notes` stand behind the bar ("loss 2.31"), the most important first. Draws at most ten times per second (in a
  /// pipe: every ten seconds). Where the line is too long for the terminal these give way, in this order: the count
  /// (where there are notes), the notes after the third, the rate, the third note, the end of `what`, the time left,
  /// the bar.
  void update(int64_t done, std::vector<std::string> notes = {});
  void set_total(int64_t total) { total_ = total; }
  /// What was done before this began (a resumed run): no part of the rate.
  void set_start(int64_t done) { start_ = mark_ = done; }
  void set_what(std::string what) { what_ = std::move(what); }
  /// Draws the last state and ends the line; later calls do nothing.
  void finish();
  /// Removes the bar from the terminal without a trace.
  void abandon();

 private:
  friend void erase_bar();
  friend void draw_bar();
  using Clock = std::chrono::steady_clock;
  std::string line(size_t width) const;
  void draw();
  void erase();

  std::string what_, unit_;
  std::vector<std::string> notes_;
  int64_t total_, done_ = 0;
  Unit kind_;
  bool terminal_, ended_ = false, drawn_ = false;
  Clock::time_point begin_, last_draw_, last_mark_;
  int64_t start_ = 0, mark_ = 0;
  double rate_ = 0;  // a second, smoothed over some ten seconds
  Progress* outer_;
  int exceptions_;  // in flight when it began
};

/// "3 s", "4 min 10 s", "2 h 5 min".
std::string duration_text(double seconds);
/// "12.3 MB" (1 MB = 1e6 bytes).
std::string bytes_text(double bytes);

}  // namespace tidepool
