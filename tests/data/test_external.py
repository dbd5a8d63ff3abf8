"""A test set from elsewhere: every layout is read alike, nothing is dropped in silence, nonsense is refused."""

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hamjax.data.classes import CLASSES
from hamjax.data.external import read_external
from hamjax.data.external_labels import read_labels
from hamjax.data.lesions import overlap
from hamjax.data.metadata import from_rows
from hamjax.data.preparation.images import decode, resize
from hamjax.runtime.errors import UserError
from tests.helpers.external_set import CORRUPT, COUNT, LAYOUTS, write_images, write_labels

Labels = list[tuple[str, str]]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Labels]:
    folder = tmp_path_factory.mktemp("external")
    return folder, write_images(folder)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_images_and_names_the_corrupt(
    drawn: tuple[Path, Labels], tmp_path: Path, layout: str
) -> None:
    folder, labels = drawn
    table = write_labels(tmp_path / "labels.csv", layout, labels)
    external = read_external(folder, table)
    assert external.facts == {
        "layout": layout, "labelled": COUNT + 2, "scored": COUNT, "unreadable": list(CORRUPT), "outside": {},
        "without_image": [], "unlabelled": [], "weightless": [], "fingerprint": external.facts["fingerprint"],
        "table": {"place": str(table), "rows": COUNT + 2, "sha256": hashlib.sha256(table.read_bytes()).hexdigest()},
    }  # fmt: skip
    assert external.metadata.image_id.tolist() == [image_id for image_id, _ in labels[:COUNT]]
    assert [CLASSES[k] for k in external.metadata.label] == [dx for _, dx in labels[:COUNT]]
    assert external.metadata.lesion_id.tolist() == external.metadata.image_id.tolist()
    assert set(external.metadata.sex) == {"unknown"}
    dataset = external.dataset(16, "crop")
    assert dataset.dropped == CORRUPT
    for image, image_id in zip(dataset.images, dataset.metadata.image_id, strict=True):
        (path,) = folder.rglob(f"{image_id}.*")
        np.testing.assert_array_equal(image, resize(decode(path.read_bytes()), 16, "crop"))


def test_labels_without_image_and_images_without_label_are_listed(drawn: tuple[Path, Labels], tmp_path: Path) -> None:
    folder, labels = drawn
    some = [*labels[1:10], ("GONE_1", "nv"), ("GONE_0", "mel")]
    facts = read_external(folder, write_labels(tmp_path / "labels.csv", "pairs", some)).facts
    assert (facts["labelled"], facts["scored"]) == (11, 9)
    assert facts["without_image"] == ["GONE_0", "GONE_1"]
    assert len(facts["unlabelled"]) == COUNT + 2 - 9
    assert facts["unlabelled"][0] == "part0/deeper0/EXT_000.jpg"


def test_files_that_cannot_be_opened_are_listed(drawn: tuple[Path, Labels], tmp_path: Path) -> None:
    folder, labels = drawn
    (tmp_path / "EXT_000.jpg").symlink_to(folder / "gone.jpg")
    (tmp_path / "EXT_001.png").write_bytes(b"")
    (tmp_path / "EXT_002.png").write_bytes(next(folder.rglob("EXT_002.*")).read_bytes())
    external = read_external(tmp_path, write_labels(tmp_path / "labels.csv", "pairs", labels[:3]))
    assert external.facts["unreadable"] == ["EXT_000", "EXT_001"]
    assert external.metadata.image_id.tolist() == ["EXT_002"]


@pytest.mark.parametrize("with_image", [False, True])
def test_the_isic_row_of_weight_zero_is_named_and_not_scored(
    drawn: tuple[Path, Labels], tmp_path: Path, with_image: bool
) -> None:
    _, labels = drawn
    Image.new("RGB", (20, 20)).save(tmp_path / "EXT_000.png")
    if with_image:
        Image.new("RGB", (20, 20)).save(tmp_path / "ISIC_0035068.jpg")
    table = write_labels(tmp_path / "truth.csv", "isic", [labels[0], ("ISIC_0035068", "nv")])
    external = read_external(tmp_path, table)
    assert external.metadata.image_id.tolist() == ["EXT_000"]
    assert external.facts["weightless"] == ["ISIC_0035068"]
    assert external.facts["without_image"] == ([] if with_image else ["ISIC_0035068"])
    assert external.dataset(16, "squash").dropped == ()


def test_images_are_read_from_archives_too(drawn: tuple[Path, Labels], tmp_path: Path) -> None:
    folder, labels = drawn
    table = write_labels(tmp_path / "labels.csv", "pairs", labels)
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for path in folder.rglob("EXT_*"):
            archive.write(path, path.relative_to(folder))
    packed, plain = (read_external(where, table) for where in (tmp_path, folder))
    assert packed.facts == plain.facts


