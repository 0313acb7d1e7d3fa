#include "core/cuda/host_copy.h"

#include <algorithm>
#include <map>
#include <mutex>

#include "core/cuda/stream.h"

namespace tidepool::cuda {
namespace {

// What send_to_host() sent: one buffer, and the point in the compute stream behind which it is filled.
struct Sent {
  explicit Sent(size_t bytes) : memory(bytes) {}
  ~Sent() {
    if (!arrived) cudaStreamSynchronize(compute_stream());  // the device must not write what is freed
  }
  Pinned memory;
  Event event;
  uint64_t number = 0;  // how many were sent before
  bool arrived = true;
};

struct Entry {
  uint64_t version;
  const void* address;  // of the device: a view of the storage is another tensor
  const void* memory;
  std::shared_ptr<const void> owner;
  Sent* sent;                            // null: it has come
  std::weak_ptr<const Storage> storage;  // of the tensor: the entry goes with it
};

struct Known {
  std::mutex mutex;
  std::map<uint64_t, Entry> by_storage;
  std::vector<std::shared_ptr<Sent>> sent;  // that tensors may still be read of, and buffers to be used again
  uint64_t number = 0, arrived = 0;
};
Known& known() {
  static Known* known = new Known;
  return *known;
}

size_t bytes_of(const Tensor& t) {
  return static_cast<size_t>(t.numel()) * size_of(t.dtype());
}
constexpr size_t kAlign = 16;
size_t aligned(size_t bytes) {
  return (bytes + kAlign - 1) / kAlign * kAlign;
}

// The copies of tensors that are gone give their pinned memory back.
void forget_gone(Known& k) {
  std::erase_if(k.by_storage, [](const auto& entry) { return entry.second.storage.expired(); });
}

// A buffer that nobody reads any more, or a new one.
std::shared_ptr<Sent> buffer_of(Known& k, size_t bytes) {
  for (auto& one : k.sent)
    if (one.use_count() == 1 && one->memory.bytes() >= bytes && (one->arrived || one->number <= k.arrived)) return one;
  auto fresh = std::make_shared<Sent>(std::max<size_t>(bytes, 4096));
  k.sent.push_back(fresh);
  return fresh;
}

}  // namespace

void send_to_host(std::span<const Tensor> tensors) {
  Known& k = known();
  const std::lock_guard lock(k.mutex);
  size_t bytes = 0;
  for (const Tensor& t : tensors) bytes += aligned(bytes_of(t));
  if (bytes == 0) return;
  forget_gone(k);
  for (const Tensor& t : tensors) k.by_storage.erase(t.storage().id);
  const std::shared_ptr<Sent> sent = buffer_of(k, bytes);
  std::vector<std::pair<uint64_t, Entry>> entries;
  try {
    size_t at = 0;
    for (const Tensor& t : tensors) {
      if (!t.is_contiguous(t.format()) || t.numel() == 0) continue;
      std::byte* const to = sent->memory.data() + at;
      TP_CUDA(cudaMemcpyAsync(to, t.raw(), bytes_of(t), cudaMemcpyDeviceToHost, compute_stream()));
      entries.emplace_back(t.storage().id, Entry{t.version(), t.raw(), to, sent, sent.get(), t.weak_storage()});
      at += aligned(bytes_of(t));
    }
    sent->event.record(compute_stream());
  } catch (...) {
    cudaStreamSynchronize(compute_stream());  // the buffer is free again
    throw;
  }
  sent->arrived = false;
  sent->number = ++k.number;
  for (auto& [storage, entry] : entries) k.by_storage.insert_or_assign(storage, std::move(entry));
}

void note_host_copy(const Tensor& t, const void* memory, std::shared_ptr<const void> owner) {
  Known& k = known();
  const std::lock_guard lock(k.mutex);
  forget_gone(k);
  k.by_storage.insert_or_assign(t.storage().id,
                                Entry{t.version(), t.raw(), memory, std::move(owner), nullptr, t.weak_storage()});
}

const void* host_copy(const Tensor& t) {
  Known& k = known();
  const std::lock_guard lock(k.mutex);
  const auto it = k.by_storage.find(t.storage().id);
  if (it == k.by_storage.end()) return nullptr;
  Entry& entry = it->second;
  if (entry.version != t.version() || entry.address != t.raw()) return nullptr;
  if (Sent* const sent = entry.sent) {
    if (!sent->arrived && sent->number > k.arrived) {
      sent->event.wait();
      k.arrived = sent->number;  // and with it what was sent before
    }
    sent->arrived = true;
  }
  return entry.memory;
}

}  // namespace tidepool::cuda
