"""What others make of `tidepool export` and `tidepool op --onnx`: onnx's checker, onnxruntime's numbers beside the program's own,
torch.load and torchvision's load_state_dict(strict=True). Run by tests/cli/export_test.cpp in a scratch folder; by hand:

    python tests/cli/export_check.py build/tidepool operators|networks|pixels|weights|init

Needs the packages onnx, onnxruntime, numpy and safetensors; `weights` and `init` also torch and torchvision; HRNet in `networks` Pillow.
"""

import json
import os
import subprocess
import sys

import numpy as np
from safetensors.numpy import load_file, save_file

BINARY = os.path.abspath(sys.argv[1])
TOLERANCE = 1e-5  # of the largest magnitude; for operators, of 1 where that is smaller
RNG = np.random.default_rng(22)


def call(*arguments):
    done = subprocess.run([BINARY, *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"tidepool {' '.join(arguments)}: status {done.returncode}: {done.stderr}")
    return done.stdout


def run_onnx(file, name, x):
    """The output of a checked model, for all of x and for its first image alone."""
    import onnx
    import onnxruntime

    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    assert {o.domain for o in model.opset_import} == {""} and not model.functions, "standard operators alone"
    assert model.opset_import[0].version >= 18
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    runtime = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    y = runtime.run([name], {runtime.get_inputs()[0].name: x})[0]
    first = runtime.run([name], {runtime.get_inputs()[0].name: x[:1]})[0]
    assert error(first, y[:1], 1) <= TOLERANCE, "any number of images"
    return y


def error(found, expected, least=0.0):
    """Of maps the largest of all images and channels, each over its own magnitude (or `least`); of vectors over that of all."""
    assert found.shape == expected.shape, (found.shape, expected.shape)
    assert np.isfinite(expected).all()
    axes = tuple(range(2, expected.ndim)) or (0, 1)
    return float((np.abs(found - expected).max(axes) / np.maximum(max(least, 1e-30), np.abs(expected).max(axes))).max())


# -- operators

MAPS = {1: (2, 5, 23), 2: (2, 5, 13, 18), 3: (2, 5, 7, 9, 8)}
WINDOWS = [
    {},
    {"kernel": 3, "stride": 2, "padding": 1},
    {"kernel": 3, "stride": 2, "ceil_mode": True},
    {"kernel": 3, "stride": 2, "padding": 1, "dilation": 2},
    {"kernel": 2, "stride": 3, "ceil_mode": True},
]


def per_channel(low, high):
    return lambda shape: RNG.uniform(low, high, shape[1])


def windowed(options=({},)):
    for rank, windows in ((1, WINDOWS[1:3]), (2, WINDOWS), (3, WINDOWS[2:4])):
        for window in windows:
            for own in options:
                yield rank, {**window, **own}, {}


def learned(tensor, low, high, key="learned"):
    """One number, and one per channel."""
    fixed = {"learned": True} if key == "learned" else {}
    for rank in (1, 2):
        for window in WINDOWS[1:4]:
            yield rank, {**window, **fixed}, {tensor: lambda shape: RNG.uniform(low, high, 1)}
            yield rank, {**window, **fixed, "per": "channel"}, {tensor: per_channel(low, high)}


def positions(tensor):
    """One number per position of the output, of a map of 13 x 18 that halves."""
    yield 2, {"per": "place"}, {tensor: lambda shape: RNG.normal(size=(6, 9))}


def tables():
    for rank in (1, 2, 3):
        kernel = (3,) * rank
        for window in ({"kernel": 3, "stride": 2, "padding": 1}, {"kernel": 3, "stride": 2, "ceil_mode": True}):
            yield rank, kernel, window


def gated():
    for rank, kernel, window in tables():
        yield rank, window, {"w": lambda shape: RNG.normal(size=kernel)}
        yield rank, {**window, "per": "channel"}, {"w": lambda shape: RNG.normal(size=(shape[1], *kernel))}


def ordinal():
    for rank, kernel, window in tables():
        elements = int(np.prod(kernel))
        yield rank, window, {"logits": lambda shape: RNG.normal(size=elements)}
        yield rank, {**window, "per": "channel"}, {"logits": lambda shape: RNG.normal(size=(shape[1], elements))}


def dpp():
    for own in ({}, {"asymmetric": True}):
        for rank in (1, 2, 3):
            yield rank, {**WINDOWS[1], **own}, {"alpha": lambda s: RNG.normal(size=1), "lambda": lambda s: RNG.normal(size=1)}
        yield 2, {**WINDOWS[1], **own, "per": "channel"}, {
            "alpha": lambda s: RNG.normal(size=s[1]), "lambda": lambda s: RNG.normal(size=s[1])}


def sized():
    for rank in (1, 2, 3):
        for size in (1, 2, 3, 5):
            yield rank, {"output_size": size}, {}
    yield 2, {"output_size": [4, 6]}, {}


def scaled(ranks, largest):
    for rank in ranks:
        for ratio in (0.5, 0.7, largest):
            yield rank, {"ratio": ratio}, {}
    yield 2, {"output_size": [5, 9]}, {}


def dynopool():
    for aggregate in ("max", "avg", "soft"):
        for rank in (1, 2, 3):
            for a in (2.0, 1.0, 1.37, 3.1, 0.7):
                yield rank, {"aggregate": aggregate}, {"alpha": lambda s: np.full(len(s) - 2, a) + 0.1 * np.arange(len(s) - 2)}
    yield 2, {"offset": "learned"}, {"alpha": lambda s: np.array([1.7, 2.2]), "delta": lambda s: np.array([0.2, 0.4])}
    yield 2, {"tied": True}, {"alpha": lambda s: np.array([1.6])}


def diffstride():
    for rank in (1, 2):
        for smoothness in (0.5, 1.5, 4):
            yield rank, {"smoothness": smoothness}, {"stride": lambda s: np.linspace(1.6, 2.3, len(s) - 2)}


def normal(*shape):
    return lambda s: RNG.normal(size=shape)


def lip():
    yield from windowed()
    for window in WINDOWS:
        yield 2, {**window, "logit": "simplified"}, {
            "logit.conv.weight": normal(5, 5, 3, 3), "logit.norm.weight": normal(5), "logit.norm.bias": normal(5)}
        yield 2, {**window, "logit": "bottleneck", "hidden": 3}, {
            f"logit.{layer}": normal(*shape) for n, (o, i, k) in enumerate([(3, 5, 1), (3, 3, 3), (5, 3, 1)], 1)
            for layer, shape in ((f"conv{n}.weight", (o, i, k, k)), (f"norm{n}.weight", (o,)), (f"norm{n}.bias", (o,)))}


def blur(name):
    for rank in (1, 2, 3):
        for kernel, stride in ((2, 2), (3, 2), (4, 3), (3, 1)):
            yield rank, {"kernel": kernel, "stride": stride}, {}
        if name == "max_blur":
            yield rank, {"kernel": 3, "filter": 4, "stride": 2}, {}


def conv():
    for rank in (1, 2, 3):
        for window in (WINDOWS[0], WINDOWS[1], {"kernel": 3, "stride": 1, "dilation": 2}):
            yield rank, window, {}
    yield 2, {"channels": 7, "bias": False}, {}
    yield 2, {"kernel": [3, 2]}, {"bias": normal(5)}


CASES = {
    "ada": lambda: [*learned("logit", -3, 3, key="per"), *positions("logit"), *windowed()],
    "adaptive_avg": sized,
    "adaptive_max": sized,
    "avg": lambda: windowed(({}, {"count_include_pad": False})),
    "blur": lambda: blur("blur"),
    "conv": conv,
    "diffstride": diffstride,
    "dpp": dpp,
    "dynopool": dynopool,
    "edscw": windowed,
    "em": windowed,
    "fractional_max": lambda: scaled((2, 3), 0.8),
    "gated": gated,
    "gem": lambda: [*windowed(({}, {"p": 0.01}, {"p": 40})), *learned("p", 0.1, 9)],
    "global_avg": lambda: [(rank, {}, {}) for rank in (1, 2, 3)],
    "global_max": lambda: [(rank, {}, {}) for rank in (1, 2, 3)],
    "lip": lip,
    "lp": lambda: [*windowed(({}, {"p": 1}, {"p": 3.5})), *learned("p", 1, 9)],
    "lse": lambda: [*windowed(({}, {"b": 0.001}, {"b": 50})), *learned("b", 0.1, 9)],
    "max": windowed,
    "max_blur": lambda: blur("max_blur"),
    "mixed": lambda: [*windowed(({}, {"t": 0.2}, {"t": 0}, {"t": 1}, {"random": True})), *learned("a", -3, 3)],
    "ordinal": ordinal,
    "quantile": lambda: [*windowed(({}, {"q": 0}, {"q": 0.3}, {"q": 1})), *learned("a", -3, 3)],
    "s3": lambda: [(rank, own, {}) for rank in (1, 2) for own in (
        {}, {"stride": 3}, {"kernel": 3, "padding": 1, "stride": 4}, {"grid": 4})],
    "shape_adaptor": lambda: [(2, {}, {"alpha": lambda s, a=a: np.array([a])}) for a in (-4.0, -0.35, 0.4, 3.0)],
    "soft": lambda: windowed(({}, {"beta": 0}, {"beta": 30})),
    "space_to_depth": lambda: [(2, {}, {}), (2, {"channels": 3}, {})],
    "spectral": lambda: scaled((1, 2), 1.0),
    "spp": lambda: [(rank, own, {}) for rank in (1, 2, 3) for own in ({}, {"aggregate": "avg"}, {"levels": [3, 2]})],
    "stochastic": windowed,
    "strip": lambda: [(2, {}, {}), (2, {}, {"row.bias": normal(5), "col.bias": normal(5), "fuse.bias": normal(5)})],
}


def operators():
    known = {op["name"]: op for op in json.loads(call("ops", "--json"))}
    assert set(CASES) == set(known), set(CASES) ^ set(known)
    worst = {}
    for name, cases in CASES.items():
        assert known[name]["onnx"], f"{name} has no ONNX form"
        if ONLY and name not in ONLY:
            continue
        for rank, config, tensors in cases():
            shape = (2, 5, 12, 18) if name == "space_to_depth" else MAPS[rank]
            x = RNG.normal(size=shape).astype(np.float32)
            x[1, 0] = 0  # windows of zeros, of equal elements, and large ones
            x[1, 1] = -2.5
            x[1, 2] += 3 if "logit" in config else 1000  # a norm of channels that others drown has no digits
            arrays = {"x": x, **{key: make(shape).astype(np.float32) for key, make in tensors.items()}}
            save_file(arrays, "x.safetensors")
            call("op", name, "--input", "x.safetensors", "--output", "y.safetensors", "--onnx", "op.onnx", "--config",
                 json.dumps(config))
            y = load_file("y.safetensors")["y"]
            found = error(run_onnx("op.onnx", "y", x), y, 1)
            if not found <= TOLERANCE:
                raise SystemExit(f"{name} {config} of {shape}: onnxruntime differs by {found:.2e}")
            worst[name] = max(worst.get(name, 0), found)
    print(json.dumps(worst))


# -- networks

MEAN, STD = (0.4, 0.5, 0.45), (0.2, 0.25, 0.3)


def made_up_cifar():
    """CIFAR-100's files with noise: images that both sides read alike. Test images as (N, 3, 32, 32) of bytes."""
    os.makedirs("data", exist_ok=True)
    images = RNG.integers(0, 256, (24, 3072), dtype=np.uint8)
    labels = np.stack([np.zeros(24, np.uint8), np.arange(24, dtype=np.uint8)], 1)
    records = np.concatenate([labels, images], 1)
    records[:16].tofile("data/train.bin")
    records[16:].tofile("data/test.bin")
    with open("data/fine_label_names.txt", "w") as names:
        names.write("".join(f"thing {i}\n" for i in range(100)))
    return images[16:].reshape(-1, 3, 32, 32)


def config_of(model, data=None, **train):
    return {
        "data": {"name": "cifar100", "root": "data", "normalize": {"mean": MEAN, "std": STD}, "workers": 1, **(data or {})},
        "model": model,
        "optim": {"lr": 0.05, "schedule": {"type": "constant"}},
        "train": {"epochs": 1, "batch": 8, **train},
    }


def trained(config, *sets):
    with open("config.json", "w") as file:
        json.dump(config, file)
    subprocess.run(["rm", "-rf", "run"], check=True)
    call("train", "config.json", "--out", "run", *sets)


def normalised(images):
    one = np.float32(255)
    mean, std = (np.array(v, np.float32)[:, None, None] for v in (MEAN, STD))
    return (images.astype(np.float32) / one - mean) / std


EVERY_SLOT = {
    "pool1": {"type": "dynopool", "r": 0.7},
    "pool2": {"type": "lip", "kernel": 3, "stride": 2, "padding": 1, "logit": "simplified"},
    "pool3": {"type": "ada", "kernel": 2},
    "pool4": {"type": "shape_adaptor"},
}
DYNO = {"default": {"type": "dynopool", "r": 0.6}}
NETWORKS = [
    {"name": "vgg16"},
    {"name": "vgg16", "pool": EVERY_SLOT},
    {"name": "vgg16", "pool": {"default": {"type": "diffstride", "smoothness": 1}}},
    {"name": "vgg16", "head": "torchvision", "conv_bias": True, "width": 0.0625},
    {"name": "resnet18"},
    {"name": "resnet18", "stem": "imagenet"},
    {"name": "resnet18", "pool": DYNO},
    {"name": "resnet34"},
    {"name": "resnet50"},
    {"name": "resnet50", "pool": {"default": {"type": "soft", "kernel": 2}}},
    {"name": "resnet101"},
    {"name": "mobilenet_v2"},
    {"name": "mobilenet_v2", "pool": DYNO},
    {"name": "efficientnet_b0"},
    {"name": "efficientnet_b0", "pool": DYNO},
]


def networks():
    images = made_up_cifar()
    for model in NETWORKS:
        model = {"width": 0.25, **model}
        trained(config_of(model))
        call("eval", "run", "--output", "logits.safetensors")
        call("export", "run", "net.onnx", "--to", "onnx")
        found = error(run_onnx("net.onnx", "logits", normalised(images)), load_file("logits.safetensors")["logits"])
        print(json.dumps(model), f"{found:.1e}", flush=True)
        if not found <= TOLERANCE:
            raise SystemExit(f"{model}: onnxruntime's logits differ by {found:.2e}")
    for model in ({"name": "hrnet_w18_small"}, {"name": "hrnet_w18_small", "pool": DYNO}, {"name": "hrnet_w48", "width": 0.125},
                  {"name": "vgg16", "head": "fcn"}):
        segmentation({"width": 0.25, **model})


def segmentation(model):
    """No file has a segmentation's logits; the loss is of all of them, and the predictions say which is the largest."""
    from PIL import Image

    size = 64
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        os.makedirs(f"voc/{folder}", exist_ok=True)
    images = RNG.integers(0, 256, (8, size, size, 3), dtype=np.uint8)
    labels = RNG.integers(0, 5, (8, size, size), dtype=np.uint8)
    for i in range(8):
        Image.fromarray(images[i]).save(f"voc/JPEGImages/{i}.jpg", "PNG")  # told by its first bytes
        picture = Image.fromarray(labels[i], mode="P")
        picture.putpalette(list(range(256)) * 3)
        picture.save(f"voc/SegmentationClass/{i}.png")
    for split, names in (("train", range(4)), ("val", range(4, 8))):
        with open(f"voc/ImageSets/Segmentation/{split}.txt", "w") as file:
            file.write("".join(f"{i}\n" for i in names))
    config = config_of(model, {"name": "voc", "root": "voc", "size": size, "classes": 5}, batch=4)
    trained({**config, "task": "segmentation"})
    stated = json.loads(call("eval", "run", "--json"))["loss"]
    call("export", "run", "net.onnx", "--to", "onnx")
    logits = run_onnx("net.onnx", "logits", normalised(images[4:].transpose(0, 3, 1, 2))).astype(np.float64)
    if logits.shape[2:] != (size, size):
        import torch
        logits = torch.nn.functional.interpolate(torch.from_numpy(logits), (size, size), mode="bilinear").numpy()
    logits -= logits.max(1, keepdims=True)
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    loss = -np.take_along_axis(logs, labels[4:, None].astype(np.int64), 1).mean()
    print(json.dumps(model), f"loss {loss:.7f} {stated:.7f}", flush=True)
    if not abs(loss - stated) <= TOLERANCE * stated:
        raise SystemExit(f"{model}: the loss of onnxruntime's logits is {loss}, `tidepool eval` says {stated}")


def pixels():
    """The graph normalises by itself; what a file says of itself."""
    import onnx

    images = made_up_cifar()
    trained(config_of({"name": "resnet18", "width": 0.125}))
    call("eval", "run", "--output", "logits.safetensors", "--set", "math=exact")
    said = json.loads(call("export", "run", "net.onnx", "--to", "onnx", "--pixels", "--json"))
    x = images.astype(np.float32) / np.float32(255)
    assert error(run_onnx("net.onnx", "logits", x), load_file("logits.safetensors")["logits"]) <= TOLERANCE
    facts = {p.key: p.value for p in onnx.load("net.onnx").metadata_props}
    assert json.loads(facts["normalize"]) == said["normalize"], facts
    assert np.allclose(said["normalize"]["mean"], MEAN) and np.allclose(said["normalize"]["std"], STD)
    assert json.loads(facts["classes"]) == [f"thing {i}" for i in range(100)] and "pixels" in facts["input"]


# -- weights

TORCHVISION = {
    "vgg16_bn": {"name": "vgg16", "head": "torchvision", "conv_bias": True, "width": 1.0},
    "resnet18": {"name": "resnet18"},
    "resnet34": {"name": "resnet34"},
    "resnet50": {"name": "resnet50"},
    "resnet101": {"name": "resnet101"},
    "mobilenet_v2": {"name": "mobilenet_v2"},
    "efficientnet_b0": {"name": "efficientnet_b0"},
}


def published(name):
    import torchvision
    return getattr(torchvision.models, name)(num_classes=100).eval()


def strict_config(model):
    return config_of({"stem": "imagenet", "width": 1.0, **model} if model["name"] != "vgg16" else model)


def weights():
    """torchvision's networks take ours, strictly, and compute what we do."""
    import torch
    from safetensors.torch import load_file as load_torch

    images = made_up_cifar()
    for name, model in TORCHVISION.items():
        if ONLY and name not in ONLY:
            continue
        trained(strict_config(model), "--set", "train.max_steps=1")
        call("eval", "run", "--output", "logits.safetensors", "--set", "math=exact")
        call("export", "run", "state.pt", "--to", "torch")
        call("export", "run", "state.safetensors", "--to", "safetensors")
        state = torch.load("state.pt", weights_only=True)
        mapped = torch.load("state.pt", weights_only=True, mmap=True)
        same = load_torch("state.safetensors")
        network = published(name)
        assert set(state) == set(network.state_dict()) == set(same) == set(mapped)
        for key, value in state.items():
            assert torch.equal(value, same[key]) and torch.equal(value, mapped[key]), key
        network.load_state_dict(state, strict=True)
        checkpoint = {k: v for k, v in load_torch("run/last.safetensors").items() if not k.startswith("state/")}
        published(name).load_state_dict(checkpoint, strict=True)
        assert json.loads(state.metadata["classes"])[99] == "thing 99" and "mean" in json.loads(state.metadata["normalize"])
        with torch.no_grad():
            found = error(network(torch.from_numpy(normalised(images))).numpy(), load_file("logits.safetensors")["logits"])
        print(name, f"{found:.1e}", flush=True)
        assert found <= 1e-4, (name, found)


def init():
    """Our networks take torchvision's, and torch.save's other types; nothing that a pickle could run is run."""
    import torch

    made_up_cifar()
    model = {"name": "resnet18", "stem": "imagenet", "width": 1.0}
    network = published("resnet18")
    state = network.state_dict()
    for file, saved in {
        "plain.pth": state,
        "half.pt": {key: value.half() if value.is_floating_point() else value for key, value in state.items()},
        "strided.pt": {key: value.to(memory_format=torch.channels_last) if value.dim() == 4 else value for key, value in state.items()},
        "parameters.pt": {**state, **dict(network.named_parameters())},
    }.items():
        torch.save(saved, file)
        trained({**config_of(model), "name": "a"}, "--set", f"model.init={file}", "--set", "train.max_steps=0")
        ours = load_file("run/last.safetensors")
        for key, value in saved.items():
            if not key.endswith("num_batches_tracked"):
                assert np.array_equal(ours[key], value.detach().float().numpy()), (file, key)
    call("export", "run", "back.pt", "--to", "torch")
    for key, value in torch.load("back.pt", weights_only=True).items():
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(value, state[key]), key

    class Runs:
        def __reduce__(self):
            return os.system, ("touch ran",)

    torch.save({"a": Runs()}, "runs.pt")
    torch.save({"epoch": 3, "state_dict": state}, "nested.pt")
    torch.save(network.conv1.weight, "tensor.pt")
    torch.save(state, "old.pt", _use_new_zipfile_serialization=False)
    with open("plain.pth", "rb") as file:
        whole = file.read()
    with open("cut.pt", "wb") as file:
        file.write(whole[: len(whole) // 2])
    for file, word in (("runs.pt", "system"), ("nested.pt", "'epoch'"), ("tensor.pt", "got a tensor"), ("cut.pt", "directory"),
                       ("old.pt", "before PyTorch 1.6")):
        done = subprocess.run([BINARY, "train", "config.json", "--out", "refused", "--set", f"model.init={file}"],
                              capture_output=True, text=True)
        assert done.returncode == 2 and word in done.stderr and not os.path.exists("refused"), (file, done.returncode, done.stderr)
    assert not os.path.exists("ran")
    mutated()


def mutated():
    """Pickles with a byte changed, in archives that are whole: an answer or a refusal, never a crash."""
    import torch
    import zipfile

    with open("config.json", "w") as file:
        json.dump(config_of({"name": "vgg16", "width": 0.0625}), file)
    torch.save({"a.weight": torch.ones(3, 2), "b": torch.zeros(4)[1:3]}, "small.pt")
    with zipfile.ZipFile("small.pt") as archive:
        parts = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    (name,) = (name for name in parts if name.endswith("data.pkl"))
    pickle = parts[name]

    def start(text):
        with zipfile.ZipFile("changed.pt", "w") as archive:
            for part, content in {**parts, name: text}.items():
                archive.writestr(part, content)
        return subprocess.run([BINARY, "train", "config.json", "--out", "refused", "--set", "model.init=changed.pt"],
                              capture_output=True, text=True)

    for old, new, word in ((b"FloatStorage", b"ShortStorage", "ShortStorage"), (b"tensor_v2", b"tensor_v9", "_v9"),
                           (b"collections\nOrderedDict", b"posix\nsystem", "posix system")):
        done = start(pickle.replace(old, new))
        assert done.returncode == 2 and word in done.stderr, (old, done.stderr)
    assert "none of its tensors fits" in start(pickle).stderr
    for at in range(0, len(pickle), 3):
        done = start(pickle[:at] + bytes([pickle[at] ^ int(RNG.integers(1, 256))]) + pickle[at + 1:])
        assert done.returncode == 2 and done.stderr.startswith("tidepool"), (at, done.returncode, done.stderr)


ONLY = sys.argv[3:]
{"operators": operators, "networks": networks, "pixels": pixels, "weights": weights, "init": init}[sys.argv[2]]()
