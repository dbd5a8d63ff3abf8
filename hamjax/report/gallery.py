"""The worst errors with their Grad-CAM heat maps."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from PIL import Image

from hamjax.report.evidence import Exhibit

Errors = Sequence[Mapping[str, Any]]

SIDE, GAP = 160, 6  # pixels
FLAT = 1e-3  # a range of heat, of [0, 1], that no eye sees
THIRDS = (("upper left", "top", "upper right"), ("left", "centre", "right"), ("lower left", "bottom", "lower right"))


def draw_gallery(images: np.ndarray, heat_maps: np.ndarray, errors: Errors) -> list[Exhibit]:
    """Draw errors, one picture each.

    Args:
        images: [M, S, S, 3] uint8.
        heat_maps: [M, S, S] in [0, 1], for the predicted class.
        errors: M rows of `worst_errors`.
    """
    return [
        Exhibit(draw(image, heat), _caption(error), describe(error["image_id"], error["predicted"], heat))
        for image, heat, error in zip(images, heat_maps, errors, strict=True)
    ]


def draw(image: np.ndarray, heat: np.ndarray) -> bytes:
    """Return a PNG of an image [S, S, 3] uint8 beside its heat map [S, S] in [0, 1]."""
    # Not by matplotlib: a figure of two axes takes a tenth of a second, and a page shows up to fifty.
    right = _sized(image.mean(-1).astype(np.uint8)).convert("RGBA")
    right.alpha_composite(_sized(_coloured(heat)))
    picture = Image.new("RGB", (2 * SIDE + GAP, SIDE), "white")
    picture.paste(_sized(image), (0, 0))
    picture.paste(right.convert("RGB"), (SIDE + GAP, 0))
    return _png(picture)


def overlay(heat: np.ndarray) -> bytes:
    """Return a PNG [S, S] to be laid over the image: a heat map [S, S] in [0, 1] in colours that let it through."""
    return _png(Image.fromarray(_coloured(heat)))


def _sized(pixels: np.ndarray) -> Image.Image:
    """Return pixels [S, S] or [S, S, C] uint8, at a picture's size."""
    return Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.HAMMING)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="png")
    return buffer.getvalue()


def _coloured(heat: np.ndarray) -> np.ndarray:
    """Return a heat map in colours and opacity, [S, S, 4] uint8."""
    colours = colormaps["viridis"](heat)
    # Clear without evidence, so that the lesion below stays visible; the root lifts middling evidence. One colour all
    # over would look like evidence everywhere.
    colours[..., 3] = 0 if _is_flat(heat) else 0.8 * np.sqrt(heat)
    return np.rint(255 * colours).astype(np.uint8)


def _caption(error: Mapping[str, Any]) -> str:
    return (
        f"{error['image_id']}: truth {error['truth']} ({error['probability_of_truth']:.1%}), "
        f"predicted {error['predicted']} ({error['probability_of_predicted']:.1%})"
    )


def describe(image_id: str, predicted: str, heat: np.ndarray) -> str:
    """Return what a picture shows, for those who do not see it."""
    if not heat.any():
        evidence = f"nothing in it speaks for {predicted}"
    elif _is_flat(heat):
        evidence = f"no place in it can be named that speaks for {predicted}"
    else:
        evidence = f"the evidence for {predicted} is strongest at the {_place(heat)}"
    return f"{image_id} and its Grad-CAM heat map: {evidence}"


def _is_flat(heat: np.ndarray) -> bool:
    """Return whether all places of a map are alike, but for rounding."""
    return np.ptp(heat) < FLAT


def _place(heat: np.ndarray) -> str:
    """Name the third of the rows and of the columns that holds the most heat."""
    sums = [[block.sum() for block in np.array_split(rows, 3, axis=1)] for rows in np.array_split(heat, 3, axis=0)]
    row, column = np.unravel_index(np.argmax(sums), (3, 3))
    return THIRDS[row][column]
