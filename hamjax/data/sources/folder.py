"""Images from a local copy, in any layout that people have it in: see `hamjax/data/README.md`."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hamjax.data.image_names import IMAGE_SUFFIXES, image_id_of
from hamjax.data.layouts import Labels, Layout, class_of_folder
from hamjax.data.lesions import with_lesions
from hamjax.data.metadata import Metadata, from_rows
from hamjax.data.sources.find_table import (
    TABLE_SUFFIXES,
    Table,
    choose_diagnoses,
    choose_lesions,
    is_held_out,
    open_tables,
)
from hamjax.data.sources.tree import Entry, find_entries
from hamjax.runtime.errors import UserError, name_some

MAX_IMAGE_BYTES = 64 * 2**20


class ImageFolder:
    """Every image below a folder, in files or in zip archives, by its id: the file's name without suffix.

    Args:
        root: the folder, or an archive.
        entries: what was found there; searched for if not given.
        name_of: gives the id of a file.

    Raises:
        UserError: there is no such folder, no image, or a broken archive.
    """

    def __init__(
        self,
        root: Path,
        entries: Sequence[Entry] | None = None,
        name_of: Callable[[Entry], str] = lambda entry: image_id_of(entry.place.name),
    ) -> None:
        if entries is None:
            require_there(root)
            entries = find_entries(root, IMAGE_SUFFIXES)
        self.root = root
        self._entries: dict[str, Entry] = {}
        self._others: dict[str, list[Entry]] = {}
        for entry in entries:
            if entry.place.suffix.lower() in IMAGE_SUFFIXES:
                image_id = name_of(entry)
                if self._entries.setdefault(image_id, entry) is not entry:
                    self._others.setdefault(image_id, []).append(entry)
        if not self._entries:
            raise UserError(
                f"{root}: expected images (.jpg or .png) or zip archives of them, got none; "
                "put HAM10000_images_part_1.zip and _part_2.zip, or your own images, there."
            )

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def entries(self, image_id: str) -> list[Entry]:
        """Return the files of an id: the one that is read first, then those of the same name elsewhere."""
        return [self._entries[image_id], *self._others.get(image_id, ())]

    def file_name(self, image_id: str) -> str:
        """Return where an image is, below the folder."""
        return str(self._entries[image_id].place)

    def stamp(self, image_id: str) -> tuple[int, int] | None:
        """Return size and stamp of an image, which change when it does; None if there is none."""
        entry = self._entries.get(image_id)
        return None if entry is None else (entry.size, entry.stamp)

    def require_clear(self, image_ids: Sequence[str]) -> None:
        """Refuse ids that two different files have; copies are no matter.

        Files of the same size are compared when the image is read.

        Raises:
            UserError: names the ids, and where the files are.
        """
        clashes = []
        for image_id in image_ids:
            entry = self._entries.get(image_id)
            differing = [other for other in self._others.get(image_id, ()) if entry and entry.differs(other)]
            if differing:
                clashes.append(f"{image_id} ({self.file_name(image_id)} and {differing[0].place})")
        if clashes:
            raise UserError(
                f"{self.root}: expected one image an id, got two different files for {name_some(clashes)}; "
                "remove one of each."
            )

    def read(self, image_id: str) -> bytes:
        """Return one encoded image; from an archive its checksum is verified.

        Raises:
            UserError: it is larger than any photograph, no plain file, a damaged member of an archive, or another
                file of this id has other content.
            OSError: the file cannot be read.
        """
        entry = self._entries[image_id]
        encoded = entry.read(MAX_IMAGE_BYTES)
        # Once: preparation reads an image twice, and the second time its copies are known to be equal.
        for other in self._others.pop(image_id, ()):
            if entry.differs(other) is None and other.read(MAX_IMAGE_BYTES) != encoded:
                raise UserError(f"{entry.place} and {other.place} are two different files; remove one")
        return encoded


class FolderSource:
    """A table that was read, and a folder with its images.

    Args:
        metadata: the rows.
        read_from: the content of every file that labels were read from.
        images: the folder; it may have more images.
        tables, outside: see `Source`.

    Raises:
        UserError: an image of the table is there twice, and differs.
    """

    kind = "images"

    def __init__(
        self,
        metadata: Metadata,
        read_from: Sequence[bytes],
        images: ImageFolder,
        *,
        tables: Sequence[dict[str, Any]] = (),
        outside: Mapping[str, str] | None = None,
    ) -> None:
        self.metadata, self.images, self.tables, self.outside = metadata, images, tables, outside or {}
        self.read = images.read
        self.description = str(images.root)
        # Only now, as a clash of an image that no row names does no harm.
        images.require_clear(metadata.image_id.tolist())
        self.signature = self._signature(read_from)

    def missing(self) -> list[str]:
        """Return the ids that the table names and no image exists for."""
        return [i for i in self.metadata.image_id.tolist() if i not in self.images]

    def unclaimed(self) -> list[str]:
        """Return the places of images that no row of the table names."""
        named = set(self.metadata.image_id.tolist())
        return [self.images.file_name(i) for i in self.images if i not in named]

    def _signature(self, read_from: Sequence[bytes]) -> str:
        """Digest tables, names, sizes and stamps: cheap, and changes when a file changes."""
        digest = hashlib.sha256()
        for content in read_from:
            digest.update(content)
        for image_id in self.metadata.image_id.tolist():
            digest.update(f"{image_id} {self.images.stamp(image_id)}\n".encode())
        return digest.hexdigest()


class LocalSource(FolderSource):
    """A folder on disk that holds the metadata and the images, or an archive, or the table in such a folder.

    Raises:
        UserError: there is no metadata, or more than one; otherwise see `ImageFolder` and `from_rows`.
    """

    def __init__(self, place: str | Path, *, allow_missing: bool = False) -> None:
        root = Path(place)
        named = root if root.is_file() and root.suffix.lower() in TABLE_SUFFIXES else None
        root = root if named is None else root.parent
        require_there(root)
        entries = find_entries(root, (*IMAGE_SUFFIXES, *TABLE_SUFFIXES))
        images = ImageFolder(root, entries)
        tables = open_tables(root, entries)
        table = choose_diagnoses(tables, root, named)
        if table is None:
            lesions = choose_lesions(tables)
            labels, where = _labels_of_folders(images, lesions), str(root)
        else:
            labels, where = table.labels, table.where
            # Where the table has them itself, another table of lesions is not read.
            lesions = None if all(row["lesion_id"] for row in labels.rows) else choose_lesions(tables)
        if not labels.rows:
            raise UserError(_no_table(root, table, entries))
        rows = with_lesions(labels.rows, lesions and lesions.lesions, where, allow_missing=allow_missing)
        read_from = [found for found in (table, lesions) if found is not None]
        contents, facts = [found.content for found in read_from], [found.facts() for found in read_from]
        if table is None:
            classes = "".join(f"{row['image_id']} {row['dx']}\n" for row in rows)
            contents.insert(0, classes.encode("utf-8", "surrogateescape"))
            digest = hashlib.sha256(contents[0]).hexdigest()
            facts.insert(0, {"place": ".", "layout": str(Layout.CLASS_FOLDERS), "sha256": digest, "rows": len(rows)})
        super().__init__(from_rows(rows, where=where), contents, images, tables=facts, outside=labels.outside)


def require_there(root: Path) -> None:
    """Refuse a source that does not exist.

    Raises:
        UserError: it is no folder and no zip archive.
    """
    if not root.is_dir() and not (root.is_file() and root.suffix.lower() == ".zip"):
        raise UserError(
            f"{root}: expected a folder of images or a zip archive, got "
            f"{'another file' if root.exists() else 'nothing'}; name an existing folder."
        )


def _labels_of_folders(images: ImageFolder, lesions: Table | None) -> Labels:
    """Return a row for each image in a folder that is named by its class; other columns are the lesions' table's.

    Images that are in none, or in a folder of a test part, are outside.
    """
    known = lesions.lesions if lesions else {}
    found, outside = {}, {}
    for image_id in images:
        for entry in images.entries(image_id):
            dx = class_of_folder(entry.place)
            if dx and not is_held_out(entry):
                found[image_id, dx] = None  # in two folders an image has two rows, which are then refused by its id
            else:
                outside[str(entry.place)] = "in a test part" if dx else "in no folder of a class"
    rows = [{**known.get(image_id, {}), "image_id": image_id, "dx": dx} for image_id, dx in found]
    return Labels(rows, outside)


def _no_table(root: Path, table: Table | None, entries: Sequence[Entry]) -> str:
    if table is not None:
        return f"{table.where}: expected images of the seven classes, got none among {len(table.rows):,} rows."
    tables = [str(entry.place) for entry in entries if entry.place.suffix.lower() in TABLE_SUFFIXES]
    return (
        f"{root}: expected HAM10000_metadata.csv, ISIC2018_Task3_Training_GroundTruth.csv, the ISIC Archive's "
        f"metadata.csv, or a folder a class, got {name_some(tables, 5) or 'no table'}; put one of them there."
    )
