"""The table of HAM10000: one row an image, read and checked before anything else.

Column names and codes are those of the published `HAM10000_metadata` file
(Tschandl et al. 2018, doi:10.7910/DVN/DBW86T). The ISIC 2018 task 3 one-hot ground
truth is read into the same table.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hamjax.data.classes import CLASSES
from hamjax.data.tables import Row, read_table
from hamjax.runtime.errors import UserError, name_some

NEEDED = ("lesion_id", "image_id", "dx")
DESCRIPTIVE = ("dx_type", "sex", "localization", "dataset")
TEXT_COLUMNS = ("image_id", "lesion_id", *DESCRIPTIVE)
RECORDS_VERSION = "1.0.0"  # of the columns that are kept; changes with them
UNKNOWN = "unknown"
FORMULA = "=+-@"  # what a spreadsheet takes for one begins with these
OLDEST = 130  # years
NO_AGE = ("", "na", "nan", "none", UNKNOWN)


@dataclasses.dataclass(frozen=True)
class Metadata:
    """Columns of the data set, ordered by `image_id`.

    Attributes:
        image_id, lesion_id: [N] unicode.
        label: [N] int32, an index into `CLASSES`.
        age: [N] float32 in years, NaN where not recorded.
        dx_type, sex, localization, dataset: [N] unicode, "unknown" where absent.
    """

    image_id: np.ndarray
    lesion_id: np.ndarray
    label: np.ndarray
    age: np.ndarray
    dx_type: np.ndarray
    sex: np.ndarray
    localization: np.ndarray
    dataset: np.ndarray

    def __len__(self) -> int:
        return len(self.image_id)

    def select(self, rows: np.ndarray) -> "Metadata":
        """Return the rows of an index array or a boolean mask."""
        return Metadata(**{k: v[rows] for k, v in self.columns().items()})

    def columns(self) -> dict[str, np.ndarray]:
        """Return every column by its name."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield one dictionary an image, with Python values and `dx` spelled out."""
        columns = self.columns()
        for i in range(len(self)):
            row = {name: column[i].item() for name, column in columns.items()}
            yield row | {"dx": CLASSES[row["label"]]}

    def class_counts(self) -> np.ndarray:
        """Return images per class, [7] int64, in the order of `CLASSES`."""
        return np.bincount(self.label, minlength=len(CLASSES))

    def fingerprint(self) -> str:
        """Return a SHA-256 over every cell, independent of the file's row order."""
        digest = hashlib.sha256()
        for column in self.columns().values():
            digest.update("\n".join(map(str, column.tolist())).encode() + b"\0")
        return digest.hexdigest()


def is_one_hot(columns: Sequence[str]) -> bool:
    """Return whether these are the columns of an ISIC 2018 task 3 ground truth."""
    return "image" in columns and {c.upper() for c in CLASSES} <= set(columns)


def read_metadata(path: Path, groupings: Path | None, *, allow_missing: bool) -> Metadata:
    """Read and check the metadata of either published form.

    Args:
        path: `HAM10000_metadata.csv`, or an ISIC one-hot ground truth.
        groupings: `ISIC2018_Task3_Training_LesionGroupings.csv`, for the latter.
        allow_missing: take each image of a one-hot file without groupings as its
            own lesion (the splits can then leak), instead of refusing it.

    Raises:
        UserError: a column, diagnosis or lesion is not as published; ids are named.
    """
    rows = read_table(path)
    if is_one_hot(list(rows[0])):
        rows = from_one_hot(rows, path, groupings, allow_missing=allow_missing)
    return from_rows(rows, where=str(path))


def from_rows(rows: Sequence[Mapping[str, Any]], *, where: str) -> Metadata:
    """Build the table from rows of the same columns, at least lesion_id, image_id and dx.

    Raises:
        UserError: a missing column, a repeated image, an unknown diagnosis, a lesion with two
            diagnoses, an empty id or an age that is no number.
    """
    missing = [name for name in NEEDED if name not in rows[0]]
    if missing:
        raise UserError(
            f"{where}: expected the columns {', '.join(NEEDED)}, got {', '.join(rows[0])}; "
            f"missing: {', '.join(missing)}. Use the published HAM10000_metadata.csv."
        )
    _refuse_bad_rows(rows, where)
    # By id: the order of a file's rows must change neither a split nor a fingerprint.
    rows = sorted(rows, key=lambda row: row["image_id"])
    text = {name: np.array([row.get(name) or UNKNOWN for row in rows], dtype=np.str_) for name in TEXT_COLUMNS}
    return Metadata(
        **text,
        label=np.array([CLASSES.index(row["dx"]) for row in rows], dtype=np.int32),
        age=np.array([_age(row, where) for row in rows], dtype=np.float32),
    )


