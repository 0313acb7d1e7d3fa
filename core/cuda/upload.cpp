#include "core/cuda/upload.h"

#include <array>
#include <cstring>
#include <optional>

#include "core/cuda/host_copy.h"
#include "core/cuda/stream.h"

namespace tidepool::cuda {
namespace {

size_t bytes_of(const Tensor& t) {
  return static_cast<size_t>(t.numel()) * size_of(t.dtype());
}

class TwoSlots final : public Upload::Implementation {
 public:
  ~TwoSlots() override {
    cudaStreamSynchronize(copy_stream());  // nobody writes or reads the buffers behind this
  }

  std::vector<Tensor> operator()(std::span<const Tensor> batch) override {
    Slot& slot = slots_[next_];
    slots_[1 - next_].used.record(compute_stream());  // all that computes with the batch before this one
    next_ = 1 - next_;

    size_t bytes = 0;
    for (const Tensor& t : batch) bytes += (bytes_of(t) + kAlign - 1) / kAlign * kAlign;
    if (slot.copying) slot.copied.wait();  // two batches ago: long since there
    slot.copying = false;

    // Memory that is new here may be that of tensors with which work of the compute stream is not done.
    bool fresh = slot.tensors.size() != batch.size();
    for (size_t i = 0; i < batch.size() && !fresh; ++i) fresh = !slot.serves(i, batch[i]);
    if (fresh) {
      slot.pinned = std::make_shared<Pinned>(bytes);  // somebody may still read the host's copy of what he holds
      slot.tensors.clear();
      for (const Tensor& t : batch)
        slot.tensors.push_back(Tensor::empty(t.shape(), {t.dtype(), t.format(), Device{DeviceKind::cuda}}));
      slot.used.record(compute_stream());
    }
    try {
      copy(slot, batch);
    } catch (...) {
      cudaStreamSynchronize(copy_stream());  // what is under way reads the buffer
      throw;
    }
    return slot.tensors;
  }

 private:
  struct Slot;
  static void copy(Slot& slot, std::span<const Tensor> batch) {
    slot.used.hold(copy_stream());
    size_t at = 0;
    for (size_t i = 0; i < batch.size(); ++i) {
      const Tensor dense = batch[i].contiguous();
      std::byte* const here = slot.pinned->data() + at;
      if (bytes_of(dense) > 0) {
        std::memcpy(here, dense.raw(), bytes_of(dense));
        TP_CUDA(cudaMemcpyAsync(slot.tensors[i].mutable_raw(), here, bytes_of(dense), cudaMemcpyHostToDevice,
                                copy_stream()));
        note_host_copy(slot.tensors[i], here, slot.pinned);
      }
      at += (bytes_of(dense) + kAlign - 1) / kAlign * kAlign;
    }
    slot.copied.record(copy_stream());
    slot.copying = true;
    slot.copied.hold(compute_stream());
  }

  static constexpr size_t kAlign = 256;
  struct Slot {
    std::shared_ptr<Pinned> pinned;
    std::vector<Tensor> tensors;
    Event copied;  // behind the copies, in the copy stream
    Event used;    // behind what computes with the tensors, in the compute stream
    bool copying = false;

    bool serves(size_t i, const Tensor& t) const {
      const Tensor& mine = tensors[i];
      return mine.is_sole_owner() && mine.shape() == t.shape() && mine.dtype() == t.dtype() &&
             mine.format() == t.format();
    }
  };
  std::array<Slot, 2> slots_;
  size_t next_ = 0;
};

}  // namespace

std::unique_ptr<Upload::Implementation> make_upload() {
  return std::make_unique<TwoSlots>();
}

}  // namespace tidepool::cuda
