#include "train/run.h"

#include <spdlog/spdlog.h>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/allocator.h"
#include "core/backend/caches.h"
#include "core/backend/elementwise.h"
#include "core/backend/reduction.h"
#include "core/tape.h"
#include "train/ema.h"
#include "train/run_directory.h"
#include "train/run_log.h"
#include "train/same_run.h"
#include "train/setup.h"
#include "train/shape_gradients.h"
#include "train/step.h"

namespace tidepool {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

constexpr const char* kGmacsUnit = "state/gmacs_unit";  // of loss.gmacs_unit or loss.gmacs_target "initial"
constexpr const char* kGmacsMultiplier = "state/gmacs_multiplier";

// Of the epoch so far, for its line.
struct EpochSums {
  int64_t steps = 0, images = 0;
  double loss = 0, seconds = 0;

  void add(double step_loss, int64_t step_images, double step_seconds) {
    ++steps;
    images += step_images;
    loss += step_loss;
    seconds += step_seconds;
  }
};

// `steps`, those of an epoch. Throws Error when there are none, or when the smallest batch, which the network is told
// of, leaves a batch norm of the network as it starts with one value per channel.
int64_t checked_epoch(int64_t steps, const Config& config, const Communicator* ranks, int64_t images,
                      Network& network) {
  const int64_t batch = config.train.batch, rest = images % batch, parts = ranks ? ranks->ranks() : 1;
  const bool whole = rest == 0 || config.data.drop_last;
  if (steps < 1)
    throw Error("data.drop_last: {} training images make no batch of {}: an epoch has no step", images, batch);
  const int64_t least = (whole ? batch : rest) / parts;
  const Trace trace = network.trace();
  for (const TracedLayer& layer : trace.layers) {
    int64_t values = least;
    for (const TracedLength& length : layer.output.lengths) values *= length.value;
    if (!layer.batch_statistics || values > 1) continue;
    const std::string in_ranks = parts > 1 ? fmt::format(" in {} ranks", parts) : "";
    const std::string which =
        whole ? fmt::format("train.batch {}{}", batch, in_ranks)
              : fmt::format("the last batch, one of {} images in batches of {}{},", images, batch, in_ranks);
    throw Error("{}: batch norm needs more than one value per channel, and {} gives it one pixel of one image{}",
                layer.name, which, whole ? "" : "; data.drop_last=true leaves that batch out");
  }
  network.set_smallest_batch(least);
  return steps;
}

int64_t checked_steps(int64_t steps_per_epoch, int64_t epochs) {
  int64_t steps = 0;
  if (__builtin_mul_overflow(steps_per_epoch, epochs, &steps))
    throw Error("train.epochs: {} epochs of {} steps are more steps than can be counted", epochs, steps_per_epoch);
  return steps;
}

// The network as the run begins. Where there is a checkpoint, all of it comes from there.
std::unique_ptr<Network> first_network(const Config& config, const RunOptions& options) {
  auto network = make_run_network(config);
  std::error_code code;  // of a name that no folder can have, which is refused where it is made
  if (!std::filesystem::exists(checkpoint_in(options.out), code)) load_init(config.model, *network);
  return network;
}

LoaderOptions training_options(const Config& config, const Communicator* ranks) {
  LoaderOptions options = loader_options(config, true);
  if (ranks) {
    // Gradients are averaged by the ranks' shares of a batch's images, so each image must count as much as another.
    if (find_task(config.task).of_pixels)
      throw Error("task: {} counts pixels, which ranks have unequal numbers of; expected one rank, got {}", config.task,
                  ranks->ranks());
    if (config.resolved["data"].value("damaged", "") == "skip")
      throw Error("data.damaged: \"skip\" leaves ranks unequal numbers of images; expected \"fail\" with {} ranks",
                  ranks->ranks());
    options.rank = ranks->rank();
    options.ranks = ranks->ranks();
  }
  return options;
}

class Run {
 public:
  Run(const Config& config, const RunOptions& options)
      : config_(config),
        options_(options),
        description_(find_task(config.task)),
        network_(first_network(config, options)),  // before the data: a wrong network is refused at once
        task_(make_task(config, *network_)),
        data_(open_data(config.data, options.data_root)),
        loader_(data_.train, data_.normalisation, training_options(config, options.ranks)),
        watched_loader_(validates() ? data_.validation : data_.test, data_.normalisation,
                        loader_options(config, false)),
        steps_per_epoch_(checked_epoch(loader_.batches(), config, options.ranks, data_.train->size(), *network_)),
        schedule_steps_(checked_steps(steps_per_epoch_, config.train.epochs)),
        total_steps_(std::min(schedule_steps_, config.train.max_steps.value_or(schedule_steps_))),
        optimizer_(config.optim, network_->parameters(), steps_per_epoch_, schedule_steps_),
        stepper_(*network_, *task_, optimizer_, config.loss, config.train.seed, options.ranks),
        directory_(options.out, options.resume) {
    expect_classes_fit(*data_.train, *network_);
    if (config.optim.ema) average_.emplace(network_->state(), *config.optim.ema);
    config_.resolved["data"]["normalize"] = data_.normalize;
    if (!options.data_root.empty())
      config_.resolved["data"]["root"] = std::filesystem::absolute(options.data_root).lexically_normal().string();
    stepper_.after_backward = [this] {
      shape_gradients_.read();  // of the step before: they are there, since this step's shapes were read
      if (stepper_.shapes().estimated()) shape_gradients_.gather(*network_);
    };
    stepper_.after_update = [this] {
      if (average_) average_->update(stepper_.go());
    };
    if (network_->learned_sizes().empty()) warn_of_no_sizes();
    optimizer_.warn_of_schedules();
  }

