"""The worst errors: what was most surely wrong."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from hamjax.report.evidence import Block, Evidence, Section
from hamjax.report.markup import NOTHING, note, picture, table

SHOWN = ("image_id", "truth", "predicted", "probability_of_predicted", "probability_of_truth")


def failures_section(evidence: Evidence) -> Section:
    """Show the most confident errors, with pictures where there are any."""
    errors = evidence.summary.get("worst_errors") or ()
    return Section(
        "failures",
        "Failures",
        [
            Block("worst-errors", "Worst errors", _worst_errors(evidence.gallery, errors)),
            Block("saliency", "What the network looked at", _saliency(evidence.gallery)),
        ],
    )


def _worst_errors(gallery: Sequence[tuple[bytes, Mapping[str, Any]]], errors: Sequence[Mapping[str, Any]]) -> Markup:
    if gallery:
        figures = NOTHING.join(picture(png, _alternative(error), _caption(error)) for png, error in gallery)
        return Markup('<div class="gallery">{}</div>').format(figures)
    if not errors:
        return NOTHING
    header = ["image", "truth", "answer", "probability of the answer", "of the truth"]
    return table("The most confident errors, worst first", header, [[error[key] for key in SHOWN] for error in errors])


def _caption(error: Mapping[str, Any]) -> Markup:
    more = [f"{key} {value}" for key, value in error.items() if key not in SHOWN]
    return Markup("<b>{}</b>, answered <b>{}</b> ({:.2f}; truth {:.2f})<br>{}").format(
        error["truth"],
        error["predicted"],
        error["probability_of_predicted"],
        error["probability_of_truth"],
        ", ".join([error["image_id"], *more]),
    )


def _alternative(error: Mapping[str, Any]) -> str:
    return f"Image {error['image_id']} and its Grad-CAM: {error['truth']}, answered {error['predicted']}."


def _saliency(gallery: Sequence[tuple[bytes, Mapping[str, Any]]]) -> Markup:
    if not gallery:
        return NOTHING
    return note(
        "The pictures of the worst errors show, beside each image, Grad-CAM for the answer: where the last "
        "convolutional features raised its score. It is a hint at what the network looked at, not an explanation; "
        "it has not been validated against what a dermatologist would mark."
    )
