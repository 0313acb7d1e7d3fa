// The GPU's lists of tables, in the order in which they are asked; empty in a build without CUDA.
#pragma once
#include "core/backend/activation.h"
#include "core/backend/conv.h"
#include "core/backend/conv_weights.h"
#include "core/backend/copy.h"
#include "core/backend/elementwise.h"
#include "core/backend/loss.h"
#include "core/backend/matmul.h"
#include "core/backend/norm.h"
#include "core/backend/reduction.h"
#include "core/backend/resize.h"
#include "core/backend/update.h"

namespace tidepool::cuda {

struct Tables {
  std::span<const ConvTable* const> conv{};
  std::span<const ConvWeightsTable* const> conv_weights{};
  std::span<const MatmulTable* const> matmul{};
  std::span<const NormTable* const> norm{};
  std::span<const ActivationTable* const> activation{};
  std::span<const ElementwiseTable* const> elementwise{};
  std::span<const ReductionTable* const> reduction{};
  std::span<const ResizeTable* const> resize{};
  std::span<const LossTable* const> loss{};
  std::span<const UpdateTable* const> update{};
  std::span<const CopyTable* const> copy{};
};
const Tables& tables() noexcept;

// Ours, one file each in core/cuda/kernels/.
extern const ActivationTable kActivation;
extern const ConvTable kDirectConv;      ///< direct sums: for f64, and what tests compare the library with
extern const MatmulTable kDirectMatmul;  ///< likewise
extern const CopyTable kCopy;
extern const ElementwiseTable kElementwise;
extern const LossTable kLoss;
extern const NormTable kNorm;
extern const ReductionTable kReduction;
extern const ResizeTable kResize;
extern const UpdateTable kUpdate;

// The libraries': core/cuda/libraries.cpp.
extern const ConvTable kCudnnConv;
extern const ConvWeightsTable kCudnnWeights;
extern const MatmulTable kCublasLtMatmul;

}  // namespace tidepool::cuda
