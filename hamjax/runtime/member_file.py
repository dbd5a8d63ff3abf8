"""A member of a zip archive as a file that can be read at any place, without unpacking it to memory or disk.

Harvard's own download is a zip of zips: of each member the list of files at its end is wanted first, then single
images.
"""

import dataclasses
import io
import struct
import threading
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

from hamjax.runtime.errors import UserError

# The other methods are decompressed without a bound, a chunk at a time.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
MAX_BYTES = 4 * 2**30  # the larger archive of HAM10000 has 1.4 GB, and DermaMNIST at 224 pixels 1.5 GB of pixels
# Images are compressed already, so archives of them hardly shrink; deflate makes at most 1,032 times as much.
MAX_RATIO = 200
LOCAL_HEADER = struct.Struct("<4s22xHH")
# A state of zlib takes about 50 kB, so a member of 4 GiB takes 25 MB of states.
SPACING = 8 * 2**20
RECENT = 2**20  # bytes that are kept: threads that read one image after the other do so in almost that order
PIECE = 2**16


@dataclasses.dataclass(slots=True)
class _State:
    """How far a deflated member was read: bytes taken from the archive, of them still waiting, and bytes given out."""

    inflater: "zlib._Decompress"
    waiting: bytes = b""
    taken: int = 0
    out: int = 0

    def copy(self) -> "_State":
        return _State(self.inflater.copy(), self.waiting, self.taken, self.out)


class MemberFile(io.RawIOBase):
    """A stored or deflated member, read-only and seekable.

    Of a deflated one the states of zlib are kept on the way, so that a place that was passed is soon found again.
    `zipfile` lets several threads read members of the archive that this file is, one at a time.

    Args:
        path: the archive.
        member: of it.

    Raises:
        UserError: it is larger than `MAX_BYTES`, shrunk more than images can be, encrypted, compressed in an
            unusual way, or not where the archive says.
    """

    def __init__(self, path: Path, member: zipfile.ZipInfo) -> None:
        super().__init__()
        self._what = f"{path}: {member.filename!r}"
        self.name = f"{path}/{member.filename}"  # zipfile's messages show it
        if member.file_size > MAX_BYTES or member.file_size > MAX_RATIO * max(member.compress_size, PIECE):
            raise UserError(f"{self._what}: expected at most {MAX_BYTES:,} bytes, and no bomb; unpack it first.")
        if member.flag_bits & 1 or member.compress_type not in METHODS:
            raise UserError(f"{self._what}: expected a member stored or deflated, and without a password; unpack it.")
        self._file: BinaryIO = path.open("rb")
        self._start, self._packed, self._size = self._find(member), member.compress_size, member.file_size
        self._deflated = member.compress_type == zipfile.ZIP_DEFLATED
        self._at = 0
        self._lock = threading.Lock()
        self._state = _State(zlib.decompressobj(-zlib.MAX_WBITS))
        self._kept = [self._state.copy()]
        self._recent = bytearray()  # what was given out last

    def readable(self) -> bool:
        """Return true."""
        return True

    def seekable(self) -> bool:
        """Return true."""
        return True

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; see `io.IOBase.seek`."""
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes, all of them if `size` is negative or None.

        Raises:
            OSError: the member is damaged.
        """
        left = max(0, self._size - self._at)
        content = self.read_at(self._at, left if size is None or size < 0 else min(size, left))
        self._at += len(content)
        return content

    def read_at(self, at: int, size: int) -> bytes:
        """Return `size` bytes from a place; any thread may ask at any time.

        Raises:
            OSError: the member is damaged, or ends before.
        """
        with self._lock:
            content = self._inflate(at, size) if self._deflated else self._raw(at, size)
        if len(content) < size:
            raise OSError(f"{self._what} ends too early")
        return content

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Read into a buffer; return how many bytes."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        """Close the archive's file."""
        if not self.closed:
            self._file.close()
        super().close()

    def _find(self, member: zipfile.ZipInfo) -> int:
        self._file.seek(member.header_offset)
        header = self._file.read(LOCAL_HEADER.size)
        if len(header) < LOCAL_HEADER.size or not header.startswith(b"PK\3\4"):
            raise UserError(f"{self._what}: expected a whole archive, got no header there; fetch or make it again.")
        _, name, extra = LOCAL_HEADER.unpack(header)
        return member.header_offset + LOCAL_HEADER.size + name + extra

    def _raw(self, at: int, size: int) -> bytes:
        self._file.seek(self._start + at)
        return self._file.read(min(size, max(0, self._packed - at)))

    def _inflate(self, at: int, size: int) -> bytes:
        if at < self._state.out:
            back = at - self._state.out
            if size <= -back <= len(self._recent):
                return bytes(self._recent[back : back + size or None])
            self._recent.clear()
            self._state = next(state for state in reversed(self._kept) if state.out <= at).copy()
        state, content = self._state, bytearray()
        while len(content) < size:
            if state.out >= self._kept[-1].out + SPACING:
                self._kept.append(state.copy())
            if not state.waiting:
                state.waiting = self._raw(state.taken, PIECE)
                state.taken += len(state.waiting)
            given, before = state.waiting, state.out
            try:
                piece = state.inflater.decompress(given, min(SPACING, at + size - before))
            except zlib.error as error:
                raise OSError(f"{self._what}: {error}") from error
            if not piece and (not given or state.inflater.eof):  # the stream may end before the archive says
                break
            state.waiting, state.out = state.inflater.unconsumed_tail, before + len(piece)
            self._recent += piece
            if len(self._recent) > 2 * RECENT:
                del self._recent[:-RECENT]
            content += piece[max(0, at - before) :]
        return bytes(content)
