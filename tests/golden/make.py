"""Writes every golden file beside this one. Needs PyTorch (CPU), NumPy and SciPy; see README.md."""

import json
import math
import os
import struct
import sys

import torch
import torch.nn.functional as F

import check
import maps
import reference as ref
import windows

HERE = os.path.dirname(os.path.abspath(__file__))
f64 = torch.float64
DTYPES = {torch.float64: "F64", torch.float32: "F32", torch.int64: "I64", torch.uint8: "U8"}


def save(name, tensors, metadata):
    """A safetensors file, the same bytes every time (the package writes its metadata in a random order)."""
    header, at, body = {"__metadata__": dict(sorted(metadata.items()))}, 0, []
    for key, t in sorted(tensors.items(), key=lambda kv: (-kv[1].element_size(), kv[0])):
        data = t.detach().contiguous().numpy().tobytes()
        header[key] = {"dtype": DTYPES[t.dtype], "shape": list(t.shape), "data_offsets": [at, at + len(data)]}
        at += len(data)
        body.append(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(HERE, name), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(body))
    print(f"{name}: {8 + len(text) + at} bytes")


class Random:
    def __init__(self, seed):
        self.g = torch.Generator().manual_seed(seed)

    def normal(self, *shape, scale=1.0):
        return torch.randn(*shape, generator=self.g, dtype=f64) * scale

    def uniform(self, *shape):
        return torch.rand(*shape, generator=self.g, dtype=f64)

    def labels(self, n, classes):
        return torch.randint(classes, (n,), generator=self.g)


def differentiate(tensors, case, y, dy, x, params):
    """Stores y, dy and the gradients of x and of the parameters under `case/`."""
    names = list(params)
    leaves = ([x] if x is not None else []) + [params[n] for n in names]
    grads = torch.autograd.grad(y, leaves, dy)
    tensors[f"{case}/y"], tensors[f"{case}/dy"] = y, dy
    if x is not None:
        tensors[f"{case}/x"], tensors[f"{case}/dx"] = x, grads[0]
        grads = grads[1:]
    for name, grad in zip(names, grads):
        tensors[f"{case}/{name}"], tensors[f"{case}/d_{name}"] = params[name], grad


def leaf(t):
    return t.detach().clone().to(f64).requires_grad_()


# ---- operators -----------------------------------------------------------------------------------------------------


def t(*values):
    return torch.tensor(values, dtype=f64)


WINDOW_CASES = [
    ("k2", [2, 3, 7, 9], dict(kernel=2)),
    ("k3s2p1", [2, 5, 11, 8], dict(kernel=3, stride=2, padding=1)),
    ("k3s2p1_ceil", [1, 3, 10, 8], dict(kernel=3, stride=2, padding=1, ceil_mode=True)),
    ("k32s13p10", [2, 2, 6, 11], dict(kernel=[3, 2], stride=[1, 3], padding=[1, 0])),
    ("k3s1_overlap", [1, 17, 5, 6], dict(kernel=3, stride=1, padding=1)),
    ("k2s3_gaps", [2, 3, 9, 10], dict(kernel=2, stride=3)),
    ("rank1", [3, 4, 13], dict(kernel=3, stride=2, padding=1, ceil_mode=True)),
    ("rank3", [1, 3, 5, 6, 7], dict(kernel=[2, 3, 2], stride=[2, 2, 3], padding=[0, 1, 1])),
]

