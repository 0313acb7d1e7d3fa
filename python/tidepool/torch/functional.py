"""Every pooling operator as a function: `soft_pool2d(x, kernel=2)`, for one to three spatial axes.

Generated from the operators' registry. `x` is (N, C, spatial) or (C, spatial) in float32, float64 or bfloat16, dense or
not; y has its type and memory format. `parameters` are learned tensors by name, in x's type or float32; one that is
absent has its initial value. With `training=True` operators that draw do so by `seed`, an int or an int64 tensor, and
by torch's generator without one.
"""

import inspect

import torch

from .._registry import descriptions, expect_seed, keys_text, operator, tensor_names
from . import _ops

__all__ = []


def initial_parameters(configured, x_shape, like=None, seed=0):
    """Initial values of an operator's parameters for a map of that shape, by name, in the type and place that fit `like`."""
    f64 = like is not None and like.dtype == torch.float64
    shape = [int(n) for n in x_shape]
    names = [name for name, _, _ in configured.parameters(shape)]
    device = None if like is None else like.device
    return {
        name: torch.from_numpy(value).to(device=device) for name, value in zip(names, configured.initial(shape, f64, seed))
    }


# What does not depend on values of tensors is a constant where a call is traced.
@torch.compiler.assume_constant_result
def _prepared(name, rank, positional, named):
    """(keys as text, whether the operator draws in training, names of its parameters, names of what may be given)"""
    keys = keys_text(name, descriptions()[name].bind(positional, dict(named)))
    return keys, operator(name, keys).draws, *tensor_names(name, keys, rank)


def _ordered(name, keys, x, names, given, parameters):
    """The tensors of a call in the operator's order."""
    if not names and not parameters:
        return []
    parameters = dict(parameters or {})
    for parameter, value in parameters.items():
        if parameter not in names and parameter not in given:
            known = ", ".join(names + given) or "none"
            raise ValueError(f"[{name}] unknown parameter '{parameter}'; expected {known}")
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"[{name}] {parameter}: expected a torch.Tensor, got {type(value).__name__}")
    if any(n not in parameters for n in names):
        parameters = {**initial_parameters(operator(name, keys), x.shape, x), **parameters}
    return [parameters[n] for n in names] + [parameters[n] for n in given if n in parameters]


def expect_map(name, rank, x):
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"[{name}] x: expected a torch.Tensor, got {type(x).__name__}")
    if x.dim() not in (rank + 1, rank + 2):
        raise ValueError(
            f"[{name}] expected a map with {rank} spatial {'axis' if rank == 1 else 'axes'}, (N, C, spatial) or "
            f"(C, spatial), got the shape {list(x.shape)}"
        )


def pooled(name, rank, x, keys, tensors, training, seed, draws):
    """y of a checked call; `tensors` in the operator's order."""
    if training and seed is None and draws:
        seed = _ops.draw_seed()
    if x.dim() == rank + 2:
        return _ops.call(name, x, tensors, seed, keys, training)
    return _ops.call(name, x.unsqueeze(0), tensors, seed, keys, training).squeeze(0)


def _seed_tensor(name, seed):
    if seed is None or isinstance(seed, torch.Tensor):
        return seed
    expect_seed(name, seed)
    return torch.tensor(seed, dtype=torch.int64)


def _constant(value):
    """A key's value where torch.compile holds it as a symbol: a constant of the graph, with a guard."""
    if isinstance(value, (list, tuple)):
        return tuple(_constant(v) for v in value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    return torch.fx.experimental.symbolic_shapes.guard_scalar(value)


def _make(description, rank):
    name = description.name

    def function(x, *positional, parameters=None, training=False, seed=None, **named):
        expect_map(name, rank, x)
        if torch.compiler.is_compiling():
            positional = tuple(_constant(v) for v in positional)
            named = {k: _constant(v) for k, v in named.items()}
        keys, draws, names, given = _prepared(name, rank, positional, tuple(named.items()))
        tensors = _ordered(name, keys, x if x.dim() == rank + 2 else x.unsqueeze(0), names, given, parameters)
        return pooled(name, rank, x, keys, tensors, bool(training), _seed_tensor(name, seed), draws)

    keyword = inspect.Parameter.KEYWORD_ONLY
    function.__signature__ = inspect.Signature(
        [
            inspect.Parameter("x", inspect.Parameter.POSITIONAL_OR_KEYWORD),
            *description.signature_parameters(),
            inspect.Parameter("parameters", keyword, default=None),
            inspect.Parameter("training", keyword, default=False),
            inspect.Parameter("seed", keyword, default=None),
        ]
    )
    function.__name__ = function.__qualname__ = f"{description.function_name}{rank}d"
    function.__module__ = __name__
    function.__doc__ = description.documentation(f"{name} pooling over {rank} spatial {'axis' if rank == 1 else 'axes'}:")
    return function


for _description in descriptions().values():
    for _rank in _description.ranks:
        _function = _make(_description, _rank)
        globals()[_function.__name__] = _function
        __all__.append(_function.__name__)