  RunResult go() {
    const bool resumed = std::filesystem::exists(directory_.last());
    if (resumed) {
      restore();
      forget_best_of_cut();
    } else if (options_.resume) {
      spdlog::info("{}: no checkpoint yet: the run starts from the beginning", directory_.folder().string());
    }
    expect_ranks_together();
    if (options_.begin) options_.begin();
    if (step_ < total_steps_) directory_.remove_result();  // of a run that --set train.max_steps made longer
    directory_.write_json("config.json", config_.resolved);
    write_provenance();
    log_.open(step_, resumed, config_, data_);
    Allocator::of(device_).reset_peak();
    log_config_files(config_);

    if (!resumed) log_.shapes(step_, step_ / steps_per_epoch_, *network_);
    // The seed gives the initial weights again, bit for bit; the file of model.init may change, or be gone.
    if (!resumed && !config_.model.init.empty() && optimizer_.second_stage()) write_weights(directory_.initial());
    if (total_steps_ == 0 || (!resumed && !config_.model.init.empty())) save();
    while (true) {
      if (evaluation_due() && !evaluate_now()) return stopped();
      epoch_ended();
      if (step_ >= total_steps_) break;
      if (step_ == optimizer_.second_stage()) begin_second_stage();
      if (step_ % steps_per_epoch_ == 0) shape_gradients_.clear();  // of the epoch before
      if (!train_epoch(step_ / steps_per_epoch_)) return stopped();
      if (!evaluation_due()) save();
    }
    return finish();
  }

