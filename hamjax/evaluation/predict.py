"""Predictions for images without labels: a folder, a zip or single files, and a run directory alone."""

import collections
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from hamjax.data.unlabelled import Decoded, ImageFile, Unreadable, decode_ahead, find_images
from hamjax.evaluation.ensemble import Workdirs
from hamjax.evaluation.image_scorer import ImageScorer, Pending
from hamjax.evaluation.prediction import Prediction, Predictions, Score
from hamjax.evaluation.predictor import IN_FLIGHT
from hamjax.runtime.errors import UserError, name_some

Images = str | Path | Sequence[str | Path]
Batch = list[tuple[ImageFile, Decoded]]
# Images that are explained together: one shape, so one program; few, as the maps of each are in memory at once.
EXPLAINED = 8


def predict(workdir: Workdirs, images: Images, *, tta: str | None = None) -> Predictions:
    """Predict images without labels.

    Args:
        workdir: a run directory, or several, whose probabilities are averaged; their data are not needed.
        images: files, folders or zip archives; see `find_images`.
        tta: see `Ensemble`.

    Raises:
        UserError: there is no such run or input, or no image in it can be read.
    """
    given = [images] if isinstance(images, str | Path) else list(images)
    # Before the network, which takes seconds to load: a wrong path is answered at once.
    found = find_images(given)
    return predict_files(ImageScorer(workdir, tta), *found)


def predict_files(
    scorer: ImageScorer, files: Sequence[ImageFile], unreadable: Sequence[Unreadable] = ()
) -> Predictions:
    """Predict images that were found; see `find_images`.

    Raises:
        UserError: no image can be read.
    """
    predictions, failed = [], list(unreadable)
    with tqdm(total=len(files) + len(failed), unit="img", desc="predict", disable=None) as bar:
        for batch, scores in _scored(scorer, _batches(scorer, files, failed)):
            predictions += [
                Prediction(file, score, decoded.turned, scorer.learned_from(file.image_id))
                for (file, decoded), score in zip(batch, scores, strict=True)
            ]
            bar.update(len(predictions) + len(failed) - bar.n)
    if not predictions:
        why = name_some((f"{each.path} ({each.reason})" for each in failed), 3)
        raise UserError(f"expected images that can be read, got none: {why}. Name others.")
    return Predictions(predictions, failed, scorer.facts())


def explain(scorer: ImageScorer, chosen: Sequence[Prediction]) -> Iterator[tuple[Prediction, np.ndarray, np.ndarray]]:
    """Read images once more and explain their predictions: yields the image [S, S, 3] and its heat map [S, S].

    An image that has become unreadable in between is left out.
    """
    # By the object: a path may be equal to another where bytes that are no text were replaced.
    of_file = {id(each.file): each for each in chosen}
    decoded = decode_ahead([each.file for each in chosen], scorer.shapes[:1], 2 * EXPLAINED)
    readable = ((of_file[id(file)], image) for file, image in decoded if isinstance(image, Decoded))
    while batch := list(itertools.islice(readable, EXPLAINED)):
        padded = [batch[i] for i in np.resize(np.arange(len(batch)), EXPLAINED)]
        pixels, heat = scorer.heat_maps([image for _, image in padded], [each.score.predicted for each, _ in padded])
        # Not strict: what is longer than the batch is padding.
        yield from zip((each for each, _ in batch), pixels, heat, strict=False)


def _batches(scorer: ImageScorer, files: Sequence[ImageFile], failed: list[Unreadable]) -> Iterator[Batch]:
    """Yield batches of images that could be decoded, and add the others to `failed`."""
    batch: Batch = []
    for file, image in decode_ahead(files, scorer.shapes, IN_FLIGHT * scorer.batch_size):
        if isinstance(image, Unreadable):
            failed.append(image)
            continue
        batch.append((file, image))
        if len(batch) == scorer.batch_size:
            yield batch
            batch = []
    if batch:
        yield batch


def _scored(scorer: ImageScorer, batches: Iterator[Batch]) -> Iterator[tuple[Batch, list[Score]]]:
    """Yield batches with their scores; one is computed while the images of the next are decoded."""
    in_flight: collections.deque[tuple[Batch, Pending]] = collections.deque()
    for batch in batches:
        in_flight.append((batch, scorer.send([image for _, image in batch])))
        if len(in_flight) == IN_FLIGHT:
            sent, pending = in_flight.popleft()
            yield sent, scorer.fetch(pending)
    for sent, pending in in_flight:
        yield sent, scorer.fetch(pending)
