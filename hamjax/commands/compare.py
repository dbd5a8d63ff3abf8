"""Test whether one of two runs is better on the test images that they share, or whether it was chance.

    hamjax compare runs/cnn_s1 runs/cnn_s2 --json comparison.json

Differences are second minus first. Intervals: bootstrap clustered by lesion, both runs resampled together.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hamjax.commands.arguments import make_parser
from hamjax.data.classes import CLASSES
from hamjax.data.tables import Row, read_table
from hamjax.evaluation.metrics.comparison import compare
from hamjax.report.terminal import table
from hamjax.runtime.errors import UserError, name_some


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run's predictions: test images by id, labels [N], probabilities [N, 7], lesion ids [N]."""

    folder: Path
    name: str
    image_id: list[str]
    labels: np.ndarray
    probabilities: np.ndarray
    lesions: np.ndarray


def main(words: Sequence[str]) -> None:
    """Run the command."""
    parser = make_parser("compare", __doc__)
    parser.add_argument("first", type=Path, help="a finished run directory")
    parser.add_argument("second", type=Path, help="another one, tested on the same images")
    parser.add_argument("--json", type=Path, help="write the comparison here, too")
    args = parser.parse_args(words)
    first, second = read_run(args.first), read_run(args.second)
    require_same_test(first, second)
    result = compare(first.labels, first.probabilities, second.probabilities, first.lesions)
    result = {"first": first.name, "second": second.name, **result}
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")
    print(describe(result))


def read_run(folder: Path) -> Run:
    """Read what a finished run says of its test images, ordered by id.

    Raises:
        UserError: the run is not finished, or a file of it is not as it was written.
    """
    report = folder / "report"
    try:
        summary = json.loads((report / "test.json").read_text(encoding="utf-8"))
        rows = sorted(read_table(report / "predictions_test.csv"), key=lambda row: row["image_id"])
        lesion_of = {row["image_id"]: row["lesion_id"] for row in read_table(folder / "split.csv")}
        return Run(
            folder=folder,
            name=f"{summary['model']} {summary['strategy']}, seed {summary['seed']}",
            image_id=[row["image_id"] for row in rows],
            labels=np.array([CLASSES.index(row["dx"]) for row in rows]),
            probabilities=np.array([_probabilities(row) for row in rows]),
            lesions=np.array([lesion_of[row["image_id"]] for row in rows]),
        )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{folder}: expected a finished run (report/test.json, report/predictions_test.csv, split.csv), got "
            f"{type(error).__name__}: {error}; let it end, or write its report again with `hamjax evaluate`."
        ) from error


def require_same_test(first: Run, second: Run) -> None:
    """Refuse two runs that were not tested on the same images and labels.

    Raises:
        UserError: names the images that differ.
    """
    if alone := sorted(set(first.image_id) ^ set(second.image_id)):
        raise UserError(
            f"{second.folder}: expected the test images of {first.folder}, got others; {len(alone)} are in one run "
            f"alone: {name_some(alone)}. Compare runs with the same data.split and data.split_seed."
        )
    differing = np.flatnonzero(first.labels != second.labels)
    if len(differing):
        raise UserError(
            f"{second.folder}: expected the labels of {first.folder}, got others for {len(differing)} images: "
            f"{name_some(first.image_id[i] for i in differing)}; compare runs on one version of the data."
        )


def describe(result: dict[str, Any]) -> str:
    """Lay out a comparison as text."""
    level = f"{result['bootstrap']['level']:.0%}"
    rows: list[list[object]] = []
    for name in ("accuracy", "balanced_accuracy", "macro_auc"):
        row, interval = result[name], result[name]["interval"]
        ends = f"{interval['low']:+.3f} to {interval['high']:+.3f}" if interval else "-"
        scores = ["-" if row[key] is None else f"{row[key]:.3f}" for key in ("first", "second")]
        difference = "-" if row["difference"] is None else f"{row['difference']:+.3f}"
        rows.append([name.replace("_", " "), *scores, difference, ends])
    test = result["mcnemar"]
    return "\n".join(
        [
            f"first: {result['first']}   second: {result['second']}",
            f"{result['n']} test images of {result['bootstrap']['clusters']} lesions",
            table(["", "first", "second", "difference", f"{level} interval"], rows),
            f"right in one alone: first {test['only_first']}, second {test['only_second']} images; "
            f"McNemar's exact test p = {test['p_value']:.3g}",
        ]
    )


def _probabilities(row: Row) -> list[float]:
    return [float(row[dx]) for dx in CLASSES]
