"""Images from a local copy, in any layout that its publishers use.

Accepted: the publisher's zip archives, Kaggle's two folders (and its lower-case
copies), one flat folder, with `HAM10000_metadata.csv` or ISIC's one-hot ground truth.
"""

import dataclasses
import hashlib
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from hamjax.data.metadata import Metadata, is_one_hot, read_metadata
from hamjax.data.tables import header
from hamjax.runtime.archive import open_archive, read_member, require_plain
from hamjax.runtime.errors import UserError, name_some

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
MAX_IMAGE_BYTES = 64 * 2**20


def is_image(name: str) -> bool:
    """Return whether a file of this name is taken for an image."""
    # macOS puts files that begin with ._ beside those of an archive; they have the names of images, but are none.
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("._")


class Source(Protocol):
    """A data set before preparation: its table, and an image's bytes by id.

    Attributes:
        metadata: the table.
        description: where it comes from, for messages.
        signature: changes when anything that was read does.
        kind: what the images are, in the plural, for reports.
    """

    metadata: Metadata
    description: str
    signature: str
    kind: str

    def missing(self) -> list[str]:
        """Return the ids that the table names and no image exists for."""
        ...

    def read(self, image_id: str) -> bytes:
        """Return one encoded image (JPEG or PNG)."""
        ...


@dataclasses.dataclass(frozen=True)
class _Entry:
    path: Path
    member: zipfile.ZipInfo | None
    size: int
    stamp: int  # CRC-32 inside an archive, modification time in ns otherwise

    def differs(self, other: "_Entry") -> bool:
        """Return whether two entries of one id are two different images, without reading them."""
        # Times of plain files say nothing: a copy of a file has another one.
        checksums = self.member is not None and other.member is not None
        return self.size != other.size or (checksums and self.stamp != other.stamp)


