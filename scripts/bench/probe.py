"""A linear probe: how far a linear classifier gets on the features of a backbone that was not trained on lesions."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.unlike import last_stage
from hamjax.config import Config
from hamjax.data import splits
from hamjax.data.classes import CLASSES
from hamjax.evaluation.metrics.classification import classification_report
from hamjax.training.setup.experiment import Experiment, build_experiment
from hamjax.training.setup.network import locate_weights

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)  # of the inverse penalty; the best on validation is taken


@dataclasses.dataclass(frozen=True)
class Probe:
    """A fitted probe.

    Attributes:
        strength: the inverse penalty that was best on validation.
        probabilities: by partition, [N, 7], in the order of `experiment.rows`.
    """

    strength: float
    probabilities: dict[str, np.ndarray]


def fit_probe(config: Config, partitions: Sequence[str]) -> tuple[Experiment, Probe]:
    """Fit multinomial logistic regression with balanced class weights on the stage `pooled`.

    Args:
        config: of a run that starts from the backbone's weights.
        partitions: to predict.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    experiment = build_experiment(config)
    state = experiment.initial_state(locate_weights(config))
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    labels, images = experiment.dataset.metadata.label, experiment.dataset.images
    rows = experiment.rows(splits.TRAIN)
    features = {part: last_stage(experiment, variables, images[experiment.rows(part)]) for part in partitions}
    learned = last_stage(experiment, variables, images[rows])

    def fit(strength: float) -> Any:
        linear = LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)
        return make_pipeline(StandardScaler(), linear).fit(learned, labels[rows])

    def balanced_accuracy(fitted: Any) -> float:
        predicted = _probabilities(fitted, features[splits.VAL])
        report = classification_report(labels[experiment.rows(splits.VAL)], predicted, CLASSES)
        return report["balanced_accuracy"]

    fitted = {strength: fit(strength) for strength in STRENGTHS}
    best = max(fitted, key=lambda strength: balanced_accuracy(fitted[strength]))
    return experiment, Probe(best, {part: _probabilities(fitted[best], each) for part, each in features.items()})


def _probabilities(fitted: Any, features: np.ndarray) -> np.ndarray:
    """Return the probabilities of all classes; 0 of one that was not among the training images."""
    found = np.zeros((len(features), len(CLASSES)))
    found[:, fitted.classes_] = fitted.predict_proba(features)
    return found