 private:
  void warn_of_no_sizes() {
    if (stepper_.gmacs_term().has_budget() || config_.loss.gmacs_lambda != 0)
      spdlog::warn("loss.gmacs_{}: the network has no size that is learned; its cost stays {:g} GMACs",
                   stepper_.gmacs_term().has_budget() ? "target" : "lambda", network_->trace().gmacs());
  }
  // False when it was stopped.
  bool train_epoch(int64_t epoch) {
    loader_.start_epoch(epoch, step_ - epoch * steps_per_epoch_);
    TensorBatch loaded;
    auto window_begin = Clock::now();
    int64_t window_images = 0;
    while (step_ < total_steps_) {
      const auto begin = Clock::now();
      if (!loader_.next(loaded)) break;
      const TensorBatch batch = uploaded(upload_, loaded);
      end_span("input", {batch.images});
      const double rate = optimizer_.learning_rate(step_);
      StepLosses losses = stepper_.step(batch, step_);
      ++step_;
      images_ += batch.n;
      window_images += batch.n;
      Json line{{"step", step_},        {"epoch", epoch},        {"loss", nullptr},
                {"task_loss", nullptr}, {"gmacs_loss", nullptr}, {"lr", rate}};
      if (stepper_.gmacs_term().has_multiplier()) line["gmacs_multiplier"] = losses.factor;
      if (stepper_.shapes().forwards() > 0) {
        line["shape_forwards"] = stepper_.shapes().forwards();
        line["shape_seconds"] = stepper_.shapes().seconds();
      }
      steps_to_log_.push_back({.losses = std::move(losses), .line = std::move(line), .images = batch.n, .seconds = 0});
      const bool whole = step_ % config_.train.log_every == 0 || step_ % steps_per_epoch_ == 0 || step_ >= total_steps_;
      if (whole || !steps_to_log_.back().losses.pending) read_losses();
      steps_to_log_.back().seconds = seconds_since(begin);  // a device's wait for the steps before counts
      seconds_ += steps_to_log_.back().seconds;
      const double speed = static_cast<double>(window_images) / seconds_since(window_begin);
      if (whole) {
        Json& last = steps_to_log_.back().line;
        last["images_per_second"] = speed;
        last["live_bytes"] = Allocator::of(device_).stats().live_bytes;
        last["peak_bytes"] = peak_bytes();
        last["shapes"] = shapes_json(network_->slot_shapes());
        last["gmacs"] = network_->trace().gmacs();
        if (!shape_gradients_.empty()) last["shape_gradients"] = shape_gradients_.json();
        window_begin = Clock::now();
        window_images = 0;
      }
      log_steps();
      if (whole) {
        log_.shapes(step_, step_ / steps_per_epoch_, *network_);
        log_.flush();
      }
      if (options_.progress)
        options_.progress({.step = step_,
                           .steps = total_steps_,
                           .epoch = epoch,
                           .epochs = config_.train.epochs,
                           .images_per_second = speed,
                           .loss = last_loss_,
                           .metric = metric_last()});
      end_span("other");
      if (asked_to_stop(whole)) return false;
      const auto& every = config_.train.checkpoint_every;
      if (every && step_ % *every == 0 && step_ % steps_per_epoch_ != 0 && step_ < total_steps_) save();
    }
    return true;
  }

  // Whether to stop after a step, `whole`: one of train.log_every.
  bool asked_to_stop(bool whole) const {
    const auto asked = [&] { return options_.stop && options_.stop(); };
    if (!options_.ranks) return asked();
    return whole && ranks_that(asked()) > 0;
  }
  // How many ranks say yes; all of them ask.
  int64_t ranks_that(bool yes) const {
    const Tensor all = Tensor::full({1}, yes ? 1 : 0, {.dtype = DType::f32, .device = device_});
    options_.ranks->all_reduce({&all, 1});
    options_.ranks->wait();
    return static_cast<int64_t>(all.item());
  }
  // Running statistics are each rank's own; all evaluate, and choose by, their mean.
  void share_statistics() const {
    if (!options_.ranks || network_->buffers().empty()) return;
    std::vector<Tensor> sums;
    for (const Buffer& b : network_->buffers()) sums.push_back(b.value.clone());
    options_.ranks->all_reduce(sums);
    options_.ranks->wait();
    for (size_t i = 0; i < sums.size(); ++i)
      divide(sums[i], static_cast<double>(options_.ranks->ranks()), network_->buffers()[i].value);
  }

  // Throws Error unless all ranks stand at the same step.
  void expect_ranks_together() const {
    if (!options_.ranks) return;
    std::vector<double> steps(static_cast<size_t>(options_.ranks->ranks()));
    steps[static_cast<size_t>(options_.ranks->rank())] = static_cast<double>(step_);
    const Tensor all = Tensor::from<double>(std::span<const double>(steps), {options_.ranks->ranks()}).to(device_);
    options_.ranks->all_reduce({&all, 1});
    options_.ranks->wait();
    steps = all.values();
    for (const double step : steps)
      if (step != static_cast<double>(step_))
        throw Error("{}: expected all ranks at the same step, they stand at {}", directory_.folder().string(),
                    fmt::join(steps, ", "));
  }

