"""Images without labels, as users have them: files, folders and zip archives, read a few at a time.

Every byte comes through the same doors as images with labels do: `find_entries`, `Entry.read` and `decode`.
"""

import collections
import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import numpy as np

from hamjax.data.external_labels import shortest_ids
from hamjax.data.image_names import IMAGE_SUFFIXES
from hamjax.data.preparation.images import decode, is_turned, resize, usable_cores
from hamjax.data.sources.folder import MAX_IMAGE_BYTES
from hamjax.data.sources.tree import Entry, find_entries, plain_entry
from hamjax.runtime.errors import UserError, name_some
from hamjax.runtime.paths import as_text, user_path

Shape = tuple[int, str]  # pixels a side; `squash` or `crop`


@dataclasses.dataclass(frozen=True)
class Upload:
    """An image that somebody sent: its bytes are in memory alone."""

    content: bytes

    def read(self, limit: int) -> bytes:
        """Return the content.

        Raises:
            UserError: it is larger than `limit` bytes.
        """
        if len(self.content) > limit:
            raise UserError(f"expected at most {limit:,} bytes, got {len(self.content):,}; send a smaller image.")
        return self.content


@dataclasses.dataclass(frozen=True)
class ImageFile:
    """An image that was found, and not decoded yet.

    Attributes:
        path: where it is, as text, beginning with what the user gave; of a member, its archive's path comes first.
        image_id: as much of the end of the path as no other image has, without suffix.
        entry: reads it.
    """

    path: str
    image_id: str
    entry: Entry | Upload


@dataclasses.dataclass(frozen=True)
class Unreadable:
    """A file that gives no image, and why."""

    path: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Decoded:
    """An image as networks take it.

    Attributes:
        pixels: [S, S, 3] uint8 for each shape that was asked for.
        turned: whether EXIF asks to show it turned or mirrored, which no network is shown.
    """

    pixels: dict[Shape, np.ndarray]
    turned: bool


def find_images(given: Sequence[str | Path]) -> tuple[list[ImageFile], list[Unreadable]]:
    """Find images in files, folders and zip archives.

    A file that is named itself is taken for an image whatever its suffix; of a folder or an archive, .jpg, .jpeg and
    .png are.

    Returns:
        The images, each once, in the order given; the archives that cannot be searched.

    Raises:
        UserError: something given is not there, or there is no image in any of it.
    """
    # By their paths: what is named twice, as a file and by its folder, is one image.
    entries: dict[str, Entry] = {}
    broken: list[Unreadable] = []
    for path in map(user_path, given):
        # Not Path.exists, which raises where a folder may not be entered.
        if not os.path.exists(path):
            raise UserError(f"{path}: expected an image, a folder or a zip archive, got nothing; check the path.")
        is_source = path.is_dir() or path.suffix.lower() == ".zip"
        root = path if path.is_dir() else path.parent

        def place_of(place: PurePosixPath, root: Path = root) -> str:
            return as_text(root / place)

        def on_broken(place: PurePosixPath, error: UserError, root: Path = root) -> None:
            broken.append(Unreadable(place_of(place, root), str(error)))

        found = find_entries(path, IMAGE_SUFFIXES, on_broken) if is_source else [plain_entry(root, path)]
        entries |= {place_of(entry.place): entry for entry in found}
    if not entries:
        why = f"cannot be read: {name_some(each.reason for each in broken)}" if broken else "no .jpg, .jpeg or .png"
        raise UserError(f"{name_some(map(str, given))}: expected images, got none ({why}); name other files.")
    ids = shortest_ids(list(entries))
    return [ImageFile(path, ids[path], entry) for path, entry in entries.items()], broken


def decode_image(encoded: bytes, shapes: Iterable[Shape]) -> Decoded:
    """Decode an image, and resize it to each shape.

    Raises:
        ValueError: see `hamjax.data.preparation.images.decode`.
    """
    image = decode(encoded)
    return Decoded({shape: resize(image, *shape) for shape in shapes}, is_turned(image))


def decode_ahead(
    files: Sequence[ImageFile], shapes: Sequence[Shape], ahead: int
) -> Iterator[tuple[ImageFile, Decoded | Unreadable]]:
    """Decode files on all cores while the caller works with those before them, in their order.

    No more than `ahead` images, in their shapes, and one of full size for each core are in memory at a time.
    """
    # A window, not `pool.map`, which would decode all of them before the first is taken.
    window: collections.deque[tuple[ImageFile, Future[Decoded | Unreadable]]] = collections.deque()
    with ThreadPoolExecutor(usable_cores()) as pool:
        try:
            for file in files:
                window.append((file, pool.submit(read_image, file, shapes)))
                if len(window) >= ahead:
                    yield _next(window)
            while window:
                yield _next(window)
        finally:
            # Nobody waits for the rest if the caller stops half-way.
            pool.shutdown(wait=False, cancel_futures=True)


def read_image(file: ImageFile, shapes: Sequence[Shape]) -> Decoded | Unreadable:
    """Read and decode an image; what is wrong with it is the answer, not an exception."""
    try:
        return decode_image(file.entry.read(MAX_IMAGE_BYTES), shapes)
    except (OSError, ValueError, UserError) as error:
        return Unreadable(file.path, str(error))


def _next(
    window: collections.deque[tuple[ImageFile, Future[Decoded | Unreadable]]],
) -> tuple[ImageFile, Decoded | Unreadable]:
    file, future = window.popleft()
    return file, future.result()
