"""Checks reference.py against torch.nn and against grid_sample, where these compute the same thing."""

import torch
import torch.nn.functional as F

import reference as ref

f64 = torch.float64


def close(a, b, tolerance=1e-12):
    assert a.shape == b.shape, (a.shape, b.shape)
    error = (a - b).abs().max().item() / max(b.abs().max().item(), 1e-300)
    assert error <= tolerance, error


def value_and_dx(f, x):
    x = x.clone().requires_grad_()
    y = f(x)
    g = torch.Generator().manual_seed(5)
    (dx,) = torch.autograd.grad(y, x, torch.randn(y.shape, generator=g, dtype=f64))
    return y.detach(), dx


def check_windows():
    g = torch.Generator().manual_seed(1)
    torch_max = (F.max_pool1d, F.max_pool2d, F.max_pool3d)
    torch_avg = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)
    sizes = ((11,), (11, 8), (7, 9, 6))
    for rank in (1, 2, 3):
        x = torch.randn(2, 3, *sizes[rank - 1], generator=g, dtype=f64)
        for kernel, stride, padding, ceil in ((2, 2, 0, False), (3, 2, 1, False), (3, 2, 1, True), (2, 3, 1, True), (3, 1, 0, False)):
            config = dict(kernel=kernel, stride=stride, padding=padding, ceil_mode=ceil)
            for a, b in zip(value_and_dx(lambda t: ref.max_pool(t, config), x),
                            value_and_dx(lambda t: torch_max[rank - 1](t, kernel, stride, padding, 1, ceil), x)):
                close(a, b)
            for include in (True, False):
                config["count_include_pad"] = include
                for a, b in zip(value_and_dx(lambda t: ref.avg_pool(t, config), x),
                                value_and_dx(lambda t: torch_avg[rank - 1](t, kernel, stride, padding, ceil, include), x)):
                    close(a, b)
    x = torch.randn(2, 3, 12, 11, generator=g, dtype=f64)
    config = dict(kernel=[3, 2], stride=[1, 2], padding=1, dilation=[2, 3])
    for a, b in zip(value_and_dx(lambda t: ref.max_pool(t, config), x),
                    value_and_dx(lambda t: F.max_pool2d(t, [3, 2], [1, 2], 1, [2, 3]), x)):
        close(a, b)


def check_soft():
    """The closed gradient of docs/operators.md against autograd's of the formula."""
    g = torch.Generator().manual_seed(2)
    x = torch.randn(1, 1, 6, generator=g, dtype=f64, requires_grad=True)
    for beta in (1.0, 2.5):
        y = ref.soft_pool(x, dict(kernel=3, beta=beta))
        dy = torch.randn(y.shape, generator=g, dtype=f64)
        (dx,) = torch.autograd.grad(y, x, dy)
        w = torch.softmax(beta * x.detach().view(2, 3), -1)
        want = dy.view(2, 1) * w * (1 + beta * (x.detach().view(2, 3) - y.detach().view(2, 1)))
        close(dx.flatten(), want.flatten())


def check_dynopool():
    g = torch.Generator().manual_seed(3)
    for shape in ((2, 3, 12, 10), (1, 2, 8, 4), (2, 2, 6, 4, 8), (1, 4, 16)):
        rank = len(shape) - 2
        x = torch.randn(*shape, generator=g, dtype=f64)
        x[0, 0] = x[0, 0].round()  # ties
        alpha = torch.full([rank], 2.0, dtype=f64)
        pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[rank - 1]
        ours = value_and_dx(lambda t: ref.dynopool(t, {}, dict(alpha=alpha)), x)
        theirs = value_and_dx(lambda t: pool(t, 2), x)
        assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1]), shape
        assert torch.equal(ours[1], value_and_dx(lambda t: ref.max_pool(t, dict(kernel=2)), x)[1])
    # Off the pixel centres grid_sample (border) is the same interpolation, with the same derivative in q.
    for anchor in ("center", "origin"):
        for a in ([1.7, 2.3], [0.7, 1.3], [3.1, 0.61]):
            x = torch.randn(2, 3, 13, 10, generator=g, dtype=f64)
            alpha = torch.tensor(a, dtype=f64, requires_grad=True)
            delta = torch.tensor([0.21, 0.37], dtype=f64, requires_grad=True)
            y = ref.dynopool(x, dict(anchor=anchor, offset="learned"), dict(alpha=alpha, delta=delta))
            dy = torch.randn(y.shape, generator=g, dtype=f64)
            ours = torch.autograd.grad(y, (alpha, delta), dy)
            axes = []
            for j, n in enumerate(x.shape[2:]):
                m = round(n / a[j])
                cell = n / m + (alpha[j] - alpha[j].detach()) * (n * n / (m * m * a[j] * a[j]))
                i = torch.arange(m, dtype=f64)[:, None] + 0.5 + torch.tensor([-1.0, 1.0], dtype=f64) * delta[j]
                axes.append(((n / 2 + (i - m / 2) * cell if anchor == "center" else i * cell) * 2 / n - 1))
            best = []
            for s, t in ((0, 0), (0, 1), (1, 0), (1, 1)):
                h, w = axes[0][:, s], axes[1][:, t]
                grid = torch.stack((w[None, :].expand(len(h), -1), h[:, None].expand(-1, len(w))), -1)
                best.append(F.grid_sample(x, grid.expand(2, -1, -1, -1), padding_mode="border", align_corners=False))
            want = torch.stack(best, -1).amax(-1)
            close(y, want)
            for u, v in zip(ours, torch.autograd.grad(want, (alpha, delta), dy)):
                close(u, v, 1e-11)


def main():
    check_windows()
    check_soft()
    check_dynopool()
    print("reference.py agrees with torch.nn and grid_sample")


if __name__ == "__main__":
    main()