class ImageFolder:
    """Every image below a folder, in files or in zip archives, by its id: the file's name without suffix.

    Raises:
        UserError: there is no such folder, no image, a broken archive, or two different images of one id.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise UserError(
                f"{root}: expected a folder of images, got "
                f"{'a file' if root.exists() else 'nothing'}; name an existing folder."
            )
        self.root = root
        self._archives: dict[Path, zipfile.ZipFile] = {}
        self._entries = self._index()
        if not self._entries:
            raise UserError(
                f"{root}: expected images (.jpg or .png) or zip archives of them, got none; "
                "put HAM10000_images_part_1.zip and _part_2.zip, or your own images, there."
            )

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def file_name(self, image_id: str) -> str:
        """Return where an image is, below the folder."""
        entry = self._entries[image_id]
        path = entry.path.relative_to(self.root).as_posix()
        return path if entry.member is None else f"{path}/{entry.member.filename}"

    def stamp(self, image_id: str) -> tuple[int, int] | None:
        """Return size and stamp of an image, which change when it does; None if there is none."""
        entry = self._entries.get(image_id)
        return None if entry is None else (entry.size, entry.stamp)

    def read(self, image_id: str) -> bytes:
        """Return one encoded image; from an archive its checksum is verified.

        Raises:
            UserError: it is larger than any photograph, no plain file, or a damaged member of an archive.
            OSError: the file cannot be read.
        """
        entry = self._entries[image_id]
        if entry.member is not None:
            return read_member(self._archives[entry.path], entry.member, MAX_IMAGE_BYTES)
        if not entry.path.is_file():  # a pipe or a device would be read for ever
            raise UserError(f"{entry.path}: expected a plain file, got none; remove it or put the image there.")
        with entry.path.open("rb") as file:
            encoded = file.read(MAX_IMAGE_BYTES + 1)
        if len(encoded) > MAX_IMAGE_BYTES:
            raise UserError(
                f"{entry.path}: expected at most {MAX_IMAGE_BYTES:,} bytes for {image_id}, got more; "
                "this is no dermatoscopic image."
            )
        return encoded

    def _index(self) -> dict[str, _Entry]:
        entries: dict[str, _Entry] = {}
        clashes = []
        for entry, name in _walk(self.root, self._archives):
            image_id = Path(name).stem
            known = entries.setdefault(image_id, entry)
            if known.differs(entry):
                clashes.append(image_id)
        if clashes:
            raise UserError(
                f"{self.root}: expected one image an id, got two different files for "
                f"{name_some(sorted(set(clashes)))}; remove one of each."
            )
        return entries


class FolderSource:
    """A table that was read from a file, and a folder with its images."""

    kind = "images"

    def __init__(self, metadata: Metadata, table: Path, images: ImageFolder) -> None:
        self.metadata, self.images = metadata, images
        self.read = images.read
        self.description = str(images.root)
        self.signature = self._signature(table)

    def missing(self) -> list[str]:
        """Return the ids that the table names and no image exists for."""
        return [i for i in self.metadata.image_id.tolist() if i not in self.images]

    def _signature(self, table: Path) -> str:
        """Digest names, sizes and stamps: cheap, and changes when a file changes."""
        digest = hashlib.sha256(table.read_bytes())
        for image_id in self.metadata.image_id.tolist():
            digest.update(f"{image_id} {self.images.stamp(image_id)}\n".encode())
        return digest.hexdigest()


class LocalSource(FolderSource):
    """A folder on disk that holds the metadata and the images.

    Raises:
        UserError: there is no metadata; otherwise see `ImageFolder` and `read_metadata`.
    """

    def __init__(self, folder: str | Path, *, allow_missing: bool = False) -> None:
        images = ImageFolder(Path(folder))
        table, groupings = _find_metadata(images.root)
        super().__init__(read_metadata(table, groupings, allow_missing=allow_missing), table, images)


def _walk(root: Path, archives: dict[Path, zipfile.ZipFile]) -> Iterator[tuple[_Entry, str]]:
    """Yield every image below a folder, plain files first, then archive members."""
    zips = []
    for folder, folders, files in os.walk(root):
        # In one order on every machine, so that messages and the choice among equal copies are the same.
        folders.sort()
        for name in sorted(files):
            path = Path(folder, name)
            if name.lower().endswith(".zip"):
                zips.append(path)
            elif is_image(name):
                yield _file_entry(path), name
    for path in zips:
        archives[path] = open_archive(path)
        for info in archives[path].infolist():
            name = Path(info.filename).name
            if is_image(name) and not info.is_dir():
                require_plain(path, info)
                yield _Entry(path, info, info.file_size, info.CRC), name


def _file_entry(path: Path) -> _Entry:
    try:
        status = path.stat()
    except OSError:  # a broken link; reading it says so, by the image's id
        return _Entry(path, None, 0, 0)
    return _Entry(path, None, status.st_size, status.st_mtime_ns)


def _find_metadata(root: Path) -> tuple[Path, Path | None]:
    """Return the metadata file and, where there is one, ISIC's lesion groupings."""
    tables = sorted(
        path
        for path in (*root.glob("*"), *root.glob("*/*"))
        if path.is_file() and path.suffix.lower() in (".csv", ".tab", ".tsv", "")
    )
    named = [path for path in tables if path.name.startswith("HAM10000_metadata")]
    other = [path for path in tables if {"image_id", "dx"} <= set(header(path))]
    one_hot = [path for path in tables if is_one_hot(header(path))]
    # By name first: other tables in the folder may have the same columns.
    found = named or other or one_hot
    if not found:
        raise UserError(
            f"{root}: expected HAM10000_metadata.csv, or ISIC2018_Task3_Training_GroundTruth.csv, "
            f"got {name_some([p.name for p in tables], 5) or 'no table'}; put one of them there."
        )
    groupings = [path for path in tables if "LesionGroupings" in path.name]
    return found[0], groupings[0] if groupings else None
