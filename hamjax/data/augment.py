"""The paper's augmentation: one affine transform an image, composed first, applied once.

Keras's `ImageDataGenerator(rotation_range=90, zoom_range=.1, width_shift_range=.1,
height_shift_range=.1)` is followed in what it draws, in the order rotation x shift x
zoom about the centre (s/2 - .5), and in its defaults: bilinear, edges repeated
(keras-preprocessing 1.1.2, `affine_transformations.py`). Colours, which the paper leaves
alone, follow PIL's `ImageEnhance`, which torchvision's ColorJitter is made of.
"""

import dataclasses
from collections.abc import Mapping

import cv2
import numpy as np

LUMA = (0.299, 0.587, 0.114)  # grey of red, green, blue: ITU-R 601-2, as PIL's mode L


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Ranges to draw from.

    Attributes:
        rotation: `uniform` in +-`degrees`, or `rot90`: a multiple of 90 degrees.
        degrees: half the range of a uniform rotation.
        zoom: factors lie in [1 - zoom, 1 + zoom]; above 1 shows more of the image.
        isotropic_zoom: draw one factor for both axes, as against one each.
        shift: largest displacement, as a share of the side.
        flips: mirror each axis with probability one half.
        colour: factors of brightness, contrast and saturation lie in [1 - colour, 1 + colour].
    """

    rotation: str = "uniform"
    degrees: float = 90.0
    zoom: float = 0.1
    isotropic_zoom: bool = False
    shift: float = 0.1
    flips: bool = False
    colour: float = 0.0


def draw_transforms(
    augmentation: Augmentation, count: int, size: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Draw the transforms of some images, for `augment` or `hamjax.training.device_dataset.read_batch`.

    Returns:
        `affine` [count, 2, 3] and, where colours are jittered, `colour` [count, 3]: factors of
        brightness, contrast and saturation; float64.
    """
    drawn = {"affine": draw_affines(augmentation, count, size, rng)}
    if augmentation.colour:
        drawn["colour"] = 1 + augmentation.colour * (2 * rng.random((count, 3)) - 1)
    return drawn


def augment(image: np.ndarray, transform: Mapping[str, np.ndarray], out: np.ndarray) -> None:
    """Apply one of `draw_transforms` to an image [S, S, 3] uint8, into another."""
    warp(image, transform["affine"], out)
    if "colour" in transform:
        jitter(out, transform["colour"], out)


def draw_affines(augmentation: Augmentation, count: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw one transform an image.

    Args:
        augmentation: the ranges.
        count: number of images.
        size: pixels a side.
        rng: consumed by the same number of draws whatever is switched off.

    Returns:
        [count, 2, 3] float64, from output (row, column, 1) to input (row, column).
    """
    # All seven numbers at once, used or not: switching one option off must not change the draws of the others.
    u = rng.random((count, 7))
    span = 2 * u[:, :5] - 1
    if augmentation.rotation == "rot90":
        theta = np.deg2rad(90.0 * np.floor(4 * u[:, 0]))
    else:
        theta = np.deg2rad(augmentation.degrees * span[:, 0])
    shifts = augmentation.shift * size * span[:, 1:3]
    # The two axes apart, as Keras draws them: the aspect ratio changes, too.
    zooms = 1 + augmentation.zoom * span[:, 3:5]
    if augmentation.isotropic_zoom:
        zooms = zooms[:, :1].repeat(2, axis=1)
    if augmentation.flips:
        # A mirror image is a zoom by -1: it costs nothing in a transform that is composed anyway.
        zooms = np.where(u[:, 5:7] < 0.5, -zooms, zooms)
    return compose_affines(theta, shifts, zooms, size)


def compose_affines(theta: np.ndarray, shifts: np.ndarray, zooms: np.ndarray, size: int) -> np.ndarray:
    """Compose rotation x shift x zoom about the centre, (s/2 - .5) on both axes.

    Args:
        theta: [B] radians.
        shifts: [B, 2] pixels down and right, in the rotated frame.
        zooms: [B, 2] factors of rows and columns.
        size: pixels a side.

    Returns:
        [B, 2, 3] float64, from output (row, column, 1) to input (row, column).
    """
    cos, sin = np.cos(theta), np.sin(theta)
    rotation = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], 1)
    linear = rotation * zooms[:, None, :]
    # The middle between the pixels. Keras took s / 2 + .5 until October 2020, one pixel away.
    centre = size / 2 - 0.5
    offset = np.einsum("bij,bj->bi", rotation, shifts) + centre - linear.sum(-1) * centre
    return np.concatenate([linear, offset[:, :, None]], axis=2)


def warp(image: np.ndarray, affine: np.ndarray, out: np.ndarray) -> None:
    """Apply one transform, bilinear, edges repeated.

    Args:
        image: [S, S, 3] uint8.
        affine: [2, 3] from `compose_affines`.
        out: [S, S, 3] uint8, written.
    """
    # OpenCV counts (x, y), the table above (row, column).
    matrix = affine[::-1, (1, 0, 2)]
    # Its warp of four channels is much faster than that of three, to the same bits.
    four = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)
    warped = cv2.warpAffine(
        four,
        matrix,
        (image.shape[1], image.shape[0]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB, dst=out)


def jitter(image: np.ndarray, factors: np.ndarray, out: np.ndarray) -> None:
    """Change brightness, contrast and saturation by PIL's blends, in one product, rounded once.

    With grey(x) of a pixel and its mean m over the image:
    b c (s x + (1 - s) grey(x)) + b (1 - c) m.

    Args:
        image: [S, S, 3] uint8.
        factors: [3]: b, c and s.
        out: [S, S, 3] uint8, written; may be `image`.
    """
    b, c, s = factors
    linear = b * c * (s * np.eye(3) + (1 - s) * np.tile(LUMA, (3, 1)))
    mean = np.dot(LUMA, cv2.mean(image)[:3])
    out[:] = cv2.transform(image, np.c_[linear, np.full(3, b * (1 - c) * mean)])
