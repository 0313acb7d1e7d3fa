// cuDNN's convolutions without the library's types. Plans are made from backend descriptors (operation graph,
// heuristics, execution plan), for this process's GPU or for one that is only described.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "core/backend/caches.h"
#include "core/backend/conv.h"

namespace tidepool::cudnn {

/// "" when convolutions run by cuDNN here, or what is missing: the library at build time or at run time, its version.
std::string problem();
/// Of the library at run time, "9.19.0"; "" without it.
std::string version();

enum class Direction : uint8_t { forward, backward_data, backward_weights };
constexpr const char* name_of(Direction d) {
  return d == Direction::forward         ? "conv"
         : d == Direction::backward_data ? "conv (gradient of the input)"
                                         : "conv (gradient of the weights)";
}

/// A convolution without its data: maps and weights dense, of one type and all in `format`.
struct ConvCase {
  Direction direction;
  Dims x, w, y;
  ConvOptions options;
  DType dtype;  ///< f32, bf16 or f64
  MemoryFormat format;
  bool tf32 = false;  ///< f32 alone: see LibrarySettings

  /// "conv of 2x3x8x8 with weights 4x3x3x3, stride 1x1, padding 1x1, f32, channels_last"
  std::string str() const;
};

class CudnnConvPlan;
/// The plan of the case, kept by its shapes: the first proposal of cuDNN's heuristics that gives the same bits each
/// time and rounds no more than asked; nullptr where the library has none.
std::shared_ptr<CudnnConvPlan> find_plan(const ConvCase& c);
/// Enqueues it. Forward: x, w -> y; backward data: dy, w -> dx; backward weights: x, dy -> dw. Dense tensors of the
/// case's shapes, type and format, aligned to kAlignment bytes; `to` is set.
void run(CudnnConvPlan& plan, const Tensor& a, const Tensor& b, const Tensor& to);
inline constexpr int64_t kAlignment = 16;

void forget_plans();
void add_to(CacheStats& stats);

/// What the library plans for a GPU that need not be here, described as cuDNN's CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR
/// reads it (JSON); nothing is kept.
struct PlanReport {
  bool found = false;
  int proposal = -1;  ///< its place among the heuristics' proposals
  int64_t workspace_bytes = 0;
};
PlanReport plan_for_device(const ConvCase& c, const std::string& device_json);

}  // namespace tidepool::cudnn
