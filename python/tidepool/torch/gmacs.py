"""Multiply-adds of a model as it runs, with a gradient in learned sizes straight through their rounding."""

import math

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from .._registry import operator
from .modules import PoolModule

__all__ = ["GmacsPenalty", "gmacs_penalty"]

_CONVOLUTIONS = {
    torch.conv1d: 1,
    torch.conv2d: 2,
    torch.conv3d: 3,
    nn.functional.conv1d: 1,
    nn.functional.conv2d: 2,
    nn.functional.conv3d: 3,
}


_REDUCTIONS = {"mean", "sum", "amax", "amin", "var", "std", "logsumexp", "norm", "prod"}
_REORDERINGS = {"permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis"}


def _name(function):
    return getattr(function, "__name__", "").lstrip("_")


def _gives_its_own_size(function, args, kwargs):
    """Whether the lengths of the result are stated, whatever those of the map."""
    return _name(function).startswith("adaptive_") or (
        function is nn.functional.interpolate and (len(args) > 1 and args[1] or kwargs.get("size")) is not None
    )


def _spans(function, x, axis, args, kwargs):
    """Whether the result has length 1 on an axis because all of x went into it."""
    if _name(function) in _REDUCTIONS:
        return True
    kernel = kwargs.get("kernel_size", args[1] if len(args) > 1 else None)
    if "pool" not in _name(function) or kernel is None:
        return False
    of_axis = kernel[axis - 2] if isinstance(kernel, (tuple, list)) and len(kernel) == x.dim() - 2 else kernel
    of_axis = of_axis[0] if isinstance(of_axis, (tuple, list)) else of_axis
    return int(of_axis) >= x.shape[axis]


class _Lengths(TorchFunctionMode):
    """Follows the lengths of maps through a forward: each is a number, or where a learned size came before, a scalar tensor
    whose value is the length and whose gradient goes straight through the rounding."""

    def __init__(self):
        super().__init__()
        self.macs = 0.0
        self._known = {}  # of all axes
        self._alive = []

    def lengths(self, x):
        return self._known.get(id(x)) or [int(n) for n in x.shape]

    def follow(self, y, lengths):
        if any(isinstance(n, torch.Tensor) for n in lengths):
            self._known[id(y)] = lengths
            self._alive.append(y)  # its id is its own as long as this lives

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        y = function(*args, **kwargs)
        if not isinstance(y, torch.Tensor):
            return y
        if function in _CONVOLUTIONS:
            rank, x = _CONVOLUTIONS[function], args[0] if args else kwargs["input"]
            weight = args[1] if len(args) > 1 else kwargs["weight"]
            if x.dim() == rank + 2:
                self._scaled(function, x, y, args, kwargs)
                self._count(self.lengths(y)[2:], y.shape[1] * math.prod(weight.shape[1:]))
            return y
        if function is nn.functional.linear:
            x = args[0] if args else kwargs["input"]
            weight = args[1] if len(args) > 1 else kwargs["weight"]
            self._scaled(function, x, y, args, kwargs)
            self._count(self.lengths(y)[1:-1], weight.shape[0] * weight.shape[1])
            return y
        if id(y) not in self._known and not _gives_its_own_size(function, args, kwargs):
            given = [*args, *kwargs.values()]
            for x in (x for one in given for x in (one if isinstance(one, (list, tuple)) else (one,))):
                if isinstance(x, torch.Tensor) and id(x) in self._known and x.dim() == y.dim() and y.dim() > 2:
                    self._scaled(function, x, y, args, kwargs)
                    break
        return y

    def _scaled(self, function, x, y, args, kwargs):
        """Straight through: the length of y follows that of x in the ratio of the two."""
        if id(x) not in self._known:
            return
        before = self._known[id(x)]
        if _name(function) in _REORDERINGS:  # what becomes of axes of lengths 0, 1, 2, ...
            others = {k: v for k, v in kwargs.items() if v is not x}
            with torch._C.DisableTorchFunction():
                axes = function(torch.empty(list(range(x.dim()))), *args[1:], **others)
            self.follow(y, [before[axis] for axis in axes.shape])
            return

        def length(axis, n, m):
            if not isinstance(n, torch.Tensor) or (m == 1 and _spans(function, x, axis, args, kwargs)):
                return m
            return m + (n - n.detach()) * (m / float(n.detach()))

        self.follow(y, [length(axis, n, int(m)) for axis, (n, m) in enumerate(zip(before, y.shape))])

    def _count(self, lengths, per_position):
        macs = float(per_position)
        for n in lengths:
            macs = macs * n
        self.macs = self.macs + macs

    def pooled(self, module, x, y):
        """After an operator of ours: its own trace."""
        with torch._C.DisableTorchFunction():
            before = self.lengths(x)[2:]
            tensors = module.tensors()
            _, lengths, rows = operator(module.operator, module.keys_text).trace(
                [int(n) for n in x.shape], [t.detach() for t in tensors]
            )

            def length(entry):
                value, of_x, of_tensors = entry
                total = value
                for axis, slope in of_x.items():
                    if isinstance(before[axis], torch.Tensor):
                        total = total + slope * (before[axis] - before[axis].detach())
                for index, element, slope in of_tensors:
                    entry = tensors[index].reshape(-1)[element]
                    entry = entry if entry.dtype == torch.float64 else entry.float()  # bf16 has no digits for a sum
                    total = total + slope * (entry - entry.detach())
                return total

            for per_position, _, lengths_of_row in rows:
                self._count([length(n) for n in lengths_of_row], per_position)
            self._known.pop(id(y), None)  # what the call itself, seen as any other, was taken for
            if y.dim() == x.dim():
                self.follow(y, [int(n) for n in y.shape[:2]] + [length(n) for n in lengths])


class GmacsPenalty:
    """Calling it gives the multiply-adds of one image in the model's last forward, in 1e9: a scalar that has a gradient in
    the parameters that decide sizes. `close()` takes it off the model."""

    def __init__(self, model):
        self._mode = None
        self._last = None
        self._handles = [
            model.register_forward_pre_hook(self._enter),
            model.register_forward_hook(self._leave, always_call=True),
        ]
        for module in model.modules():
            if isinstance(module, PoolModule):
                self._handles.append(module.register_forward_hook(self._pooled, with_kwargs=True))

    def __getstate__(self):
        """A copy of a model has its hooks; the forward that was measured stays with the first."""
        return {**self.__dict__, "_mode": None, "_last": None}

    def _enter(self, *_):
        self._mode = _Lengths()
        self._mode.__enter__()

    def _leave(self, *_):
        if self._mode is not None:
            self._mode.__exit__(None, None, None)
            self._last, self._mode = self._mode.macs, None

    def _pooled(self, module, inputs, named, y):
        x = inputs[0] if inputs else named["x"]
        if self._mode is not None and x.dim() == module.rank + 2:
            self._mode.pooled(module, x, y)

    def __call__(self):
        if self._last is None:
            raise RuntimeError("gmacs_penalty: the model has not run yet")
        gmacs = self._last / 1e9
        return gmacs if isinstance(gmacs, torch.Tensor) else torch.tensor(gmacs)

    def close(self):
        for handle in self._handles:
            handle.remove()
        self._handles = []


def gmacs_penalty(model):
    """Counts what a model's convolutions, linear layers and pooling operators multiply, as `tidepool info` counts it, with
    a gradient through every rounding of a learned size.

    >>> penalty = gmacs_penalty(model)
    >>> loss = criterion(model(x), labels) + 0.1 * penalty()
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"gmacs_penalty: expected an nn.Module, got {type(model).__name__}")
    return GmacsPenalty(model)
