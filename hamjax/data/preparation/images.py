"""From an encoded image to pixels of one size, on all cores."""

import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

CHUNK = 64
# A progressive JPEG has about ten; each of thousands would be decoded over the whole image.
START_OF_SCAN, MAX_SCANS = b"\xff\xda", 200
# What Pillow's readers raise at damaged files.
DAMAGE = (
    OSError, EOFError, ValueError, SyntaxError, TypeError, LookupError, ArithmeticError, MemoryError, struct.error,
    zlib.error, Image.DecompressionBombError,
)  # fmt: skip


def usable_cores() -> int:
    """Count the cores that the scheduler grants this process: on a shared node, fewer than it has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def decode(encoded: bytes) -> Image.Image:
    """Decode a JPEG or PNG completely.

    Raises:
        ValueError: it is none, Pillow cannot decode it or only in part, it has more pixels than Pillow trusts
            (89 million), or more scans than a photograph has.
    """
    if encoded.count(START_OF_SCAN) > MAX_SCANS:
        raise ValueError(f"more than {MAX_SCANS} scans are too many for a photograph")
    try:
        # Only these: Pillow knows formats that start other programs or decompress without a bound.
        with Image.open(io.BytesIO(encoded), formats=("JPEG", "PNG")) as image:
            if image.width * image.height > (Image.MAX_IMAGE_PIXELS or np.inf):  # Pillow itself only warns
                raise ValueError(f"{image.width}x{image.height} pixels are too many for a photograph")
            return image.convert("RGB")
    except UnidentifiedImageError as error:
        raise ValueError("no JPEG or PNG") from error
    except DAMAGE as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def resize(image: Image.Image, size: int, how: str) -> np.ndarray:
    """Resize to [size, size, 3] uint8, bilinear with antialiasing.

    `squash` changes the aspect ratio, as the paper's 600 x 450 to 224 x 224 does;
    `crop` keeps it and takes the middle.
    """
    box = None
    if how == "crop":
        side = min(image.size)
        left, top = ((length - side) / 2 for length in image.size)
        box = (left, top, left + side, top + side)
    # Pillow widens its filter when it shrinks; interpolating between neighbours alone would alias at 600 to 224.
    resized = image.resize((size, size), Image.Resampling.BILINEAR, box=box)
    return np.asarray(resized, dtype=np.uint8)


def decode_chunks(read: Callable[[Any], bytes], keys: Sequence[Any], size: int, how: str) -> Iterator[np.ndarray]:
    """Decode and resize images on all cores: yields [at most CHUNK, S, S, 3] uint8, in the order of the keys."""
    with (
        ThreadPoolExecutor(usable_cores()) as pool,
        tqdm(total=len(keys), unit="img", desc="decode", disable=None) as bar,
    ):
        # A chunk at a time: all futures at once would hold every decoded image in memory.
        for start in range(0, len(keys), CHUNK):
            images = pool.map(lambda key: resize(decode(read(key)), size, how), keys[start : start + CHUNK])
            chunk = np.stack(list(images))
            yield chunk
            bar.update(len(chunk))
