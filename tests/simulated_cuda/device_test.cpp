// The simulated device itself, and the runtime's side of the backend on it: memory, copies, streams, errors.
#include <gtest/gtest.h>

#include <algorithm>

#include "core/allocator.h"
#include "core/backend/copy.h"
#include "core/backend/outside_stream.h"
#include "core/backend/upload.h"
#include "core/cuda/runtime_api.h"
#include "core/cuda/stream.h"
#include "core/error.h"
#include "core/tensor.h"
#include "layers/add.h"
#include "tests/simulated_cuda/control.h"

namespace tidepool {
namespace {

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const std::exception& e) {
    return e.what();
  }
  return "";
}

TEST(SimulatedCuda, IsTheDevice) {
  EXPECT_TRUE(built_with_cuda());
  EXPECT_TRUE(cuda_available());
  EXPECT_EQ(list_devices().back().model, "simulated device");
}

TEST(SimulatedCuda, TensorsGoThereAndComeBack) {
  for (const DType type : {DType::f32, DType::f64, DType::i64, DType::u8}) {
    const Tensor x = Tensor::from<double>({1, 2, 3, 4, 5, 6}, {2, 3}).to(type);
    const Tensor there = x.to(kCuda);
    EXPECT_EQ(there.to(kCpu).values(), x.values());
    EXPECT_EQ(there.permute({1, 0}).contiguous().values(), x.permute({1, 0}).values());
    EXPECT_EQ(there.to(DType::bf16).to(DType::f64).values(), x.values());
  }
  EXPECT_EQ(Tensor::full({300}, 2.5, {.device = kCuda}).values(), std::vector<double>(300, 2.5));
}

TEST(SimulatedCuda, TheHostDiesOfReadingDeviceMemory) {
  const Tensor x = Tensor::zeros({64}, {.device = kCuda});
  simulated::drain();
  EXPECT_DEATH({ [[maybe_unused]] volatile float v = *static_cast<const float*>(x.raw()); },
               "the host touched device memory");
  void* const block = cuda::allocate(4096);
  cuda::release(block);
  EXPECT_DEATH({ *static_cast<volatile float*>(block) = 1; }, "freed, or never allocated");
}

