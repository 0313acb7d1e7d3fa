// The part of the CUDA runtime that the program calls, against the real header, so that signatures are the real ones.
#include <cuda_runtime_api.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/simulated_cuda/block.h"
#include "tests/simulated_cuda/control.h"
#include "tests/simulated_cuda/device_side.h"
#include "tests/simulated_cuda/library.h"
#include "tests/simulated_cuda/traffic.h"

namespace simulated {
namespace {
struct Progress {
  uint64_t recorded = 0, reached = 0;  // how often it was put into a stream, and how often that was come by
};
}  // namespace
}  // namespace simulated

struct CUstream_st {
  struct Work {
    std::function<void()> run;    // empty: nothing
    std::function<bool()> ready;  // empty: at once
  };
  std::deque<Work> queue;
  bool recorded = false;  // what comes goes into `recording`
  bool spoiled = false;   // the host waited for it meanwhile
  std::vector<Work> recording;
  void put(Work work) {
    if (recorded)
      recording.push_back(std::move(work));
    else
      queue.push_back(std::move(work));
  }
};
struct CUgraph_st {
  std::vector<CUstream_st::Work> work;
};
struct CUgraphExec_st {
  std::vector<CUstream_st::Work> work;
};
struct CUevent_st {
  std::shared_ptr<simulated::Progress> progress = std::make_shared<simulated::Progress>();
};

namespace simulated {
namespace {

const size_t kPage = static_cast<size_t>(sysconf(_SC_PAGESIZE));
constexpr size_t kHugePage = size_t{2} << 20;  // large blocks lie on such: opening and closing costs an entry a page
constexpr size_t kSpace = size_t{256} << 30;
constexpr size_t kMemory = size_t{8} << 30;

struct Device {
  std::recursive_mutex mutex;
  std::byte* space = nullptr;
  size_t used = 0;  // of the space; addresses never come again
  size_t memory = kMemory, held = 0;
  std::map<std::byte*, size_t> blocks;  // bytes asked for
  std::map<std::byte*, size_t> pinned;
  std::map<CUstream_st*, std::unique_ptr<CUstream_st>> streams;
  Order order{0};
  CUstream_st* running = nullptr;
  int run = 0;  // pieces of work that it goes on with
  Counts counts;
  int64_t failing = 0;
  bool failed = false;
  int64_t stream_waits = 0, left_out_wait = -1, left_out_copy = -1;
  cudaError_t last = cudaSuccess;
};
Device& device() {
  static Device* device = new Device;  // used until the process ends
  return *device;
}
using Lock = std::lock_guard<std::recursive_mutex>;

size_t whole_pages(size_t bytes) {
  const size_t page = bytes < kHugePage ? kPage : kHugePage;
  return (bytes + page - 1) / page * page;
}
bool on_device(const void* p) {
  const auto* b = static_cast<const std::byte*>(p);
  return device().space && b >= device().space && b < device().space + kSpace;
}
bool holds(const std::map<std::byte*, size_t>& blocks, const void* p, size_t bytes) {
  auto* b = static_cast<std::byte*>(const_cast<void*>(p));
  auto it = blocks.upper_bound(b);
  return it != blocks.begin() && (--it, b + bytes <= it->first + it->second);
}
cudaError_t fails(cudaError_t status) {
  return device().last = status;
}

// Says who touched what before the process ends.
void touched(int, siginfo_t* info, void*) {
  if (on_device(info->si_addr)) {
    char text[160];
    const int n =
        std::snprintf(text, sizeof text, "simulated device: the host touched device memory at %p%s\n", info->si_addr,
                      holds(device().blocks, info->si_addr, 1) ? "" : " (freed, or never allocated)");
    (void)!write(2, text, static_cast<size_t>(n));
  }
  std::signal(SIGSEGV, SIG_DFL);
  raise(SIGSEGV);
}

bool make_space() {
  if (device().space) return true;
  void* raw = mmap(nullptr, kSpace + kHugePage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) return false;
  const auto begin = (reinterpret_cast<uintptr_t>(raw) + kHugePage - 1) / kHugePage * kHugePage;
  device().space = reinterpret_cast<std::byte*>(begin);
  struct sigaction action {};
  action.sa_sigaction = touched;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &action, nullptr);
  return true;
}

/// While it lives, device memory can be read and written.
class Open {
 public:
  Open() { set(PROT_READ | PROT_WRITE); }
  ~Open() { set(PROT_NONE); }
  Open(const Open&) = delete;
  Open& operator=(const Open&) = delete;

