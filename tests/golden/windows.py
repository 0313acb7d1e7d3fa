"""The windowed operators of docs/operators.md with an exponent, a weighting or an order of their own, from its formulas
in PyTorch, f64; autograd differentiates them. `main` writes their golden files."""

import json
import math

import torch
import torch.nn.functional as F

import reference as ref

f64 = torch.float64


def elements(x, config):
    """Elements [N, C, out..., K], 0 where absent, and which are real, of the same shape."""
    v, real, _ = ref.windows(x, **ref.geometry(config))
    real = real.expand(v.shape)
    return torch.where(real, v, torch.zeros_like(v)), real


def number(config, p, rank, transform=lambda a: a):
    """A parameter [1], [C] or [places...] so that it broadcasts over [N, C, out..., K]."""
    if config.get("per") == "channel":
        return transform(p).view([1, -1] + [1] * (rank + 1))
    if config.get("per") == "place":
        return transform(p)[None, None, ..., None]
    return transform(p)


def table(config, p, rank):
    """[K] or [C, K] so that it broadcasts over [N, C, out..., K]."""
    if config.get("per") == "channel":
        return p.reshape(p.shape[0], -1).view([1, p.shape[0]] + [1] * rank + [-1])
    return p.reshape(-1)


def mean(v, real):
    return torch.where(real, v, torch.zeros_like(v)).sum(-1, keepdim=True) / real.sum(-1, keepdim=True)


def softmax(v, real):
    return torch.softmax(torch.where(real, v, torch.full_like(v, -math.inf)), -1)


def maximum(v, real):
    return ref.first_max(torch.where(real, v, torch.full_like(v, -math.inf)))


def lp(x, config, params):
    v, real = elements(x, config)
    p = number(config, params["p"], x.dim() - 2) if params else torch.tensor(config.get("p", 2.0), dtype=f64)
    return torch.where(real, v.abs() ** p, torch.zeros_like(v)).sum(-1) ** (1 / p).squeeze(-1)


def gem(x, config, params):
    v, real = elements(x, config)
    p = number(config, params["p"], x.dim() - 2) if params else torch.tensor([config.get("p", 3.0)], dtype=f64)
    return (mean(v.clamp(min=config.get("eps", 1e-6)) ** p, real) ** (1 / p)).squeeze(-1)


def lse(x, config, params):
    v, real = elements(x, config)
    b = number(config, params["b"], x.dim() - 2) if params else torch.tensor([config.get("b", 1.0)], dtype=f64)
    masked = torch.where(real, b * v, torch.full_like(v, -math.inf))
    return ((torch.logsumexp(masked, -1, keepdim=True) - real.sum(-1, keepdim=True).to(f64).log()) / b).squeeze(-1)


def mixed(x, config, params):
    v, real = elements(x, config)
    t = (number(config, params["a"], x.dim() - 2, torch.sigmoid).squeeze(-1) if params else config.get("t", 0.5))
    return t * maximum(v, real) + (1 - t) * mean(v, real).squeeze(-1)


def gated(x, config, params):
    v, real = elements(x, config)
    g = torch.sigmoid((v * table(config, params["w"], x.dim() - 2)).sum(-1))
    return g * maximum(v, real) + (1 - g) * mean(v, real).squeeze(-1)


def stochastic(x, config, params):
    v, real = elements(x, config)
    p = v.clamp(min=0)
    total = p.sum(-1)
    drawn = (p * v).sum(-1) / torch.where(total > 0, total, torch.ones_like(total))
    return torch.where(total > 0, drawn, mean(v, real).squeeze(-1))


def dpp(x, config, params):
    v, real = elements(x, config)
    a, exponent = (number(config, params[k], x.dim() - 2, F.softplus) for k in ("alpha", "lambda"))
    u = v - mean(v, real)
    if config.get("asymmetric"):
        u = u.clamp(min=0)
    w = torch.where(real, a + (u * u + 1e-6).sqrt() ** exponent, torch.zeros_like(v))
    return (w * v).sum(-1) / w.sum(-1)


def em(x, config, params):
    v, real = elements(x, config)
    return (softmax(v, real) * v).sum(-1)


def edscw(x, config, params):
    v, real = elements(x, config)
    a = mean(v, real)
    return (softmax(2 * (v * a).abs() / (v * v + a * a), real) * v).sum(-1)


def ada(x, config, params):
    b = number(config, params["logit"], x.dim() - 2, torch.sigmoid).squeeze(-1)
    return b * edscw(x, config, {}) + (1 - b) * em(x, config, {})


def ordinal(x, config, params):
    v, real = elements(x, config)
    down = torch.where(real, v, torch.full_like(v, -math.inf)).sort(dim=-1, descending=True, stable=True).values
    here = torch.arange(v.shape[-1]) < real.sum(-1, keepdim=True)
    logits = table(config, params["logits"], x.dim() - 2).expand(v.shape)
    return (softmax(logits, here) * torch.where(here, down, torch.zeros_like(v))).sum(-1)


def lip(x, config, params):
    def norm(t, name):
        return F.instance_norm(t, weight=params[name + ".weight"], bias=params[name + ".bias"], eps=1e-5)

    kind = config.get("logit", "identity")
    g = x
    if kind == "simplified":
        g = 12 * torch.sigmoid(norm(F.conv2d(x, params["logit.conv.weight"], padding=1), "logit.norm"))
    if kind == "bottleneck":
        g = F.relu(norm(F.conv2d(x, params["logit.conv1.weight"]), "logit.norm1"))
        g = F.relu(norm(F.conv2d(g, params["logit.conv2.weight"], padding=1), "logit.norm2"))
        g = 12 * torch.sigmoid(norm(F.conv2d(g, params["logit.conv3.weight"]), "logit.norm3"))
    v, real = elements(x, config)
    return (softmax(elements(g, config)[0], real) * v).sum(-1)


