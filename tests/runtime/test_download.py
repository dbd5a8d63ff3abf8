"""Downloads from a server that behaves as badly as real ones."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hamjax.data.sources import dataverse
from hamjax.runtime import download
from hamjax.runtime.download import fetch, require_secure
from hamjax.runtime.errors import UserError
from tests.helpers.web_server import Server, serve

CONTENT = np.random.default_rng(0).bytes(3_000_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def server() -> Iterator[Server]:
    with serve(CONTENT) as state:
        yield state


def _fetch(server: Server, path: Path, md5: str = MD5, size: int | None = len(CONTENT)) -> str:
    said: list[str] = []
    fetch(server.url, path, md5=md5, size=size, attempts=3, pause=0.01, timeout=5, say=said.append)
    return "\n".join(said)


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_a_file_is_fetched_once(server: Server, tmp_path: Path, size: int | None) -> None:
    path = tmp_path / "new" / "file.zip"
    _fetch(server, path, size=size)
    assert path.read_bytes() == CONTENT
    assert "there already" in _fetch(server, path)
    assert len(server.requests) == 1
    assert not server.requests[0]["User-Agent"].startswith("Python")


@pytest.mark.parametrize("serves_ranges", [True, False])
@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_dropped_connections_are_resumed(server: Server, tmp_path: Path, serves_ranges: bool, size: int | None) -> None:
    server.cut_after = 1_200_000 if serves_ranges else 0
    server.serves_ranges = serves_ranges
    if not serves_ranges:  # an earlier start left a part that this server cannot go on from
        (tmp_path / "file.zip.part").write_bytes(b"x" * 1000)
    _fetch(server, tmp_path / "file.zip", size=size)
    assert (tmp_path / "file.zip").read_bytes() == CONTENT
    ranges = [request.get("Range") for request in server.requests]
    assert ranges == ([None, "bytes=1200000-", "bytes=2400000-"] if serves_ranges else ["bytes=1000-"])


def test_a_part_of_an_earlier_start_is_continued(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.zip.part").write_bytes(CONTENT[:2_000_000])
    _fetch(server, tmp_path / "file.zip")
    assert (tmp_path / "file.zip").read_bytes() == CONTENT
    assert server.requests[0]["Range"] == "bytes=2000000-"


def test_wrong_bytes_are_refused_and_not_kept(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + b"?"
    with pytest.raises(UserError, match=f"expected MD5 {MD5}, got"):
        _fetch(server, tmp_path / "file.zip")
    assert list(tmp_path.iterdir()) == []


def test_a_local_file_of_other_content_is_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.zip").write_bytes(b"old")
    _fetch(server, tmp_path / "file.zip")
    assert (tmp_path / "file.zip").read_bytes() == CONTENT


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.failures = 2
    assert "503" in _fetch(server, tmp_path / "file.zip")
    assert (tmp_path / "file.zip").read_bytes() == CONTENT


def test_a_dead_server_is_given_up_on_with_the_way_out(server: Server, tmp_path: Path) -> None:
    server.failures = 100
    with pytest.raises(UserError, match=rf"503.*by hand \(MD5 {MD5}\)"):
        _fetch(server, tmp_path / "file.zip")
    assert len(server.requests) == 3


def test_a_refusal_is_not_repeated(server: Server, tmp_path: Path) -> None:
    server.status = 403
    with pytest.raises(UserError, match="403"):
        _fetch(server, tmp_path / "file.zip")
    assert len(server.requests) == 1


def test_no_network_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected to download file.zip"):
        fetch("http://127.0.0.1:9/file.zip", tmp_path / "file.zip", md5=MD5, attempts=2, pause=0.01, say=print)


def test_a_full_disk_is_refused_before_anything_comes(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="bytes of free space"):
        _fetch(server, tmp_path / "file.zip", size=10**18)
    assert server.requests == []


@pytest.mark.parametrize("url", ["http://example.org/x", "ftp://example.org/x", "file:///etc/passwd"])
def test_only_tls_or_this_machine(url: str) -> None:
    with pytest.raises(UserError, match="expected https"):
        require_secure(url)


@pytest.mark.parametrize("url", ["https://[x", "https://", "https://exämple/ü"])
def test_what_is_no_address_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match="expected"):
        fetch(url, tmp_path / "file.zip", md5=MD5, attempts=1, say=print)


def test_a_redirect_on_this_machine_is_followed(server: Server, tmp_path: Path) -> None:
    server.redirect = server.url.replace("file.zip", "elsewhere")
    _fetch(server, tmp_path / "file.zip")
    assert (tmp_path / "file.zip").read_bytes() == CONTENT


@pytest.mark.parametrize("to", ["http://192.0.2.1/x", "ftp://192.0.2.1/x", "file:///etc/passwd"])
def test_a_redirect_away_from_tls_is_not_followed(server: Server, tmp_path: Path, to: str) -> None:
    server.redirect = to
    with pytest.raises(UserError, match="expected https|not allowed"):
        _fetch(server, tmp_path / "file.zip")
    assert len(server.requests) == 1


@pytest.mark.parametrize("size", [1_000_000, None])
def test_a_server_that_sends_without_end_is_not_listened_to(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int | None
) -> None:
    monkeypatch.setattr(download, "MAX_BYTES", 1_000_000)
    with pytest.raises(UserError, match="at most 1,000,000 bytes"):
        _fetch(server, tmp_path / "file.zip", size=size)
    assert (tmp_path / "file.zip.part").stat().st_size <= 1_000_000


def test_official_files_come_from_a_mirror_with_the_published_hashes(server: Server, tmp_path: Path) -> None:
    mirror = server.url.removesuffix("/file.zip")
    server.content = CONTENT[: dataverse.FILES[0].size]
    with pytest.raises(UserError, match=dataverse.FILES[0].md5):
        dataverse.download(tmp_path, mirror=mirror, say=print)
    assert [f.name for f in dataverse.FILES] == [
        "HAM10000_metadata.csv", "HAM10000_images_part_1.zip", "HAM10000_images_part_2.zip",
    ]  # fmt: skip
