"""From an encoded image to pixels of one size, on all cores."""

import io
import os
import re
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
MAX_SCANS = 200
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
# Stuffed zeros, restarts and what has no length are no markers that the next one is counted from.
MARKER = re.compile(rb"\xff+[^\x00\x01\xff\xd0-\xd8]")
# Pillow's modes of gray with 16 bits; of these its own conversion cuts off all above 255, which makes them white.
DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N")
SHALLOW = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
ORIENTATION = 0x0112  # of EXIF
# Changes where the same bytes are decoded to other pixels. Version 1 made gray of 16 bits white, and showed colours
# that are hidden under transparency.
DECODING = 2
PNG_START = b"\x89PNG\r\n\x1a\n"
# What Pillow's readers raise at damaged files.
DAMAGE = (
    OSError, EOFError, ValueError, SyntaxError, TypeError, LookupError, ArithmeticError, MemoryError, struct.error,
    zlib.error, Image.DecompressionBombError,
)  # fmt: skip


def usable_cores() -> int:
    """Count the cores that the scheduler grants this process: on a shared node, fewer than it has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def decode(encoded: bytes) -> Image.Image:
    """Decode a JPEG or PNG completely, to 8 bits of RGB.

    Samples of 16 bits are scaled down; what is transparent lies on white. A turn that EXIF asks for is not made, as
    Keras does not; `is_turned` tells of it.

    Raises:
        ValueError: it is none, Pillow cannot decode it or only in part, it has more pixels than Pillow trusts
            (89 million), or more scans than a photograph has.
    """
    if encoded.startswith(b"\xff\xd8") and _count_scans(encoded) > MAX_SCANS:
        raise ValueError(f"more than {MAX_SCANS} scans are too many for a photograph")
    try:
        # Only these: Pillow knows formats that start other programs or decompress without a bound.
        with Image.open(io.BytesIO(encoded), formats=("JPEG", "PNG")) as image:
            if image.width * image.height > (Image.MAX_IMAGE_PIXELS or np.inf):  # Pillow itself only warns
                raise ValueError(f"{image.width}x{image.height} pixels are too many for a photograph")
            return _as_rgb(image)
    except UnidentifiedImageError as error:
        raise ValueError("no JPEG or PNG") from error
    except DAMAGE as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def is_turned(image: Image.Image) -> bool:
    """Return whether EXIF says that a decoded image is to be shown turned or mirrored."""
    try:
        return "exif" in image.info and image.getexif().get(ORIENTATION, 1) != 1
    except DAMAGE:  # EXIF that cannot be read asks for nothing
        return False


def is_deep_or_transparent(encoded: bytes) -> bool:
    """Return whether an image that decodes is a PNG with 16 bits of gray or with transparency, by its header."""
    if not encoded.startswith(PNG_START):
        return False
    depth, colour = encoded[24], encoded[25]  # of IHDR, which comes first
    has_alpha = colour in (4, 6) or b"tRNS" in encoded[: encoded.find(b"IDAT")]
    return has_alpha or (depth == 16 and colour == 0)


def _as_rgb(image: Image.Image) -> Image.Image:
    image.load()
    if image.mode in DEEP:
        # Over 257: 65535 is 255, and a gray of 8 bits that was widened is itself again.
        gray = np.round(np.asarray(image, dtype=np.float64) / 257).clip(0, 255).astype(np.uint8)
        rgb = Image.fromarray(gray).convert("RGB")
    elif image.mode not in SHALLOW:
        raise ValueError(f"samples of Pillow's mode {image.mode}, which is none of photographs")
    elif "A" in image.getbands() or "transparency" in image.info:
        # The colour of what is transparent is nothing that anybody has seen.
        white = Image.new("RGBA", image.size, "white")
        rgb = Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    else:
        rgb = image.convert("RGB")
    rgb.info = {name: value for name, value in image.info.items() if name == "exif"}
    return rgb


def _count_scans(encoded: bytes) -> int:
    """Count the scans of a JPEG up to its end; bytes that look like one, in a segment or behind, are none."""
    at, scans = 2, 0
    while scans <= MAX_SCANS and (match := MARKER.search(encoded, at)):
        marker, at = match[0][-1], match.end()
        if marker == END_OF_IMAGE:
            break
        scans += marker == START_OF_SCAN
        at += max(2, int.from_bytes(encoded[at : at + 2], "big"))  # the length of the segment
    return scans


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
