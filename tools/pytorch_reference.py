#!/usr/bin/env python3
"""Trains vgg16 (models/vgg16.cpp) on CIFAR-100 in PyTorch, by the same recipe: the yardstick beside our accuracy.

Prints one JSON object per line: with --print-steps one per step (step, epoch, loss, lr), and one per epoch (epoch, train_loss,
test_loss, test_top1, seconds, images_per_second). Tensor names are tidepool's: features.K.*, classifier.*.

Learning rate of step t (from 0), W warm-up steps of T: lr (t + 1) / W while t < W, then lr (1 + cos(pi (t - W) / (T - W))) / 2.
The padding of a crop is black (0 before normalisation), as torchvision's RandomCrop gives.
"""

import argparse
import json
import math
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

MEAN, STD = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
PLAN = (64, 64, "P", 128, 128, "P", 256, 256, 256, "P", 512, 512, 512, "P", 512, 512, 512)


class Vgg16(nn.Module):
    """13 convolutions without bias, each with batch norm and ReLU; 2x2 pooling after four blocks; average; linear.

    Module numbers are torchvision's of vgg16_bn: a pool takes a number, batch norm and ReLU one each.
    """

    def __init__(self, width=1.0, classes=100, pool="max"):
        super().__init__()
        layers, c_in = [], 3
        for item in PLAN:
            if item == "P":
                layers.append(nn.MaxPool2d(2) if pool == "max" else nn.AvgPool2d(2))
                continue
            c = int(round(item * width))
            layers += [nn.Conv2d(c_in, c, 3, padding=1, bias=False), nn.BatchNorm2d(c), nn.ReLU(inplace=True)]
            c_in = c
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(c_in, classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(m, nn.Linear):
                nn.init.normal_(m.weight, 0, 0.01)
                nn.init.zeros_(m.bias)

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


def sgd(model, lr, weight_decay=5e-4, momentum=0.9):
    """SGD with Nesterov momentum; no weight decay on batch norm and biases."""
    decay = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() == 1]
    groups = [dict(params=decay, weight_decay=weight_decay), dict(params=rest, weight_decay=0.0)]
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=True)


def rate(step, lr, warmup, total):
    if step < warmup:
        return lr * (step + 1) / warmup
    return lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def read(path, count):
    """CIFAR-100 binary -> images uint8 [N, 3, 32, 32], fine labels."""
    records = np.fromfile(path, np.uint8).reshape(-1, 3074)[:count]
    return torch.from_numpy(records[:, 2:].reshape(-1, 3, 32, 32).copy()), torch.from_numpy(records[:, 1].astype(np.int64))


def normalise(x, dtype):
    """uint8 [B, C, H, W] -> normalised."""
    mean, std = (torch.tensor(v, dtype=dtype).view(1, 3, 1, 1) for v in (MEAN, STD))
    return ((x.to(dtype) / 255 - mean) / std).contiguous(memory_format=torch.channels_last)


def crop_and_flip(x, generator):
    """Zero padding 4, a random 32x32 crop and a fair flip of each image; the result lies channels-last."""
    n = len(x)
    padded = F.pad(x, (4, 4, 4, 4)).permute(0, 2, 3, 1)
    top, left = torch.randint(9, (2, n, 1), generator=generator)
    columns = torch.arange(32).expand(n, 32)
    flip = torch.rand(n, 1, generator=generator) < 0.5
    columns = torch.where(flip, 31 - columns, columns)
    rows = torch.arange(32) + top
    return padded[torch.arange(n)[:, None, None], rows[:, :, None], (columns + left)[:, None, :]].permute(0, 3, 1, 2)


