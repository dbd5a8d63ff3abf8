"""A member of an archive as a file: every place of it, in any order, and within bounds."""

import io
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from hamjax.runtime import member_file
from hamjax.runtime.archive import open_archive, read_member
from hamjax.runtime.errors import UserError
from hamjax.runtime.member_file import MemberFile


@pytest.fixture
def content(rng: np.random.Generator) -> bytes:
    """400 kB, a part of which shrinks."""
    return rng.bytes(150_000) + b"abc" * 30_000 + rng.bytes(160_000)


@pytest.fixture(params=[zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def path(request: pytest.FixtureRequest, tmp_path: Path, content: bytes) -> Path:
    """An archive whose second member is `content`."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w", request.param) as archive:
        archive.writestr("first", b"x" * 100)
        archive.writestr("second", content)
    return tmp_path / "a.zip"


def _open(path: Path, name: str = "second") -> MemberFile:
    with zipfile.ZipFile(path) as archive:
        return MemberFile(path, archive.getinfo(name))


def test_every_place_is_read_in_any_order(
    path: Path, content: bytes, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member_file, "SPACING", 20_000)
    monkeypatch.setattr(member_file, "RECENT", 3_000)
    file = _open(path)
    for _ in range(200):
        start, size = int(rng.integers(len(content))), int(rng.integers(30_000))
        assert file.seek(start) == start
        assert file.read(size) == content[start : start + size]
        assert file.tell() == min(start + size, len(content))
    file.seek(-7, io.SEEK_END)
    assert file.read() == content[-7:]
    assert file.read(5) == b""


def test_threads_do_not_disturb_each_other(path: Path, content: bytes) -> None:
    file, wrong = _open(path), []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for start in rng.integers(0, len(content) - 1000, 100).tolist():
            if file.read_at(start, 1000) != content[start : start + 1000]:
                wrong.append(start)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_archive_in_an_archive_is_read_and_its_checksums_hold(path: Path, tmp_path: Path, content: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "outer.zip", "w", zipfile.ZIP_DEFLATED) as outer:
        outer.write(path, "inner.zip")
    with zipfile.ZipFile(tmp_path / "outer.zip") as outer:
        member = outer.getinfo("inner.zip")
    inner = open_archive(tmp_path / "outer.zip", member)
    assert read_member(inner, inner.getinfo("second"), 10**6) == content
    inner.getinfo("second").CRC ^= 1
    with pytest.raises(UserError, match=r"outer.zip/inner.zip.*second.*Bad CRC"):
        read_member(inner, inner.getinfo("second"), 10**6)


@pytest.mark.parametrize("bound", ["MAX_BYTES", "MAX_RATIO"])
def test_what_is_too_large_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    monkeypatch.setattr(member_file, bound, 0)
    with pytest.raises(UserError, match="unpack it first"):
        _open(path)


def test_a_damaged_member_is_an_error(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo("second").header_offset
    del raw[at + 1000 : at + 90_000]
    path.write_bytes(raw[: at + 5000])
    with zipfile.ZipFile(io.BytesIO(), "w") as other:
        other.writestr("second", b"")
        member = other.getinfo("second")
    member.header_offset, member.compress_size, member.file_size = at, 10**5, 4 * 10**5
    member.compress_type = zipfile.ZIP_DEFLATED
    with pytest.raises(OSError, match="second"):
        MemberFile(path, member).read()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as short:
        short.writestr("second", b"short" * 100)
    raw = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as short:
        member = short.getinfo("second")
    member.file_size, member.compress_size = 1000, member.compress_size + 20  # it ends before the archive says
    file = MemberFile(path, member)
    assert file.read(499) == (b"short" * 100)[:-1]
    with pytest.raises(OSError, match="ends too early"):
        file.read()
    member.header_offset = 3
    with pytest.raises(UserError, match="expected a whole archive"):
        MemberFile(path, member)