CASES = {
    "max": WINDOW_CASES + [
        ("dilated", [2, 3, 11, 12], dict(kernel=[3, 2], stride=2, padding=1, dilation=[2, 3])),
        ("ties", [2, 3, 8, 9], dict(kernel=3, stride=2, padding=1)),
    ],
    "avg": WINDOW_CASES + [
        ("k3s2p1_ceil_real", [1, 3, 10, 8], dict(kernel=3, stride=2, padding=1, ceil_mode=True, count_include_pad=False)),
        ("dilated_real", [2, 3, 11, 12], dict(kernel=[3, 2], stride=2, padding=1, dilation=[2, 3], count_include_pad=False)),
    ],
    "soft": WINDOW_CASES + [
        ("dilated", [2, 3, 11, 12], dict(kernel=[3, 2], stride=2, padding=1, dilation=[2, 3])),
        ("beta", [2, 3, 8, 7], dict(kernel=3, stride=2, padding=1, beta=2.5)),
        ("frozen_weights", [2, 3, 8, 7], dict(kernel=3, stride=2, padding=1, grad="frozen_weights")),
        ("beta_frozen", [2, 3, 8, 7], dict(kernel=2, beta=0.4, grad="frozen_weights")),
        ("large", [2, 3, 8, 7], dict(kernel=2)),
    ],
    "conv": [
        ("k2", [2, 3, 7, 9], dict(kernel=2)),
        ("k3s2p1", [2, 5, 11, 8], dict(kernel=3, stride=2, padding=1)),
        ("channels", [2, 4, 8, 7], dict(kernel=2, stride=2, channels=6)),
        ("k32s13p10", [2, 2, 6, 11], dict(kernel=[3, 2], stride=[1, 3], padding=[1, 0])),
        ("rank1", [3, 4, 13], dict(kernel=3, stride=2, padding=1)),
        ("rank3", [1, 3, 5, 6, 7], dict(kernel=[2, 3, 2], stride=[2, 2, 3], padding=[0, 1, 1])),
    ],
    # name, shape of x, config, alpha, delta
    "dynopool": [
        ("start_even", [2, 3, 8, 6], {}, [2, 2]),
        ("start_ties", [2, 3, 8, 6], {}, [2, 2]),  # small whole numbers: ties go to the first
        ("start_odd", [2, 3, 5, 7], {}, [2, 2]),  # n / a = 2.5 -> 2 and 3.5 -> 4: halves to even
        ("general", [2, 3, 12, 10], {}, [1.7, 2.3]),
        ("general_origin", [2, 3, 12, 10], dict(anchor="origin"), [1.7, 2.3]),
        ("start_right", [2, 3, 8, 6], dict(node_derivative="right"), [2, 2]),
        ("start_origin_right", [2, 3, 8, 6], dict(anchor="origin", node_derivative="right"), [2, 2]),
        ("start_origin", [2, 3, 8, 6], dict(anchor="origin"), [2, 2]),
        ("some_nodes", [2, 3, 10, 10], {}, [3.3, 3.1]),  # n = 10, m = 3: one query at a centre
        ("six", [1, 2, 12, 18], {}, [6, 6]),  # n / m = 6: all queries at centres
        ("enlarge", [2, 3, 5, 6], {}, [0.6, 0.8]),  # r > 1: queries are clamped at the borders
        ("same_size", [2, 3, 5, 6], {}, [1, 1.02]),
        ("avg", [2, 3, 9, 10], dict(aggregate="avg"), [1.7, 2.3]),
        ("soft", [2, 3, 9, 10], dict(aggregate="soft"), [1.7, 2.3]),
        ("soft_start", [2, 3, 8, 6], dict(aggregate="soft"), [2, 2]),
        ("tied", [2, 17, 9, 10], dict(tied=True), [1.8]),
        ("tied_start_origin", [2, 3, 8, 10], dict(tied=True, anchor="origin"), [2]),
        ("offset", [2, 3, 9, 10], dict(offset="learned"), [1.7, 2.3], [0.21, 0.37]),
        ("offset_start", [2, 3, 8, 10], dict(offset="learned"), [2, 2], [0.25, 0.25]),
        ("offset_origin_avg", [2, 3, 9, 10], dict(offset="learned", anchor="origin", aggregate="avg"), [1.7, 0.7], [0.31, 0.17]),
        ("to_one", [2, 3, 4, 5], {}, [9, 40]),  # n / a rounds to 0, m = 1
        ("length_one", [2, 3, 1, 6], {}, [1.3, 1.4]),
        ("flat", [1, 2, 6, 7], {}, [1.7, 2.2]),  # one value everywhere: every query ties
        ("rank1", [3, 4, 13], {}, [1.9]),
        ("rank1_start", [3, 4, 12], {}, [2]),
        ("rank3", [1, 3, 5, 6, 7], {}, [1.6, 2.2, 1.4]),
        ("rank3_start_soft_origin", [1, 2, 4, 6, 4], dict(aggregate="soft", anchor="origin"), [2, 2, 2]),
    ],
    # name, shape of x, config, alpha
    "shape_adaptor": [
        ("start", [2, 3, 32, 8], {}, -0.346),
        ("zero", [2, 3, 8, 4], {}, 0.0),  # n s is whole
        ("odd", [2, 5, 9, 11], {}, 0.7),
        ("small", [2, 3, 5, 7], {}, -2.5),
        ("large", [2, 3, 6, 7], {}, 4.0),
        ("scales", [2, 3, 9, 10], dict(r1=0.3, r2=1.4), 0.4),
        ("to_one", [2, 3, 2, 5], dict(r1=0.25, r2=0.5), -1.0),  # an output of length 1 samples the first pixel
        ("axis_of_one", [2, 3, 1, 7], {}, 0.2),  # an axis of length 1 is not pooled
        ("straight_through", [2, 17, 9, 11], dict(grad="straight_through"), 0.7),
    ],
}


