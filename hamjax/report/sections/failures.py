"""The worst errors: the wrong predictions with the highest probabilities."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from hamjax.report.evidence import Block, Evidence, Exhibit, Section
from hamjax.report.markup import NOTHING, paragraph, picture, table

HEAT_MAP = (
    "right the same in grey, coloured where Grad-CAM finds evidence for the predicted class, from little (violet) to "
    "most (yellow), in the network's last map of at least 4x4 places. It is a hint at what the network looked at, not "
    "an explanation, and has not been compared with what a dermatologist would mark."
)
LEGEND = f"Of each of the worst errors: left the image as the network gets it; {HEAT_MAP}"
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


def _worst_errors(gallery: Sequence[Exhibit], errors: Sequence[Mapping[str, Any]]) -> Markup:
    # The pictures have the table's columns as their captions, so one of the two is enough.
    if gallery:
        figures = NOTHING.join(picture(each.png, each.alternative, each.caption) for each in gallery)
        return Markup('<div class="gallery">{}</div>').format(figures)
    if not errors:
        return NOTHING
    header = ["image", "truth", "predicted", "probability of the prediction", "of the truth"]
    return table("The most confident errors, worst first", header, [[error[key] for key in SHOWN] for error in errors])


def _saliency(gallery: Sequence[Exhibit]) -> Markup:
    if not gallery:
        return NOTHING
    return paragraph(LEGEND)