  // The weights of a run that begins, with the sizes that were learned. A run that is resumed at this step does it
  // again: the checkpoint there is the one before.
  void begin_second_stage() {
    spdlog::info("step {}: the weights are re-initialised, with the sizes as they are", step_);
    const auto fresh = make_run_network(config_);
    try {
      if (const auto kept = directory_.initial(); std::filesystem::exists(kept))
        load_network(read_safetensors(kept), *fresh, kept);
      else
        load_init(config_.model, *fresh);
    } catch (const Error& error) {
      throw Failure("step {}: {}", step_, error.what());
    }
    std::map<std::string, Tensor> initial;
    for (const auto& [name, value] : fresh->state()) initial[name] = value;
    for (const Parameter& p : network_->parameters())
      if (p.kind == ParameterKind::shape) initial.erase(p.name);
    for (const auto& [name, value] : network_->state())
      if (const auto found = initial.find(name); found != initial.end()) value.copy_from(found->second);
    network_->project();
    forget_transformed_weights();
    optimizer_.reset();
    if (average_) average_.emplace(network_->state(), *config_.optim.ema);
    best_.reset();
  }

  // Waits for the losses of the steps that are not logged yet, and for what decides the shapes.
  void read_losses() {
    std::vector<StepLosses*> losses;
    for (StepToLog& one : steps_to_log_) losses.push_back(&one.losses);
    stepper_.read_losses(losses, step_ - static_cast<int64_t>(steps_to_log_.size()));
    stepper_.settle();
    shape_gradients_.read();
  }
  // Steps whose losses are known.
  void log_steps() {
    if (steps_to_log_.empty() || steps_to_log_.back().losses.pending) return;
    for (StepToLog& one : steps_to_log_) {
      last_loss_ = one.losses.total;
      epoch_.add(one.losses.total, one.images, one.seconds);
      one.line["loss"] = one.losses.total;
      one.line["task_loss"] = one.losses.task;
      one.line["gmacs_loss"] = one.losses.penalty;
      log_.line(one.line);
    }
    steps_to_log_.clear();
  }

  // Of the first command; those that resumed the run stand behind it.
  void write_provenance() {
    Json now = options_.provenance;
    now["seed"] = config_.train.seed;
    now["config_files"] = config_.files;
    if (options_.ranks) now["rank"] = {{"rank", options_.ranks->rank()}, {"ranks", options_.ranks->ranks()}};
    if (auto first = directory_.provenance()) {
      (*first)["resumed"].push_back(std::move(now));
      now = std::move(*first);
    }
    directory_.write_json("provenance.json", now);
  }

  // At the end of the run, and of every eval_every-th epoch, unless this very step has been evaluated before a stop.
  bool evaluation_due() const {
    if (step_ == 0 || evaluated_step_ == step_) return false;
    return step_ >= total_steps_ || scheduled_evaluation();
  }

  // Whether the run evaluates here whatever train.max_steps is.
  bool scheduled_evaluation() const {
    return step_ == schedule_steps_ ||
           (step_ % steps_per_epoch_ == 0 && step_ / steps_per_epoch_ % config_.train.eval_every == 0);
  }
  // Of a run that train.max_steps cut short and that goes on: its last evaluation chose for want of another.
  void forget_best_of_cut() {
    if (!best_ || step_ >= total_steps_ || evaluated_step_ != step_ || scheduled_evaluation()) return;
    const auto of = read_safetensors(directory_.best()).metadata;
    if (const auto at = of.find("step"); at != of.end() && at->second == std::to_string(step_)) best_.reset();
  }

  // Evaluates and saves. False when it was stopped.
  bool evaluate_now() {
    check_finite();  // best is written before last
    if (average_) average_->swap();
    share_statistics();
    end_span("other");
    const std::optional<Evaluation> evaluation = evaluate_with(watched_loader_, watched_name());
    end_span("evaluation");
    if (evaluation) {
      const Evaluation& e = *evaluation;
      last_ = named_metrics(e);
      loss_last_ = e.loss;
      evaluated_step_ = step_;
      log_evaluation(e, validates() ? kValidationPrefix : std::string("test_"), nullptr);
      if (validates() && std::isfinite(e.loss) && (!best_ || (scheduled_evaluation() && e.metrics[0] > *best_))) {
        best_ = e.metrics[0];
        write_weights(directory_.best());
      }
    }
    if (average_) average_->swap();
    if (evaluation) save();
    return evaluation.has_value();
  }

  bool validates() const { return data_.validation != nullptr; }
  const char* watched_name() const { return validates() ? "validation" : "test"; }

