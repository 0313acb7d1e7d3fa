"""Every pooling operator as an nn.Module: `SoftPool2d(kernel=2)`, for one to three spatial axes.

Generated from the operators' registry. Learned parameters are nn.Parameters under the operator's names. Where their
shapes depend on the map, `in_channels` and `in_size` say what it is; without them they are made at the first forward,
as torch's lazy modules do.
"""

import functools
import inspect
import json

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter, is_lazy

from .._registry import any_length, describe, descriptions, keys_text, operator, parameter_probe
from . import functional

__all__ = []


class _Owner(nn.Module):
    """A module whose parameters may wait for a map: they are saved as torch's lazy modules save theirs."""

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        for name, parameter in self._parameters.items():
            if parameter is not None:
                destination[prefix + name] = parameter if keep_vars or is_lazy(parameter) else parameter.detach()
        for name, buffer in self._buffers.items():
            if buffer is not None and name not in self._non_persistent_buffers_set:
                destination[prefix + name] = buffer if keep_vars else buffer.detach()


class PoolModule(_Owner):
    """What all operators' modules share. `operator` is the name, `keys` what was given of its keys, `rank` the number of
    spatial axes."""

    operator = ""
    rank = 0

    def __init__(self, *positional, in_channels=None, in_size=None, device=None, dtype=None, **named):
        super().__init__()
        values = describe(self.operator).bind(positional, named)
        self.keys_text = keys_text(self.operator, values)
        configured = operator(self.operator, self.keys_text)
        self.draws = configured.draws
        if dtype not in (None, torch.float32, torch.float64, torch.bfloat16):
            raise TypeError(f"[{self.operator}] dtype: expected float32, float64 or bfloat16, got {dtype}")
        size = self._expect_size(in_channels, in_size)
        specs = parameter_probe(configured, self.rank, self.keys_text, in_channels, size)
        shape = [1, in_channels or 16, *(size or [any_length(self.keys_text)] * self.rank)]
        if specs is not None:
            self._create(configured, shape, torch.empty(0, dtype=dtype or torch.get_default_dtype(), device=device))
        else:
            self.parameter_names = tuple(name for name, _, _ in configured.parameters(shape))
            for name in self.parameter_names:
                self._set(name, UninitializedParameter(device=device, dtype=dtype))
        self.register_load_state_dict_pre_hook(PoolModule._before_loading)

    # -- making parameters

    def _expect_size(self, channels, size):
        if channels is not None and (isinstance(channels, bool) or not isinstance(channels, int) or channels < 1):
            raise ValueError(f"[{self.operator}] in_channels: expected an integer >= 1, got {channels!r}")
        if size is None:
            return None
        size = [size] * self.rank if isinstance(size, int) else list(size)
        if len(size) != self.rank or any(not isinstance(n, int) or n < 1 for n in size):
            raise ValueError(f"[{self.operator}] in_size: expected {self.rank} integers >= 1, got {size}")
        return size

    def _owner(self, name):
        """The module and attribute of "logit.conv.weight"; containers are made as they are needed."""
        owner = self
        *path, leaf = name.split(".")
        for step in path:
            if step not in owner._modules:
                owner.add_module(step, _Owner())
            owner = owner._modules[step]
        return owner, leaf

    def _set(self, name, value):
        owner, leaf = self._owner(name)
        if leaf in owner._parameters:
            owner._parameters[leaf] = value
        elif hasattr(owner, leaf) and leaf not in owner.__dict__:
            raise RuntimeError(f"[{self.operator}] a parameter cannot be called '{leaf}'")
        else:
            owner.register_parameter(leaf, value)

    def _create(self, configured, shape, like):
        seed = 0
        here = torch.empty(0, dtype=like.dtype, device="cpu")  # values are compared; like's device may have none
        values = functional.initial_parameters(configured, shape, here, seed)
        other = functional.initial_parameters(configured, shape, here, 1)
        if any(not torch.equal(v, other[name]) for name, v in values.items()):  # random: by torch's generator
            seed = int(torch.randint(0, 1 << 62, (), device="cpu"))
            values = functional.initial_parameters(configured, shape, here, seed)
        self.parameter_names = tuple(values)
        for name, value in values.items():
            keep = like.dtype if like.dtype in (torch.float64, torch.bfloat16) else torch.float32
            self._set(name, nn.Parameter(value.to(like.device, keep)))

    def _uninitialized(self):
        return any(is_lazy(self._get(name)) for name in self.parameter_names)

    def _get(self, name):
        return functools.reduce(getattr, name.split("."), self)

    def initialize_parameters(self, x):
        """Makes parameters that were waiting for a map."""
        shape = [int(n) for n in (x.shape if x.dim() == self.rank + 2 else x.unsqueeze(0).shape)]
        first = self._get(self.parameter_names[0])
        like = torch.empty(0, dtype=torch.float64 if x.dtype == torch.float64 else torch.float32, device=first.device)
        training = {name: self._get(name).requires_grad for name in self.parameter_names}
        fresh = functional.initial_parameters(operator(self.operator, self.keys_text), shape, like)
        if set(fresh) != set(self.parameter_names):
            raise ValueError(f"[{self.operator}] a map of the shape {shape} asks for other parameters")
        with torch.no_grad():
            stash = PoolModule.__new__(type(self))
            nn.Module.__init__(stash)
            stash.keys_text = self.keys_text
            stash._create(operator(self.operator, self.keys_text), shape, like)
            for name in self.parameter_names:
                parameter = self._get(name)
                if not is_lazy(parameter):  # loaded before
                    continue
                parameter.materialize(fresh[name].shape, device=like.device, dtype=fresh[name].dtype)
                parameter.copy_(stash._get(name))
                parameter.requires_grad_(training[name])

    @staticmethod
    def _before_loading(module, state_dict, prefix, *_):
        for name in module.parameter_names:
            parameter, saved = module._get(name), state_dict.get(prefix + name)
            if is_lazy(parameter) and isinstance(saved, torch.Tensor) and not is_lazy(saved):
                with torch.no_grad():
                    parameter.materialize(saved.shape, dtype=saved.dtype)

    # -- running

    def tensors(self):
        """The parameters in the operator's order."""
        return [self._get(name) for name in self.parameter_names]

    def project(self, x_shape):
        """Brings the parameters back into their legal range for a map of that shape; a training forward does it."""
        with torch.no_grad():
            parameters = [p.detach() for p in self.tensors()]
            if all(p.device.type in ("cpu", "cuda") for p in parameters):
                torch.ops.tidepool.project_(parameters, self.operator, self.keys_text, list(x_shape))

    def forward(self, x):
        if isinstance(x, torch.fx.Proxy):  # torch.fx: a leaf, as torch's own layers are
            return x.tracer.create_proxy("call_module", x.tracer.path_of_module(self), (x,), {})
        functional.expect_map(self.operator, self.rank, x)
        tensors = []
        if self.parameter_names:
            compiling = torch.compiler.is_compiling()
            if not compiling and self._uninitialized():
                self.initialize_parameters(x)
            if self.training and (compiling or not torch._C._are_functorch_transforms_active()):
                self.project(x.shape if x.dim() == self.rank + 2 else (1, *x.shape))
            tensors = self.tensors()
        return functional.pooled(self.operator, self.rank, x, self.keys_text, tensors, self.training, None, self.draws)

    def extra_repr(self):
        return ", ".join(f"{name}={value!r}" for name, value in json.loads(self.keys_text).items())