def test_all_columns_of_ham10000_are_kept(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(
        "image_id,lesion_id,dx,age,sex,localization,dataset\nA.JPG,L1,MEL,70,female,back,there\nB,,nv,,,,\n"
    )
    labels = read_labels(table)
    assert labels.layout == "ham10000"
    assert [row | {"age": str(row["age"])} for row in labels.metadata.rows()] == [
        {"image_id": "A", "lesion_id": "L1", "label": 4, "age": "70.0", "dx_type": "unknown", "sex": "female",
         "localization": "back", "dataset": "there", "dx": "mel"},
        {"image_id": "B", "lesion_id": "B", "label": 5, "age": "nan", "dx_type": "unknown", "sex": "unknown",
         "localization": "unknown", "dataset": "unknown", "dx": "nv"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,label\nA,nv\nB,mel\nA,nv\n", r"each image_id once.* A \(nv and nv\)"),
        ("image,label\nA,nv\nA.jpg,mel\n", r"each image_id once.* A \(nv and mel\)"),
        ("image,label\nA,wart\n", r"A \('wart'\)"),
        ("image,label\nA,\n", r"A \(''\)"),
        ("image_id,dx,lesion_id\nA,nv,L\nB,mel,L\n", r"one diagnosis a lesion.* L \(mel and nv\)"),
        ("image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\nA,1,1,0,0,0,0,0\n", "row of A"),
        ("file,label\nA,nv\n", "expected the columns image_id,dx or image,label or isic_id,diagnosis or image,AKIEC"),
        ("\n\n\n", "a header and rows"),
        (None, "expected a table"),
    ],
)
def test_labels_that_make_no_sense_are_refused_by_name(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_labels(tmp_path / "labels.csv")


def test_a_set_of_which_nothing_can_be_scored_is_refused(tmp_path: Path) -> None:
    (tmp_path / "A.jpg").write_bytes(b"no image")
    with pytest.raises(UserError, match="got none; undecodable: A"):
        read_external(tmp_path, write_labels(tmp_path / "labels.csv", "pairs", [("A", "nv")]))
    with pytest.raises(UserError, match="got none; the table names B"):
        read_external(tmp_path, write_labels(tmp_path / "labels.csv", "pairs", [("B", "nv")]))


@pytest.mark.parametrize("side", [10_000, 15_000])  # Pillow warns of the first and refuses the second
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_an_image_bomb_is_refused(side: int) -> None:
    buffer = io.BytesIO()
    Image.new("1", (side, side)).save(buffer, "png")
    with pytest.raises(ValueError, match="too many|exceeds limit"):
        decode(buffer.getvalue())


def test_a_header_that_claims_a_huge_image_is_not_believed() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "jpeg")
    encoded = bytearray(buffer.getvalue())
    frame = encoded.index(b"\xff\xc0")  # marker, length, precision, height, width
    encoded[frame + 5 : frame + 9] = b"\xff\xdc\xff\xdc"
    with pytest.raises(ValueError, match="exceeds limit"):
        decode(bytes(encoded))


def test_a_jpeg_of_too_many_scans_is_refused() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "jpeg", progressive=True)
    encoded = buffer.getvalue()
    assert decode(encoded).size == (16, 16)
    scan = encoded[encoded.rindex(b"\xff\xda") : -2]
    with pytest.raises(ValueError, match="more than 200 scans"):
        decode(encoded[:-2] + 1000 * scan + encoded[-2:])


@pytest.mark.parametrize("kind", ["gif", "bmp", "tiff", "webp", "ppm", "eps"])
def test_what_is_no_jpeg_or_png_is_refused_whatever_its_name(kind: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, kind)
    with pytest.raises(ValueError, match="no JPEG or PNG"):
        decode(buffer.getvalue())


def test_overlap_knows_images_lesions_and_near_duplicates() -> None:
    def table(*rows: tuple[str, str]):
        return from_rows([{"image_id": i, "lesion_id": k, "dx": "nv"} for i, k in rows], where="test")

    run = table(("ISIC_0033481", "H1"), ("R2", "H2"), ("R3", "H2"), ("R4", "H4"), ("R5", "H5"))
    split = np.array(["train", "train", "test", "test", "val"])  # in the order of ids: ISIC..., R2 ...
    tested = table(
        ("A1", "A1"), ("A2", "H2"), ("ISIC_0033421", "ISIC_0033421"), ("R2", "R2"), ("R3", "R3"), ("R4", "R4"),
        ("A5", "H5"), ("A6", "H4"),
    )  # fmt: skip
    found = dict(zip(tested.image_id.tolist(), overlap(tested, run, split)[0].tolist(), strict=True))
    assert found == {
        "A1": "", "A2": "H2", "A5": "H5", "A6": "", "ISIC_0033421": "ISIC_0033421", "R2": "H2", "R3": "H2", "R4": "",
    }  # fmt: skip


def test_columns_of_labels_may_be_in_capitals(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("IMAGE_ID,DX\nISIC_1,NV\n")
    assert read_labels(tmp_path / "labels.csv").metadata.image_id.tolist() == ["ISIC_1"]