  // The network as it is on the images of a loader; none when it was stopped.
  std::optional<Evaluation> evaluate_with(Loader& loader, const char* name) {
    const Observer::Scope nobody(nullptr);  // a profile tells an evaluation from the steps, not its layers
    Evaluation e;
    try {
      e = evaluate(*network_, *task_, loader, nullptr, options_.ranks ? std::function<bool()>() : options_.stop);
    } catch (const Error& error) {
      throw Failure("step {}: evaluation: {}", step_, error.what());
    }
    if (asked_to_stop(true)) return std::nullopt;
    // The weights are finite and the network's answers are not: in training the next step would have said so.
    if (!std::isfinite(e.loss) && step_ >= total_steps_)
      throw Failure("step {}: the loss on the {} images is {}", step_, name, e.loss);
    return e;
  }

  MetricValues named_metrics(const Evaluation& e) const {
    MetricValues values;
    for (size_t i = 0; i < e.metrics.size(); ++i) values.emplace_back(description_.metrics[i].name, e.metrics[i]);
    return values;
  }

  // `weights`: "last" or "best" in a test at the end of the run, else null.
  void log_evaluation(const Evaluation& e, const std::string& prefix, const char* weights) {
    Json line{{"step", step_}, {"epoch", (step_ - 1) / steps_per_epoch_}};
    if (weights) line["weights"] = weights;
    for (const auto& [name, value] : named_metrics(e)) line[prefix + name] = value;
    line[prefix + "loss"] = e.loss;
    log_.line(line);
  }

  void epoch_ended() {
    if (epoch_.steps == 0) return;
    const bool evaluated = evaluated_step_ == step_;
    const auto steps = static_cast<double>(epoch_.steps);
    if (options_.epoch_ended)
      options_.epoch_ended({.epoch = (step_ - 1) / steps_per_epoch_ + 1,
                            .epochs = config_.train.epochs,
                            .loss = epoch_.loss / steps,
                            .validation = validates(),
                            .other_loss = evaluated ? loss_last_ : std::nullopt,
                            .metric = evaluated ? metric_last() : std::nullopt,
                            .images_per_second = static_cast<double>(epoch_.images) / std::max(epoch_.seconds, 1e-9),
                            .seconds = epoch_.seconds});
    epoch_ = {};
  }

  // Throws Failure when something that a checkpoint holds is not finite: the one on disk, of an earlier step, stays.
  void check_finite() const {
    const auto check = [&](const char* what, const std::vector<std::pair<std::string, Tensor>>& tensors) {
      for (const auto& [name, value] : tensors)
        if (!all_finite(value))
          throw Failure("step {}: {}{} is not finite after the update; no checkpoint is written", step_, what, name);
    };
    check("", network_->state());
    check("the optimizer's ", optimizer_.state());
    if (average_) check("the average of ", average_->average());
  }

  RunResult stopped() {
    save();
    RunResult result;
    result.steps = step_;
    return result;
  }

  size_t peak_bytes() const { return std::max(peak_before_, Allocator::of(device_).stats().peak_bytes); }

  std::map<std::string, std::string> metadata() const {
    Json progress{{"seconds", seconds_},
                  {"images", images_},
                  {"peak_bytes", peak_bytes()},
                  {"loss_last", optional_json(loss_last_)},
                  {"evaluated_step", evaluated_step_}};
    progress.update(
        metrics_json(description_.primary(), last_, best_, validates() ? kValidationPrefix : std::string()));
    progress["shape_gradients"] = shape_gradients_.state();
    return {{"format", "pt"},
            {"step", std::to_string(step_)},
            {"config", config_.resolved.dump()},
            {"normalize", data_.normalize.dump()},
            {"classes", class_names(*data_.test).dump()},
            {"progress", progress.dump()}};
  }

  void write_weights(const std::filesystem::path& path) const {
    SafetensorsFile file;
    for (const auto& [name, value] : network_->state()) file.tensors[name] = value;
    file.metadata = metadata();
    write_safetensors(path, file);
  }

