"""What preparation asks of a data set, wherever its images come from."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from hamjax.data.metadata import Metadata


class Images(Protocol):
    """A table, and an image's bytes by id."""

    metadata: Metadata

    def read(self, image_id: str, /) -> bytes:
        """Return one encoded image (JPEG or PNG)."""
        ...


class Source(Images, Protocol):
    """A data set before preparation: its table, and an image's bytes by id.

    Attributes:
        description: where it comes from, for messages.
        signature: changes when anything that was read does.
        kind: what the images are, in the plural, for reports.
        tables: of each file that labels were read from, `place`, `layout`, `sha256` and `rows`; JSON.
        outside: diagnoses of images of the table that are in none of the seven classes, by id.
    """

    description: str
    signature: str
    kind: str
    outside: Mapping[str, str]

    @property
    def tables(self) -> Sequence[dict[str, Any]]:
        """See above."""
        ...

    def missing(self) -> list[str]:
        """Return the ids that the table names and no image exists for."""
        ...

    def unclaimed(self) -> list[str]:
        """Return the places of images that no row of the table names."""
        ...
