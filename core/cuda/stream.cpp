#include "core/cuda/stream.h"

#include <string_view>

#include "core/cuda/launch.h"
#include "core/error.h"
#include "core/observer.h"

namespace tidepool::cuda {
namespace {

// "core/cuda/stream.cpp:12 in features.3" of the compiler's path.
std::string place(const char* file, int line) {
  std::string_view path = file;
  for (const std::string_view room : {"core/", "layers/", "tests/"})
    if (const size_t at = path.rfind(room); at != std::string_view::npos) {
      path.remove_prefix(at);
      break;
    }
  const std::string& layer = LayerScope::path();
  return fmt::format("{}:{}{}{}", path, line, layer.empty() ? "" : " in ", layer);
}

cudaStream_t make_stream() {
  cudaStream_t stream = nullptr;
  TP_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return stream;
}

}  // namespace

void check(cudaError_t status, const char* call, const char* file, int line) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // reported here: the next launch is not to blame
  throw Failure("CUDA: {} at {}: {}", call, place(file, line), cudaGetErrorString(status));
}

void check_launch(cudaError_t status, dim3 blocks, dim3 threads, const char* file, int line) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // reported here: the next launch is not to blame
  throw Failure("CUDA: a kernel of {}x{}x{} blocks of {}x{}x{} threads at {}: {}", blocks.x, blocks.y, blocks.z,
                threads.x, threads.y, threads.z, place(file, line), cudaGetErrorString(status));
}

uint32_t narrow(int64_t count, const char* file, int line) {
  if (count < 0 || count > INT32_MAX)
    throw Failure("CUDA: {} elements at {}: kernels index up to 2^31", count, place(file, line));
  return static_cast<uint32_t>(count);
}

cudaStream_t compute_stream() {
  static const cudaStream_t stream = make_stream();
  return stream;
}
cudaStream_t copy_stream() {
  static const cudaStream_t stream = make_stream();
  return stream;
}

Event::Event() {
  TP_CUDA(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming));
}
Event::~Event() {
  if (event_) cudaEventDestroy(event_);
}
void Event::record(cudaStream_t stream) {
  TP_CUDA(cudaEventRecord(event_, stream));
}
void Event::hold(cudaStream_t stream) const {
  TP_CUDA(cudaStreamWaitEvent(stream, event_, 0));
}
void Event::wait() const {
  TP_CUDA(cudaEventSynchronize(event_));
}

Pinned::Pinned(size_t bytes) : bytes_(bytes) {
  TP_CUDA(cudaMallocHost(&data_, bytes));
}
Pinned::~Pinned() {
  if (data_) cudaFreeHost(data_);
}

}  // namespace tidepool::cuda