  // Random numbers and the order of the data are functions of (seed, epoch, step): the step is all of their state.
  void save() {
    read_losses();
    log_steps();
    check_finite();
    SafetensorsFile file;
    for (const auto& [name, value] : network_->state()) file.tensors[name] = value;
    for (const auto& [name, value] : optimizer_.state()) file.tensors["state/optimizer/" + name] = value;
    if (average_)
      for (const auto& [name, value] : average_->average()) file.tensors["state/average/" + name] = value;
    for (const auto& [name, value] : stepper_.shapes().state()) file.tensors["state/shape/" + name] = value;
    GmacsTerm& gmacs = stepper_.gmacs_term();
    if (gmacs.unit_is_initial()) file.tensors[kGmacsUnit] = Tensor::from<double>({gmacs.unit()}, {1});
    if (gmacs.has_multiplier()) file.tensors[kGmacsMultiplier] = Tensor::from<double>({gmacs.factor()}, {1});
    const int64_t epoch = steps_per_epoch_ > 0 ? step_ / steps_per_epoch_ : 0;
    file.tensors["state/position"] = Tensor::from<int64_t>({step_, epoch, step_ - epoch * steps_per_epoch_}, {3});
    file.metadata = metadata();
    log_.flush();
    write_safetensors(directory_.last(), file);
  }

  void restore() {
    const auto path = directory_.last();
    const SafetensorsFile file = read_safetensors(path);
    load_network(file, *network_, path);
    load_state(file, optimizer_.state(), "state/optimizer/", path);
    if (average_) load_state(file, average_->average(), "state/average/", path);
    load_state(file, stepper_.shapes().state(), "state/shape/", path);
    GmacsTerm& gmacs = stepper_.gmacs_term();
    const auto number = [&](const char* name, const char* expected, const auto& legal) {
      const auto found = file.tensors.find(name);
      if (found == file.tensors.end() || found->second.numel() != 1 || !legal(found->second.item()))
        throw Error("{}: expected {} as {}", path.string(), expected, name);
      return found->second.item();
    };
    if (gmacs.unit_is_initial())
      gmacs.set_unit(
          number(kGmacsUnit, "a number above 0, the network's GMACs at step 0,", [](double unit) { return unit > 0; }));
    if (gmacs.has_multiplier())
      gmacs.set_multiplier(number(kGmacsMultiplier, "a number that is not negative, the multiplier of the budget,",
                                  [](double mu) { return mu >= 0; }));
    const auto position = file.tensors.find("state/position");
    const auto saved = file.metadata.find("progress");
    if (position == file.tensors.end() || saved == file.metadata.end())
      throw Error("{}: expected a checkpoint of tidepool, it does not say where the run stands", path.string());
    const std::vector<double> stands = position->second.values();  // steps, whole epochs, steps since
    if (stands.size() != 3 || stands[0] < 0 ||
        stands[0] != stands[1] * static_cast<double>(steps_per_epoch_) + stands[2])
      throw Error("{}: state/position: expected steps, whole epochs and steps since, of epochs of {} steps; got {}",
                  path.string(), steps_per_epoch_, fmt::join(stands, ", "));
    step_ = static_cast<int64_t>(stands[0]);
    if (step_ > total_steps_)
      throw Error("{}: has done {} steps already, and {} ends it after {}", directory_.folder().string(), step_,
                  total_steps_ < schedule_steps_ ? "train.max_steps" : "train.epochs", total_steps_);
    try {
      restore_progress(parse_json(saved->second, path.string() + " (progress)"));
    } catch (const Json::exception& error) {  // a key is missing, or its value of another type
      throw Error("{}: progress: {}", path.string(), error.what());
    }
  }

  void restore_progress(const Json& progress) {
    seconds_ = progress.at("seconds").get<double>();
    images_ = progress.at("images").get<int64_t>();
    peak_before_ = progress.at("peak_bytes").get<size_t>();
    const std::string prefix = validates() ? kValidationPrefix : std::string();
    last_ = last_values(progress, description_, prefix);
    if (validates()) best_ = optional_number(progress, prefix + description_.primary().name + "_best");
    loss_last_ = optional_number(progress, "loss_last");
    evaluated_step_ = progress.at("evaluated_step").get<int64_t>();
    shape_gradients_.restore(progress.at("shape_gradients"));
  }

