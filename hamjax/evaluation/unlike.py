"""Whether an image looks unlike those that a run was trained on. A network gives any image one of its classes.

The distance is that of Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and
Adversarial Attacks" (NeurIPS 2018), section 2.1: Mahalanobis, to the nearest class mean, with one covariance for all
classes. But it is taken in what the image looks like (`hamjax.data.appearance`), not in the network's last features: a
network that tells seven kinds of lesions apart has no features for what is none of them. `bench_unlike.py` measures
both.
"""

import dataclasses
import zipfile
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from hamjax.data.appearance import appearance
from hamjax.data.preparation.images import usable_cores
from hamjax.data.splits import TRAIN, VAL
from hamjax.runtime.errors import UserError
from hamjax.runtime.files import ARRAY_DAMAGE, replacing
from hamjax.training.setup.experiment import Experiment

FILE = "unlike.npz"
# Training images that are measured, drawn evenly by class: all of the rare ones and some 400 of each frequent one. That
# is plenty for 16 numbers, and takes seconds at the end of a run, however many images it has.
TRAINED = 2000
QUANTILE = 0.99  # of the validation images: one in a hundred of the images that a run is made for is called unlike
LEAST_SPREAD = 1e-3  # of a number that is the same for all images
RIDGE = 1e-4  # of its variance, so that numbers which go together can be told from one another


@dataclasses.dataclass(frozen=True)
class Likeness:
    """How the training images of a run look, at the size that its network takes.

    Attributes:
        means: [K, D] float64, of each class that was trained on.
        precision: [D, D], the inverse of the covariance around them.
        threshold: above it an image counts as unlike.
    """

    means: np.ndarray
    precision: np.ndarray
    threshold: float

    def distances(self, measured: np.ndarray) -> np.ndarray:
        """Return how far images lie from the training images: [N] squared distances, from how they look [N, D]."""
        away = measured[:, None] - self.means  # [N, K, D]
        return np.einsum("nki,ij,nkj->nk", away, self.precision, away).min(1)

    def write(self, workdir: Path) -> None:
        """Write `unlike.npz` into the run directory.

        Raises:
            UserError: it cannot be written.
        """
        with replacing(workdir / FILE) as part, part.open("wb") as file:
            np.savez(file, **dataclasses.asdict(self))


def read_likeness(workdir: Path, image_size: int) -> Likeness | None:
    """Read what a run has measured; None if it has not.

    Args:
        workdir: the run directory.
        image_size: of the run's images.

    Raises:
        UserError: the file is damaged.
    """
    path = workdir / FILE
    try:
        with path.open("rb") as file, np.load(file) as stored:  # which leaves a damaged file open that it opened itself
            likeness = Likeness(stored["means"], stored["precision"], float(stored["threshold"]))
        likeness.distances(appearance(np.zeros((image_size, image_size, 3), np.uint8))[None])  # shapes that fit
    except FileNotFoundError:
        return None
    except (*ARRAY_DAMAGE, LookupError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: expected what a run wrote, got {error}; restore or remove it.") from error
    return likeness


def measure_likeness(experiment: Experiment) -> Likeness:
    """Measure some training images of a run and all its validation images, on the host."""
    labels, rows = experiment.dataset.metadata.label, experiment.rows(TRAIN)
    # The run's own seed: a report that is made anew measures the same images.
    rows = rows[draw_evenly(labels[rows], TRAINED, np.random.default_rng(experiment.config.train.seed))]
    images = experiment.dataset.images
    trained, validated = (measure(images[row] for row in part) for part in (rows, experiment.rows(VAL)))
    return fit_likeness(trained, labels[rows], validated)


def measure(images: Iterable[np.ndarray]) -> np.ndarray:
    """Return how N images [S, S, 3] uint8 look: [N, D]."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        return np.stack(list(pool.map(appearance, images)))


def fit_likeness(trained: np.ndarray, labels: np.ndarray, validated: np.ndarray) -> Likeness:
    """Fit the distance on training images and its threshold on validation images.

    Args:
        trained: [N, D], how training images look.
        labels: [N] their classes.
        validated: [M, D], how validation images look.
    """
    # A mean each and one covariance for all: a rare class has too few images for a covariance of its own.
    classes, row = np.unique(labels, return_inverse=True)
    means = np.stack([trained[row == k].mean(0) for k in range(len(classes))])
    around = trained - means[row]
    # Each number in units of its own spread, so that the ridge means the same for all.
    spread = np.maximum(around.std(0), LEAST_SPREAD)
    covariance = (around / spread).T @ (around / spread) / len(around)
    precision = np.linalg.inv(covariance + RIDGE * np.eye(len(spread))) / np.outer(spread, spread)
    likeness = Likeness(means, precision, np.inf)
    threshold = float(np.quantile(likeness.distances(validated), QUANTILE))
    return dataclasses.replace(likeness, threshold=threshold)


def draw_evenly(labels: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return the rows of `count` images at most, as many of each class as there are, or as of the others."""
    by_class = sorted((rng.permutation(np.flatnonzero(labels == k)) for k in np.unique(labels)), key=len)
    drawn = []
    # The rare ones first: what they lack the others may give.
    for i, rows in enumerate(by_class):
        drawn.append(rows[: count // (len(by_class) - i)])
        count -= len(drawn[-1])
    return np.sort(np.concatenate(drawn))
