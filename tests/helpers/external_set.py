"""A scripted test set from elsewhere: drawn images of mixed sizes and formats, and two corrupt ones."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from hamjax.data.classes import CLASSES
from hamjax.data.sources.synthetic import draw

COUNT = 60
CORRUPT = ("EXT_060", "EXT_061")  # a truncated JPEG; no image at all
LAYOUTS = ("isic", "ham10000", "pairs")
SIZES = ((120, 90), (64, 64), (33, 200), (300, 225))
SUFFIXES = (".jpg", ".JPG", ".png", ".jpeg")

Labels = Sequence[tuple[str, str]]  # image and class


def write_images(folder: Path) -> list[tuple[str, str]]:
    """Write the images into nested folders; return their ids and classes."""
    labels = []
    for i in range(COUNT + len(CORRUPT)):
        dx = CLASSES[i % len(CLASSES)]
        place = folder / f"part{i % 3}" / f"deeper{i % 2}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = draw(dx, np.random.default_rng(i), np.random.default_rng(i + 1000))
        path = place / f"EXT_{i:03}{SUFFIXES[i % 4]}"
        Image.fromarray(pixels).resize(SIZES[i % len(SIZES)]).save(path)
        labels.append((path.stem, dx))
        if path.stem == CORRUPT[0]:
            path.write_bytes(path.read_bytes()[:-200])
        elif path.stem == CORRUPT[1]:
            path.write_bytes(b"this is no image")
    return labels


def write_labels(path: Path, layout: str, labels: Labels) -> Path:
    """Write the label file of a layout."""
    if layout == "isic":
        codes = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
        rows = [("image", *codes), *((i, *(f"{float(dx.upper() == c)}" for c in codes)) for i, dx in labels)]
    elif layout == "ham10000":
        rows = [("image_id", "dx", "age"), *((i, dx, 50) for i, dx in labels)]
    else:
        rows = [("image", "label"), *((f"{i}.jpg", dx.upper()) for i, dx in labels)]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path