def operator_cases():
    for number, (op, cases) in enumerate(CASES.items()):
        r = Random(1000 + number)
        tensors, metadata = {}, {}
        for case in cases:
            name, shape, config = case[:3]
            x = r.normal(*shape)
            if "ties" in name:
                x = x.round()
            if name == "flat":
                x = torch.full(shape, 0.7, dtype=f64)
            if op == "soft" and name == "large":
                x = x * 1e4
            params = {}
            if op == "dynopool":
                params["alpha"] = leaf(t(*case[3]))
                if len(case) > 4:
                    params["delta"] = leaf(t(*case[4]))
            elif op == "shape_adaptor":
                params["alpha"] = leaf(t(case[3]))
            elif op == "conv":
                rank, out = len(shape) - 2, config.get("channels", shape[1])
                params["weight"] = leaf(r.normal(out, shape[1], *ref.per_axis(config["kernel"], rank), scale=0.5))
                params["bias"] = leaf(r.normal(out))
            x = leaf(x)
            y = ref.OPERATORS[op](x, config, params)
            differentiate(tensors, name, y, r.normal(*y.shape), x, params)
            metadata[name] = json.dumps({"op": op, "config": config})
        save(f"ops_{op}.safetensors", tensors, metadata)


# ---- two blocks ----------------------------------------------------------------------------------------------------

LABEL_SMOOTHING = 0.1
TWO_BLOCKS = [
    # name of the file, operator, config, alphas of pool1 and pool2
    ("max", "max", dict(kernel=2), None),
    ("avg", "avg", dict(kernel=2), None),
    ("soft", "soft", dict(kernel=2), None),
    ("conv", "conv", dict(kernel=2, stride=2), None),
    ("dynopool", "dynopool", {}, ([1.7, 2.3], [2.3, 1.7])),
    ("dynopool_start", "dynopool", {}, ([2, 2], [2, 2])),
    ("shape_adaptor", "shape_adaptor", {}, ([-0.3], [-0.3])),
    ("shape_adaptor_straight_through", "shape_adaptor", dict(grad="straight_through"), ([-0.3], [0.2])),
]


