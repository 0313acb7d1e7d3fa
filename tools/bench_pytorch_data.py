#!/usr/bin/env python3
"""Times torchvision's loader on a folder of pictures: what `tidepool bench data` times, by the same transforms.

Training batches of ROOT/train: ImageFolder, RandomResizedCrop, horizontal flip, normalised; Pillow decodes. Prints one
JSON object per number of workers: images per second of the median epoch, after one that does not count.

    build/tidepool bench data imagenet_resnet50.json --set data.root=ROOT --set data.classes=null --set train.batch=64
    python tools/bench_pytorch_data.py ROOT --batch 64
"""

import argparse
import json
import statistics
import time

import torch
from torchvision import datasets, transforms


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("root")
    p.add_argument("--size", type=int, default=224)
    p.add_argument("--batch", type=int, default=64)
    p.add_argument("--epochs", type=int, default=3)
    p.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    a = p.parse_args()
    torch.set_num_threads(1)
    transform = transforms.Compose([
        transforms.RandomResizedCrop(a.size), transforms.RandomHorizontalFlip(), transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
    data = datasets.ImageFolder(f"{a.root}/train", transform)
    for workers in a.workers:
        loader = torch.utils.data.DataLoader(data, batch_size=a.batch, shuffle=True, num_workers=workers,
                                             persistent_workers=workers > 0)
        seconds = []
        for epoch in range(a.epochs + 1):
            begin = time.perf_counter()
            for images, _ in loader:
                images = images.contiguous(memory_format=torch.channels_last)
            if epoch > 0:
                seconds.append(time.perf_counter() - begin)
        print(json.dumps(dict(workers=workers, images=len(data), batch=a.batch,
                              images_per_second=len(data) / statistics.median(seconds))), flush=True)


if __name__ == "__main__":
    main()
