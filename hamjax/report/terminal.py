"""Tables for the terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hamjax.data.classes import PAPER_ORDER

SCORES = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1",
          "macro_auc": "macro AUC"}  # fmt: skip


# What is found of prediction sets, by what they promise.
PROMISED = {"exact": "coverage", "approximate": "coverage, approximate", "none": "coverage, not promised"}

NOT_KNOWN = "not known"
# What intervals rest on, by what was resampled; the count is of lesions, or of lesions and images.
RESAMPLED = {
    "lesions": "{clusters:,} lesions with all their images",
    "images": "single images, not of lesions, which are not known: images of one lesion count as independent, so the "
    "intervals can be too narrow",
    "lesions and images": "lesions with all their images, or of single images where the lesion is not known: these "
    " count as independent, so the intervals can be too narrow",
}


def as_known(count: int | None) -> str:
    """Return a count as text, or that it is not known."""
    return NOT_KNOWN if count is None else f"{count:,}"


def with_total(leaks: Mapping[str, Mapping[str, int | None]], key: str) -> list[int | None]:
    """Return a column of the leak meter: all classes, then each in the order of the paper's tables.

    What is found in some classes is shown as the total, as far as it goes, where others are not known.
    """
    column = [leaks[dx].get(key) for dx in PAPER_ORDER]
    found = sum(count or 0 for count in column)
    return [None if None in column and not found else found, *column]


def lesions_unknown(lesions: Mapping[str, int]) -> list[str]:
    """Return the line that says so where lesions are not known; see `hamjax.data.lesions.lesion_facts`."""
    if not lesions.get("unknown"):
        return []
    return [
        f"lesions: not known for {lesions['unknown']:,} of {lesions['images']:,} images: "
        "images of one lesion can be in several parts"
    ]


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return cells laid out in columns, the first to the left, the rest to the right."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        first, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join([row[0].ljust(widths[0]), *rest]) if first else "")
    return "\n".join(lines)


def format_summary(summary: dict[str, Any], folder: Path) -> str:
    """Return the summary as text: the rows of the paper's tables, and the scores that it leaves out."""
    per_class = summary["per_class"]
    overall = summary["accuracy"]
    rows: list[list[object]] = []
    for name in ("precision", "recall", "f1"):
        # Its "overall" column is the accuracy in every row: the paper averages over images.
        rows.append([name, *(f"{per_class[dx][name]:.2f}" for dx in PAPER_ORDER), f"{overall:.2f}"])
    rows.append(["images", *(per_class[dx]["support"] for dx in PAPER_ORDER), summary["n"]])
    checkpoint, resampled = summary["checkpoint"], summary.get("bootstrap", {}).get("resampled", "lesions")
    what = "images from elsewhere, trained on" if "external" in summary else f"{summary['partition']} of"
    views = "" if summary.get("tta", "none") == "none" else ", mean of the eight flips and quarter turns"
    lines = [
        "",
        f"{summary['model']} {summary['strategy']}, {what} split {summary['split']['name']}, "
        f"checkpoint {checkpoint['name']} (step {checkpoint['step']}){views}",
        *(
            f"  averaged: {row['run']}: {row['model']} {row['strategy']} seed {row['seed']}, "
            f"{row['checkpoint']['name']} (step {row['checkpoint']['step']})"
            for row in summary.get("averaged", ())
        ),
        table(["", *PAPER_ORDER, "overall"], rows),
        "",
        table(["", "score", "95% interval", "majority baseline"], _scores(summary)),
        *([f"intervals: resample {resampled}, as lesions are not known"] if resampled != "lesions" else []),
        f"images: {summary['images_note']}",
        *(f"ALARM {alarm}" for alarm in summary["alarms"]),
        f"report {folder}",
    ]
    return "\n".join(lines)


def _scores(summary: Mapping[str, Any]) -> list[list[str]]:
    """Return rows of a score, its interval and the score of always predicting one class; what is missing is blank."""
    rows = []
    for name, title in SCORES.items():
        value, interval = summary.get(name), summary.get("intervals", {}).get(name)
        if value is None:
            continue
        baseline = summary.get(f"majority_baseline_{name}")
        rows.append([title, f"{value:.3f}", _ends(interval), "" if baseline is None else f"{baseline:.3f}"])
    if isic := summary.get("isic"):
        rows.append(["balanced accuracy, ISIC scorer", f"{isic['balanced_accuracy']:.3f}", "", ""])
    return rows + _uncertainty(summary)


def _uncertainty(summary: Mapping[str, Any]) -> list[list[str]]:
    """Return rows of how sure the answers are, as of `_scores`; of an older summary none."""
    rows = []
    if selective := summary.get("selective"):
        answered = selective["at_80"]
        rows += [
            ["accuracy, surest 80% of images", f"{answered['accuracy']:.3f}", _ends(answered["interval"]), ""],
            ["area under risk-coverage curve", f"{selective['aurc']:.3f}", _ends(selective["aurc_interval"]), ""],
        ]
    if "conformal" in summary and summary["conformal"] is None:
        rows.append(["prediction sets", "not measured", "", ""])
    if conformal := summary.get("conformal"):
        level = f"{conformal['calibration']['level']:.0%} sets"
        for kind, title in (("marginal", level), ("by_class", f"{level} by class")):
            found = conformal[kind]
            rows += [
                [f"{title}: {PROMISED[conformal['promise']]}", f"{found['coverage']:.3f}",
                 _ends(found["coverage_interval"]), ""],
                [f"{title}: classes", f"{found['mean_size']:.3f}", _ends(found["mean_size_interval"]), ""],
            ]  # fmt: skip
    return rows


def _ends(interval: Mapping[str, Any] | None) -> str:
    return "" if interval is None else f"{interval['low']:.3f} to {interval['high']:.3f}"
