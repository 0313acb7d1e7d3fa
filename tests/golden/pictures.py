"""Writes tests/golden/pictures/ and prints the figures of tests/data/fidelity_test.cpp.

PNGs are packed here with zlib alone and JPEGs by Pillow, so that neither comes from the code under test. Every pixel of
a PNG is a formula, which the test repeats. SSIM and PSNR are scikit-image's, the enlargement is PyTorch's.
Needs numpy, pillow, scikit-image, torch.
"""
import os
import struct
import sys
import zlib

import numpy as np
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pictures")
HEIGHT, WIDTH = 9, 13
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def formula(channels, bits):
    """The value of channel c at (y, x)."""
    y, x, c = np.meshgrid(np.arange(HEIGHT), np.arange(WIDTH), np.arange(channels), indexing="ij")
    if bits == 16:
        return (y * 3001 + x * 1777 + c * 7919) % 65536
    return (y * 31 + x * 17 + c * 71) % (1 << bits)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def scanlines(values, bits):
    lines = b""
    for line in values:
        flat = line.reshape(-1)
        if bits == 16:
            packed = flat.astype(">u2").tobytes()
        elif bits == 8:
            packed = flat.astype(np.uint8).tobytes()
        else:
            text = "".join(format(int(v), f"0{bits}b") for v in flat)
            text += "0" * (-len(text) % 8)
            packed = bytes(int(text[i:i + 8], 2) for i in range(0, len(text), 8))
        lines += b"\0" + packed  # no filter
    return lines


def png(values, bits, kind, before=(), after=(), interlaced=False):
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, kind, 0, 0, int(interlaced))
    if interlaced:
        data = b"".join(scanlines(values[y::dy, x::dx], bits) for x, y, dx, dy in ADAM7 if values[y::dy, x::dx].size)
    else:
        data = scanlines(values, bits)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(chunk(*c) for c in before)
            + chunk(b"IDAT", zlib.compress(data)) + b"".join(chunk(*c) for c in after) + chunk(b"IEND", b""))


def exif(orientation, order="<"):
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    return (b"II" if order == "<" else b"MM") + struct.pack(order + "HIH", 42, 8, 1) + entry + struct.pack(order + "I", 0)


def write(name, data):
    with open(os.path.join(FOLDER, name), "wb") as file:
        file.write(data)


def pictures():
    os.makedirs(FOLDER, exist_ok=True)
    for bits in (1, 2, 4, 8, 16):
        write(f"grey{bits}.png", png(formula(1, bits), bits, 0))
    for bits in (8, 16):
        write(f"rgb{bits}.png", png(formula(3, bits), bits, 2))
        write(f"grey_alpha{bits}.png", png(formula(2, bits), bits, 4))
        write(f"rgb_alpha{bits}.png", png(formula(4, bits), bits, 6))
    write("interlaced.png", png(formula(3, 16), 16, 2, interlaced=True))
    # index i is the colour (i, 255 - i, 3 i mod 256); in the second file it is transparent by 255 - i
    palette = bytes(v for i in range(256) for v in (i, 255 - i, 3 * i % 256))
    write("palette.png", png(formula(1, 8), 8, 3, [(b"PLTE", palette)]))
    write("palette_alpha.png", png(formula(1, 8), 8, 3, [(b"PLTE", palette), (b"tRNS", bytes(range(255, -1, -1)))]))
    write("exif6.png", png(formula(3, 8), 8, 2, [(b"eXIf", exif(6, ">"))]))

    # Slow waves, which JPEG keeps within a few steps; all eight orientations of one picture.
    def smooth(height, width):
        y, x = np.mgrid[0:height, 0:width]
        return np.stack([40 + 4 * x, 230 - 8 * y, 100 + 2 * x + 3 * y], -1).clip(0, 255).astype(np.uint8)

    for orientation in (1, 3, 6, 8):  # sides that no scale divides
        block = b"Exif\0\0" + exif(orientation)
        Image.fromarray(smooth(27, 43)).save(
            os.path.join(FOLDER, f"odd{orientation}.jpg"), quality=95, subsampling=0, exif=block)
    image = Image.fromarray(smooth(24, 40))
    for orientation in range(1, 9):
        block = b"Exif\0\0" + exif(orientation)
        image.save(os.path.join(FOLDER, f"exif{orientation}.jpg"), quality=95, subsampling=0, exif=block)
    image.save(os.path.join(FOLDER, "progressive.jpg"), quality=95, subsampling=2, progressive=True)
    image.convert("L").save(os.path.join(FOLDER, "grey.jpg"), quality=95)
    image.convert("CMYK").save(os.path.join(FOLDER, "cmyk.jpg"), quality=80)


def ssim(a, b):
    return structural_similarity(a, b, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)


def figures():
    """x and y of the test: whole numbers over a prime, so that both sides have the same f64."""
    for height, width in ((11, 11), (32, 40), (150, 97)):
        i, j = np.mgrid[0:height, 0:width]
        x = (i * i * 3 + j * j * 5 + i * j * 7) % 251 / 250
        y = (3 * x + (i * 5 + j * 11) % 17 / 16) / 4
        print(f"same size {height}x{width}: PSNR {peak_signal_noise_ratio(x, y, data_range=1.0):.9f} SSIM {ssim(x, y):.9f}")
    for height, width, factor in ((32, 32, 2), (150, 96, 3)):
        i, j = np.mgrid[0:height, 0:width]
        x = (i + 2 * j) % 64 / 128 + (i * j) % 37 / 74
        pooled = torch.nn.functional.avg_pool2d(torch.tensor(x)[None, None], factor)
        y = torch.nn.functional.interpolate(pooled, size=(height, width), mode="bilinear", align_corners=False)[0, 0].numpy()
        print(f"pooled {height}x{width} by {factor}: PSNR {peak_signal_noise_ratio(x, y, data_range=1.0):.9f} SSIM {ssim(x, y):.9f}")


if __name__ == "__main__":
    if "figures" not in sys.argv[1:]:
        pictures()
    figures()
