"""Writes optimizers.json: parameters after each of ten steps of torch.optim's optimizers, f64. Needs PyTorch 2.11.

Usage: python tests/golden/optimizers.py

One parameter of six elements. The gradient of step t is `gradients[t]`, given, not a function of the parameter; one
element's gradients are of the order of eps, one's are always 0. `steps[t]` is the parameter after step t. `lr` has one
number per step. `options` are the names and values of the torch.optim class.
"""

import json
import math
import os

import torch

HERE = os.path.dirname(os.path.abspath(__file__))
STEPS = 10
START = [1.0, -2.0, 0.5, 0.25, -0.125, 3.0]
GRADIENTS = [[math.sin(t + 1.0), 0.3 - 0.1 * t, 1e-8 * math.cos(3.0 * t), 0.0, (-1.0) ** t * 0.7, 100.0 / (t + 1)]
             for t in range(STEPS)]
CONSTANT, FALLING = [0.01] * STEPS, [0.01 * 0.8**t for t in range(STEPS)]

CASES = {  # name: class, options, lr of each step
    "rmsprop": ("RMSprop", dict(), CONSTANT),
    "rmsprop_alpha_eps": ("RMSprop", dict(alpha=0.9, eps=1e-3), CONSTANT),
    "rmsprop_momentum": ("RMSprop", dict(alpha=0.9, eps=1e-3, momentum=0.9), CONSTANT),
    "rmsprop_decay": ("RMSprop", dict(weight_decay=0.1), CONSTANT),
    "rmsprop_centered": ("RMSprop", dict(centered=True), CONSTANT),
    "rmsprop_centered_all": ("RMSprop", dict(alpha=0.9, eps=1e-3, momentum=0.9, weight_decay=1e-2, centered=True), CONSTANT),
    "rmsprop_falling_lr": ("RMSprop", dict(alpha=0.9, eps=1e-3, momentum=0.9, weight_decay=1e-2), FALLING),
    "adamw": ("AdamW", dict(weight_decay=0.0), CONSTANT),
    "adamw_decay": ("AdamW", dict(weight_decay=0.1), CONSTANT),
    "adamw_betas_eps": ("AdamW", dict(betas=(0.8, 0.99), eps=1e-3, weight_decay=0.05), CONSTANT),
    "adamw_falling_lr": ("AdamW", dict(weight_decay=0.05), FALLING),
    "sgd": ("SGD", dict(momentum=0.9, nesterov=True, weight_decay=5e-4), CONSTANT),
    "sgd_plain": ("SGD", dict(), CONSTANT),
    "sgd_falling_lr": ("SGD", dict(momentum=0.9, weight_decay=5e-4), FALLING),
}


def follow(kind, options, lr):
    p = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    optimizer = getattr(torch.optim, kind)([p], lr=lr[0], foreach=False, **options)
    steps = []
    for rate, gradient in zip(lr, GRADIENTS):
        for group in optimizer.param_groups:
            group["lr"] = rate
        p.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        steps.append(p.tolist())
    return steps


def main():
    cases = []
    for name, (kind, options, lr) in CASES.items():
        defaults = getattr(torch.optim, kind)([torch.zeros(1)], lr=lr[0], **options).defaults
        kept = ("alpha", "eps", "momentum", "weight_decay", "centered", "betas", "nesterov")
        cases.append(dict(name=name, optimizer=kind.lower(), options={k: defaults[k] for k in kept if k in defaults},
                          lr=lr, steps=follow(kind, options, lr)))
    with open(os.path.join(HERE, "optimizers.json"), "w") as f:
        f.write('{"start": ' + json.dumps(START) + ',\n "gradients": [\n  ' + ",\n  ".join(map(json.dumps, GRADIENTS)) +
                '],\n "cases": [\n  ' + ",\n  ".join(json.dumps(c) for c in cases) + "]}\n")


if __name__ == "__main__":
    main()
