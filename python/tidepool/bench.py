"""python -m tidepool.bench: what the operators cost in PyTorch, beside PyTorch's own. Prints a table.

Every row takes turns with what it is compared with, and says the median of the turns' ratios.
"""

import argparse
import statistics
import time

import torch
import torch.nn.functional as F

from . import torch as tp
from .torch import functional


def seconds(call, least=0.05):
    """Of one call: the best of three runs of at least that length."""
    count, best = 1, float("inf")
    while True:
        start = time.perf_counter()
        for _ in range(count):
            call()
        took = time.perf_counter() - start
        if took >= least:
            break
        count = max(2 * count, int(count * least / max(took, 1e-9)))
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(count):
            call()
        best = min(best, (time.perf_counter() - start) / count)
    return best


def beside(ours, theirs, turns=7):
    """(seconds of ours, seconds of theirs, the median of theirs / ours over turns)."""
    a, b = [], []
    ours(), theirs()
    for _ in range(turns):
        a.append(seconds(ours))
        b.append(seconds(theirs))
    return min(a), min(b), statistics.median(y / x for x, y in zip(a, b))


def soft_of_torch(x):
    """SoftPool of PyTorch's operations, its largest element subtracted as ours does."""
    e = torch.exp(x - x.amax(dim=(2, 3), keepdim=True))
    return F.avg_pool2d(x * e, 2) / F.avg_pool2d(e, 2)


def both_ways(call, x):
    x = x.detach().requires_grad_()
    dy = torch.randn_like(call(x))

    def run():
        torch.autograd.grad(call(x), x, dy)

    return run


def rows(step_batch):
    x = torch.randn(32, 64, 64, 64)
    last = x.contiguous(memory_format=torch.channels_last)
    compared = [
        ("soft, both ways, channels-last, beside exp and avg_pool2d", last, functional.soft_pool2d, soft_of_torch, ">= 10"),
        ("soft, both ways, plain, beside exp and avg_pool2d", x, functional.soft_pool2d, soft_of_torch, ""),
    ]
    for layout, t in (("channels-last", last), ("plain", x)):
        compared += [
            (f"max, both ways, {layout}, beside torch", t, functional.max_pool2d, lambda t: F.max_pool2d(t, 2), ">= 1"),
            (f"avg, both ways, {layout}, beside torch", t, functional.avg_pool2d, lambda t: F.avg_pool2d(t, 2), ">= 1"),
        ]
    for what, t, ours, theirs, goal in compared:
        mine, other, ratio = beside(both_ways(lambda t, f=ours: f(t, 2), t), both_ways(theirs, t))
        yield what, f"{mine * 1e3:.2f} ms", f"{other * 1e3:.2f} ms", f"{ratio:.2f} times as fast", goal

    small = torch.randn(1, 8, 8, 8)
    pool = tp.SoftPool2d()
    with torch.no_grad():
        plain = seconds(lambda: pool(small))
    wanted = small.clone().requires_grad_()
    recorded = seconds(lambda: pool(wanted))
    own = seconds(lambda: F.avg_pool2d(wanted, 2))
    yield "call on 1x8x8x8, no gradient", f"{plain * 1e6:.1f} us", "", "", "<= 15 us"
    yield "call on 1x8x8x8, recorded", f"{recorded * 1e6:.1f} us", f"{own * 1e6:.1f} us (avg_pool2d)", "", "<= 40 us"

    try:
        from torchvision.models import vgg16_bn
    except ImportError:
        return
    images, labels = torch.randn(step_batch, 3, 64, 64), torch.randint(0, 10, (step_batch,))

    def step_of(model):
        model = model.to(memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)

        def step():
            optimizer.zero_grad()
            F.cross_entropy(model(images.contiguous(memory_format=torch.channels_last)), labels).backward()
            optimizer.step()

        return step

    def network():
        torch.manual_seed(0)
        model = vgg16_bn(weights=None, num_classes=10)
        model.avgpool, model.classifier = torch.nn.AdaptiveAvgPool2d(1), torch.nn.Linear(512, 10)
        return model

    mine, other, ratio = beside(step_of(tp.replace_pooling(network(), "soft")), step_of(network()), turns=5)
    yield "a step of VGG-16 with soft, beside max of torch", f"{mine * 1e3:.0f} ms", f"{other * 1e3:.0f} ms", (
        f"{1 / ratio:.3f} times as long"
    ), "<= 1.05"


def main():
    parser = argparse.ArgumentParser(prog="python -m tidepool.bench", description=__doc__)
    parser.add_argument("--threads", type=int, help="threads of torch's pool (default: torch's)")
    parser.add_argument("--batch", type=int, default=8, help="images of VGG-16's step (default: 8, of 64x64)")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; tensors of 32x64x64x64 f32, kernel 2")
    widths = (60, 10, 24, 22, 9)
    print("  ".join(t.ljust(w) for t, w in zip(("", "tidepool", "PyTorch", "median of turns", "goal"), widths)))
    for row in rows(options.batch):
        print("  ".join(t.ljust(w) for t, w in zip(row, widths)).rstrip(), flush=True)


if __name__ == "__main__":
    main()