 private:
  static void set(int access) {
    for (const auto& [block, bytes] : device().blocks) mprotect(block, whole_pages(bytes), access);
  }
};

// Runs work, of streams drawn at random among those that can go on, until `enough`.
void run_until(const std::function<bool()>& enough) {
  if (enough()) return;
  using Clock = std::chrono::steady_clock;
  struct Timed {
    Clock::time_point begin = Clock::now();
    ~Timed() { device().counts.seconds += std::chrono::duration<double>(Clock::now() - begin).count(); }
  } timed;
  const Open open;
  std::vector<CUstream_st*> able;
  while (!enough()) {
    able.clear();
    for (const auto& [stream, owned] : device().streams)
      if (!stream->queue.empty() && (!stream->queue.front().ready || stream->queue.front().ready()))
        able.push_back(stream);
    if (able.empty()) throw std::logic_error("streams wait for events that nobody records");
    // Runs of a stream are of 1 to 1000 pieces of work, so that another may be far behind it.
    CUstream_st* stream = device().running;
    if (device().run == 0 || std::find(able.begin(), able.end(), stream) == able.end()) {
      stream = device().running = able[device().order.below(able.size())];
      static constexpr int kRuns[] = {1, 10, 100, 1000};
      device().run = kRuns[device().order.below(4)];
    }
    --device().run;
    const CUstream_st::Work work = std::move(stream->queue.front());
    stream->queue.pop_front();
    if (work.run) work.run();
  }
}
cudaError_t finish(const std::function<bool()>& enough) {
  try {
    run_until(enough);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "simulated device: %s\n", e.what());
    return fails(cudaErrorLaunchFailure);
  }
  return cudaSuccess;
}
bool all_idle() {
  for (const auto& [stream, owned] : device().streams)
    if (!stream->queue.empty()) return false;
  return true;
}
bool known(cudaStream_t stream) {
  if (device().streams.contains(stream)) return true;
  std::fprintf(stderr, "simulated device: work for %s\n", stream ? "an unknown stream" : "the default stream");
  return false;
}

bool on_host(const void* p) {
  const auto word = reinterpret_cast<uintptr_t>(p);
  unsigned char there;
  return word >= 65536 && word >> 47 == 0 && !on_device(p) && !holds(device().pinned, p, 1) &&
         mincore(reinterpret_cast<void*>(word / kPage * kPage), 1, &there) == 0;
}

void copy_bytes(void* to, const void* from, size_t bytes) {
  std::memcpy(to, from, bytes);
}

}  // namespace

const Counts& counts() {
  return device().counts;
}
void reset_counts() {
  device().counts = {};
  device().stream_waits = 0;
}
void set_seed(uint32_t seed) {
  device().order = Order(seed);
  device().run = 0;
}
void set_memory(size_t bytes) {
  device().memory = bytes == 0 ? kMemory : bytes;
}
bool count_traffic(bool on) {
  const Lock lock(device().mutex);
  run_until(all_idle);
  return make_space() && watch_traffic(on ? device().space : nullptr, kSpace);
}
void drain() {
  const Lock lock(device().mutex);
  run_until(all_idle);
}
void fail_call(int64_t n) {
  device().failing = n;
  device().failed = false;
}
bool has_failed() {
  return device().failed;
}
int64_t count_of(Act act) {
  switch (act) {
    case Act::stream_wait:
      return device().stream_waits;
    case Act::copy:
      return device().counts.copies;
    case Act::barrier:
      return barrier_places();
  }
  return 0;
}
void leave_out(Act act, int64_t n) {
  switch (act) {
    case Act::stream_wait:
      device().left_out_wait = n;
      break;
    case Act::copy:
      device().left_out_copy = n;
      break;
    case Act::barrier:
      leave_out_barrier(n);
      break;
  }
}

