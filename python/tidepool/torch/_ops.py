"""The operators as torch.library operators: torch.ops.tidepool.soft and soft_backward, and so on for every name.

    soft(Tensor x, Tensor[] parameters, Tensor? seed, str keys, bool training) -> Tensor
    soft_backward(Tensor dy, Tensor x, Tensor[] parameters, Tensor? seed, str keys, bool training, bool[] needs) -> Tensor[]

`keys` is JSON. A call on ordinary tensors is recorded by the compiled part, which keeps for the backward what the
operator needs and no more. A call that is traced (torch.compile, torch.export) or transformed (torch.func) is two pure
functions: its backward computes the forward again.
"""

import functools

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .. import _core
from .._registry import descriptions, operator

_core.use_torch(Tensor, getattr(Tensor, "__dlpack_c_exchange_api__", None))

LIBRARY = torch.library.Library("tidepool", "DEF")
OPERATORS = {}  # name -> torch.ops.tidepool.NAME.default
BACKWARDS = {}

# The compiled part has streams and memory of its own, which no graph of torch's can replay.
_TAGS = tuple(getattr(torch.Tag, tag) for tag in ("cudagraph_unsafe",) if hasattr(torch.Tag, tag))

_strided = torch.strided
_PLAIN_TYPES = frozenset((Tensor, torch.nn.Parameter))
_below_autograd = torch._C._AutoDispatchBelowAutograd
_dispatch_modes = torch._C._len_torch_dispatch_stack
_transforms_active = torch._C._are_functorch_transforms_active
_any_requires_grad = torch._C._any_requires_grad
_is_grad_enabled = torch.is_grad_enabled
# Whether the backward that is running keeps the graph, and so may come again; without torch's word it might.
_keep_graph = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None) or getattr(
    torch._C, "_get_current_graph_task_keep_graph", lambda: True
)
_fast = hasattr(Tensor, "__dlpack_c_exchange_api__")


def seed_of(seed):
    value = 0 if seed is None else int(seed)
    if value < 0:
        raise ValueError(f"seed: expected an integer from 0 to 2^63 - 1, got {value}")
    return value


def served(x, parameters, name):
    """Refuses what has no memory to read, by our words instead of an internal error."""
    if x.layout is _strided and (x.is_cpu or (x.is_cuda and _fast)) and not parameters:
        return
    for what, t in (("x", x), *(("parameters", p) for p in parameters)):
        if t.layout is not torch.strided:
            raise ValueError(f"[{name}] {what}: expected a strided tensor, got {t.layout}")
        if t.device.type not in ("cpu", "cuda"):
            raise ValueError(f"[{name}] {what}: expected a tensor on the CPU or on CUDA, got one on {t.device}")
        if t.is_cuda and not _fast:
            raise ValueError(f"[{name}] {what}: tensors on CUDA need a torch with __dlpack_c_exchange_api__")


def readable(t):
    """The tensor as the compiled part can read it."""
    if t.is_neg():
        t = t.resolve_neg()
    return t if _fast else t.detach()


def compute(name, x, parameters, seed, keys, training):
    served(x, parameters, name)
    torch.get_num_threads()  # a thread's first call sets its number of OpenMP threads to torch's
    return operator(name, keys).forward(readable(x), [readable(p) for p in parameters], training, seed_of(seed))


def compute_backward(name, dy, x, parameters, seed, keys, training, needs):
    served(x, [*parameters, dy], name)
    torch.get_num_threads()
    return operator(name, keys).gradients(
        readable(dy), readable(x), [readable(p) for p in parameters], training, seed_of(seed), needs
    )


def ordinary(x, parameters):
    """Whether x and the parameters are tensors with memory of their own that nobody watches: no subclasses, tracing, or
    transforms."""
    if type(x) not in _PLAIN_TYPES or _dispatch_modes() or _transforms_active() or not (x.is_cpu or x.is_cuda):
        return False
    for p in parameters:
        if type(p) not in _PLAIN_TYPES:
            return False
    return True


def refuse_second_derivative(asked):
    """An operator's backward is a constant for autograd, which would take a second derivative for zero."""
    if asked:
        raise RuntimeError("tidepool: an operator can be differentiated once; its gradient has none (create_graph=True)")


def refuse_tangents(name, tensors):
    if any(forward_ad.unpack_dual(t).tangent is not None for t in tensors):
        raise NotImplementedError(f"[{name}] has no forward-mode derivative")


