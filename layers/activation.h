// Activations, element by element; NaN passes through. y has x's shape, type and memory format.
#pragma once
#include "core/backend/activation.h"

namespace tidepool {

/// max(x, 0). Keeps y. The gradient at 0 is 0.
Tensor relu(const Tensor& x);
/// min(max(x, 0), 6). Keeps y. The gradient at 0 and 6 is 0.
Tensor relu6(const Tensor& x);
/// x sigmoid(x) (Elfwing, Uchibe & Doya 2018). Keeps x.
Tensor silu(const Tensor& x);
/// x min(max(x + 3, 0), 6) / 6 (Howard et al., ICCV 2019). Keeps x. The gradient is 0 at -3 and dy at 3, as in PyTorch.
Tensor hardswish(const Tensor& x);
/// 1 / (1 + exp(-x)). Keeps x.
Tensor sigmoid(const Tensor& x);
/// The function that `act` names; Act::none returns x itself.
Tensor activation(const Tensor& x, Act act);

}  // namespace tidepool
