"""Sources as people have them: what is read, what is passed over, and what is refused."""

import csv
import os
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hamjax.data.classes import CLASSES
from hamjax.data.preparation.prepare import DataRequest, prepare
from hamjax.data.preparation.verify import verify
from hamjax.data.sources.folder import LocalSource
from hamjax.data.splits import make_split, split_csv
from hamjax.runtime.errors import UserError
from tests.conftest import read_rows, write_one_hot, write_rows
from tests.helpers.tables import TABLE, as_excel, images_in


def _pixels_and_table(folder: Path, **asked: Any) -> dict[str, Any]:
    request = DataRequest(
        name="ham10000", source_dir=str(folder), data_dir=str(folder.parent / f"data_{folder.name}"), image_size=12,
        resize="squash", allow_missing=False, synthetic_images=300,
    )  # fmt: skip
    dataset = prepare(request, lambda _: None, **asked)
    metadata = dataset.metadata
    return {
        "ids": metadata.image_id.tolist(),
        "classes": metadata.label.tolist(),
        "lesions": metadata.lesion_id.tolist(),
        "split": split_csv(metadata, make_split(metadata, "honest")),
        "pixels": np.asarray(dataset.images).tobytes(),
        "fingerprint": dataset.fingerprint,
    }


def _move(folder: Path, place: Callable[[Path, str], Path]) -> None:
    """Move every image; `place` names where, from its file and its class."""
    dx = {row["image_id"]: row["dx"] for row in read_rows(folder)}
    for image in images_in(folder):
        target = place(image, dx[image.stem])
        target.parent.mkdir(parents=True, exist_ok=True)
        image.rename(target)


def _zip(folder: Path, path: Path, name: str = "{}") -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for image in images_in(folder):
            archive.write(image, name.format(image.name))
            image.unlink()


def _windows_zip(folder: Path) -> None:
    _zip(folder, folder / "part.zip", "HAM10000_images_part_1/{}")
    raw = (folder / "part.zip").read_bytes()  # Python's zipfile would write "/"
    (folder / "part.zip").write_bytes(raw.replace(b"HAM10000_images_part_1/", b"HAM10000_images_part_1\\"))