class Recorded(torch.autograd.Function):
    """Ordinary tensors: the compiled part records. Its state is a tensor among those saved, so that it is dropped with
    them."""

    @staticmethod
    def forward(ctx, name, x, seed, keys, training, *parameters):
        served(x, parameters, name)
        torch.get_num_threads()
        needs = ctx.needs_input_grad
        ctx.needs = [needs[1], *needs[5:]]
        y, state, keeps_x = operator(name, keys).record(
            readable(x), [readable(p) for p in parameters], training, seed_of(seed), ctx.needs
        )
        # Saved though the state has them: torch then notices when they are written to before the backward.
        ctx.save_for_backward(state, x if keeps_x else None, *parameters)
        return y

    @staticmethod
    def backward(ctx, dy):
        refuse_second_derivative(_is_grad_enabled())
        if torch._C._functorch.is_legacy_batchedtensor(dy):
            raise RuntimeError(
                "tidepool: a backward takes no batch of gradients (is_grads_batched, vectorize=True); torch.func.jacrev "
                "does"
            )
        torch.get_num_threads()
        gradients = iter(_core.backward(ctx.saved_tensors[0], readable(dy), _keep_graph()))
        dx, *rest = [next(gradients) if needed else None for needed in ctx.needs]
        return None, dx, None, None, None, *rest


class Traced(torch.autograd.Function):
    """Below tracing: both directions are operators."""

    @staticmethod
    def forward(ctx, name, x, seed, keys, training, *parameters):
        ctx.call = name, seed is not None, keys, training
        needs = ctx.needs_input_grad
        ctx.needs = [needs[1], *needs[5:]]
        ctx.save_for_backward(x, *(() if seed is None else (seed,)), *parameters)
        with _below_autograd():
            return OPERATORS[name](x, list(parameters), seed, keys, training)

    @staticmethod
    def backward(ctx, dy):
        refuse_second_derivative(_is_grad_enabled())
        return (None, *_pure_backward(ctx, dy, _backward))


def _backward(name, dy, x, parameters, seed, keys, training, needs):
    return BACKWARDS[name](dy, x, parameters, seed, keys, training, needs)


def _pure_backward(ctx, dy, backward):
    name, seeded, keys, training = ctx.call
    x, *parameters = ctx.saved_tensors
    seed = parameters.pop(0) if seeded else None
    gradients = iter(backward(name, dy, x, parameters, seed, keys, training, ctx.needs))
    dx, *rest = [next(gradients) if needed else None for needed in ctx.needs]
    return dx, None, None, None, *rest


class Once(torch.autograd.Function):
    """The backward under torch.func, whose transforms differentiate every backward as far as they are asked to."""

    @staticmethod
    def forward(name, dy, x, seed, keys, training, needs, *parameters):
        return tuple(_backward(name, dy, x, list(parameters), seed, keys, training, list(needs)))

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, *gradients):
        refuse_second_derivative(True)

    @staticmethod
    def vmap(info, in_dims, name, dy, x, seed, keys, training, needs, *parameters):
        gradients, dims = batched_backward(
            functools.partial(_once, name, keys=keys, training=training, needs=needs),
            info.batch_size,
            (in_dims[1], in_dims[2], list(in_dims[7:]), in_dims[3]),
            dy,
            x,
            list(parameters),
            seed,
            list(needs),
        )
        return tuple(gradients), tuple(dims)


def _once(name, dy, x, parameters, seed, keys, training, needs):
    return Once.apply(name, dy, x, seed, keys, training, tuple(needs), *parameters)


class Transformed(torch.autograd.Function):
    """Under torch.func: as Traced, in the form that transforms ask for."""

    @staticmethod
    def forward(name, x, seed, keys, training, *parameters):
        return OPERATORS[name](x, list(parameters), seed, keys, training)

    @staticmethod
    def setup_context(ctx, inputs, output):
        name, x, seed, keys, training, *parameters = inputs
        ctx.call = name, seed is not None, keys, training
        ctx.needs = [isinstance(t, Tensor) and t.is_floating_point() for t in (x, *parameters)]
        ctx.save_for_backward(x, *(() if seed is None else (seed,)), *parameters)

    @staticmethod
    def backward(ctx, dy):
        return (None, *_pure_backward(ctx, dy, _once))

    @staticmethod
    def vmap(info, in_dims, name, x, seed, keys, training, *parameters):
        def call(x, parameters, seed):
            return Transformed.apply(name, x, seed, keys, training, *parameters)

        return batched(call, info.batch_size, (in_dims[1], list(in_dims[5:]), in_dims[2]), x, list(parameters), seed)


# -- batching


def _one(t, dim, i):
    return t if dim is None else t.select(dim, i)


def batched(call, size, dims, x, parameters, seed):
    """`call(x, parameters, seed)` over one more axis: folded into the batch where all share parameters and nothing is
    drawn, else one by one."""
    x_dim, parameter_dims, seed_dim = dims
    if x_dim is not None and seed is None and all(d is None for d in parameter_dims):
        moved = x.movedim(x_dim, 0)
        return call(moved.flatten(0, 1), parameters, None).unflatten(0, (size, moved.shape[1])), 0
    results = [
        call(
            _one(x, x_dim, i),
            [_one(p, d, i) for p, d in zip(parameters, parameter_dims)],
            None if seed is None else _one(seed, seed_dim, i),
        )
        for i in range(size)
    ]
    return torch.stack(results), 0


