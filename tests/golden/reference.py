"""The resizing operators of docs/operators.md, from its formulas in PyTorch, f64: slow, plain, independent of tidepool.

Autograd differentiates them. Where the page asks for a derivative that is not the one of the arithmetic (roundings,
sampling coordinates) the value is written as `v + (q - q.detach()) * slope`: the same number, the derivative wanted.
Maps are [N, C, spatial...], rank 1 to 3. Keys and tensor names are those of docs/operators.md.
"""

import itertools
import math

import torch
import torch.nn.functional as F


def per_axis(value, rank):
    """A number, or one per axis, as a list of one per axis."""
    return list(value) if isinstance(value, (list, tuple)) else [value] * rank


def first_max(v):
    """Maximum over the last dimension; the gradient goes to the first of equal elements."""
    hit = v == v.amax(-1, keepdim=True)
    first = hit & (hit.cumsum(-1) == 1)
    return torch.where(first, v, torch.zeros_like(v)).sum(-1)


# ---- windows -------------------------------------------------------------------------------------------------------


def windows(x, kernel, stride=None, padding=0, dilation=1, ceil_mode=False):
    """Returns (elements [N, C, out..., K], real [out..., K], counted [out..., K]), windows in row-major order.

    `real` marks the places on the map, `counted` those on the map or its padding (a ceil_mode overhang is neither).
    """
    rank = x.dim() - 2
    kernel = per_axis(kernel, rank)
    stride = per_axis(kernel if stride is None else stride, rank)
    padding, dilation = per_axis(padding, rank), per_axis(dilation, rank)
    place = torch.zeros([1] * (2 * rank), dtype=torch.int64)
    real = torch.ones([1] * (2 * rank), dtype=torch.bool)
    counted = real.clone()
    outs = []
    for axis, n in enumerate(x.shape[2:]):
        k, s, p, d = kernel[axis], stride[axis], padding[axis], dilation[axis]
        room = n + 2 * p - d * (k - 1) - 1
        out = (-(-room // s) if ceil_mode else room // s) + 1
        if ceil_mode and (out - 1) * s >= n + p:
            out -= 1
        assert out >= 1
        outs.append(out)
        at = torch.arange(out)[:, None] * s - p + torch.arange(k)[None, :] * d
        view = [1] * (2 * rank)
        view[axis], view[rank + axis] = out, k
        place = place * n + at.clamp(0, n - 1).view(view)
        real = real & ((at >= 0) & (at < n)).view(view)
        counted = counted & (at < n + p).view(view)
    shape = outs + [math.prod(kernel)]
    full = list(outs) + list(kernel)
    place, real, counted = (t.expand(full).reshape(shape) for t in (place, real, counted))
    assert bool(real.any(-1).all()), "a window without an element"
    return x.flatten(2)[:, :, place], real, counted


def geometry(config):
    return {k: config[k] for k in ("kernel", "stride", "padding", "dilation", "ceil_mode") if k in config}


def max_pool(x, config, params=None):
    v, real, _ = windows(x, **geometry(config))
    return first_max(torch.where(real, v, torch.full_like(v, -math.inf)))


def avg_pool(x, config, params=None):
    v, real, counted = windows(x, **geometry(config))
    divisor = (counted if config.get("count_include_pad", True) else real).sum(-1)
    return torch.where(real, v, torch.zeros_like(v)).sum(-1) / divisor


def soft_pool(x, config, params=None):
    v, real, _ = windows(x, **geometry(config))
    beta = config.get("beta", 1.0)
    w = torch.softmax(torch.where(real, beta * v, torch.full_like(v, -math.inf)), -1)
    if config.get("grad", "full") == "frozen_weights":
        w = w.detach()
    return (w * torch.where(real, v, torch.zeros_like(v))).sum(-1)


def conv_pool(x, config, params):
    rank = x.dim() - 2
    conv = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    stride = config.get("stride", config["kernel"])
    return conv(x, params["weight"], params["bias"], per_axis(stride, rank), per_axis(config.get("padding", 0), rank),
                per_axis(config.get("dilation", 1), rank))


# ---- dynopool ------------------------------------------------------------------------------------------------------


class StraightThrough(torch.autograd.Function):
    """forward: `value`; backward: the gradient goes to `smooth` unchanged."""

    @staticmethod
    def forward(ctx, smooth, value):
        return value.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad, None


def dynopool_length(n, a):
    """m = max(1, round(n / a)), halves to even; d m / d(n / a) := 1. `n` may carry a gradient of its own."""
    s = n / a
    return StraightThrough.apply(s, torch.round(s.detach()).clamp_min(1.0))


class Queries:
    """The 2 m query coordinates of one axis, in the order (0,-), (0,+), (1,-), (1,+), ..."""

    def __init__(self, n, a, delta, anchor, node_derivative):
        n = int(n)
        length = dynopool_length(torch.tensor(float(n), dtype=torch.float64), a)
        cell = n / length  # with its gradient in a
        m = int(length.item())
        i = torch.arange(m, dtype=torch.float64).repeat_interleave(2)
        sign = torch.tensor([-1.0, 1.0], dtype=torch.float64).repeat(m)
        if anchor == "center":
            self.q = n / 2 + (i - m / 2 + 0.5 + sign * delta) * cell
        else:
            self.q = (i + 0.5 + sign * delta) * cell
        lo, f, up, down, scale = [], [], [], [], []
        for j in range(2 * m):
            if float(delta.detach()) == 0.25:  # in whole numbers: t = q - 1/2 = (odd n - 2 m) / (4 m)
                num, den = (4 * (j // 2) + (3 if j % 2 else 1)) * n - 2 * m, 4 * m
                outside = num < 0 or num > (n - 1) * den
                num = min(max(num, 0), (n - 1) * den)
                k, rest = divmod(num, den)
                fraction, node = rest / den, rest == 0
            else:
                t = float(((i + 0.5 + sign * delta.detach()) * (n / m))[j]) - 0.5
                outside = t < 0 or t > n - 1
                t = min(max(t, 0.0), n - 1.0)
                k = int(math.floor(t))
                fraction, node = t - k, False
                assert outside or 1e-9 < fraction < 1 - 1e-9, "too near to a pixel centre for a golden case"
            lo.append(k)
            f.append(fraction)
            hi = min(k + 1, n - 1)
            if outside:
                up.append(k), down.append(k), scale.append(0.0)
            elif node and node_derivative == "central":
                up.append(hi), down.append(max(k - 1, 0)), scale.append(0.5)
            else:
                up.append(hi), down.append(k), scale.append(1.0)
        self.m = m
        self.lo = torch.tensor(lo)
        self.f = torch.tensor(f, dtype=torch.float64)
        self.hi = torch.where(self.f > 0, self.lo + 1, self.lo)
        self.up, self.down = torch.tensor(up), torch.tensor(down)
        self.scale = torch.tensor(scale, dtype=torch.float64)

    def sample(self, x, axis):
        x0, x1 = x.index_select(axis, self.lo), x.index_select(axis, self.hi)
        return x0 + along(self.f, x, axis) * (x1 - x0)

    def slope(self, x, axis):
        return along(self.scale, x, axis) * (x.index_select(axis, self.up) - x.index_select(axis, self.down))


def along(v, x, axis):
    view = [1] * x.dim()
    view[axis] = -1
    return v.view(view)


def dynopool(x, config, params):
    rank = x.dim() - 2
    alpha, quarter = params["alpha"], torch.full([rank], 0.25, dtype=torch.float64)
    delta = params["delta"] if config.get("offset", "fixed") == "learned" else quarter
    axes = [Queries(n, alpha[0 if config.get("tied", False) else j], delta[j], config.get("anchor", "center"),
                    config.get("node_derivative", "central")) for j, n in enumerate(x.shape[2:])]
    v = x
    for j, queries in enumerate(axes):
        v = queries.sample(v, 2 + j)
    still = v
    for j, queries in enumerate(axes):
        d = x.detach()
        for other, q in enumerate(axes):
            d = q.slope(d, 2 + other) if other == j else q.sample(d, 2 + other)
        v = v + along(queries.q - queries.q.detach(), v, 2 + j) * d
    assert torch.equal(v.detach(), still.detach())
    split = list(x.shape[:2]) + list(itertools.chain(*((q.m, 2) for q in axes)))
    order = [0, 1] + [2 + 2 * j for j in range(rank)] + [3 + 2 * j for j in range(rank)]
    v = v.reshape(split).permute(order).flatten(2 + rank)
    aggregate = config.get("aggregate", "max")
    if aggregate == "max":
        return first_max(v)
    if aggregate == "avg":
        return v.mean(-1)
    return (torch.softmax(v, -1) * v).sum(-1)


# ---- shape adaptor -------------------------------------------------------------------------------------------------


def shape_adaptor_scale(a, config):
    r1, r2 = config.get("r1", 0.5), config.get("r2", 1.0)
    return r1 + (r2 - r1) * torch.sigmoid(a)


def shape_adaptor_length(n, a, config):
    """max(1, floor(n s)). Its gradient is 0, or with grad "straight_through" that of n s. `n` may carry a gradient."""
    s = shape_adaptor_scale(a, config) * n
    value = torch.floor(s.detach()).clamp_min(1.0)
    return StraightThrough.apply(s, value) if config.get("grad") == "straight_through" else value


def resize(x, sizes):
    return F.interpolate(x, sizes, mode="bilinear", align_corners=True)


def shape_adaptor(x, config, params):
    a = params["alpha"][0]
    sizes = [int(shape_adaptor_length(torch.tensor(float(n), dtype=torch.float64), a.detach(), config))
             for n in x.shape[2:]]
    pooled = F.max_pool2d(x, [min(2, n) for n in x.shape[2:]])
    t = torch.sigmoid(a)
    return (1 - t) * resize(pooled, sizes) + t * resize(x, sizes)


OPERATORS = {"max": max_pool, "avg": avg_pool, "soft": soft_pool, "conv": conv_pool, "dynopool": dynopool,
             "shape_adaptor": shape_adaptor}


def resize_lengths(op, lengths, config, params):
    """The straight-through lengths after a resizing operator, from those before it."""
    rank = len(lengths)
    if op == "dynopool":
        return [dynopool_length(n, params["alpha"][0 if config.get("tied", False) else j])
                for j, n in enumerate(lengths)]
    if op == "shape_adaptor":
        return [shape_adaptor_length(n, params["alpha"][0], config) for n in lengths]
    kernel = per_axis(config["kernel"], rank)
    stride, padding = per_axis(config.get("stride", kernel), rank), per_axis(config.get("padding", 0), rank)
    out = []
    for n, k, s, p in zip(lengths, kernel, stride, padding):
        smooth = (n + 2 * p - k) / s + 1
        out.append(StraightThrough.apply(smooth, torch.floor(smooth.detach())))
    return out


class GMacs:
    """The GMACs penalty: sum over layers of (H W) / (H(0) W(0)) GMACs(0), for one image, in units of 1e9.

    GMACs(0) = H(0) W(0) * macs_per_place * 1e-9, so the lengths at the start cancel.
    """

    def __init__(self):
        self.total = torch.zeros((), dtype=torch.float64)
        self.macs = 0

    def convolution(self, weight, lengths):
        """weight [O, I / groups, k...], lengths: the straight-through lengths of its output."""
        places = math.prod(lengths)
        self.total = self.total + places * (weight.numel() * 1e-9)
        self.macs += int(places) * weight.numel()

    def linear(self, weight):
        self.total = self.total + weight.numel() * 1e-9
        self.macs += weight.numel()