def from_one_hot(rows: list[Row], path: Path, groupings: Path | None, *, allow_missing: bool) -> list[Row]:
    """Add image_id, lesion_id and dx to the rows of an ISIC one-hot ground truth; see `read_metadata`."""
    codes = {c.upper(): c for c in CLASSES}
    result = []
    for row in rows:
        hot = [dx for code, dx in codes.items() if row[code] in ("1", "1.0")]
        cold = [code for code in codes if row[code] in ("0", "0.0")]
        if len(hot) != 1 or len(cold) != len(codes) - 1:
            raise UserError(
                f"{path}: expected a single 1 and six 0 in the row of {row['image']}, "
                f"got {[row[code] for code in codes]}; use the published ground truth."
            )
        result.append(row | {"image_id": row["image"], "dx": hot[0]})
    lesions = _lesions(rows, groupings)
    if lesions is None and not allow_missing:
        raise UserError(
            f"{path}: expected ISIC2018_Task3_Training_LesionGroupings.csv beside it (or a lesion_id "
            "column), got neither; without lesion ids no split can be kept free of leaks. Fetch it, or "
            "take each image as a lesion of its own with --allow-missing."
        )
    known = lesions or {}
    absent = [r["image_id"] for r in result if lesions is not None and r["image_id"] not in known]
    if absent and not allow_missing:
        raise UserError(f"{groupings}: expected a lesion for every image, got none for {name_some(absent)}.")
    for row in result:
        row["lesion_id"] = known.get(row["image_id"], row["image_id"])
    return result


def _refuse_bad_rows(rows: Sequence[Mapping[str, Any]], where: str) -> None:
    """Raise at the first kind of fault that rows have, with all rows that have it."""
    for faulty, expected, cure in _CHECKS:
        if found := faulty(rows):
            raise UserError(f"{where}: expected {expected}, got {name_some(found)}. {cure}")


def _without_id(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"none in line {i + 2}" for i, row in enumerate(rows) if not row["image_id"] or not row["lesion_id"]]


def _odd_ids(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [repr(row[name])[:60] for row in rows for name in ("image_id", "lesion_id") if not _is_plain(row[name])]


def _repeated(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    found = _diagnoses(rows, "image_id").items()
    return [f"{image_id} ({' and '.join(dx)})" for image_id, dx in found if len(dx) > 1]


def _unknown_classes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"{row['image_id']} ({row['dx']!r})" for row in rows if row["dx"] not in CLASSES]


def _torn_lesions(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    found = _diagnoses(rows, "lesion_id").items()
    return [f"{lesion} ({' and '.join(sorted(set(dx)))})" for lesion, dx in found if len(set(dx)) > 1]


# Of each kind of fault: who has it, what was expected, what to do. In this order: later ones need ids and classes.
_CHECKS = (
    (_without_id, "an image_id and a lesion_id in every row", "Use the published file."),
    (
        _odd_ids,
        f"printable ids that do not start with {FORMULA} (a spreadsheet would read them as formulas)",
        "Rename these.",
    ),
    (
        _repeated,
        "each image_id once",
        "Remove the extra rows; a copy of HAM10000 with more than 10,015 rows holds repeats.",
    ),
    (_unknown_classes, f"dx to be one of {', '.join(CLASSES)}", "Correct or remove these rows."),
    # A lesion is the unit of every split and of every class count, so it can have one class alone.
    (_torn_lesions, "one diagnosis a lesion", "Correct these rows: a lesion is what splits are drawn by."),
)


def _is_plain(identifier: str) -> bool:
    """Return whether an id is safe to show in a terminal and to open in a spreadsheet."""
    return identifier.isprintable() and identifier[0] not in FORMULA


def _diagnoses(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, list[str]]:
    """Return all diagnoses by the value of a column."""
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row[name], []).append(row["dx"])
    return found


def _age(row: Mapping[str, Any], where: str) -> float:
    # 57 images of HAM10000 have no age, and copies write that in several ways.
    value = str(row.get("age", "")).strip()
    if value.lower() in NO_AGE:
        return float("nan")
    try:
        age = float(value)
    except ValueError:
        age = -1.0
    if not 0 <= age <= OLDEST:
        raise UserError(f"{where}: expected an age in years or nothing for {row['image_id']}, got {value!r}.")
    return age


def _lesions(rows: list[Row], groupings: Path | None) -> dict[str, str] | None:
    if "lesion_id" in rows[0]:
        return {row["image"]: row["lesion_id"] for row in rows}
    if groupings is None:
        return None
    table = read_table(groupings)
    if not {"image", "lesion_id"} <= set(table[0]):
        raise UserError(f"{groupings}: expected the columns image and lesion_id, got {', '.join(table[0])}.")
    return {row["image"]: row["lesion_id"] for row in table}
