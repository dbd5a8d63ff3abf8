"""From a source to a `Dataset`: verify everything, write records, build the cache; or read what is there."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

from hamjax.data.dataset import Dataset
from hamjax.data.metadata import RECORDS_VERSION, Metadata
from hamjax.data.preparation.build import REMEDY, build_records, read_details
from hamjax.data.preparation.cache import Cache
from hamjax.data.preparation.records import Records, read_columns
from hamjax.data.preparation.verify import missing_images
from hamjax.data.sources.dermamnist import DermaMnistSource, is_dermamnist
from hamjax.data.sources.folder import LocalSource
from hamjax.data.sources.source import Source
from hamjax.data.sources.synthetic import SyntheticSource
from hamjax.runtime.errors import UserError, name_some
from hamjax.runtime.files import hold
from hamjax.runtime.say import Say

CURE = f"free some space, or {REMEDY}"


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
            UserError: see `LocalSource` and `DermaMnistSource`.
        """
        if self.name == "synthetic":
            return SyntheticSource(self.synthetic_images)
        if not self.source_dir:
            return None
        if is_dermamnist(Path(self.source_dir)):
            return DermaMnistSource(Path(self.source_dir))
        return LocalSource(self.source_dir, allow_missing=self.allow_missing)

    @property
    def root(self) -> Path:
        """Where records and caches are kept."""
        return Path(self.data_dir)

    @property
    def records(self) -> Path:
        """Where the records are, once there are some."""
        return self.root / self.name / RECORDS_VERSION

    @property
    def cache(self) -> Cache:
        """The cache of pixels, whether or not it is there."""
        return Cache(self.root / "cache", self.name, self.image_size, self.resize)


def prepare(request: DataRequest, say: Say = print) -> Dataset:
    """Return the data set, preparing whatever of it is not there yet.

    What is prepared already is only read, so it may lie where nothing can be written.

    Raises:
        UserError: see `LocalSource`, `verify` and `Cache`; or there is no data.
    """
    # Opened once: it lists every file of the source, which takes seconds on a network disk.
    source = request.open_source()
    try:
        while True:
            # Looked at without the lock: a checksum of all pixels takes a second, and many jobs may start together.
            seen = _versions(request)
            outlook = _look(request, source)
            if not outlook.records and not outlook.cache:
                return _open(request, source)
            waiting = f"{request.root}: waiting for another process that is preparing data there"
            with hold(request.root, functools.partial(say, waiting), remedy=CURE):
                is_ours = _versions(request) == seen  # otherwise another process has built it meanwhile
                if is_ours and source is not None and outlook.records:
                    build_records(source, request.records, allow_missing=request.allow_missing, say=say)
                if is_ours:
                    _build_cache(request, say)
            if is_ours:
                return _open(request, source)
    except OSError as error:
        raise UserError(f"{request.root}: expected a folder that can be written to, got {error}; {CURE}.") from error


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
    return _look(request, request.open_source())


def read_table(request: DataRequest) -> Metadata | None:
    """Return the table alone, preparing nothing; None if there is no data yet.

    It may name images that `prepare` continues without.

    Raises:
        UserError: see `LocalSource`; or the records are damaged.
    """
    source = request.open_source()
    if source is not None:
        return source.metadata
    return read_columns(Records(request.records)) if read_details(request.records) else None


def _look(request: DataRequest, source: Source | None) -> Outlook:
    details = read_details(request.records)
    pixel_bytes = request.image_size * request.image_size * 3
    if source is not None and (details is None or details.get("signature") != source.signature):
        count = len(source.metadata) - len(missing_images(source, allow_missing=request.allow_missing))
        return Outlook(f"from {source.description}", "not there yet", count * pixel_bytes)
    if details is None:
        raise UserError(_no_data(request.root))
    _refuse_dropped(details, request.allow_missing)
    why = request.cache.why_to_build(details, functools.partial(Records, request.records))
    return Outlook("", why, details["count"] * pixel_bytes)


def _versions(request: DataRequest) -> list[str | None]:
    """Return what changes when a process builds records or cache."""
    return [_text(path) for path in (request.records / "metadata.json", request.cache.sidecar)]


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return None


def _build_cache(request: DataRequest, say: Say) -> None:
    details = read_details(request.records) or {}
    _refuse_dropped(details, request.allow_missing)
    if why := request.cache.why_to_build(details, functools.partial(Records, request.records)):
        say(f"cache {request.cache.pixels}: {why}; building it from {details['count']:,} records")
        request.cache.build(Records(request.records), details)


def _open(request: DataRequest, source: Source | None) -> Dataset:
    details: dict[str, Any] = read_details(request.records) or {}
    if "tables" not in details and source is not None:  # records of a version that did not keep it
        details |= {"tables": list(source.tables), "outside": dict(source.outside)}
    return request.cache.open(functools.partial(Records, request.records), details)


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
