#include "core/cuda/tables.h"

namespace tidepool::cuda {

const Tables& tables() noexcept {
  static constexpr const ConvTable* kConvs[] = {&kDirectConv};
  static constexpr const MatmulTable* kMatmuls[] = {&kDirectMatmul};
  static constexpr const NormTable* kNorms[] = {&kNorm};
  static constexpr const ActivationTable* kActivations[] = {&kActivation};
  static constexpr const ElementwiseTable* kElementwises[] = {&kElementwise};
  static constexpr const ReductionTable* kReductions[] = {&kReduction};
  static constexpr const ResizeTable* kResizes[] = {&kResize};
  static constexpr const LossTable* kLosses[] = {&kLoss};
  static constexpr const UpdateTable* kUpdates[] = {&kUpdate};
  static constexpr const CopyTable* kCopies[] = {&kCopy};
  static constexpr Tables kTables{kConvs,      kMatmuls, kNorms,  kActivations, kElementwises,
                                  kReductions, kResizes, kLosses, kUpdates,     kCopies};
  return kTables;
}

}  // namespace tidepool::cuda
