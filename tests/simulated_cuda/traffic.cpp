#include "tests/simulated_cuda/traffic.h"

#include <sys/mman.h>

#include <bit>
#include <cstdint>
#include <new>
#include <vector>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TP_SANITIZED 1
#else
#define TP_SANITIZED 0
#endif

namespace simulated {
namespace {

// A bit for every sector; pages of it that nobody touches take no memory.
class Sectors {
 public:
  void reserve(size_t bytes) {
    if (bits_) return;
    void* raw =
        mmap(nullptr, bytes / kSector / 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw == MAP_FAILED) throw std::bad_alloc();
    bits_ = static_cast<uint64_t*>(raw);
  }
  void mark(size_t offset, size_t bytes) {
    for (size_t s = offset / kSector; s <= (offset + bytes - 1) / kSector; ++s) {
      uint64_t& word = bits_[s / 64];
      if (word == 0) words_.push_back(s / 64);
      word |= uint64_t{1} << s % 64;
    }
  }
  /// Bytes of the sectors that are marked; none is from here on.
  int64_t take() {
    int64_t sectors = 0;
    for (const size_t w : words_) {
      sectors += std::popcount(bits_[w]);
      bits_[w] = 0;
    }
    words_.clear();
    return sectors * static_cast<int64_t>(kSector);
  }

 private:
  static constexpr size_t kSector = 32;
  uint64_t* bits_ = nullptr;
  std::vector<size_t> words_;
};

struct Watch {
  const std::byte* space = nullptr;
  size_t bytes = 0;
  Sectors read, written;
};
Watch watch;

void access(Sectors& sectors, const void* p, size_t bytes) {
  if (!watch.space || bytes == 0) return;
  const auto offset = static_cast<size_t>(static_cast<const std::byte*>(p) - watch.space);
  if (offset < watch.bytes) sectors.mark(offset, bytes);
}

}  // namespace

bool watch_traffic(const std::byte* space, size_t bytes) {
  if (TP_SANITIZED) return false;
  if (space) {
    watch.read.reserve(bytes);
    watch.written.reserve(bytes);
  }
  watch.space = space;
  watch.bytes = bytes;
  return true;
}

Traffic take_traffic() {
  return {watch.read.take(), watch.written.take()};
}

}  // namespace simulated

#if !TP_SANITIZED
// What GCC calls (gcc/sanitizer.def).
#define TP_TSAN_ACCESS(bytes)                              \
  void __tsan_read##bytes(void* p) {                       \
    simulated::access(simulated::watch.read, p, bytes);    \
  }                                                        \
  void __tsan_write##bytes(void* p) {                      \
    simulated::access(simulated::watch.written, p, bytes); \
  }                                                        \
  void __tsan_unaligned_read##bytes(void* p) {             \
    simulated::access(simulated::watch.read, p, bytes);    \
  }                                                        \
  void __tsan_unaligned_write##bytes(void* p) {            \
    simulated::access(simulated::watch.written, p, bytes); \
  }                                                        \
  void __tsan_volatile_read##bytes(void* p) {              \
    simulated::access(simulated::watch.read, p, bytes);    \
  }                                                        \
  void __tsan_volatile_write##bytes(void* p) {             \
    simulated::access(simulated::watch.written, p, bytes); \
  }

extern "C" {
TP_TSAN_ACCESS(1)
TP_TSAN_ACCESS(2)
TP_TSAN_ACCESS(4)
TP_TSAN_ACCESS(8)
TP_TSAN_ACCESS(16)
void __tsan_read_range(void* p, size_t bytes) {
  simulated::access(simulated::watch.read, p, bytes);
}
void __tsan_write_range(void* p, size_t bytes) {
  simulated::access(simulated::watch.written, p, bytes);
}
void __tsan_vptr_update(void**, void*) {}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
// Of what a source of kernels does on the host: shared pointers, statics.
unsigned char __tsan_atomic8_load(const volatile unsigned char* p, int /*order*/) {
  return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}
unsigned __tsan_atomic32_fetch_add(volatile unsigned* p, unsigned v, int /*order*/) {
  return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST);
}
uint64_t __tsan_atomic64_fetch_add(volatile uint64_t* p, uint64_t v, int /*order*/) {
  return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST);
}
}
#endif
