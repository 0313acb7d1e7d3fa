"""Writes network_NAME.json and network_NAME.safetensors: what torchvision's networks compute from hashed weights; and
HRNet, which torchvision does not have, as the class below computes it. network_counts.json has the sizes of all networks
as published, beside the names of their tensors.

Usage: python tests/golden/networks.py [NAME... | counts] [--out DIR]     (default: all that is committed)
Needs PyTorch 2.11 and torchvision 0.26, CPU. README.md describes the files; tests/models/network_golden.h reads them.

**Hashed tensors.** Weights, images and labels are functions of a name and an index, so that a test in C++ starts from the
same bits without reading them from a file. tests/models/hashed_weights.h is the same function:

    h(name)    = FNV-1a, 64 bits, of the name's UTF-8 bytes: h = 14695981039346656037; for each byte b: h = (h ^ b) * 1099511628211
    z(name, i) = the (i + 1)-th output of SplitMix64 with the seed h(name):
                 z = h + (i + 1) * 0x9E3779B97F4A7C15; z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
                 z = (z ^ (z >> 27)) * 0x94D049BB133111EB; z = z ^ (z >> 31)                          (all modulo 2^64)
    u(name, i) = (2 (z >> 40) + 1 - 2^24) / 2^24, in (-1, 1), uniform: an odd number of 24 bits, exact in f32
    element i (row-major) of the tensor `name` = float32(center + scale u(name, i))
    label i of the tensor `name` = z(name, i) mod classes

Running statistics are those of a calibrating forward instead, in 8 bits, so that evaluation mode normalises: the file of
tensors has bytes q under `init/NAME`, and element i = float32(center + scale q_i / 256).

`center` and `scale` have 8 significant bits and stand in the file for each tensor; center + scale u is exact in f64, so the
only rounding is the one to f32, and f32 and f64 networks start from equal weights. Images: center 0, scale 2.

**Fingerprints.** A gradient or statistic g of n elements is stored as [sum g, sqrt(sum g^2), sum g_i v_i], with
v_i = u / 2 + (1 / 2 where u > 0, else -1 / 2), u = u("probe/" + name, i): v is in (-1, -1/2) or (1/2, 1), so that every
wrong element changes the product. A gradient that is 0 in exact arithmetic (a shift before a batch norm in training, with
nothing but convolutions without padding between) is listed under `zero_gradients`, without a fingerprint.
"""

import argparse
import json
import math
import os
import sys

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision

from make import save

HERE = os.path.dirname(os.path.abspath(__file__))
f64 = torch.float64


# ---- hashed tensors ------------------------------------------------------------------------------------------------


def hashed_words(name, count):
    """z(name, i) for i in [0, count), uint64."""
    seed = 14695981039346656037
    for byte in name.encode():
        seed = (seed ^ byte) * 1099511628211 % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def hashed_unit(name, count):
    """u(name, i), f64."""
    return (2 * (hashed_words(name, count) >> np.uint64(40)).astype(np.int64) + 1 - 2**24) / 2.0**24


def hashed(name, shape, center, scale):
    """An f64 tensor whose values are exact in f32."""
    u = hashed_unit(name, math.prod(shape))
    value = center + scale * u
    assert np.array_equal(value.astype(np.longdouble), np.longdouble(center) + np.longdouble(scale) * u), name
    return torch.from_numpy(value.astype(np.float32).astype(np.float64)).reshape(shape)


def hashed_batch(name, batch, size, classes, maps=False):
    """Images, and a label for each, or with `maps` for each pixel."""
    images = hashed(name + "/images", [batch, 3, size, size], 0.0, 2.0)
    shape = (batch, size, size) if maps else (batch,)
    labels = (hashed_words(name + "/labels", math.prod(shape)) % np.uint64(classes)).astype(np.int64)
    return images, torch.from_numpy(labels).reshape(shape)


def fingerprint(name, g):
    g = g.detach().to(f64).contiguous().flatten().numpy()
    u = hashed_unit("probe/" + name, g.size)
    return [digits(v) for v in (g.sum(), math.sqrt((g * g).sum()), (g * (u / 2 + np.copysign(0.5, u))).sum())]