def _batched_forward(name, info, in_dims, x, parameters, seed, keys, training):
    def call(x, parameters, seed):
        return OPERATORS[name](x, parameters, seed, keys, training)

    return batched(call, info.batch_size, (in_dims[0], in_dims[1] or [], in_dims[2]), x, parameters, seed)


def batched_backward(call, size, dims, dy, x, parameters, seed, needs):
    """`call(dy, x, parameters, seed)` over one more axis: one by one where gradients of parameters are asked for, which
    are then one per element of the batch."""
    dy_dim, x_dim, parameter_dims, seed_dim = dims
    if needs == [True] + [False] * len(parameters) and seed is None and all(d is None for d in parameter_dims):
        expanded = [t.movedim(d, 0) if d is not None else t.expand(size, *t.shape) for t, d in ((dy, dy_dim), (x, x_dim))]
        dy, x = (t.flatten(0, 1) for t in expanded)
        (dx,) = call(dy, x, parameters, None)
        return [dx.unflatten(0, (size, expanded[1].shape[1]))], [0]
    rows = [
        call(
            _one(dy, dy_dim, i),
            _one(x, x_dim, i),
            [_one(p, d, i) for p, d in zip(parameters, parameter_dims)],
            None if seed is None else _one(seed, seed_dim, i),
        )
        for i in range(size)
    ]
    return [torch.stack(column) for column in zip(*rows)], [0] * sum(needs)


def _batched_backward(name, info, in_dims, dy, x, parameters, seed, keys, training, needs):
    def call(dy, x, parameters, seed):
        return BACKWARDS[name](dy, x, parameters, seed, keys, training, needs)

    dy_dim, x_dim, parameter_dims, seed_dim = in_dims[:4]
    dims = dy_dim, x_dim, parameter_dims or [None] * len(parameters), seed_dim
    return batched_backward(call, info.batch_size, dims, dy, x, parameters, seed, needs)


# -- shapes without values


def is_channels_last(x):
    """The memory order of y and of gradients: channels-last where x is dense in that order and not in the plain one."""
    return x.dim() > 2 and not x.is_contiguous() and x.movedim(1, -1).is_contiguous()


def empty_in_order(like, shape, channels_last, dtype):
    if not channels_last:
        return like.new_empty(shape, dtype=dtype)
    return like.new_empty([shape[0], *shape[2:], shape[1]], dtype=dtype).movedim(-1, 1)