  RunResult finish() {
    const std::optional<RunResult> tested = saved_test();
    if (options_.ranks ? ranks_that(tested.has_value()) == options_.ranks->ranks() : tested.has_value()) return *tested;
    if (average_) average_->swap();  // the shapes and costs are those of the network that was evaluated
    const Trace trace = network_->trace();
    const GmacsTerm& budget = stepper_.gmacs_term();
    RunResult result{.finished = true,
                     .metric = description_.primary(),
                     .last = last_,
                     .best = {},
                     .loss_last = loss_last_,
                     .validation_last = {},
                     .validation_best = {},
                     .gmacs = trace.gmacs(),
                     .gmacs_target = budget.has_budget() ? std::optional(budget.unit()) : std::nullopt,
                     .parameters = trace.parameters(),
                     .steps = step_,
                     .seconds = seconds_,
                     .images_per_second = seconds_ > 0 ? static_cast<double>(images_) / seconds_ : 0,
                     .peak_bytes = peak_bytes(),
                     .shapes = network_->slot_shapes()};
    if (validates() && evaluated_step_ > 0 && !test(result)) {
      result = {};
      result.steps = step_;
      return result;  // all but the test is saved
    }
    directory_.write_json("result.json", result.json());
    return result;
  }

  // The result of a run with a validation part that is resumed after its end: the test images are looked at once.
  std::optional<RunResult> saved_test() const {
    if (!validates()) return std::nullopt;
    try {
      const std::optional<Json> saved = directory_.result();
      if (saved && saved->at("steps").get<int64_t>() == step_) return RunResult::from_json(*saved, description_);
    } catch (const Json::exception&) {  // no result of ours: made again
    }
    return std::nullopt;
  }

  // Looks at the test images with the last weights and with those chosen on the validation part. The network has the
  // latter then, and is done with. False when it was stopped.
  bool test(RunResult& result) {
    result.validation_last = value_of(last_, result.metric.name);
    result.validation_best = best_;
    Loader loader(data_.test, data_.normalisation, loader_options(config_, false));
    const std::optional<Evaluation> last = evaluate_with(loader, "test");
    if (!last) return false;
    result.last = named_metrics(*last);
    result.loss_last = last->loss;
    std::optional<Evaluation> best;
    if (best_) {
      const SafetensorsFile chosen = read_safetensors(directory_.best());
      if (chosen.metadata.at("step") == std::to_string(step_)) {
        best = last;
      } else {
        load_network(chosen, *network_, directory_.best());
        best = evaluate_with(loader, "test");
        if (!best) return false;
      }
      result.best = best->metrics[0];
    }
    log_evaluation(*last, "test_", "last");
    if (best) log_evaluation(*best, "test_", "best");
    log_.flush();
    return true;
  }

  // None before the first evaluation.
  std::optional<MetricValue> metric_last() const {
    Metric metric = description_.primary();
    if (validates()) metric.label = "validation " + metric.label;
    const auto value = value_of(last_, description_.primary().name);
    return value ? std::optional(MetricValue{metric, *value}) : std::nullopt;
  }

  Config config_;
  RunOptions options_;
  const TaskDescription& description_;
  std::unique_ptr<Network> network_;
  const Device device_ = network_->options().device;
  std::unique_ptr<Task> task_;
  RunData data_;
  Loader loader_, watched_loader_;  // of training; of what is evaluated after an epoch
  int64_t steps_per_epoch_, schedule_steps_, total_steps_;
  Optimizer optimizer_;
  Stepper stepper_;
  std::optional<MovingAverage> average_;
  RunDirectory directory_;
  RunLog log_{directory_};

  // A step that has been made; its losses may not be known yet.
  struct StepToLog {
    StepLosses losses;
    Json line;
    int64_t images = 0;
    double seconds = 0;
  };
  std::vector<StepToLog> steps_to_log_;
  std::vector<std::pair<std::string, Tensor>> waiting_gradients_;  // of shape parameters
  std::optional<double> last_loss_;
  Upload upload_{device_};

  int64_t step_ = 0, images_ = 0, evaluated_step_ = 0;
  double seconds_ = 0;
  size_t peak_before_ = 0;
  MetricValues last_;
  std::optional<double> best_, loss_last_;  // best_: of the primary metric
  EpochSums epoch_;
  ShapeGradients shape_gradients_;  // of the epoch so far
};

}  // namespace

RunResult train_run(const Config& config, const RunOptions& options) {
  flush_denormals();
  forget_transformed_weights();
  return Run(with_classes(options.resume ? resumed_config(config, options.out) : config, options.data_root), options)
      .go();
}

}  // namespace tidepool
