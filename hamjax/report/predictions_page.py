"""Predictions for images without labels as one self-contained page: image, probabilities, heat map, notes."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from hamjax.data.classes import CLASSES, PAPER_ORDER
from hamjax.evaluation.metrics.ranking import TARGETS
from hamjax.evaluation.prediction import ORDERS, Prediction, Predictions
from hamjax.report.gallery import describe, draw
from hamjax.report.markup import NOTHING, join, paragraph, picture, share_bar, table
from hamjax.report.page import document
from hamjax.report.predictions import NOT_MEASURED, notes, reaches
from hamjax.report.sections.about import USE
from hamjax.report.sections.failures import HEAT_MAP
from hamjax.report.sections.results import class_name

Explained = Iterable[tuple[Prediction, np.ndarray, np.ndarray]]
NAMED = 50  # unreadable files that the page lists; unreadable.csv has all


def predictions_page(predictions: Predictions, explained: Explained, order: str) -> str:
    """Return the page.

    Args:
        predictions: all of them.
        explained: those to show, each with its image [S, S, 3] uint8 and its heat map [S, S].
        order: of these, a key of `ORDERS`.
    """
    facts = predictions.facts
    # One after the other as they are explained: of all images together only their PNGs are in memory.
    cases = [_case(each, image, heat, facts) for each, image, heat in explained]
    shown = f"{len(cases):,} of {len(predictions.images):,} images, {ORDERS[order]}."
    body = Markup("<main><h1>Predictions</h1>{}<h2>Images</h2>{}{}</main>").format(
        NOTHING.join([paragraph(USE), _what_predicted(facts), _counts(predictions), _unreadable(predictions)]),
        paragraph(shown) + Markup('<ul class="note">{}</ul>').format(join("<li>{}</li>", _legend(facts))),
        Markup('<div class="gallery">{}</div>').format(NOTHING.join(cases)),
    )
    return document("Predictions", body)


def _case(each: Prediction, image: np.ndarray, heat: np.ndarray, facts: Mapping[str, Any]) -> Markup:
    score = each.score
    # The bars show what to believe; the targets' scores are what the thresholds are for, so not calibrated.
    calibrated = score.probabilities if score.calibrated is None else score.calibrated
    title = "probabilities" if score.calibrated is None else "calibrated probabilities"
    bars = [[dx, share_bar(float(calibrated[CLASSES.index(dx)]))] for dx in PAPER_ORDER]
    targets = [[name, share_bar(score.target(name)), _decisions(each, name, facts)] for name in TARGETS]
    found = notes(each, facts)
    # Notes before the numbers that they warn of.
    return Markup('<article class="case">{}<p><strong>{}</strong>{}</p>{}{}{}</article>').format(
        picture(draw(image, heat), describe(each.file.image_id, score.predicted, heat), each.file.path),
        class_name(score.predicted),
        join("<small>{}</small>", [f"margin {score.margin:.3f}", *_not_ruled_out(each, facts)]),
        Markup('<ul class="notes">{}</ul>').format(join("<li>{}</li>", found)) if found else NOTHING,
        table(title, ["class", "probability"], bars),
        table("scores, and specificities reached", ["target", "score", "reached"], targets),
    )


def _not_ruled_out(each: Prediction, facts: Mapping[str, Any]) -> list[str]:
    """Name the classes of the prediction set, where there is one."""
    classes = each.score.classes_in_set("marginal")
    if classes is None:
        return []
    return [f"not ruled out at {facts['conformal']['calibration']['level']:.0%}: {', '.join(classes) or 'no class'}"]


def _decisions(each: Prediction, target: str, facts: Mapping[str, Any]) -> str:
    """Name the operating points of a target that the score reaches."""
    points = [point for point in facts["operating_points"] if point["target"] == target]
    reached = [f"{point['specificity']:g}" for point in points if reaches(each, point)]
    return ", ".join(reached) or ("none" if points else "not recorded")


def _what_predicted(facts: Mapping[str, Any]) -> Markup:
    rows = [[run["run"], f"{run['model']} {run['strategy']}", f"{run['image_size']} px"] for run in facts["runs"]]
    return Markup('<div class="text">{}</div>').format(table(_described(facts), ["run", "network", "image side"], rows))


def _described(facts: Mapping[str, Any]) -> str:
    checkpoint = facts["checkpoint"]
    views = "" if facts["tta"] == "none" else ", mean of the eight flips and quarter turns"
    return f"checkpoint {checkpoint['name']} (step {checkpoint['step']}){views}"


def _counts(predictions: Predictions) -> Markup:
    predicted = Counter(each.score.predicted for each in predictions.images)
    rows: list[Sequence[object]] = [[class_name(dx), predicted[dx]] for dx in PAPER_ORDER]
    for i, run in enumerate(predictions.facts["runs"]):
        found = [each.score.unlike[i] for each in predictions.images]
        of_run = f" of {run['run']}" if len(predictions.facts["runs"]) > 1 else ""
        rows.append([f"unlike the training images{of_run}", NOT_MEASURED if None in found else sum(map(bool, found))])
    rows.append(["unreadable", len(predictions.unreadable)])
    return table(f"{len(predictions.images):,} images", ["predicted", "images"], rows)


def _unreadable(predictions: Predictions) -> Markup:
    if not predictions.unreadable:
        return NOTHING
    rows = [[each.path, each.reason] for each in predictions.unreadable[:NAMED]]
    shown = "" if len(rows) == len(predictions.unreadable) else f", of which the first {len(rows)}"
    title = f"{len(predictions.unreadable):,} files that give no image{shown}"
    return Markup('<div class="text">{}</div>').format(table(title, ["file", "reason"], rows))


def _legend(facts: Mapping[str, Any]) -> list[str]:
    """Say how to read the pictures and numbers of an image."""
    first = " Of several runs, it is the first one's." if len(facts["runs"]) > 1 else ""
    said = [
        f"Left: the image as the network gets it; {HEAT_MAP}{first}",
        "Images that look unlike the training images get scores, too, which say nothing.",
    ]
    if facts["temperature"] is None:
        why = f": {facts['without_report']}" if facts["without_report"] else ""
        said.append(f"Probabilities are not calibrated{why}.")
    else:
        said.append(
            f"Probabilities of classes are calibrated (temperature {facts['temperature']:.3f}); scores are not."
        )
    if facts["conformal"]:
        limit = facts["conformal"]["calibration"]["threshold"]
        said.append(
            f"A class is not ruled out if its probability, not calibrated, reaches {limit:.3f}, as in the prediction "
            "sets of the run's report. For images from elsewhere nothing is promised."
        )
    points = ", ".join(
        f"{point['target']} {point['threshold']:.3f} for {point['specificity']:g}"
        for point in facts["operating_points"]
        if point["threshold"]
    )
    if points:
        said.append(f"Thresholds for a specificity were found on the run's test images: {points}.")
    return said
