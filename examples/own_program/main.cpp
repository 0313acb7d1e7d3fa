// A few training steps without the trainer: a narrow VGG-16 whose pooling layers learn the sizes of their maps, on
// made-up images, by plain gradient descent.
#include <cstdio>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/error.h"
#include "core/philox.h"
#include "core/tape.h"
#include "layers/loss.h"
#include "models/network.h"

using namespace tidepool;

namespace {

constexpr int64_t kImages = 16, kClasses = 10;

Tensor made_up_images() {
  std::vector<float> values(kImages * 3 * 32 * 32);
  Random random(5, 0);
  for (float& v : values) v = static_cast<float>(random.normal());
  return Tensor::from<float>(values, {kImages, 3, 32, 32}).contiguous(MemoryFormat::channels_last);
}

void descend(Network& network, double rate) {
  for (const Parameter& p : network.parameters()) {
    std::vector<double> values = p.value.values();
    const std::vector<double> slopes = p.value.grad().values();
    for (size_t i = 0; i < values.size(); ++i) values[i] -= rate * slopes[i];
    p.value.copy_from(Tensor::from<double>(values, p.value.shape()));
    p.value.set_grad({});
  }
  network.project();  // shape parameters may have left their bounds
}

}  // namespace

int main() try {
  const Json pool = {{"default", {{"type", "dynopool"}, {"r", 0.5}}}};
  const auto network = make_network({.name = "vgg16", .width = 1.0 / 16, .classes = kClasses}, pool);
  const Tensor images = made_up_images();
  std::vector<int64_t> classes;
  for (int64_t i = 0; i < kImages; ++i) classes.push_back(i % kClasses);
  const Tensor labels = Tensor::from<int64_t>(classes, {kImages});
  for (uint64_t step = 0; step < 5; ++step) {
    Tape tape;
    Tensor loss;
    {
      const Tape::Scope recording(&tape);
      loss = cross_entropy(network->forward(images, {.training = true, .seed = 1, .step = step}), labels);
    }
    tape.backward(loss);
    descend(*network, 0.05);
    std::printf("step %d: loss %.4f\n", static_cast<int>(step) + 1, loss.item());
  }
  for (const auto& [slot, lengths] : network->slot_shapes())
    std::printf("%s: %d x %d\n", slot.c_str(), static_cast<int>(lengths[0]), static_cast<int>(lengths[1]));
  return 0;
} catch (const Error& error) {
  std::fprintf(stderr, "own_program: %s\n", error.what());
  return 2;
}