@functools.lru_cache(maxsize=4096)
def length_rule(name, keys, shape, axis):
    """(offset, step) such that the length of y's axis is (n + offset) // step, read off the operator's own answers for
    every n up to 256 and some beyond; (m, 0) for a constant length; None where it is neither."""
    op = operator(name, keys)
    lengths = []
    for n in (*range(1, 257), *(2**i + d for i in range(9, 17) for d in (-1, 0, 1))):  # a step may be longer than 256
        try:
            lengths.append((n, op.output_shape([*shape[:axis], n, *shape[axis + 1 :]])[axis]))
        except ValueError:
            continue
    near = [(n, m) for n, m in lengths if n <= 256]
    steps = [n for (_, before), (n, m) in zip(near, near[1:]) if m != before]
    if len(near) < 2:
        return None
    if not steps:
        length = near[0][1]
        return (length, 0) if all(m == length for _, m in lengths) else None
    if len(steps) < 2:
        return None
    step = steps[1] - steps[0]
    first = next(m for n, m in lengths if n == steps[0])
    offset = first * step - steps[0]
    return (offset, step) if all((n + offset) // step == m for n, m in lengths) else None


def _hint(n):
    return n if isinstance(n, int) else n.node.hint if n.node.has_hint() else 64


def fake_shape(name, x, parameters, keys):
    op = operator(name, keys)
    if x.dim() < 3 or x.dim() > 5:
        op.parameters([_hint(n) for n in x.shape])  # raises
    if not x.dtype.is_floating_point or x.dtype == torch.float16:
        raise TypeError(f"[{name}] x: expected elements of f32, f64 or bf16, got {x.dtype}")
    concrete = [_hint(n) for n in x.shape]
    concrete[1] = int(x.shape[1])
    specs = op.parameters(concrete)
    if len(parameters) > len(specs):
        specs = specs + op.optional_inputs(concrete)
    if len(specs) != len(parameters):
        raise ValueError(f"[{name}] parameters: expected {len(specs)} tensors, got {len(parameters)}")
    for (parameter, shape, _), t in zip(specs, parameters):
        if [_hint(n) for n in t.shape] != list(shape):
            raise ValueError(f"[{name}] {parameter}: expected the shape {list(shape)}, got {list(t.shape)}")
    if any(kind == "shape" for _, _, kind in specs):
        context = torch.library.get_ctx()
        return [x.shape[0], x.shape[1], *(context.new_dynamic_size(min=1) for _ in range(x.dim() - 2))]
    y = list(op.output_shape(concrete))
    if len(y) == x.dim():
        for axis in range(2, x.dim()):
            if isinstance(x.shape[axis], int):
                continue
            rule = length_rule(name, keys, (1, *concrete[1:]), axis)
            if rule is None:
                y[axis] = op.output_shape([*concrete[:axis], int(x.shape[axis]), *concrete[axis + 1 :]])[axis]
            else:
                y[axis] = (x.shape[axis] + rule[0]) // rule[1] if rule[1] else rule[0]
    y[0] = x.shape[0]
    return y


def _fake(name, x, parameters, seed, keys, training):
    return empty_in_order(x, fake_shape(name, x, parameters, keys), is_channels_last(x), x.dtype)


def _fake_backward(name, dy, x, parameters, seed, keys, training, needs):
    gradients = [empty_in_order(x, x.shape, is_channels_last(x), x.dtype)] if needs[0] else []
    return gradients + [
        empty_in_order(p, p.shape, is_channels_last(p), p.dtype) for p, needed in zip(parameters, needs[1:]) if needed
    ]


# -- registration


def _project(parameters, name, keys, shape):
    operator(name, keys).project([p.detach() for p in parameters], [int(n) for n in shape])


# As an operator of torch, so that a compiled training step does it too.
LIBRARY.define("project_(Tensor(a!)[] parameters, str name, str keys, SymInt[] shape) -> ()", tags=_TAGS)
for _key in ("CPU", "CUDA"):
    LIBRARY.impl("project_", _project, _key)
torch.library.register_fake("tidepool::project_", lambda parameters, name, keys, shape: None, lib=LIBRARY)


def _register(name):
    LIBRARY.define(
        f"{name}(Tensor x, Tensor[] parameters, Tensor? seed, str keys, bool training) -> Tensor", tags=_TAGS
    )
    LIBRARY.define(
        f"{name}_backward(Tensor dy, Tensor x, Tensor[] parameters, Tensor? seed, str keys, bool training, bool[] needs)"
        " -> Tensor[]",
        tags=_TAGS,
    )
    namespace = torch.ops.tidepool
    op = OPERATORS[name] = getattr(namespace, name).default
    BACKWARDS[name] = getattr(namespace, f"{name}_backward").default

    def with_gradient(x, parameters, seed, keys, training):
        if forward_ad._current_level >= 0:
            refuse_tangents(name, (x, *parameters))
        wanted = _is_grad_enabled() and _any_requires_grad(x, *parameters)
        if ordinary(x, parameters):
            if wanted and _fast:
                return Recorded.apply(name, x, seed, keys, training, *parameters)
            if not wanted:
                return compute(name, x, parameters, seed, keys, training)
        if wanted:
            return Traced.apply(name, x, seed, keys, training, *parameters)
        with _below_autograd():
            return op(x, parameters, seed, keys, training)

    for key in ("CPU", "CUDA"):
        LIBRARY.impl(name, functools.partial(compute, name), key)
        LIBRARY.impl(f"{name}_backward", functools.partial(compute_backward, name), key)
    LIBRARY.impl(name, with_gradient, "Autograd")
    for suffix, fake, rule in (("", _fake, _batched_forward), ("_backward", _fake_backward, _batched_backward)):
        qualified = f"tidepool::{name}{suffix}"
        torch.library.register_fake(qualified, functools.partial(fake, name), lib=LIBRARY)
        torch.library.register_vmap(qualified, functools.partial(rule, name), lib=LIBRARY)


for _name in descriptions():
    _register(_name)


def call(name, x, parameters, seed, keys, training):
    """What functional and the modules call: under a transform of torch.func by the function that transforms know."""
    if x.dtype is torch.float16 and torch.is_autocast_enabled(x.device.type):  # computed in f32: there is no kernel of f16
        return call(name, x.float(), parameters, seed, keys, training).half()
    if not torch.compiler.is_compiling() and _transforms_active():
        return Transformed.apply(name, x, seed, keys, training, *parameters)
    return OPERATORS[name](x, parameters, seed, keys, training)


def draw_seed():
    """A seed from torch's generator, as a tensor: it can be traced, and follows torch.manual_seed."""
    return torch.randint(0, 1 << 62, (), dtype=torch.int64)

