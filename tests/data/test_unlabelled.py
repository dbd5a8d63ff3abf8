"""Images without labels: what is found, what is said of the rest, and how much of it is in memory."""

import io
import threading
import zipfile
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from hamjax.data.preparation.images import decode, resize, usable_cores
from hamjax.data.sources.tree import Entry
from hamjax.data.unlabelled import Decoded, ImageFile, Unreadable, decode_ahead, decode_image, find_images
from hamjax.runtime.errors import UserError


def _jpeg(seed: int = 0, size: tuple[int, int] = (40, 30)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A folder with a nested image, a zip of two and a zip in it, a text, and a zip that is none."""
    folder = tmp_path / "mixed"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "1.jpg").write_bytes(_jpeg(1))
    (folder / "notes.txt").write_text("no image")
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("3.JPG", _jpeg(3))
    with zipfile.ZipFile(folder / "more.zip", "w") as archive:
        archive.writestr("a/2.jpeg", _jpeg(2))
        archive.writestr("b/1.png", b"broken")
        archive.writestr("inner.zip", inner.getvalue())
        archive.writestr("lost.zip", b"no archive")
    (folder / "none.zip").write_bytes(b"no archive")
    return folder


def test_images_are_found_in_files_folders_and_archives(mixed: Path, tmp_path: Path) -> None:
    single = tmp_path / "single.dat"
    single.write_bytes(_jpeg())
    files, broken = find_images([single, mixed])
    expected = {
        str(single): "single.dat",
        f"{mixed}/deep/1.jpg": "deep/1",
        f"{mixed}/more.zip/a/2.jpeg": "2",
        f"{mixed}/more.zip/b/1.png": "b/1",
        f"{mixed}/more.zip/inner.zip/3.JPG": "3",
    }
    assert {file.path: file.image_id for file in files} == expected
    assert [each.path for each in broken] == [f"{mixed}/more.zip/lost.zip", f"{mixed}/none.zip"]
    assert all("expected a zip archive" in each.reason for each in broken)


def test_a_file_that_is_named_twice_is_one_image(mixed: Path) -> None:
    files, _ = find_images([mixed / "deep" / "1.jpg", mixed / "deep"])
    assert [file.path for file in files] == [f"{mixed}/deep/1.jpg"]


def test_an_archive_that_would_leave_its_folder_is_listed_and_the_rest_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("../1.jpg", _jpeg())
    (tmp_path / "2.jpg").write_bytes(_jpeg())
    files, (broken,) = find_images([tmp_path])
    assert [file.image_id for file in files] == ["2"]
    assert "leaves its folder" in broken.reason


@pytest.mark.parametrize(
    ("name", "message"),
    [("gone", "got nothing"), ("", "expected images, got none"), ("none.zip", "cannot be read: .*zip archive")],
)
def test_input_without_any_image_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "none.zip").write_bytes(b"")
    given = tmp_path / "empty" / name
    if not name:
        (tmp_path / "empty" / "none.zip").unlink()
    with pytest.raises(UserError, match=message):
        find_images([given])


def test_an_image_is_resized_from_its_full_size_to_every_shape() -> None:
    encoded = _jpeg(size=(90, 50))
    shapes = [(16, "squash"), (16, "crop"), (24, "squash")]
    decoded = decode_image(encoded, shapes)
    for shape in shapes:
        np.testing.assert_array_equal(decoded.pixels[shape], resize(decode(encoded), *shape))


def test_files_come_in_their_order_and_what_cannot_be_read_with_a_reason(mixed: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.jpg").write_bytes(_jpeg()[:-200])
    (tmp_path / "link.jpg").symlink_to(tmp_path / "nowhere")
    files, _ = find_images([mixed, mixed / "notes.txt", tmp_path / "cut.jpg", tmp_path])
    found = list(decode_ahead(files, [(8, "squash")], ahead=3))
    assert [file for file, _ in found] == files
    reasons = {result.path: result.reason for _, result in found if isinstance(result, Unreadable)}
    assert {Path(path).name: reason for path, reason in reasons.items()} == {
        "1.png": "no JPEG or PNG",
        "notes.txt": "no JPEG or PNG",
        "cut.jpg": reasons[f"{tmp_path}/cut.jpg"],
        "link.jpg": reasons[f"{tmp_path}/link.jpg"],
    }
    assert "truncated" in reasons[f"{tmp_path}/cut.jpg"]
    assert "expected a plain file" in reasons[f"{tmp_path}/link.jpg"]


def test_exif_is_told_and_not_followed() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20)).save(buffer, "JPEG", exif=exif)
    assert decode_image(buffer.getvalue(), [(8, "squash")]).turned
    assert not decode_image(_jpeg(), [(8, "squash")]).turned


class _Counted:
    """An entry that counts how many of its kind were read."""

    def __init__(self) -> None:
        self.count, self._lock, self._encoded = 0, threading.Lock(), _jpeg()

    def read(self, limit: int) -> bytes:
        with self._lock:
            self.count += 1
        return self._encoded[:limit]


@pytest.mark.parametrize("ahead", [1, 4, 1000])
def test_no_more_is_read_ahead_than_asked(ahead: int) -> None:
    counted = _Counted()
    files = [ImageFile(str(i), str(i), cast(Entry, counted)) for i in range(50)]
    for done, (file, image) in enumerate(decode_ahead(files, [(8, "squash")], ahead), start=1):
        assert (file.path, isinstance(image, Decoded)) == (str(done - 1), True)
        assert counted.count < done + ahead
    assert counted.count == 50


def test_a_caller_that_stops_is_not_kept_waiting() -> None:
    counted = _Counted()
    files = [ImageFile(str(i), str(i), cast(Entry, counted)) for i in range(500)]
    results: Any = decode_ahead(files, [(8, "squash")], 400)
    next(results)
    results.close()
    assert counted.count <= 400 + usable_cores()
