"""The section of results: how good the predictions and the probabilities are."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from hamjax.data.classes import CLASS_NAMES, PAPER_ORDER
from hamjax.report.evidence import Block, Evidence, Section
from hamjax.report.markup import NOTHING, join, note, paragraph, picture, score, table
from hamjax.report.terminal import RESAMPLED, SCORES

ISIC = {"accuracy": "accuracy", "sensitivity": "sensitivity", "specificity": "specificity", "dice": "Dice",
        "ppv": "PPV", "npv": "NPV", "auc": "AUC", "auc_sens_80": "AUC, TPR over .8",
        "ap": "average precision"}  # fmt: skip

FITTED_HERE = "these very images, so the scores after it are better than they would be on others"

PER_CLASS = {"recall": "recall (sensitivity)", "precision": "precision (PPV)", "f1": "F1", "auc": "AUC",
          "average_precision": "average precision"}  # fmt: skip


def results_section(evidence: Evidence) -> Section:
    """Show every score of the partition."""
    summary = evidence.summary
    return Section(
        "results",
        "Results",
        [
            Block("performance", "Overall", _overall(summary)),
            Block("uncertainty", "Intervals", _uncertainty(summary.get("bootstrap"))),
            Block("per-class", "Per class", _per_class(summary)),
            Block("confusion", "Confusion matrix", _confusion(summary)),
            Block("operating-points", "Sensitivity at a fixed specificity", _operating_points(summary)),
            Block("isic", "As the ISIC 2018 scorer counts", _isic(summary.get("isic"))),
            Block("calibration", "Calibration", _calibration(evidence)),
        ],
    )


def _overall(summary: Mapping[str, Any]) -> Markup:
    intervals = summary.get("intervals", {})
    rows = [
        [title, score(summary[name], intervals.get(name)), summary.get(f"majority_baseline_{name}", "")]
        for name, title in SCORES.items()
        if name in summary
    ]
    if not rows:
        return NOTHING
    if "isic" in summary:
        rows.append(["balanced accuracy, ISIC scorer", summary["isic"]["balanced_accuracy"], ""])
    return table(f"{summary['n']:,} images", ["score", "value", "always the most frequent class"], rows)


def _uncertainty(bootstrap: Mapping[str, Any] | None) -> Markup:
    if bootstrap is None:
        return NOTHING
    unit = bootstrap.get("resampled", "lesions")
    drawn = RESAMPLED[unit].format(clusters=bootstrap["clusters"]) if unit in RESAMPLED else unit
    return paragraph(
        f"{bootstrap['level']:.0%} intervals: percentile bootstrap, {bootstrap['resamples']:,} resamples of "
        f"{drawn}. †: Wilson's interval, where few images would make "
        "the bootstrap's too narrow. They cover the draw of the images tested on, not the training seed. "
        "A score without one has too few images for it. —: undefined."
    )


def _per_class(summary: Mapping[str, Any]) -> Markup:
    per_class = summary.get("per_class")
    if not per_class:
        return NOTHING
    rows = []
    for dx in PAPER_ORDER:
        row = per_class[dx]
        intervals = row.get("intervals", {})
        scores = [score(row.get(name), intervals.get(name)) for name in PER_CLASS]
        rows.append([class_name(dx), row["support"], *scores, row["predicted"]])
    header = ["class", "images", *PER_CLASS.values(), "predicted"]
    return table("Each class against all others", header, rows)


def class_name(dx: str) -> Markup:
    """Return a class's code, and its name in small print."""
    return Markup("{}<small>{}</small>").format(dx, CLASS_NAMES[dx])


