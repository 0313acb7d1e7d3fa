// The two streams, events, and the statuses of the CUDA runtime as exceptions. Work of kernels and libraries goes to
// the compute stream, copies that overlap with it to the copy stream, and nothing to the default stream. Memory of a
// tensor may be used again as soon as the host has let go of it, since the stream keeps the order: work on another
// stream, or of the host, needs an event.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>

namespace tidepool::cuda {

/// Throws Failure("CUDA: cudaMemcpyAsync(...) at core/cuda/runtime.cpp:80 in features.3: out of memory") unless the
/// call, as TP_CUDA writes it, succeeded.
void check(cudaError_t status, const char* call, const char* file = __builtin_FILE(), int line = __builtin_LINE());
#define TP_CUDA(call) ::tidepool::cuda::check(call, #call)
/// The same of a launch.
void check_launch(cudaError_t status, dim3 blocks, dim3 threads, const char* file, int line);

/// Made at the first call; they live as long as the process.
cudaStream_t compute_stream();
cudaStream_t copy_stream();
/// Whether what is put into the compute stream is recorded (core/cuda/recording.cpp), and does not run.
bool recording() noexcept;

/// A point in a stream.
class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  Event(Event&& o) noexcept : event_(o.event_) { o.event_ = nullptr; }

  /// Behind what is in the stream now.
  void record(cudaStream_t stream);
  /// What comes into `stream` from now on waits for it; at once where nothing was recorded.
  void hold(cudaStream_t stream) const;
  /// The host waits for it.
  void wait() const;

 private:
  cudaEvent_t event_ = nullptr;
};

/// Memory of the host that copies need not stage.
class Pinned {
 public:
  explicit Pinned(size_t bytes);
  ~Pinned();
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;
  Pinned(Pinned&& o) noexcept : data_(o.data_), bytes_(o.bytes_) { o.data_ = nullptr; }

  std::byte* data() const { return static_cast<std::byte*>(data_); }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace tidepool::cuda
