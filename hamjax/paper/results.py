"""Results of finished cells: folds pooled, seeds side by side."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from hamjax.data.classes import CLASSES, PAPER_ORDER
from hamjax.data.lesions import count_lesions, unit_of_resampling
from hamjax.evaluation.metrics.bootstrap import bootstrap_intervals
from hamjax.evaluation.metrics.classification import classification_report
from hamjax.paper.cells import Cell, read_state
from hamjax.runtime.errors import UserError
from hamjax.training.run_directory.finished import read_predictions
from hamjax.training.run_directory.metrics_log import read_records

COLUMNS = (*PAPER_ORDER, "overall", "mean")
METRICS = ("precision", "recall", "f1")
_MEANS = {"recall": "balanced_accuracy", "f1": "macro_f1"}


@dataclasses.dataclass(frozen=True)
class Score:
    """A figure with its 95% interval for the draw of test images, where it has one.

    Attributes:
        value: of ours the mean over the seeds.
        interval: its two ends.
        sd: over the seeds; None with one.
        seeds: how many.
    """

    value: float
    interval: tuple[float, float] | None = None
    sd: float | None = None
    seeds: int = 1


@dataclasses.dataclass(frozen=True)
class Result:
    """A strategy of a network under a protocol, over the seeds that are complete.

    Attributes:
        model: its name.
        strategy: its name.
        cells: of the first complete seed, one a fold.
        seeds: the complete ones.
        validation: the best balanced accuracy on validation, the mean over seeds and folds.
        reports: for each seed, `classification_report` of the test images of all folds together, and its
            `bootstrap_intervals`.
        lesions: how many the test images show; None where not all are known.
        resampled: what the intervals rest on; see `unit_of_resampling`.
    """

    model: str
    strategy: str
    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]
    validation: float
    reports: tuple[dict[str, Any], ...]
    lesions: int | None
    resampled: str

    def score(self, metric: str, column: str) -> Score:
        """Return the mean over the seeds.

        The ends of its interval are the means of theirs: as if all seeds erred on the same
        images, so it is never too narrow on that account.

        Args:
            metric: of `METRICS`.
            column: of `COLUMNS`.
        """
        figures = [_figure(report, metric, column) for report in self.reports]
        values = np.array([value for value, _ in figures])
        # Resampling what never happened gives an interval without width, which is none.
        ends = [(found["low"], found["high"]) for _, found in figures if found and found["low"] < found["high"]]
        middle = np.mean(ends, axis=0).tolist() if len(ends) == len(values) else None
        return Score(
            value=float(values.mean()),
            interval=(middle[0], middle[1]) if middle else None,
            sd=float(values.std(ddof=1)) if len(values) > 1 else None,
            seeds=len(values),
        )


def read_results(cells: Sequence[Cell]) -> list[Result]:
    """Read the finished cells of one protocol.

    A seed counts once all its folds are finished; a strategy without a complete seed is left out.

    Raises:
        UserError: cells were made from different images or splits, or a file of one is damaged.
    """
    grouped: dict[tuple[str, str], dict[int, list[Cell]]] = {}
    for cell in cells:
        grouped.setdefault((cell.model, cell.strategy), {}).setdefault(cell.seed, []).append(cell)
    summaries = {cell: summary for cell in cells if (summary := read_state(cell).summary)}
    _require_same_data(summaries)
    results = []
    for (model, strategy), by_seed in grouped.items():
        complete = {seed: folds for seed, folds in by_seed.items() if all(cell in summaries for cell in folds)}
        if complete:
            results.append(_read_result(model, strategy, complete))
    return results


def _read_result(model: str, strategy: str, complete: dict[int, list[Cell]]) -> Result:
    reports, lesions, known = [], np.array([]), np.array([], bool)
    for folds in complete.values():
        tested = [read_predictions(cell.workdir) for cell in folds]
        labels, probabilities, lesions, known = (
            np.concatenate([getattr(fold, name) for fold in tested])
            for name in ("labels", "probabilities", "lesions", "known")
        )
        # Pooled before scoring: a fold has 23 images of df, too few for a recall of its own.
        report = classification_report(labels, probabilities, CLASSES)
        reports.append(report | {"sure": bootstrap_intervals(labels, probabilities, lesions, CLASSES)})
    return Result(
        model=model,
        strategy=strategy,
        cells=tuple(next(iter(complete.values()))),
        seeds=tuple(complete),
        validation=float(np.mean([_best_validation(cell) for folds in complete.values() for cell in folds])),
        reports=tuple(reports),
        lesions=count_lesions(lesions, known),
        resampled=unit_of_resampling(known),
    )


def _figure(report: dict[str, Any], metric: str, column: str) -> tuple[float, dict[str, Any] | None]:
    """Find a figure in a report, and its interval."""
    sure = report["sure"]
    if column == "overall":
        return report["accuracy"], sure["intervals"]["accuracy"]
    if column != "mean":
        return report["per_class"][column][metric], sure["per_class"][column][metric]
    if metric in _MEANS:
        return report[_MEANS[metric]], sure["intervals"][_MEANS[metric]]
    rows = report["per_class"].values()
    return float(np.mean([row[metric] for row in rows if row["support"]])), None


def _require_same_data(summaries: dict[Cell, dict[str, Any]]) -> None:
    seen: dict[str, tuple[Cell, tuple[str, str]]] = {}
    for cell, summary in summaries.items():
        made_from = (summary["data_fingerprint"], summary["split"]["fingerprint"])
        other, first = seen.setdefault(cell.split, (cell, made_from))
        if made_from != first:
            raise UserError(
                f"{cell.workdir}: expected the images and the split of {other.workdir}, got others; "
                "tables of both would compare nothing. Remove one of them, or name another --workdir."
            )


def _best_validation(cell: Cell) -> float:
    records = read_records(cell.workdir / "metrics.jsonl")
    return max(line.get("eval/balanced_accuracy", 0.0) for line in records)
