"""Test whether one of two runs is better on the test images that they share, or whether it was chance.

    hamjax compare runs/cnn_s1 runs/cnn_s2 --json comparison.json

Differences are second minus first. Intervals: bootstrap clustered by lesion, or over images where
lesions are not known; both runs are resampled together.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hamjax.commands.arguments import make_parser
from hamjax.data.lesions import unit_of_resampling
from hamjax.evaluation.metrics.comparison import compare
from hamjax.report.terminal import table
from hamjax.runtime.errors import UserError, name_some
from hamjax.runtime.paths import user_path
from hamjax.training.run_directory.finished import TestPredictions, read_predictions, read_summary, unfinished


def main(words: Sequence[str]) -> None:
    """Run the command."""
    parser = make_parser("compare", __doc__)
    parser.add_argument("first", type=user_path, help="a finished run directory")
    parser.add_argument("second", type=user_path, help="another one, tested on the same images")
    parser.add_argument("--json", type=user_path, help="write the comparison here, too")
    args = parser.parse_args(words)
    (first_name, first), (second_name, second) = read_run(args.first), read_run(args.second)
    require_same_test(args.first, first, args.second, second)
    result = compare(first.labels, first.probabilities, second.probabilities, first.lesions)
    result["bootstrap"]["resampled"] = unit_of_resampling(first.known)
    result = {"first": first_name, "second": second_name, **result}
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")
    print(describe(result))


def read_run(folder: Path) -> tuple[str, TestPredictions]:
    """Return what a finished run is called, and its predictions.

    Raises:
        UserError: the run is not finished, or a file of it is not as it was written.
    """
    summary = read_summary(folder)
    if summary is None:
        raise UserError(unfinished(folder, "no summary of a report"))
    return f"{summary['model']} {summary['strategy']}, seed {summary['seed']}", read_predictions(folder)


def require_same_test(one: Path, first: TestPredictions, other: Path, second: TestPredictions) -> None:
    """Refuse two runs that were not tested on the same images and labels.

    Raises:
        UserError: names the images that differ.
    """
    if alone := sorted(set(first.image_id) ^ set(second.image_id)):
        raise UserError(
            f"{other}: expected the test images of {one}, got others; {len(alone)} are in one run "
            f"alone: {name_some(alone)}. Compare runs with the same data.split and data.split_seed."
        )
    # Same ids do not mean the same truth: a corrected table, or folders of another version.
    differing = np.flatnonzero(first.labels != second.labels)
    if len(differing):
        raise UserError(
            f"{other}: expected the labels of {one}, got others for {len(differing)} images: "
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
            f"{result['n']} test images {_of_lesions(result['bootstrap'])}",
            table(["", "first", "second", "difference", f"{level} interval"], rows),
            f"right in one alone: first {test['only_first']}, second {test['only_second']} images; "
            f"McNemar's exact test p = {test['p_value']:.3g}",
        ]
    )


def _of_lesions(bootstrap: dict[str, Any]) -> str:
    if bootstrap["resampled"] == "lesions":
        return f"of {bootstrap['clusters']} lesions"
    return f"of lesions that are not known; the intervals resample {bootstrap['resampled']}"