// Another library writes a tensor on a stream of its own, ours doubles it, that library reads what came and writes over
// both; nobody waits in between. Without either of the two waits some order of the streams goes wrong.
TEST(SimulatedCuda, WorkStandsInTheOrderOfAnotherLibrarysStream) {
  constexpr int64_t kCount = 1024;
  constexpr size_t kBytes = kCount * sizeof(float);
  cudaStream_t theirs = nullptr;
  ASSERT_EQ(cudaStreamCreateWithFlags(&theirs, cudaStreamNonBlocking), cudaSuccess);
  const cuda::Pinned from(kBytes), next(kBytes), to(kBytes);
  const Tensor x = Tensor::empty({kCount}, {.device = kCuda});
  const auto pass = [&](float value, bool throws) {
    std::fill_n(reinterpret_cast<float*>(from.data()), kCount, value);
    std::fill_n(reinterpret_cast<float*>(next.data()), kCount, -1.0f);
    EXPECT_EQ(cudaMemcpyAsync(x.mutable_raw(), from.data(), kBytes, cudaMemcpyHostToDevice, theirs), cudaSuccess);
    Tensor y;
    const auto work = [&] {
      y = add_maps(x, x);
      if (throws) throw Error("work");
    };
    if (throws)
      EXPECT_THROW(in_order_of(kCuda, theirs, work), Error);
    else
      in_order_of(kCuda, theirs, work);
    EXPECT_EQ(cudaMemcpyAsync(to.data(), y.raw(), kBytes, cudaMemcpyDeviceToHost, theirs), cudaSuccess);
    EXPECT_EQ(cudaMemcpyAsync(x.mutable_raw(), next.data(), kBytes, cudaMemcpyHostToDevice, theirs), cudaSuccess);
    simulated::drain();
    const auto* const got = reinterpret_cast<const float*>(to.data());
    return std::all_of(got, got + kCount, [&](float v) { return v == 2 * value; });
  };
  int wrong[2] = {};
  for (uint32_t seed = 0; seed < 40; ++seed) {
    simulated::set_seed(seed);
    EXPECT_TRUE(pass(static_cast<float>(seed + 1), false));
    EXPECT_TRUE(pass(static_cast<float>(seed + 1) / 2, true));
    for (const int wait : {0, 1}) {
      simulated::reset_counts();
      simulated::leave_out(simulated::Act::stream_wait, wait);
      wrong[wait] += pass(static_cast<float>(seed) + 0.25f, false) ? 0 : 1;
      simulated::leave_out(simulated::Act::stream_wait, -1);
    }
  }
  EXPECT_GT(wrong[0], 0);
  EXPECT_GT(wrong[1], 0);

  // What one stream still reads is free here, and work of another stream gets its memory.
  cudaStream_t another = nullptr;
  ASSERT_EQ(cudaStreamCreateWithFlags(&another, cudaStreamNonBlocking), cudaSuccess);
  const Tensor zeros = Tensor::zeros({kCount}, {.device = kCuda});
  for (uint32_t seed = 0; seed < 40; ++seed) {
    simulated::set_seed(seed);
    std::fill_n(reinterpret_cast<float*>(from.data()), kCount, static_cast<float>(seed));
    EXPECT_EQ(cudaMemcpyAsync(x.mutable_raw(), from.data(), kBytes, cudaMemcpyHostToDevice, theirs), cudaSuccess);
    {
      Tensor y;
      in_order_of(kCuda, theirs, [&] { y = add_maps(x, x); });
      EXPECT_EQ(cudaMemcpyAsync(to.data(), y.raw(), kBytes, cudaMemcpyDeviceToHost, theirs), cudaSuccess);
    }
    Tensor z;
    in_order_of(kCuda, another, [&] { z = add_maps(zeros, zeros); });
    simulated::drain();
    const auto* const got = reinterpret_cast<const float*>(to.data());
    EXPECT_TRUE(std::all_of(got, got + kCount, [&](float v) { return v == 2 * static_cast<float>(seed); })) << seed;
  }

  ASSERT_EQ(cudaStreamBeginCapture(theirs, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  EXPECT_THROW(in_order_of(kCuda, theirs, [&] { ADD_FAILURE() << "it is captured"; }), Failure);
  in_order_of(kCuda, another, [&] { add_maps(zeros, zeros); });  // the captured one is left alone
  cudaGraph_t graph = nullptr;
  EXPECT_EQ(cudaStreamEndCapture(theirs, &graph), cudaSuccess);
  EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);

  bool done = false;
  in_order_of(kCpu, nullptr, [&] { done = true; });
  EXPECT_TRUE(done);
}

TEST(SimulatedCuda, StreamsAreLateAndEventsOrderThem) {
  using namespace cuda;
  constexpr size_t kBytes = 4096;
  const Pinned from(kBytes), to(kBytes);
  const Tensor there = Tensor::empty({kBytes}, {.dtype = DType::u8, .device = kCuda});
  int wrong = 0;
  for (uint32_t seed = 0; seed < 40; ++seed) {
    simulated::set_seed(seed);
    for (const bool waits : {true, false}) {
      simulated::drain();
      std::memset(from.data(), static_cast<int>(2 * seed) + waits, kBytes);
      Event copied;
      TP_CUDA(cudaMemcpyAsync(there.mutable_raw(), from.data(), kBytes, cudaMemcpyHostToDevice, copy_stream()));
      copied.record(copy_stream());
      if (waits) copied.hold(compute_stream());
      TP_CUDA(cudaMemcpyAsync(to.data(), there.raw(), kBytes, cudaMemcpyDeviceToHost, compute_stream()));
      TP_CUDA(cudaStreamSynchronize(compute_stream()));
      const bool right = to.data()[7] == from.data()[7];
      if (waits)
        EXPECT_TRUE(right) << seed;
      else
        wrong += !right;
    }
  }
  simulated::drain();
  EXPECT_GT(wrong, 5);
}

TEST(SimulatedCuda, AFailedCallIsAnErrorWithItsPlace) {
  static_cast<void>(cuda::compute_stream());  // made at its first use
  simulated::drain();
  simulated::fail_call(1);
  const std::string text = message_of([] { TP_CUDA(cudaStreamSynchronize(cuda::compute_stream())); });
  EXPECT_TRUE(simulated::has_failed());
  EXPECT_EQ(text.substr(0, 95),
            "CUDA: cudaStreamSynchronize(cuda::compute_stream()) at tests/simulated_cuda/device_test.cpp:" +
                text.substr(92, 3));
  EXPECT_TRUE(text.ends_with(": unknown error")) << text;
}

TEST(SimulatedCuda, OutOfMemoryFreesTheCacheAndThenSaysWhatThereIs) {
  Allocator& allocator = Allocator::of(kCuda);
  simulated::set_memory(allocator.stats().reserved_bytes + (size_t{96} << 20));
  { const Tensor kept = Tensor::empty({64 << 20}, {.dtype = DType::u8, .device = kCuda}); }
  const uint64_t asked = allocator.stats().system_calls;
  { const Tensor larger = Tensor::empty({80 << 20}, {.dtype = DType::u8, .device = kCuda}); }  // the cache goes back
  EXPECT_GT(allocator.stats().system_calls, asked);
  const std::string text = message_of([] { Tensor::empty({int64_t{1} << 32}, {.dtype = DType::u8, .device = kCuda}); });
  EXPECT_TRUE(text.starts_with("out of memory: 4294967296 bytes on cuda (")) << text;
  EXPECT_NE(text.find("are held"), std::string::npos) << text;
  EXPECT_NE(text.find("are free on the device"), std::string::npos) << text;
  simulated::set_memory(0);
}

// An evaluation has an Upload of its own, and each reading of losses new tensors: neither may leave memory behind.
TEST(SimulatedCuda, PinnedMemoryGoesWithItsTensors) {
  const auto held = [] { return simulated::counts().allocations - simulated::counts().frees; };
  const auto evaluate = [](double value) {
    Upload upload(kCuda);
    const Tensor batch = Tensor::full({64}, value);
    for (int i = 0; i < 3; ++i) {
      const std::vector<Tensor> there = upload(std::span(&batch, 1));
      EXPECT_EQ(there[0].values()[5], value) << "the host's own copy";
    }
    const Tensor loss = Tensor::full({3}, value, {.device = kCuda});
    expect_read(std::span(&loss, 1));
    EXPECT_EQ(loss.values()[2], value);
  };
  for (int i = 0; i < 3; ++i) evaluate(i);
  const int64_t before = held();
  for (int i = 0; i < 20; ++i) evaluate(i);
  EXPECT_EQ(held(), before);
}

}  // namespace
}  // namespace tidepool