def _make(description, rank):
    name = f"{description.class_name}{rank}d"
    keyword = inspect.Parameter.KEYWORD_ONLY
    extra = ("in_channels", "in_size", "device", "dtype")
    cls = type(
        name,
        (PoolModule,),
        {
            "operator": description.name,
            "rank": rank,
            "__module__": "tidepool.torch",
            "__qualname__": name,
            "__doc__": description.documentation(
                f"{description.name} pooling over {rank} spatial {'axis' if rank == 1 else 'axes'}:"
            ),
            "__signature__": inspect.Signature(
                [
                    *description.signature_parameters(),
                    *(inspect.Parameter(e, keyword, default=None) for e in extra),
                ]
            ),
        },
    )
    return cls


for _description in descriptions().values():
    for _rank in _description.ranks:
        _class = _make(_description, _rank)
        globals()[_class.__name__] = _class
        __all__.append(_class.__name__)


def make_module(name, rank, **keys):
    """The module of an operator by its registered name: make_module("soft", 2, kernel=3)."""
    description = describe(name)
    if rank not in description.ranks:
        raise ValueError(
            f"[{name}] serves {', '.join(str(r) for r in description.ranks)} spatial axes, got {rank}"
        )
    return globals()[f"{description.class_name}{rank}d"](**keys)
