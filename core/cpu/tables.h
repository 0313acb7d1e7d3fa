// The CPU's tables. What an entry lacks, the reference does.
#pragma once
#include "core/backend/activation.h"
#include "core/backend/conv.h"
#include "core/backend/copy.h"
#include "core/backend/elementwise.h"
#include "core/backend/fused_conv.h"
#include "core/backend/loss.h"
#include "core/backend/matmul.h"
#include "core/backend/norm.h"
#include "core/backend/reduction.h"
#include "core/backend/resize.h"
#include "core/backend/update.h"

namespace tidepool::cpu {

extern const ConvTable kWinogradConv;  ///< where winograd_size() says that it pays
extern const ConvTable kDepthwiseConv;
extern const ConvTable kOnednnConv;
extern const ConvTable kDirectF64Conv;  ///< dense channels-last maps of f64, one group
extern const FusedConvTable kFusedWinograd, kFusedDepthwise;
extern const MatmulTable kOnednnMatmul;
extern const NormTable kNorm;
extern const ActivationTable kActivation;
extern const ElementwiseTable kElementwise;
extern const ReductionTable kReduction;
extern const ResizeTable kResize;
extern const LossTable kLoss;
extern const UpdateTable kUpdate;
extern const CopyTable kCopy;

}  // namespace tidepool::cpu
