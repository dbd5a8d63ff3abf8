"""Everything below `report/`. `test.json` is written last: it marks a finished report."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hamjax.data.classes import CLASSES
from hamjax.evaluation.metrics.isic import submission_csv
from hamjax.evaluation.scoring import EvalReport
from hamjax.report.evidence import Evidence, FigureData
from hamjax.report.page import page
from hamjax.runtime.files import write_atomically
from hamjax.training.run_directory.metrics_log import read_records
from hamjax.training.run_directory.record import read_facts

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_report(folder: Path, report: EvalReport, workdir: Path, figure_data: FigureData | None = None) -> None:
    """Write predictions, figures, the page and the summary.

    Args:
        folder: is created where it is missing.
        report: on one partition, whose name the files carry.
        workdir: the run directory, which says how the run was made.
        figure_data: for the figures of the run's data and training; None for images from elsewhere.

    Raises:
        UserError: it cannot be written, as on a full disk.
    """
    from hamjax.report import figures, gallery  # matplotlib takes a second to import

    summary, partition = report.summary, report.summary["partition"]
    write_atomically(folder / f"predictions_{partition}.csv", report.predictions_csv())
    if "external" in summary:
        write_atomically(folder / f"submission_{partition}.csv", _submission(report))
    records = workdir / "metrics.jsonl"
    lines = read_records(records) if records.exists() else []
    drawn = {"confusion_matrix": figures.confusion_matrix(summary)}
    if figure_data is not None:
        drawn |= {
            "training_curves": figures.training_curves(lines, figure_data.steps_per_epoch),
            "class_histogram": figures.class_histogram(figure_data.counts, figure_data.strategy),
            "sample_sheet": figures.sample_sheet(figure_data.samples),
        }
    if calibration := summary.get("calibration"):
        drawn["reliability"] = figures.reliability(calibration)
    drawn["risk_coverage"] = figures.risk_coverage(summary["selective"])
    # All figures are drawn before the first is written: an error in one leaves no half set of them.
    pictures = {name: _png(figure) for name, figure in drawn.items()}
    for name, png in pictures.items():
        write_atomically(folder / f"{name}.png", png)
    exhibits = gallery.draw_gallery(*report.worst, summary["worst_errors"])
    evidence = Evidence(summary | read_facts(workdir), lines, pictures, exhibits)
    write_atomically(folder / "index.html", page(evidence))
    write_atomically(folder / f"{partition}.json", report.summary_json())


def _submission(report: EvalReport) -> str:
    """Return the file for the ISIC scorer: a row for every label, all classes equal where nothing was predicted."""
    external = report.summary["external"]
    unseen = sorted({i for name in ("unreadable", "without_image", "weightless") for i in external[name]})
    undecided = np.full((len(unseen), len(CLASSES)), 1 / len(CLASSES))
    return submission_csv([*report.image_id, *unseen], np.concatenate([report.probabilities, undecided]))


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160)
    return buffer.getvalue()