bool call_fails() {
  ++device().counts.calls;
  if (device().failing == 0 || --device().failing > 0) return false;
  device().failed = true;
  return true;
}
void enqueue(cudaStream_t stream, std::function<void()> work) {
  const Lock lock(device().mutex);
  if (!known(stream)) throw std::logic_error("work of a library for a stream that the program has not made");
  ++(stream->recorded ? device().counts.recorded : device().counts.executions);
  stream->put({std::move(work), {}});
}
void expect_on_device(const void* memory, size_t bytes) {
  if (!holds(device().blocks, memory, bytes))
    throw std::logic_error("a library was given memory that is not the device's");
}
void check_pointer(const void* pointer) {
  if (on_host(pointer)) throw std::logic_error("a kernel's argument points into the host's memory");
}
void count_suspicious(const void* words, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    void* word = nullptr;
    std::memcpy(&word, static_cast<const char*>(words) + 8 * i, 8);
    device().counts.suspicious += on_host(word);
  }
}

cudaError_t enqueue_kernel(dim3 grid, dim3 block, cudaStream_t stream, std::function<void()> body) {
  const Lock lock(device().mutex);
  if (call_fails()) return cudaErrorLaunchFailure;
  const size_t threads = size_t{block.x} * block.y * block.z;
  if (!known(stream)) return cudaErrorInvalidResourceHandle;
  if (threads == 0 || threads > 1024 || grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > 65535 || grid.z > 65535)
    return cudaErrorInvalidConfiguration;
  ++(stream->recorded ? device().counts.recorded : device().counts.launches);
  device().counts.threads += static_cast<int64_t>(size_t{grid.x} * grid.y * grid.z * threads);
  stream->put({[grid, block, body = std::move(body)] {
                 indices.blocks = grid;
                 for (unsigned z = 0; z < grid.z; ++z)
                   for (unsigned y = 0; y < grid.y; ++y)
                     for (unsigned x = 0; x < grid.x; ++x) {
                       indices.block = {x, y, z};
                       run_block(body, block, device().order);
                     }
                 const Traffic traffic = take_traffic();
                 device().counts.bytes_read += traffic.read;
                 device().counts.bytes_written += traffic.written;
               },
               {}});
  return cudaSuccess;
}

}  // namespace simulated

using namespace simulated;  // NOLINT: this file is the library

