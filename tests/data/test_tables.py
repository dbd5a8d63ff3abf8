"""Tables as programs write them, and which of several is the one that is meant."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hamjax.data.preparation.prepare import DataRequest, prepare
from hamjax.data.sources.folder import LocalSource
from hamjax.runtime.errors import UserError
from tests.conftest import read_rows, write_one_hot, write_rows
from tests.helpers.tables import TABLE, Rows, as_excel


def _age(row: dict[str, str], age: str) -> dict[str, str]:
    return row | {"age": age}


DIALECTS: dict[str, Callable[[Rows], bytes]] = {
    "Excel": lambda rows: as_excel([_age(row, row["age"].replace(".", ",")) for row in rows]),
    "Excel's Unicode text": lambda rows: as_excel(rows, "utf-16", "\t"),
    "UTF-16 without a mark": lambda rows: as_excel(rows, "utf-16-le"),
    "UTF-16, the other order": lambda rows: as_excel(rows, "utf-16-be", ","),
    "a hint": lambda rows: b"sep=;\r\n" + as_excel(rows, "utf-8"),
    "bars": lambda rows: as_excel(rows, "utf-8", "|"),
    "empty rows": lambda rows: as_excel(rows, "utf-8", ",") + b",,,,,,\r\n , ,,,,,\r\n\r\n",
    "empty columns": lambda rows: b"\r\n".join(line + b",," for line in as_excel(rows, "utf-8", ",").splitlines()),
    "rows in quotes": lambda rows: b"".join(b'"%s"\r\n' % line for line in as_excel(rows, "utf-8").splitlines()),
    "Macintosh": lambda rows: as_excel(rows, "utf-8", ",").replace(b"\r\n", b"\r"),
    "upper case": lambda rows: as_excel([row | {"dx": row["dx"].upper()} for row in rows]),
    "columns in capitals": lambda rows: re.sub(rb"^[^\n]*", lambda header: header[0].upper(), as_excel(rows, "utf-8")),
    "ids with suffix": lambda rows: as_excel([row | {"image_id": row["image_id"] + ".JPG"} for row in rows]),
    "ids with a path": lambda rows: as_excel([row | {"image_id": f"C:\\data\\{row['image_id']}.jpg"} for row in rows]),
    "a long column": lambda rows: as_excel([row | {"note": "x " * 200_000} for row in rows[:2]] + rows[2:]),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_a_table_is_read_as_programs_write_it(few: Path, name: str) -> None:
    expected, rows = LocalSource(few).metadata.fingerprint(), read_rows(few)
    if name == "a long column":
        rows = [row | {"note": ""} for row in rows]
    (few / TABLE).unlink()
    (few / "table.csv").write_bytes(DIALECTS[name](rows))  # known by its columns, not by its name
    assert LocalSource(few).metadata.fingerprint() == expected


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            "lesion_id,image_id,dx,localization\nL,ISIC_1,nv,pied é\n".encode("latin-1"),
            "UTF-8 or UTF-16.*byte 5",
        ),
        (b"lesion_id;image_id;dx\nL;ISIC_1;nv;35\n", "3 cells in every row.*line.s. 2"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_with_the_reason(few: Path, content: bytes, reason: str) -> None:
    (few / TABLE).write_bytes(content)
    with pytest.raises(UserError, match=reason):
        LocalSource(few)


@pytest.mark.parametrize("word", ["N/A", "<NA>", "NaT", "null", "-", "?", "Unknown", "n.a.", " none ", "#N/A"])
def test_words_for_nothing_are_a_missing_age(few: Path, word: str) -> None:
    rows = read_rows(few)
    write_rows(few, [_age(rows[0], word), *rows[1:]])
    ages = LocalSource(few).metadata.age
    assert np.isnan(ages).sum() == 1


def _isic_parts(folder: Path) -> None:
    """The three ground truths of ISIC 2018 in one folder; the last images are of the other two."""
    write_one_hot(folder)
    truth = folder / "ISIC2018_Task3_Training_GroundTruth.csv"
    header, *lines = truth.read_text().splitlines()
    for part, rows in (("Training", lines[:-4]), ("Validation", lines[-4:-2]), ("Test", lines[-2:])):
        (folder / f"ISIC2018_Task3_{part}_GroundTruth.csv").write_text("\n".join([header, *rows]))


def test_a_test_truth_is_never_taken_for_the_table(few: Path) -> None:
    rows = read_rows(few)
    _isic_parts(few)
    source = LocalSource(few)
    assert len(source.metadata) == len(rows) - 4
    assert [table["place"] for table in source.tables] == [
        "ISIC2018_Task3_Training_GroundTruth.csv", "ISIC2018_Task3_Training_LesionGroupings.csv",
    ]  # fmt: skip
    (few / "ISIC2018_Task3_Training_GroundTruth.csv").unlink()
    with pytest.raises(UserError, match="only of test or validation images.*Test_GroundTruth"):
        LocalSource(few)
    assert len(LocalSource(few / "ISIC2018_Task3_Test_GroundTruth.csv").metadata) == 2  # asked for by name


@pytest.mark.parametrize(
    ("first", "second"),
    [("a.csv", "a - Copy.csv"), (TABLE, "HAM10000_metadata (1).csv"), (TABLE, f"backup/{TABLE}"),
     (TABLE, "corrected.csv"), ("a.csv", "b.tsv")],
)  # fmt: skip
def test_of_two_tables_that_say_different_things_none_is_taken(few: Path, first: str, second: str) -> None:
    rows = read_rows(few)
    (few / TABLE).unlink()
    (few / "backup").mkdir()
    (few / first).write_bytes(as_excel(rows))
    (few / second).write_bytes(as_excel(rows))
    assert len(LocalSource(few).metadata) == len(rows)  # they say the same
    other = next(row["dx"] for row in rows if row["dx"] != rows[0]["dx"])
    (few / second).write_bytes(as_excel([rows[0] | {"dx": other, "lesion_id": "new"}, *rows[1:]]))
    with pytest.raises(UserError) as error:
        LocalSource(few)
    assert first in str(error.value)
    assert second in str(error.value)
    if "/" not in second:
        assert LocalSource(few / second).metadata.lesion_id.tolist().count("new") == 1


def test_a_part_of_the_published_table_is_passed_over(few: Path) -> None:
    rows = read_rows(few)
    (few / "run").mkdir()
    (few / "run" / "split.csv").write_bytes(as_excel([row | {"split": "train"} for row in rows[:5]], delimiter=","))
    assert len(LocalSource(few).metadata) == len(rows)


def test_groupings_that_appear_later_rebuild_the_records(few: Path) -> None:
    write_one_hot(few)
    groupings = few / "ISIC2018_Task3_Training_LesionGroupings.csv"
    text = groupings.read_text()
    groupings.unlink()
    request = DataRequest(
        name="ham10000", source_dir=str(few), data_dir=str(few.parent / "data"), image_size=12, resize="squash",
        allow_missing=True, synthetic_images=300,
    )  # fmt: skip
    without = prepare(request, lambda _: None).metadata
    assert without.lesion_id.tolist() == without.image_id.tolist()
    groupings.write_text(text)
    assert "ISIC" not in prepare(request, lambda _: None).metadata.lesion_id[0]
