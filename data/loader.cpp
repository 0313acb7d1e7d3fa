#include "data/loader.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <numeric>
#include <span>
#include <system_error>
#include <thread>

#include "core/error.h"
#include "core/philox.h"
#include "data/streams.h"

namespace tidepool {
namespace {

// Writes the order of an epoch into `order`, which has its size already.
void fill_order(std::vector<int64_t>& order, uint64_t seed, int64_t epoch) {
  std::iota(order.begin(), order.end(), int64_t{0});
  Random random(seed, name_seed(Purpose::kOrder, static_cast<uint64_t>(epoch)));
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(static_cast<uint32_t>(i))]);
}

constexpr int64_t kMostWorkers = 1024, kMostBatches = 65536;  // as in configs/schema.json

void check(const LoaderOptions& options) {
  if (options.batch < 1) throw Error("train.batch: expected 1 or more images, got {}", options.batch);
  if (options.rank < 0 || options.rank >= options.ranks)
    throw Error("loader: expected a rank from 0 to below {}, got {}", options.ranks, options.rank);
  if (options.workers < 0 || options.workers > kMostWorkers)
    throw Error("data.workers: expected 0 to {} threads, got {}", kMostWorkers, options.workers);
  if (options.prefetch < 1 || options.prefetch > kMostBatches)
    throw Error("data.prefetch: expected 1 to {} batches, got {}", kMostBatches, options.prefetch);
}

AugmentOptions of_dataset(AugmentOptions augment, const DatasetFormat& format) {
  augment.cropping = format.cropping;
  return augment;
}

}  // namespace

std::vector<int64_t> epoch_order(int64_t size, uint64_t seed, int64_t epoch) {
  std::vector<int64_t> order(static_cast<size_t>(size));
  fill_order(order, seed, epoch);
  return order;
}

// Batch k of an epoch is made in slot k % slots.size(). A worker claims the lowest batch that nobody has claimed, once
// its slot is free; next() takes the batches in order. All fields below the mutex are guarded by it, but a slot's batch
// belongs to the worker that claimed it until it is marked ready.
struct Loader::State {
  struct Slot {
    TensorBatch batch;
    std::exception_ptr problem;
    bool ready = false;
  };

  State(std::shared_ptr<const Dataset> dataset_, const Normalisation& normalisation, const LoaderOptions& options_)
      : dataset(std::move(dataset_)),
        format(dataset->format()),
        options(options_),
        transform(format.shape, of_dataset(options.augment, format), options.variant, &normalisation, options.dtype),
        order(static_cast<size_t>(dataset->size())),
        slots(static_cast<size_t>(options.workers == 0 ? 1 : options.prefetch)) {
    expect_variant_fits(options.variant, dataset->name(), format);
    std::iota(order.begin(), order.end(), int64_t{0});
    const int64_t size = dataset->size();
    batches = size / options.batch + (options.drop_last || size % options.batch == 0 ? 0 : 1);
    taken = claimed = batches;
    if (const int64_t least = batches > 0 ? whole_batch(batches - 1) : options.ranks; least < options.ranks)
      throw Error("train.batch: a batch of {} images has none for some of {} ranks{}", least, options.ranks,
                  least < options.batch ? "; data.drop_last=true leaves a last batch out" : "");
  }

  // Images of batch k, over all ranks.
  int64_t whole_batch(int64_t k) const { return std::min(options.batch, dataset->size() - k * options.batch); }

  Slot& slot(int64_t k) { return slots[static_cast<size_t>(k) % slots.size()]; }

  // What a thread keeps from image to image.
  struct Scratch {
    Sample sample;
    Transform::Words words;
    TransformScratch transform;
  };

  // A tensor of this shape in `tensor`, which stays where nobody else holds it.
  static void* writable(Tensor& tensor, const Dims& shape, TensorOptions wanted) {
    const bool fits = tensor && tensor.dtype() == wanted.dtype && tensor.device() == wanted.device &&
                      tensor.shape() == shape && tensor.strides() == dense_strides(shape, wanted.format);
    if (!fits || !tensor.is_sole_owner()) tensor = Tensor::empty(shape, wanted);
    return tensor.mutable_raw();
  }

  void make(int64_t k, TensorBatch& batch, Scratch& scratch) const {
    const int64_t whole = whole_batch(k);
    const int64_t first = options.rank * whole / options.ranks;
    const int64_t begin = k * options.batch + first;  // below the data set's size
    const ImageShape& shape = format.shape;
    const int64_t n = (options.rank + 1) * whole / options.ranks - first, pixels = shape.height * shape.width;
    void* const images = writable(batch.images, {n, shape.channels, shape.height, shape.width},
                                  {.dtype = options.dtype, .format = MemoryFormat::channels_last});
    auto* labels = static_cast<int32_t*>(writable(
        batch.labels, format.label_maps ? Dims{n, shape.height, shape.width} : Dims{n}, {.dtype = DType::i32}));
    batch.n = n;
    batch.share = static_cast<double>(n) / static_cast<double>(whole);
    batch.indices.assign(order.begin() + begin, order.begin() + begin + n);
    scratch.sample.reduction = [&](int64_t height, int64_t width) {
      return transform.reduction(height, width, scratch.words);
    };
    int64_t i = 0;  // images in the batch
    dispatch_floating(options.dtype, "data", [&]<class T>(T) {
      for (const int64_t index : std::span(order).subspan(static_cast<size_t>(begin), static_cast<size_t>(n))) {
        if (options.training) scratch.words = image_words(options.seed, epoch, index);
        try {
          dataset->read(index, scratch.sample);
        } catch (const SkippedImage&) {
          continue;
        }
        batch.indices[static_cast<size_t>(i)] = index;
        transform.image(scratch.sample, scratch.words, static_cast<T*>(images) + i * shape.elements(),
                        scratch.transform);
        if (format.label_maps)
          transform.labels(scratch.sample, scratch.words, labels + i * pixels);
        else
          labels[i] = scratch.sample.label;
        ++i;
      }
    });
    if (i == n) return;
    if (i == 0 && options.training)
      throw Error("data.damaged: none of the {} images of a batch of {} can be read; expected one or more{}", n,
                  dataset->name(), whole < options.batch ? "; data.drop_last=true leaves a last batch out" : "");
    batch.n = i;
    batch.indices.resize(static_cast<size_t>(i));
    batch.images = batch.images.slice(0, 0, i);
    batch.labels = batch.labels.slice(0, 0, i);
  }