def digits(v, count=14):
    return float(f"{float(v):.{count}g}")


def short(v, up=False):
    """A number of 8 significant bits near v, with `up` not below it."""
    mantissa, exponent = math.frexp(v)
    return math.ldexp((math.ceil if up else round)(mantissa * 256) / 256, exponent)


def in_bytes(v):
    """center, scale and bytes q of the values v: v is about center + scale q / 256."""
    center = short(v.min().item())
    scale = short(max((v.max() - center).item(), 1e-3), up=True)
    return center, scale, ((v - center) / scale * 256).round().clamp(0, 255).to(torch.uint8)


def from_bytes(center, scale, q):
    value = center + scale * q.numpy().astype(np.float64) / 256
    return torch.from_numpy(value.astype(np.float32).astype(np.float64))


# ---- networks ------------------------------------------------------------------------------------------------------


def with_stride_1(model, paths):
    """Strides 1 in every convolution and pooling layer of stride 2 below these modules: the form for small images."""
    for path in paths:
        for m in model.get_submodule(path).modules():
            if isinstance(m, nn.Conv2d) and m.stride != (1, 1):
                m.stride = (1, 1)
    return model


class SmallVgg(nn.Module):
    """tidepool's vgg16: features of torchvision's vgg16_bn without convolution biases and last pooling layer, one linear layer."""

    def __init__(self, classes, width):
        super().__init__()
        plan = [v if v == "M" else round(v * width) for v in torchvision.models.vgg.cfgs["D"]]
        self.features = torchvision.models.vgg.make_layers(plan[:-1], batch_norm=True)
        for m in self.features:
            if isinstance(m, nn.Conv2d):
                m.bias = None
        self.classifier = nn.Linear(plan[-2], classes)

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


def cifar_resnet(make, classes):
    model = make(num_classes=classes)
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model


def vgg16_bn(classes, width=1.0):
    """torchvision's vgg16_bn with all channels times width."""
    plan = [v if v == "M" else round(v * width) for v in torchvision.models.vgg.cfgs["D"]]
    model = torchvision.models.VGG(torchvision.models.vgg.make_layers(plan, batch_norm=True), num_classes=classes,
                                   init_weights=False, dropout=0.0)
    hidden = round(4096 * width)
    model.classifier[0] = nn.Linear(plan[-2] * 49, hidden)
    model.classifier[3] = nn.Linear(hidden, hidden)
    model.classifier[6] = nn.Linear(hidden, classes)
    return model


def conv_norm(inputs, outputs, kernel, stride=1, act=True, bias=False):
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=bias), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, nn.ReLU()) if act else nn.Sequential(*layers)


class HrNetModule(nn.Module):
    """Section 3 of Wang et al., TPAMI 2021: parallel branches of basic blocks, then the exchange between resolutions."""

    def __init__(self, channels, blocks):
        super().__init__()
        basic = torchvision.models.resnet.BasicBlock
        self.branches = nn.ModuleList(nn.Sequential(*(basic(c, c) for _ in range(blocks))) for c in channels)
        count = len(channels)
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(self.path(channels, source, target) for source in range(count)) for target in range(count))

    @staticmethod
    def path(channels, source, target):
        if source == target:
            return nn.Identity()
        if source > target:
            return conv_norm(channels[source], channels[target], 1, act=False)
        steps = target - source
        return nn.Sequential(*(conv_norm(channels[source], channels[target if k == steps - 1 else source], 3, 2,
                                         act=k < steps - 1) for k in range(steps)))

    def forward(self, maps):
        maps = [branch(x) for branch, x in zip(self.branches, maps)]
        fused = []
        for target, paths in enumerate(self.fuse_layers):
            parts = [path(x) for path, x in zip(paths, maps)]
            fused.append(F.relu(sum(resized(part, maps[target].shape[2:]) for part in parts)))
        return fused


