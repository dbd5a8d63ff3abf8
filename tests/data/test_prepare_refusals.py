"""What preparation refuses or continues without; nothing is left half-written."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hamjax.data.dataset import Dataset
from hamjax.runtime import files
from hamjax.runtime.errors import UserError
from tests.conftest import IMAGES

Prepare = Callable[..., tuple[Dataset, str]]


def _left_behind(folder: Path) -> list[str]:
    """What a refused preparation must not leave: records, caches, or parts of them."""
    return [p.name for p in folder.rglob("*") if p.is_file() and p.name != ".lock"]


def test_missing_image_is_refused_by_id(run: Prepare, copy: Path, tmp_path: Path) -> None:
    gone = sorted(copy.glob("*.jpg"))[3]
    gone.unlink()
    with pytest.raises(UserError, match=rf"{gone.stem}.*--allow-missing"):
        run()
    assert _left_behind(tmp_path / "data") == []


@pytest.mark.parametrize("content", [b"", b"not an image", None])
def test_undecodable_image_is_refused_by_id(run: Prepare, copy: Path, tmp_path: Path, content: bytes | None) -> None:
    bad = sorted(copy.glob("*.jpg"))[4]
    bad.write_bytes(bad.read_bytes()[:-700] if content is None else content)
    with pytest.raises(UserError, match=bad.stem):
        run()
    assert _left_behind(tmp_path / "data") == []


def test_allow_missing_goes_on_and_says_without_what(run: Prepare, copy: Path) -> None:
    images = sorted(copy.glob("*.jpg"))
    images[3].unlink()
    images[4].write_bytes(b"not an image")
    dataset, said = run(allow_missing=True)
    assert dataset.dropped == (images[3].stem, images[4].stem)
    assert len(dataset.images) == len(dataset.metadata) == IMAGES - 2
    assert images[3].stem in said
    assert images[4].stem in said
    with pytest.raises(UserError, match=images[3].stem):
        run()
    with pytest.raises(UserError, match="--allow-missing"):
        run(source_dir="")


def test_completed_copy_replaces_an_incomplete_one(run: Prepare, copy: Path) -> None:
    gone = sorted(copy.glob("*.jpg"))[3]
    content = gone.read_bytes()
    gone.unlink()
    run(allow_missing=True)
    gone.write_bytes(content)
    assert run()[0].dropped == ()


def test_no_data_names_the_two_commands(run: Prepare) -> None:
    with pytest.raises(UserError, match=r"(?s)--download.*--source"):
        run(source_dir="")


def test_full_disk_is_refused_before_anything_is_written(
    run: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match=r"bytes of free space, got 1,000"):
        run()
    assert _left_behind(tmp_path / "data") == []


def test_disk_that_fills_up_while_the_cache_is_built_leaves_none(run: Prepare, tmp_path: Path) -> None:
    import resource

    run()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        with pytest.raises(UserError, match="bytes of room"):
            run(image_size=48)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list((tmp_path / "data" / "cache").glob("*48x48*"))
    assert run(image_size=48)[0].images.shape[1] == 48


def test_a_place_that_cannot_be_written_is_refused(run: Prepare, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="expected a folder that can be written to"):
        run(data_dir=str(tmp_path / "file" / "data"))


@pytest.mark.parametrize(
    ("name", "content"),
    [("*array_record*", None), ("*array_record*", b"x" * 100_000), ("dataset_info.json", b"{"),
     ("dataset_info.json", b'{"splits": [5]}'), ("features.json", b"[]"),
     ("features.json", b'{"pythonClassName": "nowhere.Features"}')],
)  # fmt: skip
def test_damaged_records_are_refused_with_the_cure(
    run: Prepare, tmp_path: Path, name: str, content: bytes | None
) -> None:
    run()
    (path,) = (tmp_path / "data" / "ham10000" / "1.0.0").glob(name)
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(UserError, match="prepare the data again"):
        run(image_size=20)
