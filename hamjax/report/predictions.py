"""Predictions for images without labels, as tables: `predictions.csv`, `predictions.json`, `unreadable.csv`."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hamjax.data.classes import CLASSES
from hamjax.evaluation.metrics.ranking import TARGETS
from hamjax.evaluation.prediction import Prediction, Predictions
from hamjax.evaluation.uncertainty import SET_COLUMNS

NOT_MEASURED = "not measured"
ANSWERS = {True: "yes", False: "no", None: NOT_MEASURED}
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def predictions_csv(predictions: Predictions) -> str:
    """Return one row an image, with the probabilities' columns named as in `predictions_test.csv`.

    `calibrated_*` are there where the run has a temperature, `melanoma_at_*` and `malignant_at_*` where its report has
    operating points: whether the score reaches the threshold of that specificity; `set` and `set_by_class` where it has
    thresholds of prediction sets.
    """
    facts = predictions.facts
    # A column for all or for none: an empty cell would look like an image that failed.
    calibrated = facts["temperature"] is not None
    points = facts["operating_points"]
    sets = {} if facts["conformal"] is None else SET_COLUMNS
    header = ["path", "image_id", "predicted", *CLASSES]
    header += [f"calibrated_{dx}" for dx in CLASSES] if calibrated else []
    header += [*TARGETS, *map(point_name, points), "margin", *sets.values(), "unlike", "notes"]
    rows = []
    for each in predictions.images:
        score = each.score
        shown = [*score.probabilities, *(score.calibrated if score.calibrated is not None else ())]
        rows.append([
            _cell(each.file.path),
            _cell(each.file.image_id),
            score.predicted,
            *map(_number, [*shown, *(score.target(name) for name in TARGETS)]),
            *(ANSWERS[reaches(each, point)] for point in points),
            _number(score.margin),
            *(" ".join(score.classes_in_set(kind) or ()) for kind in sets),
            _unlike(each, facts),
            "; ".join(notes(each, facts)),
        ])  # fmt: skip
    return _table(header, rows)


def predictions_json(predictions: Predictions) -> str:
    """Return the same as JSON: what predicted, `images`, and `unreadable`."""
    facts = predictions.facts
    images = [as_record(each, facts) for each in predictions.images]
    unreadable = [{"path": each.path, "reason": each.reason} for each in predictions.unreadable]
    record = {"classes": CLASSES, **facts, "images": images, "unreadable": unreadable}
    return json.dumps(record, indent=1, allow_nan=False) + "\n"


def as_record(each: Prediction, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `predictions.json` says of an image."""
    score = each.score
    unlike = [
        {"run": run["run"], "distance": distance, "threshold": run["unlike_threshold"], "unlike": answer}
        for run, distance, answer in zip(facts["runs"], score.distances, score.unlike, strict=True)
    ]
    return {
        "path": each.file.path,
        "image_id": each.file.image_id,
        "predicted": score.predicted,
        "probabilities": _by_class(score.probabilities),
        "calibrated": None if score.calibrated is None else _by_class(score.calibrated),
        **{name: score.target(name) for name in TARGETS},
        **{point_name(point): reaches(each, point) for point in facts["operating_points"]},
        "margin": score.margin,
        **{column: score.classes_in_set(kind) for kind, column in SET_COLUMNS.items()},
        "unlike": unlike,
        "notes": notes(each, facts),
    }


def unreadable_csv(predictions: Predictions) -> str:
    """Return one row a file that gives no image, with the reason."""
    return _table(["path", "reason"], [[_cell(each.path), each.reason] for each in predictions.unreadable])


def notes(prediction: Prediction, facts: Mapping[str, Any]) -> list[str]:
    """Return what to know beside the scores of an image.

    Args:
        prediction: of the image.
        facts: of the predictions.
    """
    found = []
    for run, unlike, part in zip(facts["runs"], prediction.score.unlike, prediction.learned_from, strict=True):
        of_run = f" of {run['run']}" if len(facts["runs"]) > 1 else ""
        if unlike:
            found.append(f"unlike the training images{of_run}")
        if part:
            found.append(f"an image of this id is in the {PARTS[part]} part{of_run}: no fair test")
    if prediction.turned:
        found.append("EXIF asks to show it turned; the network saw it as stored")
    return found


PARTS = {"train": "training", "val": "validation"}


def reaches(prediction: Prediction, point: Mapping[str, Any]) -> bool | None:
    """Return whether the score of an image reaches an operating point; None where the report could not find it."""
    if point["sensitivity"] is None:  # it had no image of the target, or no other one
        return None
    # Without a threshold nothing is called positive.
    return point["threshold"] is not None and prediction.score.target(point["target"]) >= point["threshold"]


def point_name(point: Mapping[str, Any]) -> str:
    """Return what the column of an operating point is called."""
    return f"{point['target']}_at_specificity_{point['specificity']:g}"


def _by_class(values: Iterable[float]) -> dict[str, float]:
    return {dx: float(value) for dx, value in zip(CLASSES, values, strict=True)}


def _unlike(each: Prediction, facts: Mapping[str, Any]) -> str:
    answers = [ANSWERS[answer] for answer in each.score.unlike]
    if len(answers) == 1:
        return answers[0]
    return "; ".join(f"{run['run']}: {answer}" for run, answer in zip(facts["runs"], answers, strict=True))


def _number(value: float) -> str:
    return f"{value:.9g}"  # as in predictions_test.csv


def _cell(text: str) -> str:
    """Return a file's name as a cell; an apostrophe keeps spreadsheets from taking it for a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()
