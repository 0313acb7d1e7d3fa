#include "core/cuda/tables.h"

namespace tidepool::cuda {

const Tables& tables() noexcept {
  static constexpr const ConvTable* kConvs[] = {&kCudnnConv};
  static constexpr const ConvWeightsTable* kWeights[] = {&kCudnnWeights};
  static constexpr const MatmulTable* kMatmuls[] = {&kCublasLtMatmul};
  static constexpr const CopyTable* kCopies[] = {&kCopy};
  static constexpr Tables kTables{.conv = kConvs, .conv_weights = kWeights, .matmul = kMatmuls, .copy = kCopies};
  return kTables;
}

}  // namespace tidepool::cuda
