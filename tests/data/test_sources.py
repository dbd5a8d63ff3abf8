"""Every accepted layout is read alike, and every bad input is refused by name."""

import csv
import zipfile
from pathlib import Path

import pytest

from hamjax.data import tables
from hamjax.data.sources.folder import LocalSource
from hamjax.runtime.errors import UserError
from tests.conftest import read_rows, write_one_hot, write_rows


def _zip_images(folder: Path, parts: int = 2) -> None:
    images = sorted(folder.glob("*.jpg"))
    for part in range(parts):
        with zipfile.ZipFile(folder / f"HAM10000_images_part_{part + 1}.zip", "w") as archive:
            for image in images[part::parts]:
                archive.write(image, image.name)
    for image in images:
        image.unlink()


def _as_kaggle(folder: Path) -> None:
    """Two folders, each there again in lower case, and tables of other things."""
    images = sorted(folder.glob("*.jpg"))
    for part in (1, 2):
        for name in (f"HAM10000_images_part_{part}", f"ham10000_images_part_{part}"):
            (folder / name).mkdir()
            for image in images[part - 1 :: 2]:
                (folder / name / image.name).write_bytes(image.read_bytes())
    for image in images:
        image.unlink()
    (folder / "hmnist_8_8_L.csv").write_text("pixel0000,label\n1,2\n")


@pytest.mark.parametrize("rearrange", [lambda folder: None, _zip_images, _as_kaggle, write_one_hot])
def test_every_layout_gives_the_same_images_and_classes(copy: Path, rearrange) -> None:
    flat = LocalSource(copy)
    images = {i: flat.read(i) for i in flat.metadata.image_id.tolist()}
    rearrange(copy)
    source = LocalSource(copy)
    assert source.missing() == []
    assert {i: source.read(i) for i in source.metadata.image_id.tolist()} == images
    assert source.metadata.label.tolist() == flat.metadata.label.tolist()
    assert source.metadata.lesion_id.tolist() == flat.metadata.lesion_id.tolist()


def test_dataverse_tab_separated_metadata_is_read(copy: Path) -> None:
    rows = read_rows(copy)
    expected = LocalSource(copy).metadata.fingerprint()
    (copy / "HAM10000_metadata.csv").unlink()
    with (copy / "HAM10000_metadata.tab").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t", quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)
    assert LocalSource(copy).metadata.fingerprint() == expected


@pytest.mark.parametrize("column", ["lesion_id", "image_id", "dx"])
def test_metadata_without_a_needed_column_is_refused(copy: Path, column: str) -> None:
    rows = read_rows(copy)
    for row in rows:
        del row[column]
    write_rows(copy, rows)
    with pytest.raises(UserError, match=rf"HAM10000_metadata.csv.*expected (a|the columns) .*{column}"):
        LocalSource(copy)


def test_repeated_image_is_refused_by_id(copy: Path) -> None:
    rows = read_rows(copy)
    write_rows(copy, [*rows, rows[3]])
    with pytest.raises(UserError, match=rows[3]["image_id"]):
        LocalSource(copy)


def test_unknown_diagnosis_is_refused_by_id(copy: Path) -> None:
    rows = read_rows(copy)
    rows[5]["dx"] = "scc"
    write_rows(copy, rows)
    with pytest.raises(UserError, match=rf"{rows[5]['image_id']} \('scc'\)"):
        LocalSource(copy)


