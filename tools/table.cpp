// tidepool table: runs what a table needs and is not there yet, and writes the table.
#include <fcntl.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/atomic_file.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/version.h"
#include "data/dataset.h"
#include "tools/command.h"
#include "tools/data_root.h"
#include "tools/progress.h"
#include "tools/run_config.h"
#include "tools/signals.h"
#include "tools/table_measure.h"
#include "train/experiments.h"
#include "train/image_fidelity.h"
#include "train/report.h"
#include "train/table_file.h"

namespace tidepool {
namespace {

namespace fs = std::filesystem;

// Where the files of a plan's data sets are, and what the caption says of them.
struct Images {
  std::map<std::pair<std::string, std::string>, fs::path> roots;  // by data.name and data.root
  std::string data, places;

  // None: of no run that is selected.
  const fs::path* find(const DataConfig& config) const {
    const auto found = roots.find({config.name, config.root});
    return found == roots.end() ? nullptr : &found->second;
  }
  const fs::path& root(const Config& config) const { return *find(config.data); }
};

Images find_images(const Call& call, const TablePlan& plan, bool replaced) {
  const std::string option = call.given("data") ? call.path("data").string() : "";
  Images images;
  std::vector<std::string> said;
  for (const PlannedRun& run : plan.runs) {
    const DataConfig& data = run.config.data;
    if (!run.selected || images.find(data)) continue;
    std::string text = data.name;
    if (data.name == "cifar100") text = "CIFAR-100, the real images";
    if (data.name == "procedural")
      text =
          fmt::format("procedural images ({} classes, made from seed {}){}", dataset_format("procedural", {}).classes,
                      data.seed, replaced ? ", because CIFAR-100 was not found" : "");
    fs::path& root = images.roots[{data.name, data.root}];
    if (const auto location = find_data(data.name, option, data.root)) {
      root = location->folder;
      images.places += fmt::format(", {} ({})", root.string(), location->said_by);
    } else {
      root = require_data(data.name, option, data.root);
    }
    if (std::find(said.begin(), said.end(), text) == said.end()) said.push_back(text);
  }
  images.data = fmt::format("{}", fmt::join(said, "; "));
  return images;
}

// The plan of a call. CIFAR-100 is replaced by procedural images where it is not found, unless --set names a data set
// or its folder.
struct Request {
  TablePlan plan;
  Images images;
};

std::vector<std::string> column_list(const Call& call) {
  std::vector<std::string> columns;
  const std::string& text = call.text("columns");
  if (call.given("columns") && text.empty()) throw Error("--columns: expected names of columns, got nothing");
  for (size_t begin = 0; call.given("columns") && begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    columns.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return columns;
}

Request make_request(const Call& call) {
  const TableFile table = load_table(call.argument());
  const Scale& scale = find_scale(call.text("scale"));
  PlanOptions options{.scale = scale.name,
                      .seeds = call.given("seeds") ? call.integer("seeds", 1, 10000) : scale.seeds,
                      .first_seed = call.integer("first-seed", 0, int64_t{1} << 32),
                      .only = call.text("only"),
                      .data_set = {},
                      .sets = call.texts("set"),
                      .out = call.given("out") ? call.path("out") : fs::path(),
                      .columns = column_list(call)};
  if (call.given("only") && options.only.empty()) throw Error("--only: expected a pattern, got nothing");
  TablePlan plan = make_plan(table, options);
  const bool decided = std::any_of(options.sets.begin(), options.sets.end(), [](const std::string& set) {
    return set.starts_with("data.name=") || set.starts_with("data.root=");
  });
  const bool asks = std::any_of(plan.runs.begin(), plan.runs.end(), [](const PlannedRun& run) {
    return run.selected && run.config.data.name == "cifar100";
  });
  const std::string option = call.given("data") ? call.path("data").string() : "";
  const bool replaced =
      asks && !decided && std::none_of(plan.runs.begin(), plan.runs.end(), [&](const PlannedRun& run) {
        return run.selected && run.config.data.name == "cifar100" &&
               find_data("cifar100", option, run.config.data.root);
      });
  if (replaced) options.data_set = "procedural";
  const auto first =
      std::find_if(plan.runs.begin(), plan.runs.end(), [](const PlannedRun& run) { return run.selected; });
  const std::string data_set = replaced ? options.data_set : first->config.data.name;
  if (options.out.empty()) options.out = fs::path("runs") / fmt::format("{}-{}-{}", table.stem(), scale.name, data_set);
  plan = make_plan(table, options);
  Images images = find_images(call, plan, replaced);
  std::map<std::string, int64_t> counted;
  options.count = [&](const DataConfig& data) -> int64_t {
    const fs::path* root = images.find(data);
    if (!root) return 0;
    const DatasetOptions split = dataset_options(data, *root, Split::kTrain);
    const auto [found, fresh] =
        counted.try_emplace(fmt::format("{}\n{}\n{}", data.name, root->string(), split.train_list.value_or("")));
    if (fresh) found->second = open_dataset(data.name, split)->size();
    return found->second;
  };
  plan = make_plan(table, options);  // once more, with the numbers of images that only files know
  plan.options.count = {};           // what it counts with ends here
  for (PlannedRun& run : plan.runs) run.config.model.init = expand_home(run.config.model.init).string();
  return {.plan = std::move(plan), .images = std::move(images)};
}

// The call as a shell reads it; `whole` false: without what names a place on this machine.
std::string command_text(const Call& call, bool whole) {
  const auto names_place = [](const std::string& text) { return text.find('/') != std::string::npos; };
  const std::string& table = call.argument();
  std::vector<std::string> words{"tidepool", "table", whole ? table : fs::path(table).filename().string()};
  for (const char* option : {"scale", "seeds", "first-seed", "only", "columns", "jobs", "data", "out"}) {
    const bool place = std::string_view(option) == "data" || std::string_view(option) == "out";
    if ((call.given(option) || std::string_view(option) == "scale") && (whole || !place))
      words.insert(words.end(), {fmt::format("--{}", option), call.text(option)});
  }
  for (const std::string& set : call.texts("set"))
    if (whole || !names_place(set)) words.insert(words.end(), {"--set", set});
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + shell_word(word);
  return text;
}

std::vector<std::string> command_line(const Call& call) {
  std::vector<std::string> words{"tidepool", "table", call.argument()};
  for (const char* option : {"scale", "seeds", "first-seed", "only", "columns", "jobs", "data", "out"})
    if (call.given(option) || std::string_view(option) == "scale")
      words.insert(words.end(), {fmt::format("--{}", option), call.text(option)});
  for (const std::string& set : call.texts("set")) words.insert(words.end(), {"--set", set});
  return words;
}

std::string last_line(const fs::path& file) {
  std::ifstream in(file);
  std::string last;
  for (std::string line; std::getline(in, line);) {
    const size_t bar = line.rfind('\r');  // a bar that was drawn over
    if (bar != std::string::npos) line.erase(0, bar + 1);
    if (line.find_first_not_of(" \t") != std::string::npos) last = line;
  }
  return last;
}

// Where a run of another process stands: the last whole line of its log that names a step.
RunProgress logged_progress(const PlannedRun& run) {
  constexpr std::streamoff kTail = 4096;
  RunProgress progress{.steps = planned_steps(run.config, run.images), .epochs = run.config.train.epochs, .metric = {}};
  const Metric& metric = find_task(run.config.task).primary();
  std::ifstream in(run.folder / "log.jsonl", std::ios::binary | std::ios::ate);
  if (!in) return progress;
  in.seekg(std::max<std::streamoff>(0, static_cast<std::streamoff>(in.tellg()) - kTail));
  for (std::string line; std::getline(in, line) && !in.eof();) {
    const Json entry = Json::parse(line, nullptr, false);
    if (!entry.is_object() || !entry.contains("step") || !entry["step"].is_number_integer()) continue;
    progress.step = entry["step"].get<int64_t>();
    if (entry.contains("epoch")) progress.epoch = entry["epoch"].get<int64_t>();
    if (entry.contains("loss")) progress.loss = entry["loss"].get<double>();
    if (entry.contains("weights")) continue;  // the test at its end
    for (const std::string& key : {"test_" + metric.name, "val_" + metric.name})
      if (entry.contains(key)) progress.metric = {metric, entry[key].get<double>()};
  }
  return progress;
}

// The table for a terminal of `width` columns, its caption wrapped; `whole` is the file with everything.
std::string terminal_report(const Report& report, size_t width, const std::string& whole) {
  const ReportTable table = report_table(report);
  std::string text = wrapped(report.title, width) + "\n";
  text +=
      text_table(table.header, table.cells, {.width = width, .minor = table.minor, .keep = table.keep, .whole = whole});
  text += "\n";
  for (const auto& [what, help] : report_notes(report)) text += wrapped(what + ": " + help, width, 2);
  return text;
}

// Ends the child and takes its status, whatever happens in between.
class Child {
 public:
  // Its stdout goes nowhere, its stderr into `log`. It is in a process group of its own, so that Ctrl-C on the terminal
  // reaches it once, through us; it ends when we are killed.
  Child(std::vector<std::string> command, std::vector<std::string> environment, const fs::path& log) {
    const int err = ::open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    const int none = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    if (err < 0 || none < 0) {
      const int code = errno;
      if (err >= 0) ::close(err);
      if (none >= 0) ::close(none);
      throw Failure("cannot open {}: {}", log.string(), std::strerror(code));
    }
    std::vector<char*> arguments, variables;
    for (std::string& word : command) arguments.push_back(word.data());
    for (std::string& variable : environment) variables.push_back(variable.data());
    arguments.push_back(nullptr);
    variables.push_back(nullptr);
    const pid_t parent = ::getpid();
    child_ = ::fork();
    if (child_ == 0) {  // only what is safe after a fork of a process with threads
      ::setpgid(0, 0);
      ::prctl(PR_SET_PDEATHSIG, SIGTERM);
      if (::getppid() != parent) ::_exit(127);
      ::dup2(none, 0);
      ::dup2(none, 1);
      ::dup2(err, 2);
      ::execve("/proc/self/exe", arguments.data(), variables.data());
      ::_exit(127);
    }
    const int code = errno;
    ::close(err);
    ::close(none);
    if (child_ < 0) throw Failure("cannot start a process: {}", std::strerror(code));
  }
  ~Child() {
    if (child_ <= 0) return;
    interrupt();
    int status = 0;
    while (::waitpid(child_, &status, 0) < 0 && errno == EINTR) {
    }
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  void interrupt() {
    if (!interrupted_) ::kill(child_, SIGTERM);
    interrupted_ = true;
  }
  // Its exit status (128 + signal when one ended it); none while it runs.
  std::optional<int> ended() {
    int status = 0;
    const pid_t got = ::waitpid(child_, &status, WNOHANG);
    if (got == 0 || (got < 0 && errno == EINTR)) return std::nullopt;
    child_ = -1;
    if (got < 0) return 127;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  pid_t child_ = -1;
  bool interrupted_ = false;
};

// A run in a process of its own, `tidepool train`, with `threads` threads.
RunResult run_in_process(const PlannedRun& run, const RunOptions& options, int threads) {
  const fs::path parent = run.folder.parent_path();
  fs::create_directories(parent);
  fs::path config_file = run.folder, log = run.folder;
  config_file += ".json";
  log += ".stderr";
  Json config = run.config.resolved;
  config["train"]["log_every"] = std::min<int64_t>(run.config.train.log_every, 10);  // for the bar
  write_file_atomically(config_file, config.dump(2) + "\n");

  std::vector<std::string> command{"tidepool", "train", config_file.string(), "--out", run.folder.string()};
  if (options.resume) command.push_back("--resume");
  if (!options.data_root.empty()) command.insert(command.end(), {"--data", options.data_root.string()});
  std::vector<std::string> environment{fmt::format("OMP_NUM_THREADS={}", threads)};
  for (char** variable = environ; *variable; ++variable)
    if (!std::string_view(*variable).starts_with("OMP_NUM_THREADS=")) environment.emplace_back(*variable);

  Child child(command, environment, log);
  std::optional<int> status;
  auto last_look = std::chrono::steady_clock::now();
  while (!(status = child.ended())) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    if (options.stop()) child.interrupt();
    const auto now = std::chrono::steady_clock::now();
    if (now - last_look < std::chrono::milliseconds(250)) continue;
    last_look = now;
    options.progress(logged_progress(run));
  }
  if (*status == 0) {
    if (const auto result = saved_result(run)) return *result;
    throw Failure("the run ended without a result");
  }
  if (options.stop() && *status > 128) return {};
  const std::string said = last_line(log);
  // Below --out: the message goes into the table's pages, which name no local folder.
  const std::string message =
      fmt::format("exit status {}: {} (all of it: {})", *status, said.empty() ? "nothing on stderr" : said,
                  (log.parent_path().filename() / log.filename()).string());
  if (*status == 2) throw Error("{}", message);
  throw Failure("{}", message);
}

// The bar over the whole table. Its unit is training images, so that its rate and its time left are measured on the
// work that is behind it.
class TableBar {
 public:
  TableBar(const TablePlan& plan, const std::vector<PlannedRun>& runs) : plan_(plan), runs_(runs) {}

  void count(size_t i) {
    total_ += images(i);
    ++missing_;
  }
  void started(size_t i) {
    ++begun_;
    running_[i] = {
        .steps = planned_steps(runs_[i].config, runs_[i].images), .epochs = runs_[i].config.train.epochs, .metric = {}};
    name(i);
  }
  void progress(size_t i, const RunProgress& p) {
    if (!first_.contains(i)) first_[i] = p.step > 0 ? p.step - 1 : 0;  // what an earlier try has done
    running_[i] = p;
    name(i);
    draw();
  }
  void ended(size_t i) {
    if (const auto at = running_.find(i); at != running_.end()) running_.erase(at);
    finished_ += images(i);
    draw();
  }

 private:
  // In double: sums and products over all runs of a table pass 2^63.
  double images(size_t i) const {
    const Config& config = runs_[i].config;
    const auto of = [](int64_t n) { return static_cast<double>(n); };
    const double all = of(runs_[i].images - config.data.val_images) * of(config.train.epochs);
    return config.train.max_steps || config.data.drop_last
               ? std::min(all, of(planned_steps(config, runs_[i].images)) * of(config.train.batch))
               : all;
  }
  static int64_t whole(double images) { return static_cast<int64_t>(std::min(images, 0x1p62)); }
  void name(size_t i) {
    const RunProgress& p = running_[i];  // the bar names the run that moved last
    const std::string seed = plan_.options.seeds > 1 ? fmt::format(" seed {}", runs_[i].seed) : "";
    bar().set_what(fmt::format("{}/{} {}{}", begun_, missing_, plan_.rows[runs_[i].row].title, seed));
    notes_ = progress_notes({.step = p.step, .epoch = p.epoch, .epochs = p.epochs, .loss = p.loss, .metric = p.metric});
  }
  void draw() {
    double done = finished_, skipped = 0;
    for (const auto& [i, p] : running_) {
      const int64_t before = first_.contains(i) ? first_.at(i) : 0;
      const double a_step = images(i) / static_cast<double>(std::max<int64_t>(1, p.steps));
      done += a_step * static_cast<double>(p.step - before);
      skipped += a_step * static_cast<double>(before);
    }
    bar().set_total(std::max<int64_t>(1, whole(total_ - skipped)));
    bar().update(whole(done), notes_);
  }
  Progress& bar() {
    if (!bar_) bar_.emplace("table", whole(total_), "images");
    return *bar_;
  }

  const TablePlan& plan_;
  const std::vector<PlannedRun>& runs_;
  double total_ = 0, finished_ = 0;
  size_t begun_ = 0, missing_ = 0;
  std::map<size_t, RunProgress> running_;
  std::map<size_t, int64_t> first_;
  std::vector<std::string> notes_;
  std::optional<Progress> bar_;
};

// All tables with their rows at each scale, and the scales.
std::string table_list() {
  std::vector<std::string> header{"table", "what"};
  for (const Scale& scale : scales()) header.push_back(scale.name);
  std::vector<std::vector<std::string>> rows, sizes;
  for (const std::string& name : table_names()) {
    std::vector<std::string> line{name, ""};
    try {
      const TableFile table = load_table(name);
      line.back() = table.title;
      for (const Scale& scale : scales()) {
        const auto n = static_cast<int64_t>(rows_at_scale(table, scale.name));
        line.push_back(scale.seeds == 1 ? std::to_string(n) : fmt::format("{} ({})", n, n * scale.seeds));
      }
    } catch (const Error& error) {  // the others are listed
      line = {name, error.what()};
    }
    line.resize(header.size(), "-");
    rows.push_back(std::move(line));
  }
  for (const Scale& scale : scales()) sizes.push_back({scale.name, std::to_string(scale.seeds), scale.purpose});
  return "Tables, with their rows at each scale, and runs where a row has several seeds; --dry-run says the hours:\n" +
         text_table(header, rows) + "\n" + text_table({"scale", "seeds", "for"}, sizes);
}

// Another run in a folder, a wrong operator or key: found before anything runs.
void check_runs(const TablePlan& plan, const Images& images) {
  for (const PlannedRun& planned : plan.runs)
    if (planned.selected) saved_result(planned);
  for (const PlannedRun& planned : plan.first_runs()) {
    if (!planned.selected) continue;
    const Row& row = plan.rows[planned.row];
    try {
      make_run_network(with_classes(planned.config, images.root(planned.config)));
    } catch (const Error& error) {
      throw Error("{}{}: {}", row.origin, row.name, error.what());
    }
  }
}

bool has_column(const TablePlan& plan, std::initializer_list<const char*> names) {
  return std::any_of(names.begin(), names.end(), [&](const char* name) {
    return std::find(plan.columns.begin(), plan.columns.end(), name) != plan.columns.end();
  });
}

// What is measured of the operators of rows that have one in all slots.
void measure_operators(const TablePlan& plan, const Images& images, ReportFacts& facts) {
  const bool fidelity = has_column(plan, {"psnr", "ssim"}),
             cost = has_column(plan, {"forward_ms", "backward_ms", "kept_bytes"});
  for (const PlannedRun& planned : plan.first_runs()) {
    const Json& pool = planned.config.model.pool;
    const bool shown =
        images.find(planned.config.data) && (planned.selected || fs::exists(planned.folder / "result.json"));
    if (!shown || !pool.contains("default") || !pool["default"].is_object()) continue;
    const std::string& name = plan.rows[planned.row].name;
    if (fidelity)
      facts.fidelity[name] = image_fidelity(pool["default"], planned.config.data, images.root(planned.config));
    if (cost)
      if (const auto measured = operator_cost(with_classes(planned.config, images.root(planned.config))))
        facts.costs[name] = *measured;
  }
}

int run(const Call& call) {
  if (call.arguments().empty()) {
    refuse_options(
        call, "table without a TABLE",
        {"scale", "seeds", "first-seed", "only", "jobs", "columns", "dry-run", "data", "out", "set", "json"});
    print(table_list());
    return 0;
  }
  const int64_t jobs = call.integer("jobs", 1, 1024);
  const auto [plan, images] = make_request(call);
  const PlanOptions& options = plan.options;
  const std::string name = plan.table.stem();
  check_runs(plan, images);
  if (call.flag("dry-run")) {
    const Json report = dry_run(plan, [&](const Config& config) { return images.root(config); });
    if (call.json())
      print_json(report);
    else
      print(dry_run_text(report));
    return 0;
  }
  make_folder(options.out, "--out");
  spdlog::info("{}: table: {}; data: {}{}", name, plan.table.file, images.data, images.places);

  const int threads = std::max(1, cpu_threads() / static_cast<int>(jobs));
  const std::vector<std::string> command = command_line(call);
  ReportFacts facts{
      .data = images.data,
      .revision = *kRevision ? fmt::format("{} (tidepool {})", kRevision, kVersion) : "",
      .command = command_text(call, true),
      .short_command = command_text(call, false),
      .machine = fmt::format("{}, {} thread{} per run, {} run{} at a time{}", list_devices().front().model, threads,
                             threads == 1 ? "" : "s", jobs, jobs == 1 ? "" : "s",
                             jobs == 1 ? "" : ", so that times per step are those of a shared machine"),
      .threads = threads};
  measure_operators(plan, images, facts);

  catch_stop_signals();
  std::vector<RunOutcome> outcomes;
  {
    TableBar bar(plan, plan.runs);
    for (size_t i = 0; i < plan.runs.size(); ++i)
      if (plan.runs[i].selected && !saved_result(plan.runs[i])) bar.count(i);
    outcomes = execute(plan, {.run =
                                  [&](const PlannedRun& planned, const RunOptions& asked) {
                                    RunOptions run_options = asked;
                                    run_options.data_root = images.root(planned.config);
                                    return jobs > 1 ? run_in_process(planned, run_options, threads)
                                                    : train_run(planned.config, run_options);
                                  },
                              .jobs = static_cast<int>(jobs),
                              .provenance = provenance(command),
                              .stop = stop_requested,
                              .started = [&](size_t i) { bar.started(i); },
                              .progress = [&](size_t i, const RunProgress& p) { bar.progress(i, p); },
                              .ended =
                                  [&](size_t i, const std::vector<RunOutcome>& so_far) {
                                    const RunOutcome& outcome = so_far[i];
                                    if (outcome.result || !outcome.failure.empty())
                                      bar.ended(i);  // else it was stopped
                                    if (!outcome.failure.empty())
                                      spdlog::error("{} seed {}: {}", plan.rows[plan.runs[i].row].title,
                                                    plan.runs[i].seed, outcome.failure);
                                    // So that a table is there whatever ends the program.
                                    write_report(make_report(plan, so_far, facts), options.out, name);
                                  }});
  }
  const Report report = make_report(plan, outcomes, facts);
  write_report(report, options.out, name);
  const auto shown = [&] {
    const std::optional<size_t> width = terminal_width(STDOUT_FILENO);
    return width ? terminal_report(report, *width, (options.out / (name + ".md")).string()) : report_markdown(report);
  };

  std::vector<std::string> failures;
  for (size_t i = 0; i < outcomes.size(); ++i)
    if (!outcomes[i].failure.empty())
      failures.push_back(
          fmt::format("{} seed {}: {}", plan.rows[plan.runs[i].row].title, plan.runs[i].seed, outcomes[i].failure));
  if (stop_status() != 0) {
    if (!call.json()) print(shown());
    say(fmt::format("tidepool table: stopped; the same command resumes it. So far: {}\n",
                    (options.out / (name + ".md")).string()));
    return stop_status();
  }
  if (!failures.empty()) {
    if (!call.json()) print(shown());
    throw Failure("{} of {} runs failed, the first of them {}", failures.size(),
                  std::count_if(plan.runs.begin(), plan.runs.end(), [](const PlannedRun& r) { return r.selected; }),
                  failures.front());
  }
  if (call.json())
    print_json(report_json(report));
  else
    print(shown());
  spdlog::info("{}: written to {}.md, .csv, .tex, .html", name, (options.out / name).string());
  return 0;
}

const Registered registered(
    {.name = "table",
     .help = "runs an experiment and writes its table",
     .arguments = {"[TABLE]"},
     .options = {{.name = "scale",
                  .value = "NAME",
                  .help = "how large the runs are: smoke, quick, toy, small or full",
                  .default_value = "quick",
                  .choices = {"smoke", "quick", "toy", "small", "full"}},
                 {.name = "seeds", .value = "K", .help = "seeds per row (default: 5 at small and full, else 1)"},
                 {.name = "first-seed",
                  .value = "SEED",
                  .help = "the first of them: choices are made on other seeds than claims",
                  .default_value = "1"},
                 {.name = "only",
                  .value = "PATTERN",
                  .help = "run only the rows whose name fits: 'tile-*,*-dynopool'; * is any characters, ? one",
                  .default_value = ""},
                 {.name = "jobs",
                  .value = "J",
                  .help = "runs at a time, each with its share of the threads",
                  .default_value = "1"},
                 {.name = "columns", .value = "C,...", .help = "columns of the table, in place of those of its file"},
                 {.name = "dry-run",
                  .help = "run nothing: print rows, runs, steps, and hours from steps that are measured now"},
                 data_option(),
                 {.name = "out",
                  .value = "DIR",
                  .help = "where runs and table go (runs/TABLE-SCALE-DATASET)",
                  .default_value = ""},
                 set_option(),
                 json_option()},
     .details =
         "TABLE is a JSON file, or the name of one of those below.\n"
         "CIFAR-100 is replaced by procedural images where it is not found.\n"
         "Finished runs are reused, interrupted ones resume, missing ones start. Ctrl-C finishes the step, saves a\n"
         "checkpoint, writes the table so far and exits with 130. On a terminal the table is fitted to its width: "
         "columns\n"
         "that are the same in every row stand below it, minor ones are left out; the files hold all of it.\n",
     .run = run,
     .list = table_list});

}  // namespace
}  // namespace tidepool
