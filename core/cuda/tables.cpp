#include "core/cuda/tables.h"

namespace tidepool::cuda {

const Tables& tables() noexcept {
  static constexpr const ConvTable* kConvs[] = {&kCudnnConv, &kDirectConv};
  static constexpr const ConvWeightsTable* kWeights[] = {&kCudnnWeights};
  static constexpr const MatmulTable* kMatmuls[] = {&kCublasLtMatmul, &kDirectMatmul};
  static constexpr const NormTable* kNorms[] = {&kNorm};
  static constexpr const ActivationTable* kActivations[] = {&kActivation};
  static constexpr const ElementwiseTable* kElementwises[] = {&kElementwise};
  static constexpr const ReductionTable* kReductions[] = {&kReduction};
  static constexpr const ResizeTable* kResizes[] = {&kResize};
  static constexpr const LossTable* kLosses[] = {&kLoss};
  static constexpr const UpdateTable* kUpdates[] = {&kUpdate};
  static constexpr const CopyTable* kCopies[] = {&kCopy};
  static constexpr Tables kTables{.conv = kConvs,
                                  .conv_weights = kWeights,
                                  .matmul = kMatmuls,
                                  .norm = kNorms,
                                  .activation = kActivations,
                                  .elementwise = kElementwises,
                                  .reduction = kReductions,
                                  .resize = kResizes,
                                  .loss = kLosses,
                                  .update = kUpdates,
                                  .copy = kCopies};
  return kTables;
}

}  // namespace tidepool::cuda
