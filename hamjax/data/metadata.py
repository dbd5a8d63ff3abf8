"""The table of HAM10000: one row an image, read and checked before anything else.

Column names and codes are those of the published `HAM10000_metadata` file
(Tschandl et al. 2018, doi:10.7910/DVN/DBW86T); other forms are read as this one by
`hamjax.data.layouts`.
"""

import dataclasses
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from hamjax.data.classes import CLASSES
from hamjax.data.tables import is_nothing
from hamjax.runtime.errors import UserError, name_some

NEEDED = ("lesion_id", "image_id", "dx")
DESCRIPTIVE = ("dx_type", "sex", "localization", "dataset")
TEXT_COLUMNS = ("image_id", "lesion_id", *DESCRIPTIVE)
RECORDS_VERSION = "1.0.0"  # of the columns that are kept; changes with them
UNKNOWN = "unknown"
FORMULA = "=+-@"  # what a spreadsheet takes for one begins with these
OLDEST = 130  # years
MAX_CELL = 200  # characters; a column is as wide as its widest cell, in every row
DECIMAL_COMMA = re.compile(r"\d+,\d+")  # as Excel writes 45.0 where a comma separates decimals


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


def _refuse_bad_rows(rows: Sequence[Mapping[str, Any]], where: str) -> None:
    """Raise at the first kind of fault that rows have, with all rows that have it."""
    for faulty, expected, cure in _CHECKS:
        if found := faulty(rows):
            raise UserError(f"{where}: expected {expected}, got {name_some(found)}. {cure}")


def _without_id(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"none in line {i + 2}" for i, row in enumerate(rows) if not row["image_id"] or not row["lesion_id"]]


def _odd_ids(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [repr(row[name])[:60] for row in rows for name in ("image_id", "lesion_id") if not _is_plain(row[name])]


def _long_cells(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    used = (*TEXT_COLUMNS, "dx")
    return [
        f"line {i + 2} ({name!r})" for i, row in enumerate(rows) for name in used if len(row.get(name, "")) > MAX_CELL
    ]


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
    (_long_cells, f"cells of at most {MAX_CELL} characters", "Fetch the file again."),
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
    if is_nothing(value):
        return float("nan")
    try:
        age = float(value.replace(",", ".") if DECIMAL_COMMA.fullmatch(value) else value)
    except ValueError:
        age = -1.0
    if not 0 <= age <= OLDEST:
        raise UserError(f"{where}: expected an age in years or nothing for {row['image_id']}, got {value!r}.")
    return age
