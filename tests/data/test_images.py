"""An image's file to pixels: depths, transparency, turns and what lies behind an image's end."""

import io
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from hamjax.data.preparation.images import MAX_SCANS, decode, is_turned


def _saved(image: Image.Image, form: str = "PNG", **how: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **how)
    return file.getvalue()


@pytest.fixture
def gray(rng: np.random.Generator) -> np.ndarray:
    """[20, 30] uint8."""
    return rng.integers(0, 256, (20, 30), dtype=np.uint8)


@pytest.mark.parametrize("noise", [0, 256])
def test_16_bits_of_gray_are_its_8_bit_picture(gray: np.ndarray, rng: np.random.Generator, noise: int) -> None:
    deep = gray.astype(np.uint16) * 256 + (rng.integers(0, noise, gray.shape, dtype=np.uint16) if noise else gray)
    found = np.asarray(decode(_saved(Image.fromarray(deep))), dtype=int)
    assert (found == found[:, :, :1]).all()
    assert abs(found[:, :, 0] - gray).max() <= (1 if noise else 0)


@pytest.mark.parametrize("channels", [3, 4])
def test_16_bits_of_colour_are_its_8_bit_picture(rng: np.random.Generator, channels: int) -> None:
    shallow = rng.integers(0, 256, (20, 30, channels), dtype=np.uint16)
    shallow[:, :, 3:] = 255
    _, encoded = cv2.imencode(".png", shallow * 257)
    found = np.asarray(decode(encoded.tobytes()), dtype=int)
    assert abs(found - shallow[:, :, 2::-1]).max() <= 1


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA"])
def test_shallow_images_are_what_pillow_shows(gray: np.ndarray, mode: str) -> None:
    image = Image.fromarray(gray).convert(mode)
    np.testing.assert_array_equal(np.asarray(decode(_saved(image))), np.asarray(image.convert("RGB")))


def test_what_is_transparent_lies_on_white(gray: np.ndarray) -> None:
    colour = np.dstack([gray, gray // 2, 255 - gray])
    alpha = np.full_like(gray, 255)
    alpha[:10] = 0
    alpha[10:15] = 128
    found = np.asarray(decode(_saved(Image.fromarray(np.dstack([colour, alpha])))), dtype=int)
    assert (found[:10] == 255).all()
    assert abs(found[10:15] - (colour[10:15] * 128.0 + 255 * 127) / 255).max() <= 1
    np.testing.assert_array_equal(found[15:], colour[15:])
    keyed = _saved(Image.fromarray(gray, "L"), transparency=int(gray[0, 0]))
    assert (np.asarray(decode(keyed))[0, 0] == 255).all()


def test_a_turn_that_exif_asks_for_is_told_and_not_made(gray: np.ndarray) -> None:
    exif = Image.Exif()
    image = Image.fromarray(gray)
    for orientation in (1, 6):
        exif[0x0112] = orientation
        found = decode(_saved(image, "JPEG", exif=exif))
        assert found.size == image.size
        assert is_turned(found) == (orientation == 6)
    assert not is_turned(decode(_saved(image, "JPEG")))
    assert not is_turned(decode(_saved(image, "JPEG", exif=b"Exif\0\0damaged")))


MARKS = b"\xff\xda\x00\x02" * 500


def test_the_bound_on_scans_counts_jpegs_own_markers(gray: np.ndarray) -> None:
    image = Image.fromarray(gray)
    jpeg = _saved(image, "JPEG", comment=MARKS)  # as a maker's note or a preview may hold
    expected = np.asarray(decode(_saved(image, "JPEG")))
    np.testing.assert_array_equal(np.asarray(decode(jpeg)), expected)
    np.testing.assert_array_equal(np.asarray(decode(jpeg + bytes(2) + MARKS)), expected)  # a video behind the end
    png = _saved(image)
    chunk = b"teSt" + MARKS
    content = len(MARKS).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    np.testing.assert_array_equal(np.asarray(decode(png[:33] + content + png[33:]))[:, :, 0], gray)
    start = jpeg.rindex(b"\xff\xda")
    scan = jpeg[start:-2]
    with pytest.raises(ValueError, match="scans"):
        decode(jpeg[:start] + scan * (MAX_SCANS + 1) + jpeg[-2:])
