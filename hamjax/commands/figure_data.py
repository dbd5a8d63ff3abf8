"""What the figures of a run are drawn from, taken from its experiment: the report itself knows plain data alone."""

import numpy as np

from hamjax.data.augment import augment, draw_transforms
from hamjax.data.classes import CLASSES
from hamjax.data.splits import TRAIN
from hamjax.report.evidence import FigureData
from hamjax.training.setup.experiment import Experiment
from hamjax.training.setup.parts import augmentation_of

SAMPLES = 8  # of a class: as many as a row of the sheet shows


def figure_data(experiment: Experiment) -> FigureData:
    """Return what the figures of a run's data and training are drawn from."""
    labels = experiment.dataset.metadata.label
    trained = np.bincount(labels[experiment.rows(TRAIN)], minlength=len(CLASSES))
    return FigureData(
        strategy=str(experiment.config.sampling.strategy),
        steps_per_epoch=experiment.plan.steps_per_epoch,
        counts={
            "data set": experiment.dataset.metadata.class_counts(),
            "training part": trained,
            "an epoch": experiment.plan.counts,
        },
        samples=_samples(experiment),
    )


def _samples(experiment: Experiment) -> list[np.ndarray]:
    """Draw training images of every class, and augment them as the run does."""
    augmentation, images = augmentation_of(experiment.config), experiment.dataset.images
    labels, trained = experiment.dataset.metadata.label, experiment.rows(TRAIN)
    # The run's own seed: the sheet of a report that is made anew shows the same images.
    rng = np.random.default_rng(experiment.config.train.seed)
    samples = []
    for k in range(len(CLASSES)):
        chosen = images[rng.permutation(trained[labels[trained] == k])[:SAMPLES]]
        if augmentation is not None:
            drawn = draw_transforms(augmentation, len(chosen), images.shape[1], rng)
            for i, image in enumerate(chosen.copy()):
                augment(image, {name: values[i] for name, values in drawn.items()}, chosen[i])
        samples.append(chosen)
    return samples
