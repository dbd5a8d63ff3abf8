"""From a source to a `Dataset`: verify everything, write records, build the cache.

Nothing is written before every image of the table has been read and decoded, and
what is written appears under its final name in one step.
"""

import contextlib
import dataclasses
import functools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hamjax.data.dataset import Dataset
from hamjax.data.metadata import RECORDS_VERSION, Metadata
from hamjax.data.preparation.cache import load_cache, why_to_build
from hamjax.data.preparation.records import Records, read_columns, write_records
from hamjax.data.preparation.verify import missing_images, verify
from hamjax.data.sources.folder import LocalSource
from hamjax.data.sources.source import Source
from hamjax.data.sources.synthetic import SyntheticSource
from hamjax.runtime.errors import UserError, name_some
from hamjax.runtime.say import Say


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataRequest:
    """Which data set is wanted, and where it is.

    Attributes:
        name: `ham10000` or `synthetic`.
        source_dir: a local copy; empty to use what `data_dir` already holds.
        data_dir: where records and caches are kept.
        image_size: pixels a side.
        resize: `squash` or `crop`.
        allow_missing: continue without images that are missing or undecodable.
        synthetic_images: how many images the synthetic set has.
    """

    name: str
    source_dir: str
    data_dir: str
    image_size: int
    resize: str
    allow_missing: bool
    synthetic_images: int

    def open_source(self) -> Source | None:
        """Return the source; None where `data_dir` alone is to be used.

        Raises:
            UserError: see `LocalSource`.
        """
        if self.name == "synthetic":
            return SyntheticSource(self.synthetic_images)
        return LocalSource(self.source_dir, allow_missing=self.allow_missing) if self.source_dir else None


def prepare(request: DataRequest, say: Say = print) -> Dataset:
    """Return the data set, preparing whatever of it is not there yet.

    Raises:
        UserError: see `LocalSource`, `verify` and `load_cache`; or there is no data.
    """
    root = Path(request.data_dir)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _alone(root, say):
            source = request.open_source()
            folder = prepare_records(source, root, request.name, allow_missing=request.allow_missing, say=say)
            details = _stored_details(folder) or {}
            _refuse_dropped(details, request.allow_missing)
            return load_cache(
                functools.partial(Records, folder),
                details,
                root / "cache",
                size=request.image_size,
                how=request.resize,
                say=say,
            )
    except OSError as error:
        raise UserError(
            f"{root}: expected a folder that data can be written to, got {error}; "
            "free some space or name another one with --config.data.data_dir (--data-dir)."
        ) from error


@dataclasses.dataclass(frozen=True)
class Outlook:
    """What `prepare` would find.

    Attributes:
        records: why it would build them, or nothing.
        cache: why it would build it, or nothing.
        cache_bytes: of the pixels.
    """

    records: str
    cache: str
    cache_bytes: int


def look_ahead(request: DataRequest) -> Outlook:
    """Return what `prepare` would do; writes nothing and decodes nothing.

    Raises:
        UserError: what `prepare` would refuse, as far as it shows.
    """
    root, folder = Path(request.data_dir), Path(request.data_dir, request.name, RECORDS_VERSION)
    source = request.open_source()
    details = _stored_details(folder)
    pixel_bytes = request.image_size * request.image_size * 3
    if source is not None and (details is None or details.get("signature") != source.signature):
        count = len(source.metadata) - len(missing_images(source, allow_missing=request.allow_missing))
        return Outlook(f"from {source.description}", "not there yet", count * pixel_bytes)
    if details is None:
        raise UserError(_no_data(root))
    _refuse_dropped(details, request.allow_missing)
    cache = why_to_build(details, root / "cache", size=request.image_size, how=request.resize)
    return Outlook("", cache, details["count"] * pixel_bytes)


def read_table(request: DataRequest) -> Metadata | None:
    """Return the table alone, preparing nothing; None if there is no data yet.

    It may name images that `prepare` continues without.

    Raises:
        UserError: see `LocalSource`; or the records are damaged.
    """
    source = request.open_source()
    if source is not None:
        return source.metadata
    folder = Path(request.data_dir) / request.name / RECORDS_VERSION
    return read_columns(Records(folder)) if _stored_details(folder) else None


@contextlib.contextmanager
def _alone(root: Path, say: Say) -> Iterator[None]:
    """Hold the folder: of several jobs that start together, one prepares and the rest wait."""
    lock = FileLock(root / ".lock")
    try:
        lock.acquire(timeout=1)
    except Timeout:
        say(f"{root}: waiting for another process that is preparing data there")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def prepare_records(source: Source | None, root: Path, name: str, *, allow_missing: bool, say: Say) -> Path:
    """Write the source as TFDS records under `root`, unless they are there already.

    Returns:
        The folder of the records, `root/<name>/<version>`.
    """
    folder = root / name / RECORDS_VERSION
    details = _stored_details(folder)
    if source is None:
        if details is None:
            raise UserError(_no_data(root))
        return folder
    if details is not None and details.get("signature") == source.signature:
        return folder
    what = "other content: building again from" if folder.exists() else "reading"
    say(f"records {folder}: {what} {source.description}")
    built = _verify_and_build(source, root, name, allow_missing=allow_missing, say=say)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    os.replace(built, folder)
    shutil.rmtree(built.parents[1], ignore_errors=True)
    return folder


def _stored_details(folder: Path) -> dict[str, Any] | None:
    """Read the details that TFDS keeps beside the records, without importing TFDS."""
    try:
        details = json.loads((folder / "metadata.json").read_text())
    except (OSError, ValueError):
        return None
    return details if isinstance(details, dict) and "fingerprint" in details else None


def _refuse_dropped(details: dict[str, Any], allow_missing: bool) -> None:
    if details["dropped"] and not allow_missing:
        raise UserError(
            f"the prepared data was built with --allow-missing and lacks "
            f"{name_some(details['dropped'])}; complete it with --source, or go on without "
            "them with --config.data.allow_missing (--allow-missing)."
        )


def _no_data(root: Path) -> str:
    return (
        f"{root}: expected prepared HAM10000 data, got none. Bring it with one of\n"
        f"  hamjax prepare --download --data-dir {root}\n"
        f"  hamjax prepare --source FOLDER_WITH_A_COPY --data-dir {root}\n"
        "or try hamjax without it: hamjax train --config quickstart"
    )


def _verify_and_build(source: Source, root: Path, name: str, *, allow_missing: bool, say: Say) -> Path:
    for stale in root.glob(".incomplete-*"):  # a build that was killed; we hold the lock
        shutil.rmtree(stale, ignore_errors=True)
    kept, details = verify(source, allow_missing=allow_missing)
    if details["dropped"]:
        say(
            f"going on without {len(details['dropped'])} missing or undecodable image(s): "
            f"{name_some(details['dropped'])}"
        )
    say(f"verified {len(kept):,} images: {details['images_note']}")
    _require_room(root, 3 * details.pop("bytes"))
    target = Path(tempfile.mkdtemp(prefix=".incomplete-", dir=root))
    try:
        details |= {"name": name, "count": len(kept)}
        return write_records(name, _Kept(kept, source.read), details, target)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise


@dataclasses.dataclass
class _Kept:
    """A source reduced to the rows that verification kept."""

    metadata: Metadata
    read: Callable[[str], bytes]


def _require_room(root: Path, needed: int) -> None:
    free = shutil.disk_usage(root).free
    if free < needed:
        raise UserError(
            f"{root}: expected {needed:,} bytes of free space, got {free:,}; free some or name "
            "another folder with --config.data.data_dir (--data-dir)."
        )
