"""The data behind the HTML page (Evidence) and its figures, and its building blocks (Section, Block, Exhibit)."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup


@dataclasses.dataclass(frozen=True)
class FigureData:
    """What the figures of a run's data and training are drawn from.

    Attributes:
        strategy: its name.
        steps_per_epoch: to turn steps into epochs.
        counts: [7] images per class, by what they are counted in: the data set, the training part, a training epoch.
        samples: training images of each of the seven classes as the network sees them, each [n, S, S, 3] uint8.
    """

    strategy: str
    steps_per_epoch: int
    counts: Mapping[str, np.ndarray]
    samples: Sequence[np.ndarray]


@dataclasses.dataclass(frozen=True)
class Exhibit:
    """One error of the gallery.

    Attributes:
        png: image and heat map side by side.
        caption: image id, truth, prediction, and their probabilities.
        alternative: what the picture shows, for those who do not see it.
    """

    png: bytes
    caption: str
    alternative: str


@dataclasses.dataclass(frozen=True)
class Evidence:
    """Everything a page can draw on; any part may be missing.

    Attributes:
        summary: what `report/test.json` holds.
        records: lines of `metrics.jsonl`.
        pictures: PNG bytes by the name of a function of `hamjax.report.figures`.
        gallery: of the summary's `worst_errors`; see `hamjax.report.gallery`.
    """

    summary: Mapping[str, Any]
    records: Sequence[Mapping[str, Any]] = ()
    pictures: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    gallery: Sequence[Exhibit] = ()

    def setting(self, key: str) -> Any:
        """Return a value of the run's config by its dotted key, or nothing."""
        topic, name = key.split(".")
        return self.summary.get("config", {}).get(topic, {}).get(name)


@dataclasses.dataclass(frozen=True)
class Block:
    """A piece of the page that can be linked to.

    Attributes:
        anchor: its id, unique on the page.
        title: of it.
        body: HTML; empty if there is no data for it, and the page then says so.
    """

    anchor: str
    title: str
    body: Markup


@dataclasses.dataclass(frozen=True)
class Section:
    """Blocks under one heading, listed in the contents."""

    anchor: str
    title: str
    blocks: Sequence[Block]
