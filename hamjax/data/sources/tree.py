"""Every file of a source: in folders, in zip archives, and in zip archives inside these."""

import dataclasses
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from hamjax.runtime.archive import open_archive, read_member, require_plain
from hamjax.runtime.errors import UserError
from hamjax.runtime.paths import as_text

MAX_FILES = 2_000_000  # a link to the root of a disk would be searched for hours
# What systems put beside a user's files: previews, waste, other versions. In lower case.
NOT_SEARCHED = frozenset(
    ("__macosx", "#recycle", "#snapshot", "$recycle.bin", "system volume information", "lost+found", "thumbnails",
     "thumbs", "thumbs.db")
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Entry:
    """A file of a source.

    Attributes:
        place: where it is, as text, below the source's root; of a member, its archive's place comes first.
        path: of the file, or of the archive that holds it.
        size: in bytes.
        stamp: CRC-32 of a member, modification time in ns otherwise.
        archive, member: of a member.
    """

    place: PurePosixPath
    path: Path
    size: int
    stamp: int
    archive: zipfile.ZipFile | None = None
    member: zipfile.ZipInfo | None = None

    def read(self, limit: int) -> bytes:
        """Return the content, of a member with its checksum verified.

        Raises:
            UserError: it is larger than `limit` bytes, no plain file, or a damaged member.
            OSError: it cannot be read.
        """
        if self.archive is not None and self.member is not None:
            return read_member(self.archive, self.member, limit)
        if not self.path.is_file():  # a pipe or a device would be read for ever
            raise UserError(f"{self.path}: expected a plain file, got none; remove it or put the file there.")
        with self.path.open("rb") as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise UserError(f"{self.path}: expected at most {limit:,} bytes, got more; name or keep another file.")
        return content

    def differs(self, other: "Entry") -> bool | None:
        """Return whether two files have different content; None if only reading them would tell."""
        if self.size != other.size:
            return True
        if self.member is not None and other.member is not None:
            return self.stamp != other.stamp
        # Times of plain files say nothing: a copy of a file has another one.
        return False if _is_same_file(self, other) else None


OnBroken = Callable[[PurePosixPath, UserError], None]


def _refuse(place: PurePosixPath, error: UserError) -> None:
    del place
    raise error


def find_entries(root: Path, suffixes: tuple[str, ...], on_broken: OnBroken = _refuse) -> list[Entry]:
    """Find files by the ends of their names; hidden ones, and those that systems make, are left out.

    Links are followed, loops of them noticed. A name inside an archive may use the separator of Windows.

    Args:
        root: a folder, or a zip archive.
        suffixes: in lower case; one of them may be empty, for names without any.
        on_broken: called with the place of an archive that cannot be searched, and why; by default that is raised.

    Returns:
        Plain files first, then members of archives, each in the order of their places.

    Raises:
        UserError: a broken archive, one with members that would leave it, or more files than a data set has.
    """
    found, archives = [], [root] if root.is_file() else []
    for count, path in enumerate(() if root.is_file() else _walk(root)):
        if count > MAX_FILES:
            raise UserError(f"{root}: expected at most {MAX_FILES:,} files, got more; name the folder of the images.")
        if _suffix(path.name) == ".zip":
            archives.append(path)
        elif _suffix(path.name) in suffixes:
            found.append(plain_entry(root, path))
    for path in archives:
        place = PurePosixPath(as_text(path.relative_to(root if root.is_dir() else root.parent).as_posix()))
        found += _search(path, place, None, suffixes, on_broken)
    return found


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is one that is not searched."""
    # "@eaDir" and its like are the folders of network disks; "._x" are macOS's notes on x, in any archive of it.
    return name.startswith((".", "@")) or name.lower() in NOT_SEARCHED


def _walk(root: Path) -> Iterator[Path]:
    """Yield all files below a folder that are not hidden, in one order on every machine."""
    seen = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        try:
            status = os.stat(folder)
        except OSError:  # it is gone, or not ours to read; what should be in it is then missing, by id
            continue
        if (status.st_dev, status.st_ino) in seen:  # a link to a folder that was searched, or is being searched
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        # In one order, so that messages and the choice among equal copies are the same.
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        yield from (Path(folder, name) for name in sorted(files) if not is_hidden(name))


def plain_entry(root: Path, path: Path) -> Entry:
    """Return the entry of a file in or below a folder; one that is not there is found out when it is read."""
    # A name with "\" was unpacked by a program that did not know Windows's separator.
    place = PurePosixPath(as_text(path.relative_to(root).as_posix().replace("\\", "/")))
    try:
        status = path.stat()
    except OSError:  # a broken link; reading it says so, by the image's id
        return Entry(place, path, 0, 0)
    return Entry(place, path, status.st_size, status.st_mtime_ns)


def _search(
    path: Path, place: PurePosixPath, member: zipfile.ZipInfo | None, suffixes: tuple[str, ...], on_broken: OnBroken
) -> list[Entry]:
    """Return the files of an archive, or of one that is a member of it."""
    try:
        archive = open_archive(path, member)
        found, nested = _members(path, place, archive, suffixes)
    except UserError as error:
        # All of it: once one name leaves the folder, nothing in the archive is trusted.
        on_broken(place, error)
        return []
    if member is None:  # once: an archive in itself, or one that opens to ever more, has no end
        for inner, name in nested:
            found += _search(path, place / name, inner, suffixes, on_broken)
    return found


def _members(
    path: Path, place: PurePosixPath, archive: zipfile.ZipFile, suffixes: tuple[str, ...]
) -> tuple[list[Entry], list[tuple[zipfile.ZipInfo, PurePosixPath]]]:
    """Return the files of an archive, and its members that are archives."""
    found, nested = [], []
    for member in archive.infolist():
        name = PurePosixPath(member.filename.replace("\\", "/"))
        suffix = _suffix(name.name)
        if member.filename.endswith(("/", "\\")) or suffix not in (*suffixes, ".zip"):
            continue
        require_plain(path, member)
        if any(is_hidden(part) for part in name.parts):
            continue
        if suffix != ".zip":
            found.append(Entry(place / name, path, member.file_size, member.CRC, archive, member))
        else:
            nested.append((member, name))
    return found, nested


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _is_same_file(one: Entry, other: Entry) -> bool:
    try:
        return one.member is None and other.member is None and one.path.samefile(other.path)
    except OSError:
        return False