def two_blocks():
    gmacs_lambda = 1e4
    for name, op, config, alphas in TWO_BLOCKS:
        r = Random(2000)  # the same network in every file
        x, labels = r.normal(4, 3, 12, 10), r.labels(4, 5)
        p = {
            "features.0.weight": r.normal(6, 3, 3, 3, scale=0.3),
            "features.1.weight": 1 + 0.3 * r.normal(6), "features.1.bias": 0.3 * r.normal(6),
            "features.3.weight": r.normal(8, 6, 3, 3, scale=0.2),
            "features.4.weight": 1 + 0.3 * r.normal(8), "features.4.bias": 0.3 * r.normal(8),
            "classifier.weight": r.normal(5, 8, scale=0.7), "classifier.bias": r.normal(5),
        }
        if alphas:
            p["pool1.alpha"], p["pool2.alpha"] = t(*alphas[0]), t(*alphas[1])
        if op == "conv":
            p["pool1.weight"], p["pool1.bias"] = r.normal(6, 6, 2, 2, scale=0.4), r.normal(6)
            p["pool2.weight"], p["pool2.bias"] = r.normal(8, 8, 2, 2, scale=0.4), r.normal(8)
        p = {k: leaf(v) for k, v in p.items()}
        gmacs = ref.GMacs()
        lengths = [t(n)[0] for n in x.shape[2:]]
        h, shapes, running = x, [], {}
        for block, (conv, norm) in enumerate(((0, 1), (3, 4)), 1):
            h = F.conv2d(h, p[f"features.{conv}.weight"], padding=1)
            gmacs.convolution(p[f"features.{conv}.weight"], lengths)
            mean, var = torch.zeros(h.shape[1], dtype=f64), torch.ones(h.shape[1], dtype=f64)
            h = F.batch_norm(h, mean, var, p[f"features.{norm}.weight"], p[f"features.{norm}.bias"], True, 0.1, 1e-5)
            running[f"features.{norm}.running_mean"], running[f"features.{norm}.running_var"] = mean, var
            own = {k.split(".")[1]: v for k, v in p.items() if k.startswith(f"pool{block}.")}
            h = ref.OPERATORS[op](F.relu(h), config, own)
            lengths = ref.resize_lengths(op, lengths, config, own)
            if op == "conv":
                gmacs.convolution(own["weight"], lengths)
            assert [int(n) for n in lengths] == list(h.shape[2:])
            shapes.append(list(h.shape[2:]))
        logits = F.linear(h.mean((2, 3)), p["classifier.weight"], p["classifier.bias"])
        gmacs.linear(p["classifier.weight"])
        assert abs(gmacs.total.item() * 1e9 - gmacs.macs) < 1e-6
        task = F.cross_entropy(logits, labels, label_smoothing=LABEL_SMOOTHING)
        loss = task + gmacs_lambda * gmacs.total
        grads = torch.autograd.grad(loss, list(p.values()))
        tensors = {"x": x, "labels": labels, "logits": logits, "loss": loss.view(1), "task_loss": task.view(1),
                   "gmacs_loss": gmacs.total.view(1), **p, **running}
        tensors.update({f"d_{k}": g for k, g in zip(p, grads)})
        save(f"two_block_{name}.safetensors", tensors, {
            "op": op, "config": json.dumps(config), "gmacs_lambda": repr(gmacs_lambda), "macs": str(gmacs.macs),
            "label_smoothing": str(LABEL_SMOOTHING), "shapes": json.dumps(shapes),
            "note": "loss = task_loss + gmacs_lambda * gmacs_loss; gmacs_loss in units of 1e9 MACs of one image"})


# ---- layers --------------------------------------------------------------------------------------------------------


