"""Tables for the terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hamjax.data.classes import PAPER_ORDER

SCORES = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1",
          "macro_auc": "macro AUC"}  # fmt: skip


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
    checkpoint = summary["checkpoint"]
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
        bounds = "" if interval is None else f"{interval['low']:.3f} to {interval['high']:.3f}"
        baseline = summary.get(f"majority_baseline_{name}")
        rows.append([title, f"{value:.3f}", bounds, "" if baseline is None else f"{baseline:.3f}"])
    if isic := summary.get("isic"):
        rows.append(["balanced accuracy, ISIC scorer", f"{isic['balanced_accuracy']:.3f}", "", ""])
    return rows