def resized(x, size):
    return x if x.shape[2:] == size else F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class HrNet(nn.Module):
    """HRNetV2 with the head of arXiv:1904.04514: all resolutions, enlarged and joined, and two 1x1 convolutions."""

    def __init__(self, classes, planes, bottlenecks, channels, blocks, modules):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2 = nn.Conv2d(64, 64, 3, 2, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        bottleneck = torchvision.models.resnet.Bottleneck
        shortcut = conv_norm(64, 4 * planes, 1, act=False)
        self.layer1 = nn.Sequential(bottleneck(64, planes, downsample=shortcut),
                                    *(bottleneck(4 * planes, planes) for _ in range(bottlenecks - 1)))
        widths = [channels * 2**i for i in range(4)]
        self.transition1 = nn.ModuleList([conv_norm(4 * planes, widths[0], 3),
                                          nn.Sequential(conv_norm(4 * planes, widths[1], 3, 2))])
        for stage in (2, 3, 4):
            if stage > 2:
                new = nn.Sequential(conv_norm(widths[stage - 2], widths[stage - 1], 3, 2))
                setattr(self, f"transition{stage - 1}", nn.ModuleList([*(nn.Identity() for _ in widths[:stage - 1]), new]))
            setattr(self, f"stage{stage}",
                    nn.Sequential(*(HrNetModule(widths[:stage], blocks) for _ in range(modules[stage - 2]))))
        joined = sum(widths)
        self.last_layer = nn.Sequential(*conv_norm(joined, joined, 1, bias=True), nn.Conv2d(joined, classes, 1))

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer1(F.relu(self.bn2(self.conv2(x))))
        maps = self.stage2([transition(x) for transition in self.transition1])
        maps = self.stage3([*maps, self.transition2[-1](maps[-1])])
        maps = self.stage4([*maps, self.transition3[-1](maps[-1])])
        return self.last_layer(torch.cat([resized(m, maps[0].shape[2:]) for m in maps], 1))


def hrnet_w18_small(classes):
    return HrNet(classes, 32, 1, 16, 2, (1, 1, 1))


def hrnet_w48(classes):
    return HrNet(classes, 64, 4, 48, 4, (1, 4, 3))


def efficientnet(classes):
    return torchvision.models.efficientnet_b0(num_classes=classes, stochastic_depth_prob=0.0, dropout=0.0)


def mobilenet(classes):
    return torchvision.models.mobilenet_v2(num_classes=classes, dropout=0.0)


def resnet_forms(make):
    return {"cifar": lambda classes: cifar_resnet(make, classes), "imagenet": lambda classes: make(num_classes=classes)}


# name -> form -> a function of the number of classes that makes the module. The first form is small and compared in
# everything; `imagenet`: logits at 224x224 alone.
NETWORKS = {
    "vgg16": {"cifar": lambda classes: SmallVgg(classes, 0.125)},
    "vgg16_torchvision": {"small": lambda classes: vgg16_bn(classes, 0.125),
                          "imagenet": lambda classes: vgg16_bn(classes, 0.125)},
    "hrnet_w18_small": {"maps": hrnet_w18_small},
    "efficientnet_b0": {
        "cifar": lambda classes: with_stride_1(efficientnet(classes), ["features.0.0", "features.2.0"]),
        "imagenet": efficientnet,
    },
    "mobilenet_v2": {
        "cifar": lambda classes: with_stride_1(mobilenet(classes), ["features.0.0", "features.2"]),
        "imagenet": mobilenet,
    },
    "resnet18": resnet_forms(torchvision.models.resnet18),
    "resnet34": resnet_forms(torchvision.models.resnet34),
    "resnet50": resnet_forms(torchvision.models.resnet50),
    "resnet101": resnet_forms(torchvision.models.resnet101),
}
COMMITTED = ["vgg16", "vgg16_torchvision", "hrnet_w18_small", "efficientnet_b0", "mobilenet_v2", "resnet18", "resnet50"]
WIDTHS = {"vgg16": 0.125, "vgg16_torchvision": 0.125}
FORMS = {"cifar": dict(size=32, classes=100, batch=4), "small": dict(size=64, classes=100, batch=4),
         "maps": dict(size=64, classes=6, batch=2, maps=True), "imagenet": dict(size=224, classes=1000, batch=1)}
# As published: name -> module, classes, height, width.
COUNTS = {
    "vgg16": (vgg16_bn, 1000, 224, 224),
    "efficientnet_b0": (efficientnet, 1000, 224, 224),
    "mobilenet_v2": (mobilenet, 1000, 224, 224),
    **{name: (lambda classes, make=getattr(torchvision.models, name): make(num_classes=classes), 1000, 224, 224)
       for name in ("resnet18", "resnet34", "resnet50", "resnet101")},
    "hrnet_w18_small": (hrnet_w18_small, 19, 512, 1024),
    "hrnet_w48": (hrnet_w48, 19, 512, 1024),
}
# EfficientNet's lr is small because steps amplify rounding: tenfold per step at lr 0.05 and batch 8.
LR = {"vgg16": 0.05, "vgg16_torchvision": 0.005, "mobilenet_v2": 2e-4, "resnet50": 2e-5}
STEPS = dict(count=10, batch=2, lr=0.005, momentum=0.9, nesterov=True, weight_decay=5e-4)


def float_state(model):
    return {k: v for k, v in model.state_dict().items() if v.is_floating_point()}


def norms(model):
    return {name: m for name, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}


class Init:
    """Where the values of a network's tensors come from: center and scale by name, and the bytes of running statistics."""

    def __init__(self, model, x):
        """Running statistics are those that `x` gives in evaluation mode, so that activations stay of the order of 1."""
        modules = dict(model.named_modules())
        self.ranges, self.bytes = {}, {}
        for name, p in model.named_parameters():
            owner, kind = name.rsplit(".", 1)
            module = modules[owner]
            if isinstance(module, nn.BatchNorm2d):
                self.ranges[name] = (1.0, 0.25) if kind == "weight" else (0.0, 0.5)
            elif kind == "weight":  # a 1x1 convolution with a bias reads averages, which vary less than maps
                gain = 4 if isinstance(module, nn.Conv2d) and module.bias is not None and p.shape[2] == 1 else 1
                self.ranges[name] = (0.0, short(gain * math.sqrt(3 / (p.numel() / p.shape[0]))))
            else:
                self.ranges[name] = (0.0, 0.25)
        self.fill(model)
        handles = [m.register_forward_pre_hook(lambda m, i, name=name: self.calibrate(name, m, i[0]))
                   for name, m in norms(model).items()]
        with torch.no_grad():
            model.eval()(x)
        for h in handles:
            h.remove()

    def calibrate(self, name, norm, x):
        for kind, v in (("running_mean", x.mean((0, 2, 3))), ("running_var", x.var((0, 2, 3)))):
            center, scale, q = in_bytes(v)
            self.ranges[f"{name}.{kind}"], self.bytes[f"{name}.{kind}"] = (center, scale), q
            getattr(norm, kind).copy_(from_bytes(center, scale, q))

    def fill(self, model):
        with torch.no_grad():
            for name, t in float_state(model).items():
                if name in self.bytes:
                    t.copy_(from_bytes(*self.ranges[name], self.bytes[name]))
                elif name in self.ranges:
                    t.copy_(hashed(name, t.shape, *self.ranges[name]))
        return model


def multiply_adds(model, height, width):
    """Of one image: every convolution and linear layer, from the shapes that pass through them. A bias counts nothing."""
    total = 0

    def count(module, inputs, y):
        nonlocal total
        positions = y[0, 0].numel() if isinstance(module, nn.Conv2d) else 1
        total += positions * module.weight.numel()

    handles = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    with torch.no_grad():
        p = next(model.parameters())
        model.eval()(torch.zeros(1, 3, height, width, dtype=p.dtype, device=p.device))
    for h in handles:
        h.remove()
    return total


def loss_of(logits, labels):
    """Cross-entropy, of a map of logits at the size of the labels."""
    return F.cross_entropy(resized(logits, labels.shape[1:]) if labels.dim() > 1 else logits, labels)


def run(model, images, labels, training):
    """Logits, loss and gradients by name."""
    model.train(training)
    logits = model(images)
    loss = loss_of(logits, labels)
    grads = torch.autograd.grad(loss, list(model.parameters()))
    return logits.detach(), loss.item(), dict(zip([n for n, _ in model.named_parameters()], grads))


def error(got, want):
    return digits(((got.to(f64) - want).abs().max() / want.abs().max()).item(), 3)


def modes(make, init, form, tensors):
    """Evaluation and training mode at `form`'s size, f64, and PyTorch's f32 beside it."""
    size, classes, batch = (FORMS[form][k] for k in ("size", "classes", "batch"))
    images, labels = hashed_batch(form, batch, size, classes, "maps" in FORMS[form])
    report = {}
    for mode in ("evaluation", "training"):
        model = init.fill(make(classes).to(f64))
        logits, loss, grads = run(model, images, labels, mode == "training")
        tensors[f"{form}/{mode}/logits"] = logits
        largest = max(g.abs().max().item() for g in grads.values())
        zero = [n for n, g in grads.items() if g.abs().max().item() < 1e-12 * largest]
        live = {n: g for n, g in grads.items() if n not in zero}
        for name, g in live.items():
            if g.numel() <= 40 or name in ("features.0.0.weight", "features.0.weight", "conv1.weight"):
                tensors[f"{form}/{mode}/d_{name}"] = g
        narrow = init.fill(make(classes))
        logits_f32, loss_f32, grads_f32 = run(narrow, images.float(), labels, mode == "training")
        one = report[mode] = dict(loss=loss, loss_f32_error=digits(abs(loss_f32 - loss), 3),
                                  logits_f32_error=error(logits_f32, logits),
                                  largest_gradient=largest, zero_gradients=zero,
                                  gradients={n: fingerprint(n, g) for n, g in live.items()},
                                  gradients_f32_error={n: error(grads_f32[n], g) for n, g in live.items()})
        if mode == "training":
            own, own_f32 = float_state(model), float_state(narrow)
            buffers = [n for n in own if ".running_" in n]
            one["buffers"] = {n: fingerprint(n, own[n]) for n in buffers}
            one["buffers_f32_error"] = {n: error(own_f32[n], own[n]) for n in buffers}
        worst = max(one["gradients_f32_error"].items(), key=lambda kv: kv[1])
        print(f"  {form} {mode}: loss {loss:.6f}, logits of {logits.std():.3g} (over images "
              f"{logits.std(0).mean() if batch > 1 else 0:.3g}), f32 errors: logits {one['logits_f32_error']}, worst gradient {worst}, "
              f"{len(zero)} gradients are 0, smallest of the others "
              f"{min((g.abs().max().item() / largest, n) for n, g in live.items())}")
    return report


def ten_steps(form, make, init, steps, disturb=0.0):
    classes, size = FORMS[form]["classes"], FORMS[form]["size"]
    model = init.fill(make(classes).to(f64)).train()
    if disturb:
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(1 + disturb * torch.randn(p.shape, generator=generator, dtype=f64))
    groups = [dict(params=[p for p in model.parameters() if p.dim() > 1], weight_decay=steps["weight_decay"]),
              dict(params=[p for p in model.parameters() if p.dim() == 1], weight_decay=0.0)]
    optimizer = torch.optim.SGD(groups, lr=steps["lr"], momentum=steps["momentum"], nesterov=steps["nesterov"])
    losses = []
    for step in range(steps["count"]):
        images, labels = hashed_batch(f"step{step}", steps["batch"], size, classes, "maps" in FORMS[form])
        loss = loss_of(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def write(name, out):
    print(name)
    forms = NETWORKS[name]
    small, make = next(iter(forms.items()))
    small_classes = FORMS[small]["classes"]
    # The largest form: with few positions per channel some variances are so low that other images amplify.
    largest = max(forms, key=lambda form: FORMS[form]["size"])
    images, _ = hashed_batch("calibration", 8, FORMS[largest]["size"], 1)
    init = Init(forms[largest](small_classes).to(f64), images)
    model = make(small_classes).to(f64)
    shapes = {n: list(t.shape) for n, t in float_state(model).items()}
    assert set(shapes) == set(init.ranges)
    norm = next(iter(norms(model).values()))
    tensors = {f"init/{n}": q for n, q in init.bytes.items()}
    report = dict(name=name, width=WIDTHS.get(name, 1.0), torch=torch.__version__.split("+")[0],
                  torchvision=torchvision.__version__.split("+")[0],
                  norm_eps=norm.eps, norm_momentum=norm.momentum,
                  tensors={n: [shapes[n], *init.ranges[n]] for n in shapes}, forms={})
    for form, make_form in forms.items():
        size, classes, batch = (FORMS[form][k] for k in ("size", "classes", "batch"))
        model = init.fill(make_form(classes).to(f64))
        report["forms"][form] = dict(FORMS[form], parameters=sum(p.numel() for p in model.parameters()),
                                     macs=multiply_adds(model, size, size))
        print(f"  {form}: {report['forms'][form]}")
        if form == small:
            report["forms"][form].update(modes(make_form, init, form, tensors))
        else:
            images, _ = hashed_batch(form, batch, size, classes)
            with torch.no_grad():
                logits = model.eval()(images)
                narrow = init.fill(make_form(classes)).eval()(images.float())
            tensors[f"{form}/evaluation/logits"] = logits
            report["forms"][form]["evaluation"] = dict(logits_f32_error=error(narrow, logits))
    steps = dict(STEPS, lr=LR.get(name, STEPS["lr"]))
    losses, near = ten_steps(small, make, init, steps), ten_steps(small, make, init, steps, 1e-15)
    # How far rounding errors may carry the losses: the largest change when the first weights are disturbed by 1e-15.
    steps["loss_sensitivity"] = digits(max(abs(a - b) for a, b in zip(losses, near)), 2)
    report["steps"] = dict(steps, losses=losses)
    print(f"  losses {losses}, sensitivity {steps['loss_sensitivity']}")
    save(os.path.join(out, f"network_{name}.safetensors"), tensors, {})
    with open(os.path.join(out, f"network_{name}.json"), "w") as f:
        f.write(pretty(report) + "\n")


def write_counts(out):
    """Parameters and multiply-adds as published, and FNV-1a of the sorted lines "NAME SHAPE\\n" of all tensors."""
    report = {}
    for name, (make, classes, height, width) in COUNTS.items():
        with torch.device("meta"):
            model = make(classes)
        lines = "".join(sorted(f"{n} {'x'.join(map(str, t.shape))}\n" for n, t in float_state(model).items()))
        seed = 14695981039346656037
        for byte in lines.encode():
            seed = (seed ^ byte) * 1099511628211 % 2**64
        report[name] = dict(classes=classes, height=height, width=width, names=f"{seed:016x}",
                            parameters=sum(p.numel() for p in model.parameters()),
                            macs=multiply_adds(model, height, width))
        print(f"  {name}: {report[name]}")
    with open(os.path.join(out, "network_counts.json"), "w") as f:
        f.write(pretty(report) + "\n")


def pretty(value, depth=0):
    """JSON with a line per entry, lists and flat objects of numbers on one line."""
    if isinstance(value, dict) and any(isinstance(v, (dict, list)) for v in value.values()) or \
            isinstance(value, dict) and len(value) > 8:
        pad = " " * (depth + 1)
        return "{\n" + ",\n".join(f"{pad}{json.dumps(k)}: {pretty(v, depth + 1)}" for k, v in value.items()) + "}"
    return json.dumps(value)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NETWORKS))
    p.add_argument("--out", default=HERE)
    a = p.parse_args()
    torch.set_num_threads(1)
    for name in a.names or ["counts", *COMMITTED]:
        write_counts(a.out) if name == "counts" else write(name, os.path.abspath(a.out))


if __name__ == "__main__":
    sys.exit(main())