  void work() {
    Scratch scratch;
    std::unique_lock lock(mutex);
    for (;;) {
      wake_workers.wait(
          lock, [&] { return stop || (claimed < batches && claimed < taken + static_cast<int64_t>(slots.size())); });
      if (stop) return;
      const int64_t k = claimed++;
      Slot& mine = slot(k);
      ++busy;
      lock.unlock();
      std::exception_ptr problem;
      try {
        make(k, mine.batch, scratch);
      } catch (...) {
        problem = std::current_exception();
      }
      lock.lock();
      --busy;
      mine.problem = problem;
      mine.ready = true;
      wake_caller.notify_all();
    }
  }

  // Lets the workers run out of work and forgets what they made; the mutex is held.
  void drain(std::unique_lock<std::mutex>& lock) {
    claimed = taken = batches;
    wake_caller.wait(lock, [&] { return busy == 0; });
    for (Slot& each : slots) {
      each.ready = false;
      each.problem = nullptr;
    }
  }

  // Ends the workers.
  void end() {
    {
      const std::lock_guard lock(mutex);
      stop = true;
    }
    wake_workers.notify_all();
    for (std::thread& worker : workers) worker.join();
    workers.clear();
  }

  const std::shared_ptr<const Dataset> dataset;
  const DatasetFormat format;
  const LoaderOptions options;
  const Transform transform;
  int64_t batches = 0;
  std::vector<int64_t> order;  // changed only while no worker is busy
  int64_t epoch = 0;           // likewise
  Scratch own_scratch;         // of next() itself, without workers

  std::mutex mutex;
  std::condition_variable wake_workers, wake_caller;
  std::vector<Slot> slots;
  int64_t taken = 0, claimed = 0;  // batches of this epoch before which all were taken, claimed
  int busy = 0;                    // workers at a batch
  bool stop = false;
  std::vector<std::thread> workers;
};

Loader::Loader(std::shared_ptr<const Dataset> dataset, const Normalisation& normalisation,
               const LoaderOptions& options) {
  check(options);
  state_ = std::make_unique<State>(std::move(dataset), normalisation, options);
  try {
    for (int64_t i = 0; i < options.workers; ++i)
      state_->workers.emplace_back([state = state_.get()] { state->work(); });
  } catch (const std::system_error& error) {
    const size_t started = state_->workers.size();
    state_->end();
    throw Failure("data.workers: only {} of {} threads could be started: {}", started, options.workers,
                  error.code().message());
  }
}

Loader::~Loader() {
  state_->end();
}

int64_t Loader::batches() const {
  return state_->batches;
}

void Loader::start_epoch(int64_t epoch, int64_t first_batch) {
  State& s = *state_;
  if (epoch < 0 || epoch > UINT32_MAX) throw Error("loader: expected an epoch from 0 to {}, got {}", UINT32_MAX, epoch);
  if (first_batch < 0 || first_batch > s.batches) {
    throw Error("loader: cannot begin at batch {} of an epoch of {}", first_batch, s.batches);
  }
  {
    std::unique_lock lock(s.mutex);
    s.drain(lock);
    s.epoch = epoch;
    if (s.options.training && s.options.shuffle) fill_order(s.order, s.options.seed, epoch);
    s.taken = s.claimed = first_batch;
  }
  s.wake_workers.notify_all();
}

bool Loader::next(TensorBatch& batch) {
  // Of an evaluation, a batch may have no image that can be read.
  while (take(batch))
    if (batch.n > 0) return true;
  return false;
}

bool Loader::take(TensorBatch& batch) {
  State& s = *state_;
  std::unique_lock lock(s.mutex);
  if (s.taken == s.batches) return false;
  if (s.workers.empty()) {
    const int64_t k = s.taken++;
    try {
      s.make(k, batch, s.own_scratch);
    } catch (...) {
      s.taken = s.batches;
      throw;
    }
    return true;
  }
  State::Slot& slot = s.slot(s.taken);
  s.wake_caller.wait(lock, [&] { return slot.ready; });
  if (slot.problem) {
    const std::exception_ptr problem = slot.problem;
    s.drain(lock);
    std::rethrow_exception(problem);
  }
  std::swap(batch, slot.batch);
  slot.ready = false;
  ++s.taken;
  lock.unlock();
  s.wake_workers.notify_one();
  return true;
}

}  // namespace tidepool
