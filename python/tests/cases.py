"""Operators, ranks, layouts and keys that the tests go through; what is registered is tested without being named here."""

import pathlib

import torch

from tidepool._registry import descriptions, keys_text, operator
from tidepool.torch import functional

SOURCE = pathlib.Path(__file__).parents[2]
NAMES = sorted(descriptions())
RANKED = [(name, rank) for name in NAMES for rank in descriptions()[name].ranks]
LAYOUTS = ("plain", "channels_last")
LENGTHS = {1: [9], 2: [8, 6], 3: [5, 4, 6]}

# Keys that an operator needs, and settings beside its defaults: other code paths, learned numbers, draws.
NEEDED = {"adaptive_avg": {"output_size": 3}, "adaptive_max": {"output_size": 3}}
MORE = {
    "gem": [{"learned": True, "per": "channel"}],
    "lip": [{"logit": "bottleneck"}, {"logit": "simplified"}],
    "lp": [{"learned": True}],
    "lse": [{"learned": True, "kernel": 3, "stride": 2, "padding": 1}],
    "max": [{"kernel": 3, "stride": 2, "padding": 1}, {"kernel": 2, "stride": 3, "ceil_mode": True}],
    "mixed": [{"learned": True}],
    "quantile": [{"learned": True, "q": 0.3}],
    "soft": [{"kernel": 3, "stride": 2, "padding": 1}],
    "spp": [{"levels": [1, 2], "aggregate": "avg"}],
    "dynopool": [{"aggregate": "soft", "offset": "learned"}],
}

# Whose gradient in a parameter goes straight through a rounding, or through a mask that moves in steps.
STRAIGHT_THROUGH = {"dynopool", "shape_adaptor", "diffstride"}


def keys_of(name, more=None):
    return keys_text(name, {**NEEDED.get(name, {}), **(more or {})})


def map_of(shape, layout="plain", dtype=torch.float64):
    x = torch.randn(shape, dtype=dtype)
    return x.movedim(1, -1).contiguous().movedim(-1, 1) if layout == "channels_last" else x


def parameters_of(name, keys, x):
    return list(functional.initial_parameters(operator(name, keys), x.shape, x).values())
