"""What networks say of images that carry no label."""

import dataclasses
from typing import Any

import numpy as np

from hamjax.data.classes import CLASSES
from hamjax.data.unlabelled import ImageFile, Unreadable
from hamjax.evaluation.metrics.ranking import TARGETS
from hamjax.evaluation.uncertainty import Sets, classes_in

# In which images are shown, and what that means.
ORDERS = {
    "malignant": "the highest malignant score first",
    "doubt": "the smallest margin between the first and the second class first",
}


@dataclasses.dataclass(frozen=True)
class Score:
    """What the networks say of one image.

    Attributes:
        probabilities: [7] float64, in the order of `CLASSES`; what an evaluation reports.
        calibrated: [7], corrected by the run's temperature; None where there is none for these predictions.
        distances: from the training images, for each run; see `Likeness`. None where a run has not measured it.
        unlike: for each run, whether its distance is above its threshold; None where it is not measured.
        sets: by kind, the classes that cannot be ruled out, [7] bool; None where the run's report has no thresholds
            for these predictions.
    """

    probabilities: np.ndarray
    calibrated: np.ndarray | None
    distances: tuple[float | None, ...]
    unlike: tuple[bool | None, ...]
    sets: Sets | None

    @property
    def predicted(self) -> str:
        """The class of the highest probability."""
        return CLASSES[int(self.probabilities.argmax())]

    @property
    def margin(self) -> float:
        """The highest probability less the next one, 0 to 1: where it is small, the network is in doubt."""
        second, first = np.sort(self.probabilities)[-2:]
        return float(first - second)

    def classes_in_set(self, kind: str) -> list[str] | None:
        """Return the classes of the set of a kind, a key of `SET_COLUMNS`, the most probable first; see `sets`."""
        return None if self.sets is None else classes_in(self.sets[kind], self.probabilities)

    def target(self, name: str) -> float:
        """Return the summed probability of a target's classes, `melanoma` or `malignant`."""
        return float(sum(self.probabilities[CLASSES.index(dx)] for dx in TARGETS[name]))


@dataclasses.dataclass(frozen=True)
class Explained:
    """What the networks say of an image, and why: its heat map [S, S] in [0, 1], if it was asked for."""

    score: Score
    heat: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Prediction:
    """One image and what the networks say of it.

    Attributes:
        file: the image.
        score: see `Score`.
        turned: see `Decoded`.
        learned_from: see `ImageScorer.learned_from`.
    """

    file: ImageFile
    score: Score
    turned: bool
    learned_from: tuple[str | None, ...]


@dataclasses.dataclass(frozen=True)
class Predictions:
    """The predictions of a run, or of several together.

    Attributes:
        images: in the order in which they were found. They hold no pixels: about a kilobyte an image.
        unreadable: files that give no image.
        facts: what predicted; see `ImageScorer.facts`.
    """

    images: list[Prediction]
    unreadable: list[Unreadable]
    facts: dict[str, Any]

    def first(self, count: int, order: str) -> list[Prediction]:
        """Return the first images by `malignant` (the highest score first) or `doubt` (the smallest margin first)."""
        if order == "malignant":
            return sorted(self.images, key=lambda each: -each.score.target("malignant"))[:count]
        return sorted(self.images, key=lambda each: each.score.margin)[:count]
