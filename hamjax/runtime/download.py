"""Downloads of published files: resumed, retried, and checked before they get their name."""

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tqdm import tqdm

from hamjax.runtime.errors import UserError
from hamjax.runtime.files import require_room
from hamjax.runtime.paths import user_path
from hamjax.runtime.say import Say

# Dataverse answers Python's own name with 403.
USER_AGENT = "hamjax/0.1 (HAM10000 reader)"
CHUNK = 1 << 20
MAX_BYTES = 2**30  # of a file whose size is not published; the largest has a tenth of it
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def fetch(
    url: str,
    path: Path,
    *,
    md5: str,
    size: int | None = None,
    attempts: int = 6,
    pause: float = 1.0,
    timeout: float = 60.0,
    say: Say = print,
) -> None:
    """Download a file unless a good copy is there.

    What has arrived is kept in `<path>.part` and continued by HTTP Range. The file gets its
    name only after its MD5 is right.

    Args:
        url: https; http to this machine alone.
        path: where it goes.
        md5: published hash, hexadecimal.
        size: published size in bytes, where known.
        attempts: connections to try; one that brings new bytes does not count.
        pause: seconds before the second attempt; doubles from then on.
        timeout: seconds without a byte.
        say: takes a line for the user.

    Raises:
        UserError: the server refuses, cannot be reached, or sends other bytes.
    """
    require_secure(url)
    if path.exists() and file_md5(path) == md5:
        say(f"{path}: there already, MD5 {md5}")
        return
    part = path.with_name(f"{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    _require_room_for(part, size)
    say(f"downloading {url} to {path}")
    # Connections that bring nothing are counted in a row: a slow line that breaks often still arrives.
    failures = 0
    while not _is_complete(part, size):
        before = part.stat().st_size if part.exists() else 0
        try:
            size = _receive(url, part, size, timeout)
            continue
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in (408, 429):
                raise UserError(_failure(url, path, md5, f"HTTP {error.code} {error.reason}")) from error
            reason: object = f"HTTP {error.code} {error.reason}"
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            reason = getattr(error, "reason", error)
        except (OSError, UnicodeError) as error:  # UnicodeError: of an address that is none
            raise UserError(_failure(url, path, md5, error)) from error
        progressed = part.exists() and part.stat().st_size > before
        failures = 1 if progressed else failures + 1
        if failures >= attempts:
            raise UserError(_failure(url, path, md5, reason))
        say(f"{reason}: trying again in {pause * 2 ** (failures - 1):.0f} s")
        time.sleep(pause * 2 ** (failures - 1))
    _require_published(part, url, md5)
    os.replace(part, path)


def user_cache() -> Path:
    """Return the folder where things are kept between runs: `$XDG_CACHE_HOME` or `~/.cache`."""
    return user_path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hamjax"


def require_secure(url: str) -> None:
    """Refuse anything but TLS, except to this machine."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError as error:
        raise UserError(f"{url}: expected an address, got {error}; use another address.") from error
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK):
        return
    raise UserError(f"{url}: expected https (http only to this machine); use another address.")


def file_md5(path: Path) -> str:
    """Return the MD5 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


class _SecureRedirects(urllib.request.HTTPRedirectHandler):
    """Follows only to where `fetch` itself may go; urllib alone goes from https to http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """Return the next request; see urllib."""
        require_secure(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _receive(url: str, part: Path, size: int | None, timeout: float) -> int:
    """Append what the server has beyond the part; return the size of the whole."""
    offset = part.stat().st_size if part.exists() else 0
    # A part longer than the whole is of another file; to continue it would never end.
    if size is not None and offset > size:
        part.unlink()
        offset = 0
    headers = {"User-Agent": USER_AGENT} | ({"Range": f"bytes={offset}-"} if offset else {})
    opener = urllib.request.build_opener(_SecureRedirects)
    with opener.open(urllib.request.Request(url, headers=headers), timeout=timeout) as answer:
        # A server without ranges answers 200 with the whole file, which then begins anew.
        resumed = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {offset}-")
        start = offset if resumed else 0
        total = size if answer.length is None else start + answer.length
        _copy(answer, part, start, total, limit=size or MAX_BYTES)
    arrived = part.stat().st_size
    if total is not None and arrived < total:
        raise ConnectionError(f"the connection ended after {arrived:,} of {total:,} bytes")
    return arrived


def _copy(answer: Any, part: Path, start: int, total: int | None, limit: int) -> None:
    """Write a response behind the first `start` bytes of the part, up to a limit of bytes in all."""
    with (
        part.open("r+b" if start else "wb") as file,
        tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=part.stem, disable=None) as bar,
    ):
        file.seek(start)
        file.truncate()
        # read1 gives what has come; read would lose it when the connection breaks.
        while chunk := answer.read1(CHUNK):
            if file.tell() + len(chunk) > limit:
                raise UserError(f"{answer.url}: expected at most {limit:,} bytes, got more; use another address.")
            file.write(chunk)
            bar.update(len(chunk))


def _require_published(part: Path, url: str, md5: str) -> None:
    """Remove and refuse what is not the published file: continued later, it would stay wrong."""
    got = file_md5(part)
    if got != md5:
        part.unlink()
        raise UserError(
            f"{url}: expected MD5 {md5}, got {got}; the file was not kept. Try again; if it stays so "
            "the server sends something else than was published."
        )


def _is_complete(part: Path, size: int | None) -> bool:
    return size is not None and part.exists() and part.stat().st_size == size


def _require_room_for(part: Path, size: int | None) -> None:
    if size is not None:
        have = part.stat().st_size if part.exists() else 0
        require_room(part.parent, size - have, remedy="name another folder")


def _failure(url: str, path: Path, md5: str, reason: object) -> str:
    return (
        f"{url}: expected to download {path.name}, got {reason}. What has come is kept and continued next "
        f"time. Or fetch it by hand (MD5 {md5}) and put it at {path}."
    )