def test_lesion_with_two_diagnoses_is_refused_by_id(copy: Path) -> None:
    rows = read_rows(copy)
    other = next(row for row in rows if row["dx"] != rows[0]["dx"])
    other["lesion_id"] = rows[0]["lesion_id"]
    write_rows(copy, rows)
    with pytest.raises(UserError, match=rf"one diagnosis a lesion.*{rows[0]['lesion_id']}"):
        LocalSource(copy)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "a header and rows"),
        (b'lesion_id,image_id,"dx\nHAM_1,ISIC_1,nv"\n', "a header alone"),
        (b"lesion_id,image_id,dx, dx\nHAM_1,ISIC_1,nv,mel\n", "every column once, got dx"),
        (b"\xff\xfe\x00garbage\n\x80\n", "UTF-8"),
        (b"lesion_id,image_id,dx\nHAM_1,ISIC_1\n", "line.s. 2"),
        (b"lesion_id,image_id,dx,age\nHAM_1,ISIC_1,nv,old\n", "'old'"),
        (b"lesion_id,image_id,dx,age\nHAM_1,ISIC_1,nv,-5\n", "'-5'"),
        (b"lesion_id,image_id,dx,age\nHAM_1,ISIC_1,nv,1e999\n", "'1e999'"),
        (b"lesion_id,image_id,dx\n,ISIC_1,nv\n", "expected a lesion_id for every image.*got none for ISIC_1;"),
        (b"lesion_id,image_id,dx\nHAM_1,=HYPERLINK(0),nv\n", "'=HYPERLINK.0.'"),
        (b"lesion_id,image_id,dx\n@SUM(A1),ISIC_1,nv\n", "'@SUM.A1.'"),
        (b"lesion_id,image_id,dx\nHAM_1,ISIC_\x1b[2J,nv\n", r"ISIC_.x1b.2J"),
        (b"lesion_id,image_id,dx\nHAM_1,ISIC_1\0,nv\n", r"ISIC_1.x00"),
        (b"lesion_id,image_id,dx\nHAM_1,ISIC_1," + b"n" * 201 + b"\n", r"at most 200 characters.*2 .'dx'."),
    ],
)
def test_damaged_metadata_is_refused(copy: Path, content: bytes, expected: str) -> None:
    (copy / "HAM10000_metadata.csv").write_bytes(content)
    with pytest.raises(UserError, match=expected):
        LocalSource(copy)


def test_a_table_without_end_is_not_read(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_TABLE_BYTES", 1000)
    with pytest.raises(UserError, match="at most 1,000 bytes"):
        LocalSource(copy)


def test_one_hot_without_lesions_is_refused_unless_allowed(copy: Path) -> None:
    write_one_hot(copy)
    (copy / "ISIC2018_Task3_Training_LesionGroupings.csv").unlink()
    with pytest.raises(UserError, match="LesionGroupings"):
        LocalSource(copy)
    table = LocalSource(copy, allow_missing=True).metadata
    assert table.lesion_id.tolist() == table.image_id.tolist()


def test_one_hot_row_with_two_classes_is_refused_by_id(copy: Path) -> None:
    write_one_hot(copy)
    truth = copy / "ISIC2018_Task3_Training_GroundTruth.csv"
    lines = truth.read_text().splitlines()
    lines[1] = lines[1].split(",")[0] + ",1.0,1.0,0.0,0.0,0.0,0.0,0.0"
    truth.write_text("\n".join(lines))
    with pytest.raises(UserError, match=lines[1].split(",")[0]):
        LocalSource(copy)


def test_missing_images_are_named(copy: Path) -> None:
    gone = sorted(copy.glob("*.jpg"))[7]
    gone.unlink()
    assert LocalSource(copy).missing() == [gone.stem]


def test_broken_archive_is_refused_by_name(copy: Path) -> None:
    _zip_images(copy)
    archive = copy / "HAM10000_images_part_2.zip"
    archive.write_bytes(archive.read_bytes()[:-5000])
    with pytest.raises(UserError, match="HAM10000_images_part_2.zip"):
        LocalSource(copy)


def test_two_different_images_of_one_id_are_refused(copy: Path) -> None:
    first = sorted(copy.glob("*.jpg"))[0]
    (copy / "again").mkdir()
    (copy / "again" / first.name).write_bytes(first.read_bytes() + b"more")
    with pytest.raises(UserError, match=first.stem):
        LocalSource(copy)


@pytest.mark.parametrize("what", ["nothing", "a file", "no table", "no image"])
def test_a_folder_that_is_no_copy_is_refused(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "folder"
    if what == "a file":
        folder.write_text("")
    elif what != "nothing":
        folder.mkdir()
    if what == "no image":
        (folder / "HAM10000_metadata.csv").write_text("lesion_id,image_id,dx\nHAM_1,ISIC_1,nv\n")
    with pytest.raises(UserError, match="expected"):
        LocalSource(folder)
