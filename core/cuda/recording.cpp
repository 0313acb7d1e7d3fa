#include "core/cuda/recording.h"

#include <cuda_runtime_api.h>

#include "core/cuda/stream.h"

namespace tidepool::cuda {
namespace {

bool under_way = false;  // by the one thread that has the compute stream

struct Graph {
  ~Graph() {
    if (graph) cudaGraphDestroy(graph);
  }
  cudaGraph_t graph = nullptr;
};

class CudaGraph final : public Recording::Implementation {
 public:
  explicit CudaGraph(cudaGraph_t graph) { TP_CUDA(cudaGraphInstantiate(&executable_, graph, 0)); }
  ~CudaGraph() override { cudaGraphExecDestroy(executable_); }
  void replay() override { TP_CUDA(cudaGraphLaunch(executable_, compute_stream())); }

 private:
  cudaGraphExec_t executable_ = nullptr;
};

// The compute stream is recorded while it lives.
class Capture {
 public:
  Capture() {
    // Relaxed: the pool may ask the device for memory meanwhile.
    TP_CUDA(cudaStreamBeginCapture(compute_stream(), cudaStreamCaptureModeRelaxed));
    under_way = true;
  }
  ~Capture() {
    if (!under_way) return;
    Graph dropped;
    cudaStreamEndCapture(compute_stream(), &dropped.graph);
    cudaGetLastError();  // what ended it early is under way as an exception
    under_way = false;
  }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  void end(Graph& graph) {
    under_way = false;
    TP_CUDA(cudaStreamEndCapture(compute_stream(), &graph.graph));
  }
};

}  // namespace

bool recording() noexcept {
  return under_way;
}

std::unique_ptr<Recording::Implementation> record(const std::function<void()>& work) {
  Graph graph;
  {
    Capture capture;
    work();
    capture.end(graph);
  }
  return std::make_unique<CudaGraph>(graph.graph);
}

}  // namespace tidepool::cuda
