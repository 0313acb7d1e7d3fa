"""The pooling operators on numpy arrays, and on any array that numpy can read without a copy (buffers, DLPack)."""

import numpy as np

from ._registry import describe, expect_seed, keys_text, operator

__all__ = ["initial_parameters", "output_shape", "pool", "pool_backward"]


def _configured(op, keys):
    return operator(op, keys_text(op, describe(op).bind((), keys)))


def _tensors(configured, x, parameters, seed):
    """In the operator's order: those that are given, else initial values; then what replaces random draws, if given."""
    specs = configured.parameters(list(x.shape))
    optional = configured.optional_inputs(list(x.shape))
    parameters = dict(parameters or {})
    initial = None
    tensors = []
    for i, (name, _, _) in enumerate(specs):
        if name in parameters:
            tensors.append(parameters.pop(name))
            continue
        if initial is None:
            initial = configured.initial(list(x.shape), x.dtype == np.float64, seed)
        tensors.append(initial[i])
    for name, _, _ in optional:
        if name in parameters:
            tensors.append(parameters.pop(name))
    if parameters:
        names = [s[0] for s in specs + optional]
        raise ValueError(
            f"[{configured.name}] unknown parameter '{next(iter(parameters))}'; expected {', '.join(names) or 'none'}"
        )
    return [name for name, _, _ in specs], tensors


def _array(x, name, op):
    if hasattr(x, "shape") and hasattr(x, "dtype"):
        return x
    raise TypeError(f"[{op}] {name}: expected an array of f32 or f64, got {type(x).__name__}")


def initial_parameters(shape, op, *, seed=0, dtype=np.float32, **keys):
    """The learned parameters of an operator for a map of that shape (N, C, spatial), by name, at their initial values."""
    configured = _configured(op, keys)
    expect_seed(op, seed)
    names = [name for name, _, _ in configured.parameters(list(shape))]
    return dict(zip(names, configured.initial(list(shape), np.dtype(dtype) == np.float64, seed)))


def output_shape(shape, op, **keys):
    return _configured(op, keys).output_shape(list(shape))


def pool(x, op, *, parameters=None, training=False, seed=0, **keys):
    """y of a map x (N, C, spatial) in float32 or float64, in x's memory order.

    `op` is an operator's name, `keys` are its own (`tidepool.operators()`, docs/operators.md). `parameters` are learned
    tensors by name; one that is absent has its initial value. In training, random draws are a function of `seed`.

    >>> pool(x, "soft", kernel=2)
    """
    configured = _configured(op, keys)
    expect_seed(op, seed)
    x = _array(x, "x", op)
    return configured.forward(x, _tensors(configured, x, parameters, seed)[1], training, seed)


def pool_backward(dy, x, op, *, parameters=None, training=False, seed=0, **keys):
    """(dx, gradients of the parameters by name) of what `pool` computes from the same arguments; `dy` is the gradient of
    its result."""
    configured = _configured(op, keys)
    expect_seed(op, seed)
    x, dy = _array(x, "x", op), _array(dy, "dy", op)
    names, tensors = _tensors(configured, x, parameters, seed)
    needs = [True] + [i < len(names) for i in range(len(tensors))]
    dx, *gradients = configured.gradients(dy, x, tensors, training, seed, needs)
    return dx, dict(zip(names, gradients))
