"""Archives that mean harm: nothing is read that leaves its folder, follows a link or has no end."""

import os
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from hamjax.data.sources.folder import MAX_IMAGE_BYTES, ImageFolder
from hamjax.runtime import archive
from hamjax.runtime.archive import open_archive, read_member
from hamjax.runtime.errors import UserError

LIMIT = 1_000_000


def _pack(folder: Path, content: bytes, name: str = "a.jpg", **facts: int) -> Path:
    """Write an archive of one member; `facts` are its attributes."""
    info = zipfile.ZipInfo(name)
    info.compress_type = facts.pop("compress_type", zipfile.ZIP_DEFLATED)
    for key, value in facts.items():
        setattr(info, key, value)
    path = folder / "images.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(info, content)
    return path


def _read(path: Path, limit: int = LIMIT) -> bytes:
    with open_archive(path) as file:
        return read_member(file, file.infolist()[0], limit)


def _declare(path: Path, size: int) -> None:
    """Let both headers of the only member claim a size."""
    raw = bytearray(path.read_bytes())
    struct.pack_into("<I", raw, 22, size)
    struct.pack_into("<I", raw, raw.index(b"PK\1\2") + 24, size)
    path.write_bytes(raw)


def test_a_member_is_read_as_it_was_written(tmp_path: Path) -> None:
    content = os.urandom(5000)
    assert _read(_pack(tmp_path, content)) == content
    assert ImageFolder(tmp_path).read("a") == content


def test_a_member_that_says_it_is_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at most 1,000,000 bytes, got 5,000,000"):
        _read(_pack(tmp_path, bytes(5_000_000)))


@pytest.mark.parametrize("claimed", [10, LIMIT])
def test_a_bomb_that_says_it_is_small_is_not_decompressed(tmp_path: Path, claimed: int) -> None:
    path = _pack(tmp_path, bytes(200_000_000))
    assert path.stat().st_size < 300_000
    _declare(path, claimed)
    with pytest.raises(UserError, match="expected a whole member"):
        _read(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_decompress_without_a_bound_are_refused(tmp_path: Path, method: int) -> None:
    with pytest.raises(UserError, match="stored or deflated"):
        _read(_pack(tmp_path, bytes(5000), compress_type=method))


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = _pack(tmp_path, b"x" * 100)
    raw = bytearray(path.read_bytes())
    raw[6] |= 1
    raw[raw.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(raw)
    with pytest.raises(UserError, match="without a password"):
        _read(path)


@pytest.mark.parametrize("name", ["/etc/a.jpg", "../a.jpg", "x/../../a.jpg", "..\\a.jpg", "C:\\a.jpg"])
def test_names_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    _pack(tmp_path, b"x", name)
    with pytest.raises(UserError, match="leaves its folder"):
        ImageFolder(tmp_path)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_in_archives_are_refused(tmp_path: Path, kind: int) -> None:
    _pack(tmp_path, b"/etc/passwd", create_system=3, external_attr=(kind | 0o777) << 16)
    with pytest.raises(UserError, match="a link or a device"):
        ImageFolder(tmp_path)


def test_a_name_that_comes_twice_with_other_content_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as file:
        file.writestr("a.jpg", b"one")
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("a.jpg", b"two")
    with pytest.raises(UserError, match=r"two different files for a \(images.zip/a.jpg and"):
        ImageFolder(tmp_path).require_clear(["a"])


def test_a_member_without_a_name_is_passed_over(tmp_path: Path) -> None:
    path = _pack(tmp_path, b"x", "a.jpg")
    raw = bytearray(path.read_bytes())
    at = raw.index(b"PK\1\2")
    raw[at + 46 : at + 51] = b"\0.jpg"  # zipfile ends a name at its first NUL
    path.write_bytes(raw)
    with pytest.raises(UserError, match="expected images"):
        ImageFolder(tmp_path)


def test_more_members_than_any_set_of_images_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as file:
        for i in range(4):
            file.writestr(f"{i}.jpg", b"")
    monkeypatch.setattr(archive, "MAX_MEMBERS", 3)
    with pytest.raises(UserError, match="at most 3 members"):
        ImageFolder(tmp_path)


def _large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MAX_IMAGE_BYTES + 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.symlink_to("/dev/zero"), "a plain file"),
        (lambda path: os.mkfifo(path), "a plain file"),
        (_large, "at most 67,108,864 bytes"),
    ],
)
def test_what_has_no_end_is_not_read(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    make(tmp_path / "a.jpg")
    with pytest.raises(UserError, match=message):
        ImageFolder(tmp_path).read("a")
