"""Golden files of the operators that are no plain windows, from torch.nn, torch.fft and scipy.signal.resample."""

import json
import math
import zlib

import numpy as np
import scipy.signal
import torch
import torch.nn.functional as F

f64 = torch.float64

# name, shape of x, config
CASES = {
    "adaptive_avg": [
        ("uneven", [2, 3, 8, 11], dict(output_size=[3, 5])),
        ("even", [2, 3, 8, 6], dict(output_size=[4, 3])),
        ("larger", [1, 2, 3, 5], dict(output_size=[4, 7])),
        ("rank1", [2, 3, 13], dict(output_size=[5])),
        ("rank3", [1, 2, 5, 6, 7], dict(output_size=[2, 3, 4])),
    ],
    "global_avg": [("plane", [2, 3, 7, 9], {}), ("rank3", [1, 2, 3, 4, 5], {})],
    "global_max": [("plane", [2, 3, 7, 9], {}), ("rank1", [2, 3, 17], {})],
    "blur": [
        ("k3s2", [2, 3, 9, 8], dict(kernel=3, stride=2)),
        ("k4s2", [2, 3, 9, 8], dict(kernel=4, stride=2)),
        ("k5s1", [1, 2, 7, 6], dict(kernel=5, stride=1)),
        ("k2", [1, 2, 6, 7], dict(kernel=2)),
        ("rank1", [2, 3, 13], dict(kernel=3, stride=2)),
        ("rank3", [1, 2, 5, 6, 7], dict(kernel=3, stride=2)),
    ],
    "max_blur": [
        ("start", [2, 3, 9, 8], {}),
        ("k3f4s2", [2, 3, 9, 10], dict(kernel=3, filter=4, stride=2)),
    ],
    "spp": [
        ("max", [2, 3, 9, 7], {}),
        ("avg", [2, 3, 9, 7], dict(aggregate="avg", levels=[1, 3])),
        ("rank1", [2, 3, 13], dict(levels=[2, 5])),
    ],
    "fractional_max": [
        ("half", [2, 3, 9, 12], dict(output_size=[4, 6])),
        ("k3", [2, 3, 11, 10], dict(output_size=[5, 6], kernel=3)),
        ("rank3", [1, 2, 7, 8, 9], dict(output_size=[3, 4, 5])),
    ],
    "s3": [
        ("start", [2, 3, 9, 8], {}),
        ("k3p1", [2, 3, 9, 10], dict(kernel=3, padding=1, stride=2, grid=4)),
        ("rank1", [2, 3, 13], dict(stride=3)),
    ],
    "space_to_depth": [("start", [2, 3, 6, 8], {}), ("block3", [2, 2, 6, 9], dict(block=3, channels=5))],
    "strip": [("plane", [2, 3, 5, 7], {}), ("more", [1, 6, 4, 3], {})],
    "spectral": [
        ("half", [2, 3, 8, 10], dict(output_size=[4, 5])),
        ("odd", [2, 3, 9, 7], dict(output_size=[6, 3])),
        ("one_axis", [1, 2, 7, 12], dict(output_size=[7, 8])),
        ("rank1", [2, 3, 21], dict(output_size=[10])),
        ("long", [1, 1, 257], dict(output_size=[100])),
    ],
    # with the strides behind
    "diffstride": [
        ("start", [2, 3, 24, 20], {}, [2.05, 2.05]),
        ("narrow", [2, 3, 12, 15], dict(smoothness=1.5), [1.7, 2.3]),
        ("uncropped", [1, 2, 12, 14], {}, [1.3, 2.9]),
        ("rank1", [2, 3, 33], dict(smoothness=1), [2.6]),
    ],
}


