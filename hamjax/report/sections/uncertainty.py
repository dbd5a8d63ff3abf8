"""The section of how sure the answers are: prediction sets, and accuracy where only sure answers are given."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from hamjax.data.classes import PAPER_ORDER
from hamjax.report.evidence import Block, Evidence, Section
from hamjax.report.markup import NOTHING, UNDEFINED, note, paragraph, picture, score, table
from hamjax.report.sections.results import class_name

NOT_MEASURED = (
    "Not measured: there are no validation images to calibrate prediction sets on. For images from elsewhere the "
    "thresholds of the run's own report are used, if that is on the same checkpoint and the same views of an image."
)
# Why the promise of sets does not hold, or not exactly; see `hamjax.evaluation.uncertainty.promise`.
BECAUSE: dict[str, str] = {
    "elsewhere": "these images are from elsewhere, and not drawn as the validation images were",
    "val": "the thresholds come from these very images",
    "train": "the network has learned from these very images",
    "checkpoint": "validation also chose the checkpoint",
    "schedule": "validation also decided when the learning rate fell",
    "parts": "the source itself has the parts, and how they were drawn is not known",
    "lesions": "lesions are not known, or not of all images, so that single images are the units",
}
KINDS = {"marginal": "one threshold for all classes", "by_class": "one threshold a class"}


def uncertainty_section(evidence: Evidence) -> Section:
    """Show prediction sets and the risk-coverage curve."""
    return Section(
        "certainty",
        "How sure it is",
        [
            Block("prediction-sets", "Prediction sets", _prediction_sets(evidence.summary)),
            Block("risk-coverage", "If the least sure are left to a person", _risk_coverage(evidence)),
        ],
    )


def _prediction_sets(summary: Mapping[str, Any]) -> Markup:
    if "conformal" not in summary:
        return NOTHING
    conformal = summary["conformal"]
    if conformal is None:
        return paragraph(NOT_MEASURED)
    calibration = conformal["calibration"]
    level = f"{calibration['level']:.0%}"
    unit = "lesions" if calibration["unit"] == "lesions" else "units"
    scored = summary.get("bootstrap", {}).get("resampled", "lesions")
    said = (
        "The set of an image holds every class whose probability, without a temperature, reaches a threshold. "
        f"Thresholds come from {calibration['images']:,} validation images of {calibration['lesions']:,} {unit} "
        f"(split conformal prediction). With one threshold for all classes, {level} of the sets are to hold the true "
        f"class; with one threshold a class, {level} of the sets of each class."
    )
    return (
        paragraph(said)
        + paragraph(_promise(conformal))
        + table(f"Sets of classes, counted by {scored}", *_by_kind(conformal))
        + table("By the true class", *_by_class(conformal, scored))
        + _always(calibration)
    )


def _promise(conformal: Mapping[str, Any]) -> str:
    level = f"{conformal['calibration']['level']:.0%}"
    reasons = "; ".join(BECAUSE.get(str(reason), str(reason)) for reason in conformal["because"])
    if conformal["promise"] == "none":
        return f"No coverage is promised here: {reasons}. Only what was found can be said."
    if conformal["promise"] == "approximate":
        return f"The promised coverage of {level} is approximate: {reasons}."
    return (
        f"Promised: a coverage of at least {level} for an image of a new lesion that is drawn as these were, on "
        "average over draws of the validation part."
    )


def _by_kind(conformal: Mapping[str, Any]) -> tuple[list[str], list[list[object]]]:
    rows = []
    for kind, title in KINDS.items():
        found = conformal[kind]
        empty, single, *more = found["sizes"]
        coverage = _coverage(found, conformal["calibration"])
        expected = _expected(found.get("expected"))
        size = _size(found["mean_size"], found["mean_size_interval"])
        rows.append([title, coverage, expected, size, empty, single, sum(more)])
    header = ["sets by", "hold the true class", "expected", "classes in a set", "images: no class", "one", "more"]
    return header, rows


def _size(mean: float, interval: Mapping[str, Any] | None) -> Markup:
    ends = f"<small>{interval['low']:.2f} to {interval['high']:.2f}</small>" if interval else ""
    return Markup(f"{mean:.2f}{ends}")


def _expected(expected: Sequence[float] | None) -> Markup:
    return Markup(UNDEFINED if expected is None else f"<small>{expected[0]:.2f} to {expected[1]:.2f}</small>")


def _coverage(found: Mapping[str, Any], calibration: Mapping[str, Any]) -> Markup:
    return score(found["coverage"], found["coverage_interval"], calibration["level"], named="promised")


def _by_class(conformal: Mapping[str, Any], scored: str) -> tuple[list[str], list[list[object]]]:
    calibration, rows = conformal["calibration"], []
    for dx in PAPER_ORDER:
        one, own = (conformal[kind]["per_class"][dx] for kind in KINDS)
        covered = [_coverage(row, calibration) for row in (one, own)]
        calibrated = calibration["per_class"][dx]
        rows.append(
            [class_name(dx), one["lesions"], *covered, _expected(own["expected"]), calibrated["lesions"],
             calibrated["threshold"]]
        )  # fmt: skip
    calibrated_on = f"validation {calibration['unit']}"
    header = [
        "class",
        scored,
        "coverage, one threshold",
        "coverage, its own",
        "expected",
        calibrated_on,
        "its threshold",
    ]
    return header, rows


def _always(calibration: Mapping[str, Any]) -> Markup:
    """Say which classes too few lesions were there for."""
    needed, counts = calibration["lesions_needed"], calibration["per_class"]
    few = [f"{dx} ({counts[dx]['lesions']:,})" for dx in PAPER_ORDER if counts[dx]["lesions"] < needed]
    said = (
        f"The tick is the promised {calibration['level']:.0%}. The interval is for the draw of what was tested. "
        "Expected: where coverage lies in 95% of the draws of validation and of what was tested, if the promise holds. "
        "†: Wilson's interval."
    )
    if few:
        said += (
            f" Fewer than {needed} validation lesions: {', '.join(few)}. So few cannot rule a class out at this level; "
            "it is in every set of one threshold a class."
        )
    return note(said)


def _risk_coverage(evidence: Evidence) -> Markup:
    selective = evidence.summary.get("selective")
    if not selective:
        return NOTHING
    answered, wrong = selective["at_80"], selective["curve"][-1]
    rows = [
        ["accuracy of all images", 1 - wrong["risk"]],
        [f"accuracy of the surest {answered['coverage']:.1%}", score(answered["accuracy"], answered["interval"])],
        ["AURC, lower is better", score(selective["aurc"], selective["aurc_interval"])],
        ["AURC of the best order", selective["aurc_best"]],
        ["AURC of a random order", wrong["risk"]],
    ]
    limit = "none" if answered["threshold"] is None else f"{answered['threshold']:.3f}"
    said = (
        f"An image is answered if the probability of its predicted class reaches a threshold, here {limit}, chosen on "
        "these very images so that at least 80% are answered; the rest would be left to a person. AURC is the area "
        "under the curve of the share of wrong answers. The table by class shows which are answered: accuracy also "
        "rises where the images of a hard class are left out."
    )
    shown = NOTHING
    if "risk_coverage" in evidence.pictures:
        shown = picture(evidence.pictures["risk_coverage"], _alternative(selective), "Risk and coverage")
    kept = [[class_name(dx), *_answered(answered["per_class"][dx])] for dx in PAPER_ORDER]
    return (
        paragraph(said)
        + table("All images", ["score", "value"], rows)
        + table("Of each class", ["class", "images", "answered", "share"], kept)
        + shown
    )


def _answered(row: Mapping[str, int]) -> list[object]:
    share = f"{row['answered'] / row['images']:.0%}" if row["images"] else None
    return [row["images"], row["answered"], share]


def _alternative(selective: Mapping[str, Any]) -> str:
    first, last, answered = selective["curve"][0], selective["curve"][-1], selective["at_80"]
    return (
        "Risk-coverage curve: the share of wrong answers is "
        f"{last['risk']:.3f} if all images are answered, {1 - answered['accuracy']:.3f} among the surest "
        f"{answered['coverage']:.0%}, and {first['risk']:.3f} among the surest {first['coverage']:.0%}; "
        f"the area under it is {selective['aurc']:.3f}, of the best order {selective['aurc_best']:.3f}."
    )