@torch.no_grad()
def evaluate(model, images, labels, dtype, batch=500):
    model.eval()
    loss = hits = 0.0
    for x, y in zip(images.split(batch), labels.split(batch)):
        logits = model(normalise(x, dtype))
        loss += F.cross_entropy(logits, y, reduction="sum").item()
        hits += (logits.argmax(1) == y).sum().item()
    model.train()
    return loss / len(labels), hits / len(labels)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--data", required=True, help="a folder with CIFAR-100's train.bin and test.bin")
    p.add_argument("--width", type=float, default=1.0)
    p.add_argument("--pool", choices=("max", "avg"), default="max")
    p.add_argument("--epochs", type=int, default=200)
    p.add_argument("--warmup-epochs", type=float, default=1.0)
    p.add_argument("--lr", type=float, default=0.1)
    p.add_argument("--weight-decay", type=float, default=5e-4)
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--dtype", choices=("f32", "f64"), default="f32")
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--train-images", type=int, default=50000, help="the first N records")
    p.add_argument("--test-images", type=int, default=10000)
    p.add_argument("--no-augment", action="store_true")
    p.add_argument("--no-shuffle", action="store_true", help="the file's order in every epoch")
    p.add_argument("--drop-last", action="store_true", help="leave out an epoch's last, smaller batch")
    p.add_argument("--init", help="safetensors with the initial weights; tensors it has besides these are ignored")
    p.add_argument("--save-init", help="write the initial weights as safetensors")
    p.add_argument("--print-steps", action="store_true")
    p.add_argument("--max-steps", type=int, help="stop after so many (the schedule keeps its length)")
    a = p.parse_args()

    torch.manual_seed(a.seed)
    if a.threads:
        torch.set_num_threads(a.threads)
    dtype = torch.float64 if a.dtype == "f64" else torch.float32
    train_x, train_y = read(f"{a.data}/train.bin", a.train_images)
    test_x, test_y = read(f"{a.data}/test.bin", a.test_images)
    model = Vgg16(a.width, pool=a.pool)
    if a.init:
        from safetensors.torch import load_file
        stored, own = load_file(a.init), model.state_dict()
        missing = [k for k in own if k not in stored and not k.endswith("num_batches_tracked")]
        if missing:
            raise SystemExit(f"{a.init} has no {missing[0]}")
        model.load_state_dict({k: stored.get(k, v) for k, v in own.items()})
    if a.save_init:
        from safetensors.torch import save_file
        save_file({k: v.contiguous() for k, v in model.state_dict().items() if v.is_floating_point()}, a.save_init)
    model = model.to(dtype).to(memory_format=torch.channels_last)
    optimizer = sgd(model, a.lr, a.weight_decay)
    generator = torch.Generator().manual_seed(a.seed)
    per_epoch = len(train_x) // a.batch if a.drop_last else -(-len(train_x) // a.batch)
    warmup, total = round(per_epoch * a.warmup_epochs), per_epoch * a.epochs

    step = 0
    for epoch in range(a.epochs):
        start, sum_loss, seen = time.perf_counter(), 0.0, 0
        order = torch.arange(len(train_x)) if a.no_shuffle else torch.randperm(len(train_x), generator=generator)
        for k in range(per_epoch):
            at = order[k * a.batch:(k + 1) * a.batch]
            x, y = train_x[at], train_y[at]
            if not a.no_augment:
                x = crop_and_flip(x, generator)
            lr = rate(step, a.lr, warmup, total)
            for group in optimizer.param_groups:
                group["lr"] = lr
            loss = F.cross_entropy(model(normalise(x, dtype)), y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            step += 1
            value = loss.item()
            sum_loss, seen = sum_loss + value * len(at), seen + len(at)
            if a.print_steps:
                print(json.dumps(dict(step=step, epoch=epoch + 1, loss=value, lr=lr)), flush=True)
            if step == a.max_steps:
                break
        seconds = time.perf_counter() - start
        test_loss, top1 = evaluate(model, test_x, test_y, dtype)
        print(json.dumps(dict(epoch=epoch + 1, train_loss=sum_loss / seen, test_loss=test_loss, test_top1=top1,
                              seconds=round(seconds, 2), images_per_second=round(seen / seconds, 1))), flush=True)
        if step == a.max_steps:
            break


if __name__ == "__main__":
    main()