def cropped(x, n, m, axis, mask):
    """The spectrum of an axis times `mask` (by signed frequency), cropped to m as scipy.signal.resample crops it."""
    spectrum = torch.fft.fft(x, dim=axis) * mask.view([-1 if a == axis else 1 for a in range(x.dim())])
    take = lambda k: spectrum.select(axis, k % n)
    kept = [take(k) for k in range((m - 1) // 2 + 1)]
    if m % 2 == 0:
        kept.append(take(m // 2) + take(-(m // 2)) if m < n else take(m // 2))
    kept += [take(k) for k in range(-((m - 1) // 2), 0)]
    return torch.fft.ifft(torch.stack(kept, axis), dim=axis).real * (m / n)


def diffstride(x, config, stride):
    smooth = config.get("smoothness", 4.0)
    for axis, n in enumerate(x.shape[2:]):
        k = torch.fft.fftfreq(n, 1 / n, dtype=f64)
        argument = (smooth + n / (2 * stride[axis]) - k.abs()) / smooth
        assert not bool(((argument == 0) | (argument == 1)).any())
        m = min(n, max(2, math.floor(n / stride[axis].item() + 2 * smooth)))
        x = cropped(x, n, m, 2 + axis, argument.clamp(0, 1))
    return x


class Resample(torch.autograd.Function):
    """scipy.signal.resample along an axis; the gradient by its matrix, which it gives of the unit vectors."""

    @staticmethod
    def forward(ctx, x, m, axis):
        ctx.n, ctx.m, ctx.axis = x.shape[axis], m, axis
        return torch.from_numpy(scipy.signal.resample(x.detach().numpy(), m, axis=axis))

    @staticmethod
    def backward(ctx, dy):
        matrix = torch.from_numpy(scipy.signal.resample(np.eye(ctx.n), ctx.m, axis=0))
        return torch.movedim(torch.movedim(dy, ctx.axis, -1) @ matrix, -1, ctx.axis), None, None


def blur(x, kernel, stride):
    taps = torch.tensor([math.comb(kernel - 1, t) for t in range(kernel)], dtype=f64) / 2 ** (kernel - 1)
    left, right = (kernel - 1) // 2, kernel // 2
    rank, c = x.dim() - 2, x.shape[1]
    weight = torch.ones([1] * rank, dtype=f64)
    for axis in range(rank):
        weight = weight * taps.view([-1 if a == axis else 1 for a in range(rank)])
    conv = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    return conv(F.pad(x, [left, right] * rank, mode="reflect"), weight.expand([c, 1] + list(weight.shape)),
                stride=stride, groups=c)


def strip(x, p):
    row = F.conv1d(x.mean(3), p["row.weight"], p["row.bias"], padding=1)
    col = F.conv1d(x.mean(2), p["col.weight"], p["col.bias"], padding=1)
    both = torch.relu(row[:, :, :, None] + col[:, :, None, :])
    return x * torch.sigmoid(F.conv2d(both, p["fuse.weight"], p["fuse.bias"]))


def apply(op, x, config, params, given):
    rank = x.dim() - 2
    pick = lambda *functions: functions[rank - 1]
    if op == "adaptive_avg":
        return pick(F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)(x, config["output_size"])
    if op == "global_avg":
        return pick(F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)(x, 1)
    if op == "global_max":
        return pick(F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)(x, 1)
    if op == "blur":
        return blur(x, config["kernel"], config.get("stride", config["kernel"]))
    if op == "max_blur":
        kernel = config.get("kernel", 2)
        return blur(F.max_pool2d(x, kernel, 1), config.get("filter", 3), config.get("stride", kernel))
    if op == "spp":
        pool = (pick(F.adaptive_avg_pool1d, F.adaptive_avg_pool2d) if config.get("aggregate") == "avg" else
                pick(F.adaptive_max_pool1d, F.adaptive_max_pool2d))
        return torch.cat([pool(x, level).flatten(2) for level in config.get("levels", [1, 2, 4])], 2)
    if op == "fractional_max":
        # torch's samples are w, h in two dimensions, and t, h, w in three
        samples = given["u"].flip(2) if rank == 2 else given["u"]
        pool = F.fractional_max_pool2d if rank == 2 else F.fractional_max_pool3d
        return pool(x, config.get("kernel", 2), config["output_size"], _random_samples=samples)
    if op == "s3":
        stride = config.get("stride", 2)
        sharp = pick(F.max_pool1d, F.max_pool2d)(x, config.get("kernel", 2), 1, config.get("padding", 0))
        return pick(F.avg_pool1d, F.avg_pool2d)(sharp, stride, stride, ceil_mode=True)
    if op == "space_to_depth":
        return F.conv2d(F.pixel_unshuffle(x, config.get("block", 2)), params["weight"])
    if op == "strip":
        return strip(x, params)
    if op == "spectral":
        for axis, m in enumerate(config["output_size"]):
            x = Resample.apply(x, m, 2 + axis)
        return x
    return diffstride(x, config, params["stride"])


def parameters(op, r, x, config):
    c = x.shape[1]
    if op == "space_to_depth":
        return {"weight": r.normal(config.get("channels", c), c * config.get("block", 2) ** 2, 1, 1, scale=0.5)}
    if op == "strip":
        shapes = {"row": [c, c, 3], "col": [c, c, 3], "fuse": [c, c, 1, 1]}
        return {f"{name}.{part}": r.normal(*(shape if part == "weight" else [c]), scale=0.5)
                for name, shape in shapes.items() for part in ("weight", "bias")}
    return {}


def main(random, leaf, save, differentiate):
    for op, cases in CASES.items():
        r = random(zlib.crc32(op.encode()))
        tensors, metadata = {}, {}
        for case in cases:
            name, shape, config = case[:3]
            x = r.normal(*shape)
            params = {k: leaf(v) for k, v in parameters(op, r, x, config).items()}
            if op == "diffstride":
                params["stride"] = leaf(torch.tensor(case[3], dtype=f64))
            given = {"u": r.uniform(*shape[:2], len(shape) - 2)} if op == "fractional_max" else {}
            x = leaf(x)
            y = apply(op, x, config, params, given)
            differentiate(tensors, name, y, r.normal(*y.shape), x, params)
            tensors.update({f"{name}/{k}": v for k, v in given.items()})
            metadata[name] = json.dumps({"op": op, "config": config})
        save(f"ops_{op}.safetensors", tensors, metadata)
