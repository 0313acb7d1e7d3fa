#!/usr/bin/env python3
"""Times a training step (or, with --eval, a forward pass) of a network in PyTorch on the CPU, channels-last.

vgg16 is that of pytorch_reference.py; other networks are torchvision's (0.26), with dropout and stochastic depth as they
come there, up to 64 pixels in the form for small images (tests/golden/networks.py: strides 1 in stem and second stage).
Prints one JSON object. images_per_second is of the median step; peak_bytes is how far the process's largest resident
size rose above its size when the model stood and the steps had not begun.
"""

import argparse
import contextlib
import json
import resource
import statistics
import time

import torch
import torch.nn.functional as F

from pytorch_reference import Vgg16, sgd

TORCHVISION = ("efficientnet_b0", "mobilenet_v2", "resnet18", "resnet34", "resnet50", "resnet101")


def network(a):
    if a.network == "vgg16":
        return Vgg16(a.width, classes=a.classes, pool=a.pool)
    import torchvision
    if a.width != 1 or a.pool != "max":
        raise SystemExit("--width and --pool are of vgg16 alone")
    make = getattr(torchvision.models, a.network)
    model = make(num_classes=a.classes)
    if a.size > 64:
        return model
    if a.network.startswith("resnet"):
        model.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
        model.maxpool = torch.nn.Identity()
        return model
    for path in ("features.0.0", "features.2.0" if a.network == "efficientnet_b0" else "features.2"):
        for m in model.get_submodule(path).modules():
            if isinstance(m, torch.nn.Conv2d):
                m.stride = (1, 1)
    return model


def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * resource.getpagesize()


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--network", choices=("vgg16",) + TORCHVISION, default="vgg16")
    p.add_argument("--size", type=int, default=32, help="pixels of a side")
    p.add_argument("--classes", type=int, default=100)
    p.add_argument("--width", type=float, default=1.0)
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--dtype", choices=("f32", "bf16"), default="f32", help="bf16: autocast over f32 weights")
    p.add_argument("--mode", choices=("eager", "compile"), default="eager")
    p.add_argument("--pool", choices=("max", "avg"), default="max")
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--steps", type=int, default=10)
    p.add_argument("--warmup", type=int, default=2)
    p.add_argument("--eval", action="store_true", help="forward in evaluation mode only")
    a = p.parse_args()
    torch.manual_seed(1)
    if a.threads:
        torch.set_num_threads(a.threads)
    model = network(a).to(memory_format=torch.channels_last)
    optimizer = sgd(model, 0.1)
    x = torch.randn(a.batch, 3, a.size, a.size).contiguous(memory_format=torch.channels_last)
    y = torch.randint(a.classes, (a.batch,))
    model.train(not a.eval)
    forward = torch.compile(model) if a.mode == "compile" else model
    cast = torch.autocast("cpu", torch.bfloat16) if a.dtype == "bf16" else contextlib.nullcontext()

    def step():
        if a.eval:
            with torch.no_grad(), cast:
                return forward(x)
        with cast:
            logits = forward(x)
        loss = F.cross_entropy(logits.float(), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.item()

    before = resident()
    first = time.perf_counter()
    step()
    first = time.perf_counter() - first
    for _ in range(a.warmup - 1):
        step()
    times = []
    for _ in range(a.steps):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    median = statistics.median(times)
    print(json.dumps(dict(
        images_per_second=round(a.batch / median, 2), step_ms=round(median * 1e3, 2), fastest_ms=round(min(times) * 1e3, 2),
        slowest_ms=round(max(times) * 1e3, 2), first_ms=round(first * 1e3, 2), peak_bytes=peak, network=a.network,
        size=a.size, width=a.width, batch=a.batch, dtype=a.dtype, mode=a.mode, eval=a.eval,
        threads=torch.get_num_threads(), steps=a.steps, torch=torch.__version__,
        parameters=sum(q.numel() for q in model.parameters()))))


if __name__ == "__main__":
    main()