def layers():
    r = Random(3000)
    tensors, metadata = {}, {}

    def add(name, layer, config, x, params, f):
        x = leaf(x)
        params = {k: leaf(v) for k, v in params.items()}
        y = f(x, params)
        differentiate(tensors, name, y, r.normal(*y.shape), x, params)
        metadata[name] = json.dumps({"layer": layer, "config": config})

    for name, shape, out, kernel, config, bias in (
            ("conv_3x3", [2, 3, 7, 9], 5, [3, 3], dict(padding=1), False),
            ("conv_3x3_bias", [2, 17, 6, 5], 18, [3, 3], dict(padding=1), True),
            ("conv_1x1", [2, 4, 5, 6], 7, [1, 1], {}, True),
            ("conv_stride2", [2, 3, 9, 8], 4, [3, 3], dict(stride=2, padding=1), True),
            ("conv_no_padding", [1, 3, 6, 7], 4, [3, 3], {}, False),
            ("conv_dilated", [2, 3, 9, 11], 4, [3, 3], dict(padding=[2, 3], dilation=[2, 3]), True),
            ("conv_groups", [2, 6, 7, 6], 4, [3, 3], dict(padding=1, groups=2), True),
            ("conv_depthwise", [2, 5, 7, 6], 5, [3, 3], dict(padding=1, groups=5), False),
            ("conv_depthwise_5x5_stride2", [2, 5, 9, 8], 10, [5, 5], dict(padding=2, stride=2, groups=5), False),
            ("conv_5x2", [2, 3, 8, 7], 4, [5, 2], dict(stride=[2, 3], padding=[2, 1]), True),
            ("conv_1x1_map", [3, 8, 1, 1], 4, [3, 3], dict(padding=1), False)):
        groups = config.get("groups", 1)
        params = {"weight": r.normal(out, shape[1] // groups, *kernel, scale=0.4)}
        if bias:
            params["bias"] = r.normal(out)
        add(name, "conv2d", config, r.normal(*shape), params, lambda x, p: F.conv2d(
            x, p["weight"], p.get("bias"), config.get("stride", 1), config.get("padding", 0), config.get("dilation", 1),
            groups))

    for name, shape, training, relu in (
            ("batch_norm_train", [4, 5, 3, 7], True, False), ("batch_norm_eval", [4, 5, 3, 7], False, False),
            ("batch_norm_relu_train", [4, 17, 5, 3], True, True), ("batch_norm_relu_eval", [4, 6, 5, 3], False, True),
            ("batch_norm_rank0", [8, 5], True, False), ("batch_norm_rank1", [3, 4, 7], True, False),
            ("batch_norm_rank3", [2, 3, 3, 2, 4], True, False), ("batch_norm_momentum", [4, 5, 3, 7], True, False)):
        c = shape[1]
        config = dict(eps=1e-5 if "momentum" not in name else 1e-3, momentum=0.1 if "momentum" not in name else 0.25,
                      training=training)
        mean, var = r.normal(c), 0.5 + r.uniform(c)
        tensors[f"{name}/running_mean"], tensors[f"{name}/running_var"] = mean.clone(), var.clone()
        params = {"weight": 1 + 0.5 * r.normal(c), "bias": r.normal(c, scale=0.5)}

        def norm(x, p):
            y = F.batch_norm(x, mean, var, p["weight"], p["bias"], training, config["momentum"], config["eps"])
            return F.relu(y) if relu else y

        add(name, "batch_norm_relu" if relu else "batch_norm", config, 3 + 2 * r.normal(*shape), params, norm)
        tensors[f"{name}/running_mean_after"], tensors[f"{name}/running_var_after"] = mean, var

    for name, shape, out, bias in (("linear", [5, 7], 4, True), ("linear_no_bias", [3, 33], 17, False)):
        params = {"weight": r.normal(out, shape[1])}
        if bias:
            params["bias"] = r.normal(out)
        add(name, "linear", {}, r.normal(*shape), params, lambda x, p: F.linear(x, p["weight"], p.get("bias")))
    for name, f in (("relu", F.relu), ("silu", F.silu), ("sigmoid", torch.sigmoid)):
        add(name, name, {}, 3 * r.normal(2, 5, 3, 7), {}, lambda x, p: f(x))
    add("global_avg", "global_avg", {}, r.normal(3, 5, 4, 7), {}, lambda x, p: x.mean((2, 3)))

    for name, n, classes, smoothing, scale in (("cross_entropy", 6, 5, 0.0, 1.0), ("cross_entropy_smooth", 6, 10, 0.1, 2.0),
                                               ("cross_entropy_large", 4, 7, 0.1, 1e4), ("cross_entropy_100", 3, 100, 0.2, 3.0)):
        x, labels = leaf(r.normal(n, classes, scale=scale)), r.labels(n, classes)
        y = F.cross_entropy(x, labels, label_smoothing=smoothing).view(1)
        differentiate(tensors, name, y, r.normal(1), x, {})
        tensors[f"{name}/labels"] = labels
        metadata[name] = json.dumps({"layer": "cross_entropy", "config": {"label_smoothing": smoothing}})
    save("layers.safetensors", tensors, metadata)


# ---- ten steps of a narrow VGG-16 -----------------------------------------------------------------------------------

CHANNELS = (4, 4, 8, 8, 16, 16, 16, 32, 32, 32, 32, 32, 32)
CONVOLUTIONS = (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40)
POOL_AFTER = {3: 1, 10: 2, 20: 3, 30: 4}  # number of the convolution before it -> number of the resizing place
CLASSES = 10


def vgg_forward(x, p, pool, gmacs):
    lengths = [t(n)[0] for n in x.shape[2:]]
    h, shapes = x, []
    for k in CONVOLUTIONS:
        h = F.conv2d(h, p[f"features.{k}.weight"], padding=1)
        gmacs.convolution(p[f"features.{k}.weight"], lengths)
        h = F.relu(F.batch_norm(h, None, None, p[f"features.{k + 1}.weight"], p[f"features.{k + 1}.bias"], True))
        if k in POOL_AFTER:
            own = {n.split(".")[1]: v for n, v in p.items() if n.startswith(f"pool{POOL_AFTER[k]}.")}
            config = dict(kernel=2) if pool == "max" else {}
            h = ref.OPERATORS[pool](h, config, own)
            lengths = ref.resize_lengths(pool, lengths, config, own)
            shapes.append(list(h.shape[2:]))
    gmacs.linear(p["classifier.weight"])
    return F.linear(h.mean((2, 3)), p["classifier.weight"], p["classifier.bias"]), shapes


def vgg_steps():
    r = Random(4000)
    pixels = torch.randint(256, (8, 3, 32, 32), generator=r.g, dtype=torch.uint8)
    labels = r.labels(8, CLASSES)
    start, c_in = {}, 3
    for k, c in zip(CONVOLUTIONS, CHANNELS):
        start[f"features.{k}.weight"] = r.normal(c, c_in, 3, 3, scale=math.sqrt(2 / (9 * c)))
        start[f"features.{k + 1}.weight"], start[f"features.{k + 1}.bias"] = 1 + 0.1 * r.normal(c), 0.1 * r.normal(c)
        c_in = c
    start["classifier.weight"], start["classifier.bias"] = r.normal(CLASSES, c_in, scale=0.1), torch.zeros(CLASSES, dtype=f64)
    start = {k: v.float() for k, v in start.items()}
    save("vgg16_start.safetensors", {"x_u8": pixels, "labels": labels, **start},
         {"note": "x = x_u8 / 128 - 1; vgg16, width 1/16, 10 classes, no convolution bias"})
    report = {"x": "x_u8 / 128 - 1", "optim": dict(lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4,
              no_decay="batch norm, biases, *.alpha", alpha_lr=0.01), "runs": {}}
    # The starts lie near roundings (32 / 16.5 = 1.9394, 32 / 15.5 = 2.0645, ...), so that maps change size on the way.
    alphas = {"pool1.alpha": [2.0, 2.06], "pool2.alpha": [2.0, 2.0], "pool3.alpha": [2.2, 2.0], "pool4.alpha": [2.0, 1.7]}
    for pool, gmacs_lambda in (("max", 0.0), ("dynopool", 100.0)):
        p = {k: leaf(v) for k, v in start.items()}
        if pool == "dynopool":
            p.update({k: leaf(t(*v)) for k, v in alphas.items()})
        decay = [v for k, v in p.items() if v.dim() > 1]
        plain = [v for k, v in p.items() if v.dim() == 1 and not k.endswith(".alpha")]
        shape = [v for k, v in p.items() if k.endswith(".alpha")]
        groups = [dict(params=decay, weight_decay=5e-4), dict(params=plain, weight_decay=0.0)]
        if shape:
            groups.append(dict(params=shape, weight_decay=0.0, lr=0.01))
        optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.9, nesterov=True)
        x = pixels.to(f64) / 128 - 1
        run = {"gmacs_lambda": gmacs_lambda, "loss": [], "task_loss": [], "gmacs_loss": [], "shapes": []}
        if shape:
            run["alpha_start"], run["alpha"] = alphas, []
        for _ in range(10):
            gmacs = ref.GMacs()
            logits, shapes = vgg_forward(x, p, pool, gmacs)
            task = F.cross_entropy(logits, labels)
            loss = task + gmacs_lambda * gmacs.total
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            run["loss"].append(loss.item()), run["task_loss"].append(task.item())
            run["gmacs_loss"].append(gmacs.total.item()), run["shapes"].append(shapes)
            if shape:
                run["alpha"].append({k: p[k].tolist() for k in alphas})
        report["runs"][pool] = run
        save(f"vgg16_{pool}_end.safetensors", {k: v.detach().to(torch.float32) if "alpha" not in k else v
                                               for k, v in p.items()}, {"note": "after ten steps"})
    with open(os.path.join(HERE, "vgg16_losses.json"), "w") as f:
        json.dump(report, f, indent=1)
        f.write("\n")


def main():
    torch.set_num_threads(1)
    check.main()
    operator_cases()
    windows.main(Random, leaf, save, differentiate)
    maps.main(Random, leaf, save, differentiate)
    two_blocks()
    layers()
    vgg_steps()


if __name__ == "__main__":
    sys.exit(main())
