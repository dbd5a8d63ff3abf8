"""A finished run: whether a run is one, and what it left of its test images."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from hamjax.data.classes import CLASSES
from hamjax.data.lesions import known_lesions
from hamjax.data.tables import read_table
from hamjax.runtime.errors import UserError
from hamjax.training.run_directory.resolved_block import wrong_names

# What is read next by everyone who asks whether a run is finished.
NEEDED = {"model": str, "strategy": str, "seed": int, "checkpoint": dict, "split": dict, "data_fingerprint": str,
          "per_class": dict, "alarms": list}  # fmt: skip


def read_summary(workdir: Path) -> dict[str, Any] | None:
    """Return what `report/test.json` holds, the last file that a run writes.

    None if the run is not finished. A damaged file counts as none: the next start makes the report anew.
    """
    try:
        summary = json.loads((workdir / "report" / "test.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return summary if isinstance(summary, dict) and not wrong_names(summary, NEEDED, {}) else None


@dataclasses.dataclass(frozen=True)
class TestPredictions:
    """The predictions of a finished run for its N test images, ordered by id.

    Attributes:
        image_id: [N].
        labels: [N] indices into `CLASSES`.
        probabilities: [N, 7] float64.
        lesions: [N] lesion ids.
        known: [N] bool, whether it is known which lesion an image shows.
    """

    __test__ = False  # the name is not a test's

    image_id: list[str]
    labels: np.ndarray
    probabilities: np.ndarray
    lesions: np.ndarray
    known: np.ndarray


def read_predictions(workdir: Path) -> TestPredictions:
    """Read `report/predictions_test.csv`, and the lesions from `split.csv`.

    Raises:
        UserError: the run is not finished, or a file is not as the run wrote it.
    """
    try:
        rows = sorted(read_table(workdir / "report" / "predictions_test.csv"), key=lambda row: row["image_id"])
        lesion_of = _read_lesions(workdir / "split.csv")
        return TestPredictions(
            image_id=[row["image_id"] for row in rows],
            labels=np.array([CLASSES.index(row["dx"]) for row in rows]),
            probabilities=np.array([[float(row[dx]) for dx in CLASSES] for row in rows]),
            lesions=np.array([lesion_of[row["image_id"]][0] for row in rows]),
            known=np.array([lesion_of[row["image_id"]][1] for row in rows]),
        )
    except UserError as error:  # of `read_table`, whose advice to fetch the table again does not fit what a run wrote
        raise UserError(unfinished(workdir, str(error).rpartition(";")[0])) from error
    except (OSError, ValueError, KeyError) as error:
        raise UserError(unfinished(workdir, f"{type(error).__name__}: {error}")) from error


def unfinished(workdir: Path, found: str) -> str:
    """Return the message for a run whose report is not there or not whole."""
    return (
        f"{workdir}: expected a finished run (report/test.json, report/predictions_test.csv, split.csv), got {found}; "
        "let it end, or remove its report/ and start the same command again."
    )


def _read_lesions(path: Path) -> dict[str, tuple[str, bool]]:
    """Return each image's lesion and whether it is known, by image id."""
    rows = read_table(path)
    images, lesions = ([row[name] for row in rows] for name in ("image_id", "lesion_id"))
    known = known_lesions(np.array(images), np.array(lesions)).tolist()
    return dict(zip(images, zip(lesions, known, strict=True), strict=True))
