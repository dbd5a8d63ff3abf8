"""Everything below `report/`. `test.json` is written last: it marks a finished report."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hamjax.experiment import Experiment
from hamjax.judgement import EvalReport
from hamjax.report.evidence import Evidence, Exhibit
from hamjax.report.page import page
from hamjax.run_directory import write_atomically
from hamjax.telemetry import read_records

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_report(
    folder: Path,
    report: EvalReport,
    experiment: Experiment,
    records: Path,
    *,
    gallery: Sequence[Exhibit] = (),
) -> None:
    """Write predictions, figures, the page and the summary.

    Args:
        folder: is created where it is missing.
        report: on one partition, whose name the files carry.
        experiment: it was judged in.
        records: `metrics.jsonl` of the run.
        gallery: pictures of the worst errors; see `hamjax.report.gallery`.
    """
    from hamjax.report import figures  # matplotlib takes a second to import

    folder.mkdir(parents=True, exist_ok=True)
    summary, partition = report.summary, report.summary["partition"]
    write_atomically(folder / f"predictions_{partition}.csv", report.predictions_csv())
    lines = read_records(records) if records.exists() else []
    drawn = {
        "confusion_matrix": figures.confusion_matrix(summary),
        "training_curves": figures.training_curves(lines, experiment.steps_per_epoch),
        "class_histogram": figures.class_histogram(experiment),
        "sample_sheet": figures.sample_sheet(experiment),
    }
    if calibration := summary.get("calibration"):
        drawn["reliability"] = figures.reliability(calibration)
    pictures = {name: _png(figure) for name, figure in drawn.items()}
    for name, png in pictures.items():
        (folder / f"{name}.png").write_bytes(png)
    write_atomically(folder / "index.html", page(Evidence(summary, lines, pictures, gallery)))
    write_atomically(folder / f"{partition}.json", report.summary_json())


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160)
    return buffer.getvalue()
