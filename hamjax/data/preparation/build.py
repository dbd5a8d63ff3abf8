"""Records of a source, written whole or not at all, after every image of its table has been read and decoded."""

import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hamjax.data.dataset import describe_tables
from hamjax.data.metadata import Metadata
from hamjax.data.preparation.records import write_records
from hamjax.data.preparation.verify import verify
from hamjax.data.sources.source import Source
from hamjax.runtime.errors import name_some
from hamjax.runtime.files import require_room
from hamjax.runtime.say import Say

REMEDY = "name another folder with --config.data.data_dir (--data-dir)"


def read_details(folder: Path) -> dict[str, Any] | None:
    """Read the details that TFDS keeps beside the records, without importing TFDS; None if there are no records."""
    try:
        details = json.loads((folder / "metadata.json").read_text())
    except (OSError, ValueError):
        return None
    return details if isinstance(details, dict) and "fingerprint" in details else None


def build_records(source: Source, folder: Path, *, allow_missing: bool, say: Say) -> None:
    """Write a source as TFDS records, in place of those that are there.

    Args:
        source: of images and their table.
        folder: of the records, `ROOT/NAME/VERSION`; the caller holds `ROOT`.
        allow_missing: continue without images that are missing or undecodable.
        say: takes a line for the user.

    Raises:
        UserError: see `verify` and `write_records`; or the disk is full.
    """
    root, name = folder.parents[1], folder.parent.name
    what = "other content: building again from" if folder.exists() else "reading"
    say(f"records {folder}: {what} {source.description}")
    for line in describe_tables(source.tables, source.outside):
        say(line)
    for stale in root.glob(".incomplete-*"):  # a build that was killed; we hold the lock
        shutil.rmtree(stale, ignore_errors=True)
    kept, details = verify(source, allow_missing=allow_missing)
    if dropped := details["dropped"]:
        say(f"continuing without {len(dropped)} missing or undecodable image(s): {name_some(dropped)}")
    if turned := details.pop("turned"):
        say(f"{len(turned)} image(s) stay as they are stored, though EXIF asks for a turn: {name_some(turned)}")
    say(f"verified {len(kept):,} images: {details['images_note']}")
    require_room(root, 3 * details.pop("bytes"), remedy=REMEDY)
    details |= {"tables": list(source.tables), "outside": dict(source.outside), "name": name, "count": len(kept)}
    target = Path(tempfile.mkdtemp(prefix=".incomplete-", dir=root))
    try:
        built = write_records(name, _Kept(kept, source.read), details, target)
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        os.replace(built, folder)
    finally:
        shutil.rmtree(target, ignore_errors=True)


@dataclasses.dataclass
class _Kept:
    """A source reduced to the rows that verification kept."""

    metadata: Metadata
    read: Callable[[str], bytes]