def _zip_in_zip(folder: Path) -> None:
    _zip(folder, folder / "part.zip")
    with zipfile.ZipFile(folder / "dataverse_files.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("part.zip", TABLE):
            archive.write(folder / name, name)
            (folder / name).unlink()


def _kaggle(folder: Path) -> None:
    _move(folder, lambda image, _: folder / f"HAM10000_images_part_{1 + int(image.stem[-1]) % 2}" / image.name)
    shutil.copytree(folder / "HAM10000_images_part_1", folder / "ham10000_images_part_1")
    (folder / "hmnist_8_8_L.csv").write_text("pixel0000,label\n1,2\n")


def _kagglehub(folder: Path) -> None:
    version = folder / "datasets" / "kmader" / "skin-cancer-mnist-ham10000" / "versions" / "2"
    _move(folder, lambda image, _: version / "HAM10000_images_part_1" / image.name)
    (folder / TABLE).rename(version / TABLE)


def _links(folder: Path) -> None:
    outside = folder.parent / "elsewhere"
    _move(folder, lambda image, _: outside / image.name)
    (folder / "images").symlink_to(outside)
    (outside / "back").symlink_to(folder)  # a loop


def _archive_table(folder: Path) -> None:
    """The ISIC Archive's own table, as its command line downloads it."""
    words = {"akiec": "actinic keratosis", "bcc": "basal cell carcinoma", "bkl": "pigmented benign keratosis",
             "df": "dermatofibroma", "mel": "melanoma", "nv": "nevus", "vasc": "vascular lesion"}  # fmt: skip
    rows = [
        {"isic_id": row["image_id"], "attribution": "ViDIR, Vienna", "age_approx": row["age"],
         "diagnosis": words[row["dx"]], "sex": row["sex"], "lesion_id": row["lesion_id"]}
        for row in read_rows(folder)
    ]  # fmt: skip
    write_rows(folder, rows)
    (folder / TABLE).rename(folder / "metadata.csv")


def _class_folders(folder: Path) -> None:
    """A folder a class, and a table of everything but the class."""
    _move(folder, lambda image, dx: folder / dx / image.name)
    write_rows(folder, [{k: v for k, v in row.items() if k != "dx"} for row in read_rows(folder)])
    (folder / TABLE).rename(folder / "lesions.csv")


SAME_CELLS = {
    "publisher's zips": lambda folder: _zip(folder, folder / "HAM10000_images_part_1.zip"),
    "Kaggle": _kaggle, "kagglehub": _kagglehub, "zip in zip": _zip_in_zip, "Windows": _windows_zip, "links": _links,
    "class folders": _class_folders,
}  # fmt: skip
OTHER_CELLS = {"one-hot": write_one_hot, "ISIC Archive": _archive_table}


def test_every_layout_gives_the_same_data_set(few: Path, tmp_path: Path) -> None:
    expected = _pixels_and_table(few)
    for name, rearrange in (SAME_CELLS | OTHER_CELLS).items():
        folder = Path(shutil.copytree(few, tmp_path / name.replace(" ", "_") / "copy"))
        rearrange(folder)
        found = _pixels_and_table(folder)
        for key in expected.keys() - ({"fingerprint"} if name in OTHER_CELLS else set()):
            assert found[key] == expected[key], (name, key)


@pytest.mark.parametrize(
    "junk",
    [".ipynb_checkpoints/{}-checkpoint.jpg", ".ipynb_checkpoints/{}.jpg", "@eaDir/{}.jpg", "__MACOSX/._{}.jpg",
     "__MACOSX/{}.jpg", ".Trash-1000/files/{}.jpg", "thumbnails/{}.jpg", "$RECYCLE.BIN/{}.jpg", "#recycle/{}.jpg"],
)  # fmt: skip
@pytest.mark.parametrize("packed", [False, True])
def test_what_systems_leave_is_never_read(few: Path, junk: str, packed: bool) -> None:
    before = LocalSource(few)
    wanted = {i: before.read(i) for i in before.metadata.image_id.tolist()}
    for image_id in wanted:
        place = few / "a" / junk.format(image_id)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"a preview")
    (few / "a" / junk.format("x")).with_name("HAM10000_metadata.csv").write_text("lesion_id,image_id,dx\nL,x,nv\n")
    (few / "._parts.zip").write_bytes(b"Mac OS X")
    if packed:
        shutil.make_archive(str(few / "more"), "zip", few / "a")
        shutil.rmtree(few / "a")
    source = LocalSource(few)
    assert len(source.metadata) == len(wanted)
    assert {i: source.read(i) for i in source.metadata.image_id.tolist()} == wanted


def test_hidden_folders_are_known_in_archives_of_windows(few: Path) -> None:
    first = images_in(few)[0]
    with zipfile.ZipFile(few / "more.zip", "w") as archive:
        archive.writestr(f"part/.Trash-1000/{first.name}", b"a preview")
    raw = (few / "more.zip").read_bytes()
    (few / "more.zip").write_bytes(raw.replace(b"part/.Trash-1000/", b"part\\.Trash-1000\\"))
    assert LocalSource(few).missing() == []


def test_a_clash_matters_where_the_table_names_the_image(few: Path) -> None:
    first = images_in(few)[0]
    for place in ("one/confusion.png", "two/confusion.png", f"copies/{first.name}"):
        (few / place).parent.mkdir(exist_ok=True)
        (few / place).write_bytes(first.read_bytes() if "copies" in place else place.encode() * 2)
    (few / "two" / "confusion.png").write_bytes(b"more")
    assert LocalSource(few).missing() == []
    (few / "copies" / first.name).write_bytes(first.read_bytes() + b"more")
    with pytest.raises(UserError, match=rf"{first.stem} \({first.name} and copies/{first.name}\)"):
        LocalSource(few)
    changed = bytearray(first.read_bytes())
    changed[-30] ^= 1  # as large as the first
    (few / "copies" / first.name).write_bytes(changed)
    with pytest.raises(UserError, match=rf"{first.name} and copies/{first.name} are two different files"):
        verify(LocalSource(few), allow_missing=False)


