// Batches of a data set, made ahead of time by worker threads.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "core/tensor.h"
#include "data/transform.h"

namespace tidepool {

struct LoaderOptions {
  int64_t batch = 128;          ///< images, over all ranks
  int64_t rank = 0, ranks = 1;  ///< a rank's batch is the rank-th of as many parts of the whole one, in their order
  DType dtype = DType::f32;     ///< of the images: f32, bf16 or f64
  uint64_t seed = 0;
  bool training = true;  ///< false: file order, no augmentation, the middle of a stretch, whatever is said below
  bool shuffle = true;   ///< a new order every epoch
  AugmentOptions augment = {};
  VariantOptions variant = {};
  bool drop_last = false;  ///< leave out a last batch that is not full
  int64_t workers = 1;     ///< threads, at most 1024; 0: next() does the work itself
  int64_t prefetch = 4;    ///< batches made ahead, at most 65536, with one worker or more
};

/// A batch as a network takes it. Handed to next() again, it gives its memory back for a later batch, unless somebody
/// else holds a tensor of it.
struct TensorBatch {
  Tensor images;                      ///< (n, C, H, W), channels-last, normalised, of LoaderOptions::dtype
  Tensor labels;                      ///< i32: (n); in data sets of label maps (n, H, W), kIgnoredLabel: none
  int64_t n = 0;                      ///< images: fewer than asked for at the end, or where damaged ones are left out
  double share = 1;                   ///< of the whole batch, damaged images counted: below 1 where a rank has a part
  std::vector<int64_t> indices = {};  ///< (n): the number of each image in its data set
};

/// Image indices of an epoch in the order of training: 0 to size - 1, shuffled (Fisher & Yates; Durstenfeld 1964) by
/// (seed, epoch) alone.
std::vector<int64_t> epoch_order(int64_t size, uint64_t seed, int64_t epoch);

/// Batches are the same bits for any number of workers: each is a function of (options, epoch, its number). One thread
/// calls the member functions. Once every batch has been through next(), the system is asked for no more memory.
class Loader {
 public:
  /// Errors name the key; a variant for a data set of label maps is one. `dataset` is shared with the workers.
  Loader(std::shared_ptr<const Dataset> dataset, const Normalisation& normalisation, const LoaderOptions& options);
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  /// Batches of an epoch.
  int64_t batches() const;
  /// Begins `epoch` at its batch `first_batch` (0 to batches()), also in the middle of another; nothing comes out of
  /// next() before.
  void start_epoch(int64_t epoch, int64_t first_batch = 0);
  /// The next batch, or false at the end of the epoch. What a worker threw is thrown here, at the batch it belongs to,
  /// and ends the epoch.
  /// Of an evaluation, batches whose images are all damaged and left out are passed over.
  bool next(TensorBatch& batch);

 private:
  bool take(TensorBatch& batch);  // the next one, whatever is left of it

  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tidepool
