"""Labels as people have them: paths of any system, names that repeat, folders by class, ISIC's other tables."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hamjax.data.classes import CLASSES
from hamjax.data.external import describe_external, read_external
from hamjax.data.external_labels import read_labels, shortest_ids
from hamjax.runtime.errors import UserError


def _image(path: Path, shade: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 9), (shade, 0, 0)).save(path)
    return path


def _table(path: Path, header: str, *rows: tuple[object, ...]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header.split(","), *rows])
    return path


def _scored(images: Path, labels: Path | None = None) -> dict[str, tuple[str, int]]:
    """Return class and shade of every image that is scored, by id."""
    external = read_external(images, labels)
    pixels = external.dataset(4, "squash").images[:, 0, 0, 0]
    rows = zip(external.metadata.image_id, external.metadata.label, pixels, strict=True)
    return {str(image): (CLASSES[label], round(int(red), -1)) for image, label, red in rows}


def test_an_id_is_as_much_of_a_path_as_tells_it_from_others() -> None:
    names = ["nv/1.jpg", "mel\\1.JPG", "a/nv/2.jpg", "b/nv/2.jpg", "C:\\data\\ISIC_7.jpg.jpg", "./3.png", "x/4", "4"]
    assert list(shortest_ids(names).values()) == [
        "nv/1", "mel/1", "a/nv/2", "b/nv/2", "ISIC_7", "3", "x/4", "4",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name", ["images\\A.jpg", "C:\\my data\\A.jpg", "/home/me/A.JPG", "A", "deep/A.jpg", "./A.png"]
)
def test_an_image_is_found_by_a_path_of_any_system(tmp_path: Path, name: str) -> None:
    _image(tmp_path / "images" / "deep" / "A.png", 100)
    table = _table(tmp_path / "labels.csv", "image,label", (name, "nv"))
    assert _scored(tmp_path / "images", table) == {"A": ("nv", 100)}


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    root = tmp_path / "images"
    for shade, name in ((10, "nv/1.png"), (20, "mel/1.png"), (30, "mel/2.png"), (40, "1.png")):
        _image(root / name, shade)
    rows = [("images/nv/1.png", "nv"), ("images\\mel\\1.png", "mel"), ("mel/2.png", "mel"), ("bcc/1.png", "bcc")]
    table = _table(tmp_path / "labels.csv", "image,label", *rows)
    assert _scored(root, table) == {"nv/1": ("nv", 10), "mel/1": ("mel", 20), "2": ("mel", 30)}
    facts = read_external(root, table).facts
    assert facts["without_image"] == ["bcc/1"]  # and not the image of another folder
    assert facts["unlabelled"] == ["1.png"]


def test_the_path_chooses_among_files_of_one_id(tmp_path: Path) -> None:
    for shade, name in ((10, "train/A.png"), (20, "test/A.png")):
        _image(tmp_path / name, shade)
    table = _table(tmp_path / "labels.csv", "image,label", ("data/test/A.png", "nv"))
    assert _scored(tmp_path, table) == {"A": ("nv", 20)}
    (tmp_path / "test" / "A.png").write_bytes(b"of another size")
    either = _table(tmp_path / "labels.csv", "image,label", ("A", "nv"))
    with pytest.raises(UserError, match=r"A \(test/A.png and train/A.png\)"):
        read_external(tmp_path, either)


def test_folders_may_be_the_labels(tmp_path: Path) -> None:
    places = {"mel/1.png": 10, "NV/1.png": 20, "nv/part/2.png": 30, "AK/1.png": 40, "Basal_cell carcinoma/9.png": 50}
    for name, shade in (places | {"SCC/1.png": 60, "other/1.png": 70, "squamous cell carcinoma/7.png": 80}).items():
        _image(tmp_path / name, shade)
    assert _scored(tmp_path) == {
        "mel/1": ("mel", 10), "NV/1": ("nv", 20), "2": ("nv", 30), "AK/1": ("akiec", 40), "9": ("bcc", 50),
    }  # fmt: skip
    facts = read_external(tmp_path).facts
    assert facts["layout"] == "class folders"
    assert facts["outside"] == {"SCC/1": "SCC", "7": "squamous cell carcinoma"}
    assert facts["unlabelled"] == ["other/1.png"]
    assert (facts["labelled"], facts["scored"], facts["table"]["rows"]) == (7, 5, 7)
    with pytest.raises(UserError, match="images of the seven classes, got none"):
        read_external(tmp_path / "other")


def test_rows_outside_the_seven_classes_are_counted_listed_and_left_out(tmp_path: Path) -> None:
    codes = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK")
    names = {"A_downsampled": "AK", "B": "SCC", "C": "UNK", "D": "SCC", "E": "MEL"}
    for name in names:
        _image(tmp_path / f"{name}.jpg")
    rows = [(name, *(float(code == dx) for code in codes)) for name, dx in names.items()]
    external = read_external(tmp_path, _table(tmp_path / "truth.csv", "image," + ",".join(codes), *rows))
    assert [(row["image_id"], row["dx"]) for row in external.metadata.rows()] == [
        ("A_downsampled", "akiec"),
        ("E", "mel"),
    ]
    assert external.facts["outside"] == {"B": "SCC", "C": "UNK", "D": "SCC"}
    assert (external.facts["labelled"], external.facts["scored"], external.facts["unlabelled"]) == (5, 2, [])
    nothing = {"images": 0, "lesions": None, "unknown": 2, "checked_by": "image id", "ids": []}
    said = describe_external(external.facts | {"overlap": nothing})
    assert "outside the seven classes, left out: 3 (SCC 2, UNK 1): B, C, D" in said
    assert "2 of 5 images are scored" in said


@pytest.mark.parametrize("header", ["image,label", "image_id,dx"])
def test_codes_outside_the_seven_classes_are_left_out_of_any_table(tmp_path: Path, header: str) -> None:
    table = _table(tmp_path / "labels.csv", header, ("A", "MEL"), ("B", "SCC"), ("C", "unk"))
    labels = read_labels(table)
    assert [(row["image_id"], row["dx"]) for row in labels.metadata.rows()] == [("A", "mel")]
    assert labels.outside == {"B": "scc", "C": "unk"}
    assert labels.facts["rows"] == 3
    with pytest.raises(UserError, match=r"one of akiec.*got A \('warts'\)"):
        read_labels(_table(tmp_path / "labels.csv", header, ("A", "warts"), ("B", "SCC")))


def test_the_archives_table_is_read_with_its_words(tmp_path: Path) -> None:
    table = _table(
        tmp_path / "metadata.csv", "isic_id,attribution,age_approx,diagnosis,sex,lesion_id",
        ("ISIC_0024306", "x" * 3000, 45, "nevus", "male", "L1"),
        ("ISIC_0024307", "", "", "squamous cell carcinoma", "", "L2"),
        ("ISIC_0099999", "", 30, "squamous cell carcinoma", "", ""),
        ("ISIC_0024308", "", 30, "seborrheic keratosis", "", ""),
    )  # fmt: skip
    labels = read_labels(table)
    assert labels.layout == "isic archive"
    found = [(row["image_id"], row["dx"], row["lesion_id"]) for row in labels.metadata.rows()]
    assert found == [("ISIC_0024306", "nv", "L1"), ("ISIC_0024307", "akiec", "L2")]
    assert labels.outside == {"ISIC_0099999": "squamous cell carcinoma", "ISIC_0024308": "seborrheic keratosis"}
    assert labels.metadata.age[0] == 45
    assert np.isnan(labels.metadata.age[1])


def test_an_image_inside_and_outside_the_seven_classes_is_refused(tmp_path: Path) -> None:
    rows = [("ISIC_1", "nevus"), ("ISIC_1.jpg", "lichen planus")]
    with pytest.raises(UserError, match="one diagnosis an image, got two for ISIC_1"):
        read_labels(_table(tmp_path / "metadata.csv", "isic_id,diagnosis", *rows))


def test_links_among_the_images_are_followed(tmp_path: Path) -> None:
    _image(tmp_path / "elsewhere" / "A.png", 50)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "part").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "images" / "loop").symlink_to(tmp_path / "images", target_is_directory=True)
    table = _table(tmp_path / "labels.csv", "image,label", ("A", "nv"))
    assert _scored(tmp_path / "images", table) == {"A": ("nv", 50)}