#pragma GCC visibility push(default)
extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* index) {
  *index = 0;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int index) {
  return index == 0 ? cudaSuccess : fails(cudaErrorInvalidDevice);
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {};
  std::snprintf(properties->name, sizeof properties->name, "simulated device");
  properties->totalGlobalMem = device().memory;
  properties->multiProcessorCount = 132;
  properties->major = 9;
  properties->maxThreadsPerBlock = 1024;
  properties->warpSize = 32;
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* all) {
  *all = device().memory;
  *free = device().memory > device().held ? device().memory - device().held : 0;
  return cudaSuccess;
}
cudaError_t cudaMalloc(void** p, size_t bytes) {
  const Lock lock(device().mutex);
  if (call_fails()) return fails(cudaErrorUnknown);
  const size_t pages = whole_pages(bytes), unit = bytes < kHugePage ? kPage : kHugePage;
  if (!make_space() || device().held + bytes > device().memory || device().used + pages + 2 * unit > kSpace)
    return fails(cudaErrorMemoryAllocation);
  // Between blocks lies at least a page without access; addresses never come again.
  std::byte* const block = device().space + (device().used + kPage + unit - 1) / unit * unit;
  device().used = static_cast<size_t>(block - device().space) + pages;
  if (unit == kHugePage) madvise(block, pages, MADV_HUGEPAGE);
  mprotect(block, pages, PROT_READ | PROT_WRITE);
  std::memset(block, 0xff, pages);
  mprotect(block, pages, PROT_NONE);
  device().blocks[block] = bytes;
  device().held += bytes;
  ++device().counts.allocations;
  *p = block;
  return cudaSuccess;
}
cudaError_t cudaFree(void* p) {
  const Lock lock(device().mutex);
  if (!p) return cudaSuccess;
  const auto it = device().blocks.find(static_cast<std::byte*>(p));
  if (it == device().blocks.end()) return fails(cudaErrorInvalidValue);
  ++device().counts.frees;
  ++device().counts.synchronisations;
  const cudaError_t status = finish(all_idle);  // as the real one
  madvise(p, whole_pages(it->second), MADV_DONTNEED);
  device().held -= it->second;
  device().blocks.erase(it);
  return status;
}
cudaError_t cudaMallocHost(void** p, size_t bytes) {
  const Lock lock(device().mutex);
  if (call_fails()) return fails(cudaErrorMemoryAllocation);
  ++device().counts.allocations;
  *p = std::aligned_alloc(kPage, (bytes + kPage - 1) / kPage * kPage);
  std::memset(*p, 0xff, bytes);
  device().pinned[static_cast<std::byte*>(*p)] = bytes;
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* p) {
  const Lock lock(device().mutex);
  if (!p) return cudaSuccess;
  if (device().pinned.erase(static_cast<std::byte*>(p)) == 0) return fails(cudaErrorInvalidValue);
  ++device().counts.frees;
  const cudaError_t status = finish(all_idle);
  std::free(p);
  return status;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  const Lock lock(device().mutex);
  if (call_fails()) return fails(cudaErrorUnknown);
  auto made = std::make_unique<CUstream_st>();
  *stream = made.get();
  device().streams[*stream] = std::move(made);
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const Lock lock(device().mutex);
  if (call_fails()) return fails(cudaErrorUnknown);
  if (!known(stream)) return fails(cudaErrorInvalidResourceHandle);
  if (stream->recorded) {
    stream->spoiled = true;
    return fails(cudaErrorStreamCaptureUnsupported);
  }
  ++device().counts.synchronisations;
  return finish([=] { return stream->queue.empty(); });
}
cudaError_t cudaDeviceSynchronize() {
  const Lock lock(device().mutex);
  for (const auto& [stream, owned] : device().streams)
    if (stream->recorded) {
      stream->spoiled = true;
      return fails(cudaErrorStreamCaptureUnsupported);
    }
  ++device().counts.synchronisations;
  return finish(all_idle);
}
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  const Lock lock(device().mutex);
  if (call_fails()) return fails(cudaErrorUnknown);
  if (!known(stream) || stream->recorded) return fails(cudaErrorInvalidResourceHandle);
  stream->recorded = true;
  stream->spoiled = false;
  return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  const Lock lock(device().mutex);
  if (stream && !known(stream)) return fails(cudaErrorInvalidResourceHandle);
  *status = stream && stream->recorded ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const Lock lock(device().mutex);
  *graph = nullptr;
  if (!known(stream) || !stream->recorded) return fails(cudaErrorInvalidResourceHandle);
  stream->recorded = false;
  std::vector<CUstream_st::Work> work = std::move(stream->recording);
  stream->recording.clear();
  if (call_fails() || stream->spoiled) return fails(cudaErrorStreamCaptureInvalidated);
  *graph = new CUgraph_st{std::move(work)};
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  const Lock lock(device().mutex);
  if (call_fails()) return fails(cudaErrorUnknown);
  *executable = new CUgraphExec_st{graph->work};
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  const Lock lock(device().mutex);
  if (call_fails()) return fails(cudaErrorUnknown);
  if (!known(stream)) return fails(cudaErrorInvalidResourceHandle);
  ++device().counts.replays;
  for (const CUstream_st::Work& work : executable->work) stream->put(work);
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  const Lock lock(device().mutex);
  if (call_fails()) return fails(cudaErrorUnknown);
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const Lock lock(device().mutex);
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const Lock lock(device().mutex);
  if (call_fails()) return fails(cudaErrorUnknown);
  if (!known(stream)) return fails(cudaErrorInvalidResourceHandle);
  const uint64_t number = ++event->progress->recorded;
  stream->put({[progress = event->progress, number] { progress->reached = number; }, {}});
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const Lock lock(device().mutex);
  if (call_fails()) return fails(cudaErrorUnknown);
  const auto progress = event->progress;
  if (progress->recorded > 0) ++device().counts.event_waits;
  const uint64_t number = progress->recorded;
  return finish([=] { return progress->reached >= number; });
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const Lock lock(device().mutex);
  if (call_fails()) return fails(cudaErrorUnknown);
  if (!known(stream)) return fails(cudaErrorInvalidResourceHandle);
  if (device().stream_waits++ == device().left_out_wait) return cudaSuccess;
  const auto progress = event->progress;
  const uint64_t number = progress->recorded;
  stream->put({{}, [=] { return progress->reached >= number; }});
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  const Lock lock(device().mutex);
  if (call_fails()) return fails(cudaErrorUnknown);
  if (!known(stream)) return fails(cudaErrorInvalidResourceHandle);
  if (!holds(device().blocks, to, bytes)) return fails(cudaErrorInvalidValue);
  stream->put({[=] { std::memset(to, value, bytes); }, {}});
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  const Lock lock(device().mutex);
  if (call_fails()) return fails(cudaErrorUnknown);
  if (!known(stream)) return fails(cudaErrorInvalidResourceHandle);
  const bool to_device = on_device(to), from_device = on_device(from);
  const cudaMemcpyKind real = to_device ? (from_device ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice)
                                        : (from_device ? cudaMemcpyDeviceToHost : cudaMemcpyHostToHost);
  if (kind != cudaMemcpyDefault && kind != real) return fails(cudaErrorInvalidMemcpyDirection);
  if ((to_device && !holds(device().blocks, to, bytes)) || (from_device && !holds(device().blocks, from, bytes)))
    return fails(cudaErrorInvalidValue);
  Counts& counts = device().counts;
  (to_device ? from_device ? counts.bytes_on_device : counts.bytes_to_device : counts.bytes_to_host) +=
      static_cast<int64_t>(bytes);
  if (stream->recorded && ((to_device && !from_device && !holds(device().pinned, from, bytes)) ||
                           (!to_device && !holds(device().pinned, to, bytes)))) {  // pageable memory
    stream->spoiled = true;
    return fails(cudaErrorStreamCaptureUnsupported);
  }
  const bool left_out = counts.copies++ == device().left_out_copy;
  const bool to_pinned = holds(device().pinned, to, bytes);
  if (!to_device && to_pinned) std::memset(to, 0xff, bytes);  // until it has come
  if (left_out) return cudaSuccess;
  if (to_device && !from_device && !holds(device().pinned, from, bytes)) {  // staged before the call returns
    ++counts.pageable_copies;
    stream->put(
        {[=, staged = std::string(static_cast<const char*>(from), bytes)] { copy_bytes(to, staged.data(), bytes); },
         {}});
    return cudaSuccess;
  }
  stream->put({[=] { copy_bytes(to, from, bytes); }, {}});
  if (to_device || to_pinned) return cudaSuccess;
  ++counts.pageable_copies;  // to pageable memory: returns when it is there
  ++counts.synchronisations;
  return finish([=] { return stream->queue.empty(); });
}
cudaError_t cudaGetLastError() {
  const Lock lock(device().mutex);
  return std::exchange(device().last, cudaSuccess);
}
cudaError_t cudaPeekAtLastError() {
  return device().last;
}
const char* cudaGetErrorString(cudaError_t status) {
  switch (status) {
    case cudaSuccess:
      return "no error";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorInvalidResourceHandle:
      return "invalid resource handle";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated:
      return "operation failed due to a previous error during capture";
    case cudaErrorLaunchFailure:
      return "unspecified launch failure";
    default:
      return "unknown error";
  }
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

}  // extern "C"
#pragma GCC visibility pop
