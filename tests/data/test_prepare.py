"""From a source to a data set: the same path always, and nothing half-written."""

import hashlib
import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from filelock import FileLock
from PIL import Image

from hamjax.data.classes import CLASSES
from hamjax.data.dataset import Dataset
from hamjax.data.preparation.cache import Cache
from hamjax.data.preparation.images import decode, resize
from hamjax.runtime import files
from hamjax.runtime.errors import UserError
from tests.conftest import IMAGES, read_rows, write_rows

Prepare = Callable[..., tuple[Dataset, str]]


def test_pixels_and_rows_are_those_of_the_source(run: Prepare, copy: Path) -> None:
    dataset, _ = run()
    assert dataset.images.shape == (IMAGES, 24, 24, 3)
    dx = {row["image_id"]: row["dx"] for row in read_rows(copy)}
    for i in (0, 17, IMAGES - 1):
        image_id = dataset.metadata.image_id[i]
        expected = resize(decode((copy / f"{image_id}.jpg").read_bytes()), 24, "squash")
        np.testing.assert_array_equal(dataset.images[i], expected)
        assert CLASSES[dataset.metadata.label[i]] == dx[image_id]


def test_tfds_reads_the_records(run: Prepare, copy: Path, tmp_path: Path) -> None:
    dataset, _ = run()
    decoders = {"image": tfds.decode.SkipDecoding()}
    builder: Any = tfds.builder_from_directory(tmp_path / "data" / "ham10000" / "1.0.0")
    assert builder.info.features["label"].names == list(CLASSES)
    by_name: Any = tfds.data_source("ham10000", data_dir=tmp_path / "data", split="train", decoders=decoders)
    for records in (builder.as_data_source("train", decoders=decoders), by_name):
        assert len(records) == IMAGES
        example = records[5]
        image_id = example["image_id"].decode()
        assert example["image"] == (copy / f"{image_id}.jpg").read_bytes()
        assert set(example) >= {"label", "lesion_id", "dx_type", "age", "sex", "localization", "dataset"}
    assert sorted(records[i]["image_id"].decode() for i in range(IMAGES)) == dataset.metadata.image_id.tolist()


def test_prepared_data_is_used_again_and_needs_no_source(run: Prepare) -> None:
    first, _ = run()
    again, said = run()
    assert said == ""
    without, _ = run(source_dir="")
    assert first.fingerprint == again.fingerprint == without.fingerprint


def test_a_cache_of_another_size_is_built_beside_the_first(run: Prepare) -> None:
    run()
    other, said = run(image_size=20)
    assert other.images.shape[1] == 20
    assert "building" in said
    assert run()[1] == ""


def test_changed_content_is_built_again_and_said_so(run: Prepare, copy: Path) -> None:
    before, _ = run()
    a, b = sorted(copy.glob("*.jpg"))[:2]
    a.write_bytes(b.read_bytes())
    after, said = run()
    assert "other content" in said
    assert after.fingerprint != before.fingerprint
    np.testing.assert_array_equal(after.images[0], after.images[1])


@pytest.mark.parametrize("damage", ["pixels", "shape", "truncated", "sidecar"])
def test_a_damaged_cache_is_built_again_and_said_so(run: Prepare, tmp_path: Path, damage: str) -> None:
    good = np.array(run()[0].images)
    cache = tmp_path / "data" / "cache" / "ham10000_24x24_squash.npy"
    if damage == "pixels":
        np.save(cache, 255 - good)
    elif damage == "shape":
        np.save(cache, good[:, :8])
    elif damage == "truncated":
        os.truncate(cache, 1000)
    else:
        cache.with_suffix(".json").write_text("{")
    dataset, said = run()
    assert "building it" in said
    np.testing.assert_array_equal(dataset.images, good)


@pytest.mark.parametrize("mode", ["I;16", "RGBA", "P", "RGB"])
def test_a_cache_of_a_version_that_decoded_otherwise_is_built_again_where_it_matters(
    run: Prepare, copy: Path, tmp_path: Path, mode: str
) -> None:
    first = sorted(copy.glob("*.jpg"))[0]
    image = Image.open(first)
    first.unlink()
    image = Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    if mode == "P":
        image.info["transparency"] = 0
    image.save(first.with_suffix(".png"))
    good = np.array(run()[0].images)
    pixels = tmp_path / "data" / "cache" / "ham10000_24x24_squash.npy"
    sidecar = pixels.with_suffix(".json")
    old = np.concatenate([np.full_like(good[:1], 255), good[1:]])
    np.save(pixels, old)
    stored = json.loads(sidecar.read_text()) | {"crc32": zlib.crc32(old.tobytes())}
    assert stored.pop("decoding")
    sidecar.write_text(json.dumps(stored))
    dataset, said = run()
    changed = mode != "RGB"
    assert ("decoded 16 bits of gray, or transparency, otherwise; building it" in said) == changed
    np.testing.assert_array_equal(dataset.images, good if changed else old)
    assert run()[1] == ""


def test_crop_keeps_the_aspect_ratio(copy: Path) -> None:
    image = decode(sorted(copy.glob("*.jpg"))[0].read_bytes())
    middle = image.crop((15, 0, 105, 90))
    np.testing.assert_array_equal(resize(image, 90, "crop"), np.asarray(middle))


def test_rows_are_ordered_by_id_whatever_the_file_says(run: Prepare, copy: Path) -> None:
    fingerprint = run()[0].metadata.fingerprint()
    write_rows(copy, read_rows(copy)[::-1])
    assert run()[0].metadata.fingerprint() == fingerprint


def test_prepared_data_is_read_where_nothing_can_be_written(
    run: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fingerprint = run()[0].fingerprint
    (tmp_path / "data" / ".lock").unlink()
    next((tmp_path / "data" / "cache").glob("*.npz")).unlink()  # the copy of the table: it is no need

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    for name in ("mkdir", "touch", "write_text"):
        monkeypatch.setattr(Path, name, refuse)
    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(files.FileLock, "acquire", refuse)
    for source_dir in ({}, {"source_dir": ""}):
        assert run(**source_dir)[0].fingerprint == fingerprint
    with pytest.raises(UserError, match=r"can be written to, got .Errno 30.*--data-dir"):
        run(image_size=20)


def test_pixels_are_checked_without_the_lock(run: Prepare, tmp_path: Path) -> None:
    run()
    with FileLock(tmp_path / "data" / ".lock"):
        assert run()[1] == ""


def test_whoever_prepared_them_lets_go_before_the_check(
    run: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_cache, opened = Cache.open, []

    def look(self: Cache, *args: Any) -> Dataset:
        with FileLock(tmp_path / "data" / ".lock", timeout=0):
            opened.append(self)
        return open_cache(self, *args)

    monkeypatch.setattr(Cache, "open", look)
    run()
    assert len(opened) == 1


def test_the_table_that_was_read_is_said_and_kept(run: Prepare, copy: Path) -> None:
    table = copy / "HAM10000_metadata.csv"
    digest = hashlib.sha256(table.read_bytes()).hexdigest()
    dataset, said = run()
    assert f"table HAM10000_metadata.csv: HAM10000, {IMAGES} rows, SHA-256 {digest}" in said
    for found in (dataset, run()[0], run(source_dir="")[0]):
        assert found.tables == ({"place": table.name, "layout": "HAM10000", "sha256": digest, "rows": IMAGES},)
