"""DermaMNIST's file as a source: its pixels, classes and parts, and what is not known of it."""

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hamjax.commands.training_run import train
from hamjax.config import Config
from hamjax.data.preparation.images import decode
from hamjax.data.preparation.verify import verify
from hamjax.data.sources import dermamnist
from hamjax.data.sources.dermamnist import DermaMnistSource
from hamjax.data.sources.synthetic import SyntheticSource
from hamjax.data.splits import make_split
from hamjax.runtime.errors import UserError

COUNTS = {"train": 84, "val": 14, "test": 28}
Arrays = dict[str, np.ndarray]


def _arrays(side: int) -> Arrays:
    rng, arrays = np.random.default_rng(side), {}
    for part, count in COUNTS.items():
        arrays[f"{part}_images"] = rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
        arrays[f"{part}_labels"] = np.resize(np.arange(7, dtype=np.uint8), (count, 1))
    return arrays


@pytest.fixture(params=["compressed", "stored"])
def save(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Arrays], Path]:
    """Write arrays as such a file."""

    def write(arrays: Arrays) -> Path:
        path = tmp_path / "dermamnist_64.npz"
        (np.savez_compressed if request.param == "compressed" else np.savez)(path, **arrays)  # pyright: ignore
        return path

    return write


@pytest.mark.parametrize("side", [28, 64, 128, 224])
def test_pixels_classes_and_parts_are_the_files(save: Callable[[Arrays], Path], side: int) -> None:
    arrays = _arrays(side)
    source = DermaMnistSource(save(arrays))
    table = source.metadata
    split = make_split(table, "source")
    for part, count in COUNTS.items():
        rows = table.select(split == part)
        assert len(rows) == count
        assert rows.label.tolist() == arrays[f"{part}_labels"][:, 0].tolist()
        for i in (count - 1, 0, 7):
            found = np.asarray(decode(source.read(rows.image_id[i])))
            np.testing.assert_array_equal(found, arrays[f"{part}_images"][i])
    assert table.lesion_id.tolist() == table.image_id.tolist()  # as records say that none is known
    kept, details = verify(source, allow_missing=False)
    assert len(kept) == len(table)
    assert details["images_note"] == f"126 images of {side}x{side} pixels"


def test_the_published_leak_is_told_of_the_published_file_alone(
    save: Callable[[Arrays], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(_arrays(28))
    (facts,) = DermaMnistSource(path).tables
    assert facts["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert "published" not in facts
    monkeypatch.setattr(dermamnist, "PUBLISHED", {hashlib.md5(path.read_bytes()).hexdigest(): 28})
    assert "886 of 2,005" in DermaMnistSource(path).tables[0]["published"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda a: a.pop("val_labels"), "got none of val_labels.npy"),
        (lambda a: a.update(val_labels=a["val_labels"] + 7), "labels 0 to 6 in val_labels.npy, got 7 to 13"),
        (lambda a: a.update(val_labels=a["val_labels"] / 2), "val_labels.npy to be .N, 1. of whole numbers"),
        (lambda a: a.update(val_labels=a["val_labels"][:0]), "val_labels.npy to be .N, 1."),
        (lambda a: a.update(val_labels=np.array(["x"], dtype=object)), "an array in val_labels.npy"),
        (lambda a: a.update(val_images=a["val_images"][1:]), r"val_images.npy to be uint8 .14, S, S, 3."),
        (lambda a: a.update(val_images=a["val_images"][..., 0]), "val_images.npy to be uint8"),
        (lambda a: a.update(val_images=a["val_images"].astype(float)), "val_images.npy to be uint8"),
        (lambda a: a.update(val_images=np.asfortranarray(a["val_images"])), "val_images.npy to be uint8"),
    ],
)  # fmt: skip
def test_another_file_is_refused_with_the_reason(
    save: Callable[[Arrays], Path], change: Callable[[Arrays], object], reason: str
) -> None:
    arrays = _arrays(28)
    change(arrays)
    with pytest.raises(UserError, match=reason):
        DermaMnistSource(save(arrays))


def test_other_sources_have_no_parts_of_their_own() -> None:
    with pytest.raises(UserError, match=r"data.split=source: expected a source that has parts"):
        make_split(SyntheticSource(300).metadata, "source")


@pytest.mark.usefixtures("quick_compiler")
def test_a_run_on_it_claims_nothing_about_lesions(
    tiny: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "dermamnist.npz"
    np.savez(path, **_arrays(28))  # pyright: ignore
    monkeypatch.setattr(dermamnist, "PUBLISHED", {hashlib.md5(path.read_bytes()).hexdigest(): 28})
    data = {"data__name": "ham10000", "data__source_dir": str(path), "data__data_dir": str(tmp_path / "data")}
    result = train(tiny(**data, data__split="source", train__epochs=1, train__global_batch_size=16), tmp_path / "run")
    assert result is not None
    said = capsys.readouterr().out
    assert re.search(r"table dermamnist.npz: DermaMNIST, 126 rows, SHA-256 \w{64}; .*886 of 2,005", said)
    summary = result.report.summary
    assert {part: sum(counts.values()) for part, counts in summary["split"]["counts"].items()} == COUNTS
    assert summary["bootstrap"]["resampled"] == "images"
    page = (tmp_path / "run" / "report" / "index.html").read_text()
    assert "As the publisher of the images divided them." in page
    assert "drawn one by one" not in page
    assert "886 of 2,005" in page
    shutil.rmtree(tmp_path / "data")
