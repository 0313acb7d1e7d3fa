// The device, its memory, and copies between it and the host, which go through pinned buffers: none is pageable.
#include "core/cuda/runtime_api.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <set>

#include "core/cuda/stream.h"
#include "core/error.h"

namespace tidepool::cuda {
namespace {

// A buffer of two halves: while the one is filled, copies of the other may be under way.
class Staging {
 public:
  static Staging& instance() {
    static Staging* staging = new Staging;  // never destroyed: the driver may be gone by then
    return *staging;
  }

  void upload(std::byte* to, const std::byte* from, size_t bytes) {
    const std::lock_guard lock(mutex_);
    while (bytes > 0) {
      const size_t part = std::min(bytes, kHalf);
      std::byte* const here = take(part);
      std::memcpy(here, from, part);
      TP_CUDA(cudaMemcpyAsync(to, here, part, cudaMemcpyHostToDevice, compute_stream()));
      to += part;
      from += part;
      bytes -= part;
    }
  }
  void download(std::byte* to, const std::byte* from, size_t bytes) {
    const std::lock_guard lock(mutex_);
    while (bytes > 0) {
      const size_t part = std::min(bytes, kHalf);
      TP_CUDA(cudaMemcpyAsync(down_.data(), from, part, cudaMemcpyDeviceToHost, compute_stream()));
      TP_CUDA(cudaStreamSynchronize(compute_stream()));
      std::memcpy(to, down_.data(), part);
      to += part;
      from += part;
      bytes -= part;
    }
  }

 private:
  static constexpr size_t kHalf = size_t{4} << 20, kAlign = 256;

  std::byte* take(size_t bytes) {
    if (used_ + bytes > kHalf) {
      read_[half_].record(compute_stream());
      read_[1 - half_].wait();
      half_ = 1 - half_;
      used_ = 0;
    }
    std::byte* const begin = up_.data() + half_ * kHalf + used_;
    used_ = (used_ + bytes + kAlign - 1) / kAlign * kAlign;
    return begin;
  }

  std::mutex mutex_;
  Pinned up_{2 * kHalf}, down_{kHalf};
  std::array<Event, 2> read_;  // behind the last copy of a half
  size_t half_ = 0, used_ = 0;
};

}  // namespace

const bool kBuilt = true;

int device_count() noexcept {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    cudaGetLastError();  // no driver is no error here: the answer is none
    return 0;
  }
  return count;
}

DeviceDescription describe() {
  cudaDeviceProp properties{};
  TP_CUDA(cudaGetDeviceProperties(&properties, 0));
  return {.name = "cuda",
          .model = properties.name,
          .memory_bytes = static_cast<int64_t>(properties.totalGlobalMem),
          .threads = properties.multiProcessorCount};
}

namespace {

// The first card, whichever the caller has in use.
class FirstDevice {
 public:
  FirstDevice() {
    TP_CUDA(cudaGetDevice(&was_));
    if (was_ != 0) TP_CUDA(cudaSetDevice(0));
  }
  ~FirstDevice() {
    if (was_ != 0) cudaSetDevice(was_);
  }
  FirstDevice(const FirstDevice&) = delete;
  FirstDevice& operator=(const FirstDevice&) = delete;

 private:
  int was_ = 0;
};

}  // namespace

void* allocate(size_t bytes) {
  const FirstDevice first;
  void* block = nullptr;
  const cudaError_t status = cudaMalloc(&block, bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // not an error of the next call's
    return nullptr;
  }
  check(status, "cudaMalloc");
  return block;
}

void release(void* block) noexcept {
  int was = 0;
  const bool other = cudaGetDevice(&was) == cudaSuccess && was != 0;
  if (other) cudaSetDevice(0);
  cudaDeviceSynchronize();
  cudaFree(block);
  if (other) cudaSetDevice(was);
}

size_t free_bytes() noexcept {
  size_t free = 0, all = 0;
  return cudaMemGetInfo(&free, &all) == cudaSuccess ? free : 0;
}

void copy(void* to, Device to_device, const void* from, Device from_device, size_t bytes) {
  if (to_device != from_device && recording())
    throw Failure("CUDA: work that is recorded cannot copy between host and device");
  if (to_device == from_device)
    TP_CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, compute_stream()));
  else if (to_device.kind == DeviceKind::cuda)
    Staging::instance().upload(static_cast<std::byte*>(to), static_cast<const std::byte*>(from), bytes);
  else
    Staging::instance().download(static_cast<std::byte*>(to), static_cast<const std::byte*>(from), bytes);
}

namespace {

bool is_captured(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  TP_CUDA(cudaStreamIsCapturing(stream, &status));
  return status != cudaStreamCaptureStatusNone;
}

// Every stream that work came from. What one of them still reads may be free here, and given to work of another.
class OutsideStreams {
 public:
  static OutsideStreams& instance() {
    static OutsideStreams streams;
    return streams;
  }
  // Our work from here on stands behind what the others hold.
  void wait_but_for(cudaStream_t theirs) {
    const std::lock_guard lock(mutex_);
    std::erase_if(streams_, [&](cudaStream_t stream) {
      if (stream == theirs) return false;
      try {
        if (is_captured(stream)) return false;
        Event there;
        there.record(stream);
        there.hold(compute_stream());
        return false;
      } catch (const Failure&) {  // it is no stream any more
        return true;
      }
    });
    streams_.insert(theirs);
  }

 private:
  std::mutex mutex_;
  std::set<cudaStream_t> streams_;
};

}  // namespace

void in_order_of(void* stream, const std::function<void()>& work) {
  const FirstDevice first;
  const auto theirs = static_cast<cudaStream_t>(stream);
  if (is_captured(theirs))
    throw Failure("CUDA: the caller's stream is captured into a graph; these operators cannot be a part of one");
  OutsideStreams::instance().wait_but_for(theirs);
  Event before, after;
  before.record(theirs);
  before.hold(compute_stream());
  const auto leave = [&] {
    after.record(compute_stream());
    after.hold(theirs);
  };
  try {
    work();
  } catch (...) {
    leave();
    throw;
  }
  leave();
}

}  // namespace tidepool::cuda
