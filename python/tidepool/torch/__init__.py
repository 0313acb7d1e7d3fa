"""Every pooling operator of tidepool for PyTorch: modules (SoftPool2d, DynOPool2d, ...), functions
(`functional.soft_pool2d`), and torch.ops.tidepool.* behind them.

>>> import tidepool.torch as tp
>>> model = tp.replace_pooling(torchvision.models.vgg16(), "soft")
"""

from . import functional, modules
from .gmacs import GmacsPenalty, gmacs_penalty
from .modules import *  # noqa: F403
from .modules import PoolModule, make_module
from .replace import replace_pooling

__all__ = [
    "GmacsPenalty",
    "PoolModule",
    "functional",
    "gmacs_penalty",
    "make_module",
    "replace_pooling",
    *modules.__all__,
]