def _confusion(summary: Mapping[str, Any]) -> Markup:
    if "confusion_matrix" not in summary:
        return NOTHING
    # The paper's order, so that its figures can be laid beside it.
    order = [summary["classes"].index(dx) for dx in PAPER_ORDER]
    lines = []
    for dx, i in zip(PAPER_ORDER, order, strict=True):
        counts = [summary["confusion_matrix"][i][j] for j in order]
        total = max(sum(counts), 1)
        cells = NOTHING.join(_shaded(count, count / total) for count in counts)
        lines.append(Markup('<th scope="row">{}<small>{:,}</small></th>{}').format(dx, sum(counts), cells))
    return Markup(
        '<div class="scroll" tabindex="0" role="region" aria-label="Confusion matrix"><table class="matrix">'
        "<caption>Rows: the true class and its images; columns: the predicted one. "
        "Shaded by the share of the row.</caption>"
        '<thead><tr><th scope="col">true</th>{}</tr></thead><tbody>{}</tbody></table></div>'
    ).format(join('<th scope="col">{}</th>', PAPER_ORDER), join("<tr>{}</tr>", lines))


def _shaded(count: int, share: float) -> Markup:
    # Where white and black are equally easy to read, at a contrast of 4 to 1; everywhere else it is higher.
    ink = "#fff" if share > 0.72 else "#1a202c"
    style = f"background:rgba(33,82,135,{share:.3f});color:{ink}"
    return Markup('<td style="{}">{}<small>{}</small></td>').format(style, count, f"{share:.0%}")


def _operating_points(summary: Mapping[str, Any]) -> Markup:
    points = summary.get("operating_points")
    if not points:
        return NOTHING
    rows = [
        [
            Markup("{}<small>{}</small>").format(point["target"], ", ".join(point["classes"])),
            f"{point['specificity']:g}",
            point["achieved_specificity"],
            score(point["sensitivity"], point.get("interval")),
            point["threshold"],
            point["positives"],
            point["negatives"],
        ]
        for point in points
    ]
    header = ["target", "specificity asked", "reached", "sensitivity", "threshold", "images", "others"]
    said = "Thresholds are on the summed probability of the target's classes and were chosen on these very images."
    return table("If a given share of the others must be left alone", header, rows) + note(said)


def _isic(isic: Mapping[str, Any] | None) -> Markup:
    if isic is None:
        return NOTHING
    rows = [[dx, *(isic["per_class"][dx][name] for name in ISIC)] for dx in PAPER_ORDER]
    rows.append(["macro average", *(isic["macro"][name] for name in ISIC)])
    said = (
        f"Balanced accuracy {isic['balanced_accuracy']:.3f}. {isic['undecided']:,} images have a tie for the highest "
        "probability and count as undecided, so as wrong. Each class is called at a threshold of .5, and 0/0 counts "
        "as 1, which flatters a class that is never predicted."
    )
    return paragraph(said) + table("Scores by class, at a threshold of .5", ["class", *ISIC.values()], rows)


def _calibration(evidence: Evidence) -> Markup:
    calibration = evidence.summary.get("calibration")
    if not calibration:
        return NOTHING
    before, after = calibration["before"], calibration.get("after")
    rows = [
        [score_, before[name], after[name] if after else None]
        for name, score_ in (("ece", "ECE"), ("brier", "Brier score, 0 to 2"), ("nll", "negative log-likelihood"))
    ]
    fitted_on, title = calibration.get("fitted_on"), "after temperature"
    if calibration.get("fitted_on_scored_images"):
        fitted_on, title = FITTED_HERE, "after temperature, on the images it was fitted on"
    said = (f"Temperature {calibration['temperature']:.3f}, fitted on {fitted_on}. " if after else "") + (
        "Oversampling and class weights distort probabilities towards the rare classes."
    )
    shown = NOTHING
    if "reliability" in evidence.pictures:
        alternative = (
            "Reliability diagram: accuracy against the probability of the predicted class, before and after "
            f"temperature scaling; expected calibration error {before['ece']:.3f}"
            + (f" and {after['ece']:.3f}." if after else ".")
        )
        shown = picture(evidence.pictures["reliability"], alternative, "Reliability diagram")
    return table("Lower is better", ["score", "before", title], rows) + note(said) + shown
