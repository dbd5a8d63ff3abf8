"""The forms in which tables of HAM10000 come, read as rows with the columns of `HAM10000_metadata`.

The published table, the one-hot ground truths of the ISIC challenges of 2018 and 2019, the ISIC Archive's own
metadata, and tables that name lesions alone.
"""

import dataclasses
import enum
import re
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

from hamjax.data.classes import CLASSES
from hamjax.data.image_names import image_id_of
from hamjax.data.tables import Row, is_nothing
from hamjax.runtime.errors import UserError


class Layout(enum.StrEnum):
    """What a table is, by its columns."""

    HAM10000 = "HAM10000"
    ONE_HOT = "ISIC one-hot"
    ARCHIVE = "ISIC Archive"
    LESIONS = "lesions"
    CLASS_FOLDERS = "class folders"  # no table at all


@dataclasses.dataclass(frozen=True)
class Labels:
    """Rows with `image_id`, `dx` and, where a table has it, `lesion_id`; and the diagnoses of other images by id."""

    rows: list[Row]
    outside: dict[str, str]


# ISIC 2019 has AK for what is AKIEC in 2018, and two columns for what is in none of the seven classes.
ONE_HOT_CODES = {code.upper(): code for code in CLASSES} | {"AK": "akiec", "SCC": "", "UNK": ""}
# The seven as the Archive names them, also since its names are ordered from coarse to fine. No others: of a seborrheic
# keratosis elsewhere nobody has said that it would have been bkl in HAM10000.
ARCHIVE_DIAGNOSES = {
    "actinic keratosis": "akiec",
    "solar or actinic keratosis": "akiec",
    "basal cell carcinoma": "bcc",
    "pigmented benign keratosis": "bkl",
    "dermatofibroma": "df",
    "melanoma": "mel",
    "melanoma in situ": "mel",
    "melanoma invasive": "mel",
    "nevus": "nv",
    "vascular lesion": "vasc",
    "benign soft tissue proliferations - vascular": "vasc",
}
# HAM10000's images are ISIC_0024306 to ISIC_0034320, without a gap. The Archive calls 130 of its 327 akiec squamous
# cell carcinoma; anywhere else that is another diagnosis.
OWN_NUMBERS = range(24306, 34321)
CARCINOMA = "squamous cell carcinoma"
IMAGE_COLUMNS = ("image_id", "image", "isic_id")
CONFIRM = "diagnosis_confirm_type"
KNOWN_COLUMNS = frozenset(
    ("lesion_id", "dx", "dx_type", "age", "sex", "localization", "dataset", "diagnosis", CONFIRM, *IMAGE_COLUMNS)
)
# From the Archive's words to HAM10000's.
CONFIRMATIONS = {
    "histopathology": "histo",
    "serial imaging showing no change": "follow_up",
    "single image expert consensus": "consensus",
    "confocal microscopy with consensus dermoscopy": "confocal",
}


def layout_of(columns: Sequence[str]) -> Layout | None:
    """Return the layout that has these columns; None of a table of other things."""
    names = {_known_name(column) for column in columns}
    if {"image_id", "dx"} <= names:
        return Layout.HAM10000
    if is_one_hot(columns):
        return Layout.ONE_HOT
    if "isic_id" in names and any(name.startswith("diagnosis") and name != CONFIRM for name in names):
        return Layout.ARCHIVE
    if "lesion_id" in names and names & set(IMAGE_COLUMNS):
        return Layout.LESIONS
    return None


def class_of_folder(place: PurePosixPath) -> str | None:
    """Return the class of the nearest folder that is named by one; empty for one that is none of the seven."""
    codes = (code_of(folder.name.replace("_", " ")) for folder in place.parents)
    return next((code for code in codes if code is not None), None)


def code_of(word: str) -> str | None:
    """Return the class of a code or a diagnosis in words; empty for one that is none of the seven."""
    if word.lower() == CARCINOMA:
        return ""
    return ARCHIVE_DIAGNOSES.get(word.lower(), ONE_HOT_CODES.get(word.upper()))


def with_known_names(rows: Sequence[Row]) -> list[Row]:
    """Write the names of columns as published, whatever their case; a name that comes twice so is left as it is."""
    names = {column: _known_name(column) for column in rows[0]}
    if len(set(names.values())) < len(names) or all(column == name for column, name in names.items()):
        return list(rows)
    return [{names[column]: cell for column, cell in row.items()} for row in rows]


def _known_name(column: str) -> str:
    return column.lower() if column.lower() in KNOWN_COLUMNS else column