PADDED = dict(kernel=3, stride=2, padding=1)
PLAIN = [
    ("k2", [2, 3, 7, 9], dict(kernel=2)),
    ("k3s2p1", [2, 5, 9, 8], PADDED),
    ("dilated_ceil", [1, 3, 11, 10], dict(kernel=[3, 2], stride=2, padding=1, dilation=[2, 3], ceil_mode=True)),
    ("rank1", [3, 4, 13], PADDED),
    ("rank3", [1, 2, 5, 6, 7], dict(kernel=[2, 3, 2], stride=[2, 2, 3], padding=[0, 1, 1])),
]


def learned(tensor, layer, channel):
    """Of 4 channels."""
    return [
        ("layer", [2, 4, 8, 7], dict(learned=True, **PADDED), {tensor: [layer]}),
        ("channel", [2, 4, 8, 7], dict(learned=True, per="channel", **PADDED), {tensor: channel}),
    ]


# name of the case, shape of x, config, parameters: values, or shapes of normals
CASES = {
    "lp": PLAIN + [("p35", [2, 3, 8, 7], dict(kernel=2, p=3.5))] + learned("p", 2.25, [1.5, 2, 3, 6]),
    "gem": PLAIN + [("p05", [2, 3, 8, 7], dict(kernel=2, p=0.5, eps=0.3))] + learned("p", 3, [0.5, 1, 3, 6]),
    "lse": PLAIN + [("b4", [2, 3, 8, 7], dict(kernel=2, b=4.0))] + learned("b", 0.7, [0.1, 1, 3, 10]),
    "mixed": PLAIN + [("t025", [2, 3, 8, 7], dict(kernel=2, t=0.25))] + learned("a", 0.4, [-2, 0, 1, 3]),
    "gated": [
        ("layer", [2, 4, 7, 9], PADDED, {"w": (3, 3)}),
        ("channel", [2, 4, 8, 7], dict(kernel=[3, 2], per="channel"), {"w": (4, 3, 2)}),
        ("rank1", [2, 4, 13], PADDED, {"w": (3,)}),
        ("rank3", [1, 2, 5, 6, 7], dict(kernel=2), {"w": (2, 2, 2)}),
    ],
    "stochastic": PLAIN,
    "dpp": [
        ("layer", [2, 4, 7, 9], PADDED, {"alpha": (1,), "lambda": (1,)}),
        ("channel", [2, 4, 8, 7], dict(per="channel", **PADDED), {"alpha": (4,), "lambda": (4,)}),
        ("asymmetric", [2, 4, 8, 7], dict(kernel=2, asymmetric=True), {"alpha": (1,), "lambda": (1,)}),
        ("rank1", [2, 4, 13], PADDED, {"alpha": (1,), "lambda": (1,)}),
        ("rank3", [1, 2, 5, 6, 7], dict(kernel=2), {"alpha": (1,), "lambda": (1,)}),
    ],
    "em": PLAIN,
    "edscw": PLAIN,
    "ada": [
        ("layer", [2, 4, 7, 9], PADDED, {"logit": (1,)}),
        ("channel", [2, 4, 8, 7], dict(kernel=2, per="channel"), {"logit": (4,)}),
        ("place", [2, 4, 8, 7], dict(per="place", **PADDED), {"logit": (4, 4)}),
        ("rank1", [2, 4, 13], PADDED, {"logit": (1,)}),
        ("rank3", [1, 2, 5, 6, 7], dict(kernel=2), {"logit": (1,)}),
    ],
    "ordinal": [
        ("layer", [2, 4, 7, 9], PADDED, {"logits": (9,)}),
        ("channel", [2, 4, 8, 7], dict(kernel=2, per="channel"), {"logits": (4, 4)}),
        ("rank1", [2, 4, 13], PADDED, {"logits": (3,)}),
        ("rank3", [1, 2, 5, 6, 7], dict(kernel=2), {"logits": (8,)}),
    ],
    "lip": PLAIN + [
        ("simplified", [2, 4, 7, 9], dict(logit="simplified", **PADDED),
         {"logit.conv.weight": (4, 4, 3, 3), "logit.norm.weight": (4,), "logit.norm.bias": (4,)}),
        ("bottleneck", [2, 4, 8, 7], dict(logit="bottleneck", hidden=3, kernel=2),
         {"logit.conv1.weight": (3, 4, 1, 1), "logit.norm1.weight": (3,), "logit.norm1.bias": (3,),
          "logit.conv2.weight": (3, 3, 3, 3), "logit.norm2.weight": (3,), "logit.norm2.bias": (3,),
          "logit.conv3.weight": (4, 3, 1, 1), "logit.norm3.weight": (4,), "logit.norm3.bias": (4,)}),
    ],
}


def main(Random, leaf, save, differentiate):
    for i, (op, cases) in enumerate(CASES.items()):
        tensors, metadata = {}, {}
        r = Random(3000 + i)
        for name, shape, config, *more in cases:
            params = {}
            for key, value in (more[0] if more else {}).items():
                drawn = r.normal(*value) if isinstance(value, tuple) else torch.tensor(value, dtype=f64)
                params[key] = leaf(drawn)
            x = leaf(r.normal(*shape))
            y = globals()[op](x, config, params)
            differentiate(tensors, name, y, r.normal(*y.shape), x, params)
            metadata[name] = json.dumps({"config": config})
        save(f"ops_{op}.safetensors", tensors, metadata)
