// The naive reference: every type and layout, sums and arithmetic in f64 in a fixed order, rounded once. Last in the
// CPU's lists, and what tests compare with.
#pragma once
#include "core/backend/activation.h"
#include "core/backend/conv.h"
#include "core/backend/copy.h"
#include "core/backend/elementwise.h"
#include "core/backend/loss.h"
#include "core/backend/matmul.h"
#include "core/backend/norm.h"
#include "core/backend/reduction.h"
#include "core/backend/resize.h"
#include "core/backend/update.h"

namespace tidepool::reference {

extern const ConvTable kConv;
extern const MatmulTable kMatmul;
extern const NormTable kNorm;
extern const ActivationTable kActivation;
extern const ElementwiseTable kElementwise;
extern const ReductionTable kReduction;
extern const ResizeTable kResize;
extern const LossTable kLoss;
extern const UpdateTable kUpdate;
extern const CopyTable kCopy;

}  // namespace tidepool::reference