def is_one_hot(columns: Sequence[str]) -> bool:
    """Return whether these are the columns of a ground truth of ISIC 2018 task 3, or of ISIC 2019."""
    needed = {code.upper() for code in CLASSES} - {"AKIEC"}
    return "image" in columns and needed <= set(columns) and bool({"AKIEC", "AK"} & set(columns))


def read_labels_of(
    layout: Layout, rows: Sequence[Row], where: str, id_of: Callable[[str], str] = image_id_of
) -> Labels:
    """Read the rows of a table that names diagnoses.

    Args:
        layout: of the table.
        rows: as they are.
        where: what it is called in messages.
        id_of: gives the id of an image from its cell.

    Raises:
        UserError: it lacks a column, or a row of a one-hot table is not one-hot.
    """
    if layout == Layout.HAM10000 and (missing := [name for name in ("image_id", "dx") if name not in rows[0]]):
        raise UserError(
            f"{where}: expected the columns lesion_id, image_id, dx, got {', '.join(rows[0])}; "
            f"missing: {', '.join(missing)}. Use the published HAM10000_metadata.csv."
        )
    read = {Layout.ONE_HOT: _from_one_hot, Layout.ARCHIVE: _from_archive}.get(layout)
    labels = read(rows, where) if read else Labels([dict(row) for row in rows], {})
    outside = {id_of(name): diagnosis for name, diagnosis in labels.outside.items()}
    return Labels([_tidy(row, id_of) for row in labels.rows], outside)


def lesions_of(rows: Sequence[Row]) -> dict[str, Row]:
    """Return the rows of a table that names lesions, by image, those without a lesion left out."""
    name = next(column for column in IMAGE_COLUMNS if column in rows[0])
    tidy = [_tidy(row | {"image_id": row[name]}) for row in rows]
    return {row["image_id"]: row for row in tidy if row["lesion_id"]}


def _from_one_hot(rows: Sequence[Row], where: str) -> Labels:
    """Add `image_id` and `dx` to the rows of a one-hot ground truth.

    Raises:
        UserError: a row has another number of ones than a single one; it is named.
    """
    codes = [code for code in ONE_HOT_CODES if code in rows[0]]
    inside, outside = [], {}
    for row in rows:
        values = [_number(row[code]) for code in codes]
        if sorted(values) != [*[0.0] * (len(codes) - 1), 1.0]:
            raise UserError(
                f"{where}: expected a single 1 and {len(codes) - 1} 0 in the row of {row['image']}, "
                f"got {[row[code] for code in codes]}; use the published ground truth."
            )
        code = codes[values.index(1.0)]
        if dx := ONE_HOT_CODES[code]:
            inside.append(row | {"image_id": row["image"], "dx": dx})
        else:
            outside[row["image"]] = code
    return Labels(inside, outside)


def _tidy(row: Row, id_of: Callable[[str], str] = image_id_of) -> Row:
    image_id, lesion = id_of(row["image_id"]), row.get("lesion_id", "")
    if is_nothing(lesion):
        lesion = ""
    elif lesion == row["image_id"]:
        lesion = image_id
    return row | {"image_id": image_id, "lesion_id": lesion, "dx": row.get("dx", "").strip().lower()}


def _from_archive(rows: Sequence[Row], where: str) -> Labels:
    del where
    inside, outside = [], {}
    for row in rows:
        dx, words = _diagnosis(row)
        if not dx:
            outside[row["isic_id"]] = words
            continue
        described = {
            "image_id": row["isic_id"],
            "dx": dx,
            "age": row.get("age_approx", ""),
            "localization": row.get("anatom_site_general", "") or row.get("localization", ""),
            "dx_type": CONFIRMATIONS.get(row.get(CONFIRM, "").lower(), row.get(CONFIRM, "")),
        }
        inside.append(row | described)
    return Labels(inside, outside)


def _diagnosis(row: Row) -> tuple[str, str]:
    """Return the class of a row of the Archive's table, or nothing; and its diagnosis in words."""
    # One column once; now five, from coarse to fine.
    columns = ["diagnosis", *(f"diagnosis_{i}" for i in range(5, 0, -1))]
    words = [row[name] for name in columns if not is_nothing(row.get(name, ""))]
    for text in words:
        plain = text.lower().removesuffix(", nos")
        if plain.startswith(CARCINOMA) and _is_own(row["isic_id"]):
            return "akiec", text
        if plain in ARCHIVE_DIAGNOSES:
            return ARCHIVE_DIAGNOSES[plain], text
    return "", words[0] if words else "no diagnosis"


def _is_own(isic_id: str) -> bool:
    match = re.fullmatch(r"ISIC_(\d{7})", image_id_of(isic_id))
    return match is not None and int(match[1]) in OWN_NUMBERS


def _number(value: str) -> float:
    try:
        return float(value.replace(",", "."))
    except ValueError:
        return -1.0