def test_a_doubled_suffix_is_found_and_another_name_is_told(few: Path) -> None:
    first, second = images_in(few)[:2]
    first.rename(few / f"{first.name}.jpg")
    assert LocalSource(few).missing() == []
    second.rename(few / f"{second.stem} (1).jpg")
    with pytest.raises(UserError, match=re.escape(f"No row names 1 images there: {second.stem} (1).jpg")):
        verify(LocalSource(few), allow_missing=False)


def test_other_diagnoses_of_the_archive_are_listed_and_left_out(few: Path) -> None:
    _archive_table(few)
    rows = list(csv.DictReader((few / "metadata.csv").read_text().splitlines()))
    keratoses = [row for row in rows if row["diagnosis"] == "actinic keratosis"]
    own = few / "ISIC_0024306.jpg"
    (few / f"{keratoses[0]['isic_id']}.jpg").rename(own)
    keratoses[0] |= {"isic_id": own.stem, "diagnosis": "squamous cell carcinoma"}  # HAM10000's own: akiec
    rows[-1]["diagnosis"], rows[-2]["diagnosis"] = "squamous cell carcinoma", "lentigo NOS"
    (few / "metadata.csv").write_bytes(as_excel(rows, delimiter=","))
    source = LocalSource(few)
    assert source.outside == {rows[-1]["isic_id"]: "squamous cell carcinoma", rows[-2]["isic_id"]: "lentigo NOS"}
    assert source.metadata.label[source.metadata.image_id.tolist().index(own.stem)] == 0
    assert len(source.metadata) == len(rows) - 2


def test_images_in_no_folder_of_a_class_are_listed(few: Path) -> None:
    first, second, third = [image.name for image in images_in(few)[:3]]
    _class_folders(few)
    found = {image.name: image for image in few.rglob("*.jpg")}
    for name, place in ((first, "figures"), (second, "test/nv")):
        (few / place).mkdir(parents=True)
        found[name].rename(few / place / name)
    (few / "melanoma").mkdir()
    found[third].rename(few / "melanoma" / third)  # a class in words
    (few / os.fsdecode(b"l\xe4sion.png")).write_bytes(b"")
    source = LocalSource(few)
    assert source.outside == {
        f"figures/{first}": "in no folder of a class", f"test/nv/{second}": "in a test part",
        "l\N{REPLACEMENT CHARACTER}sion.png": "in no folder of a class",
    }  # fmt: skip
    assert len(source.metadata) == len(found) - 2
    assert CLASSES[source.metadata.label[source.metadata.image_id.tolist().index(Path(third).stem)]] == "mel"


@pytest.mark.parametrize("name", ["[1]", "{a,b}", "*", "a b", "~", "é", "%s", "{}"])
def test_any_character_may_be_in_a_path(few: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name / "copy"
    folder.parent.mkdir()
    few.rename(folder)
    expected = len(images_in(folder))
    for _ in range(2):
        assert len(_pixels_and_table(folder)["ids"]) == expected
    shutil.rmtree(folder)


@pytest.mark.parametrize("what", ["folder", "image"])
def test_names_in_a_source_need_not_be_text(few: Path, what: str) -> None:
    latin = os.fsdecode("läsion".encode("latin-1"))
    if what == "folder":
        (few / latin).mkdir()
        for image in images_in(few):
            image.rename(few / latin / image.name)
    else:
        shutil.copy(images_in(few)[0], few / f"{latin}.jpg")
    assert len(_pixels_and_table(few)["ids"]) == len(read_rows(few))
