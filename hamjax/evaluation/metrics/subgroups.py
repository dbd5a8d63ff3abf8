"""For whom a classifier fails: its scores by age, sex, site and where the image and its label come from."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from hamjax.evaluation.metrics.bootstrap import accuracy_intervals
from hamjax.evaluation.metrics.resampling import ClusterBootstrap, correctness_correlation

UNKNOWN = "unknown"
# Years. A test part has at most some 170 melanomas, so narrower bands would have a handful each.
AGE_BANDS = ("0-19", "20-39", "40-59", "60-79", "80+")
COLUMNS = ("age", "sex", "localization", "dataset", "dx_type")


def age_bands(age: np.ndarray) -> np.ndarray:
    """Return the band of twenty years of each age, [N] float in years; NaN or less than 0 is `unknown`."""
    known = age >= 0
    band = np.minimum(np.where(known, age, 0) // 20, len(AGE_BANDS) - 1).astype(int)
    return np.where(known, np.array(AGE_BANDS)[band], UNKNOWN)


def subgroup_tables(
    labels: np.ndarray,
    predicted: np.ndarray,
    lesions: np.ndarray,
    known: np.ndarray,
    columns: Mapping[str, np.ndarray],
    classes: tuple[str, ...],
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, list[dict[str, Any]]]:
    """Return the scores of every subgroup.

    Balanced accuracy is over the classes that occur in the subgroup, so that of two subgroups may be
    over different ones. Intervals are those of `accuracy_intervals`; of fewer than 20 images Wilson's.

    Args:
        labels: [N] int.
        predicted: [N] int.
        lesions: [N] int or str.
        known: [N] bool, whether it is known which lesion it is.
        columns: `COLUMNS`, each [N]: `age` in years with NaN, the others text.
        classes: names of the labels; `mel` is the melanoma.
        resamples: of the lesions of a subgroup.
        seed: of the draws.
        level: nominal coverage.

    Returns:
        A list for each column, empty where all is unknown; a row a subgroup, with `unknown` last: `group, n,
        lesions, accuracy, accuracy_interval, balanced_accuracy, balanced_accuracy_interval, melanomas,
        melanoma_sensitivity, melanoma_interval`, the last two None where there is no melanoma, `lesions` where not all
        are known.
    """
    melanoma = labels == classes.index("mel")
    correlation = correctness_correlation(labels, predicted, lesions)  # a subgroup alone says too little of it
    tables = {}
    for name in COLUMNS:
        groups = age_bands(columns["age"]) if name == "age" else columns[name]
        rows = []
        for group in _known_first(groups):
            of_it = groups == group
            bootstrap = ClusterBootstrap(lesions[of_it], resamples=resamples, seed=seed, level=level)
            row = _scores(bootstrap, labels[of_it], predicted[of_it], melanoma[of_it], correlation)
            counted = bootstrap.clusters if known[of_it].all() else None
            rows.append({"group": group, "n": int(of_it.sum()), "lesions": counted, **row})
        tables[name] = rows
    return tables


def _known_first(groups: np.ndarray) -> list[str]:
    names = np.unique(groups).tolist()
    known = [name for name in names if name != UNKNOWN]
    # A column of nothing but unknown is no grouping; its table stays empty.
    return known + [UNKNOWN] * (UNKNOWN in names) if known else []


def _scores(
    bootstrap: ClusterBootstrap, labels: np.ndarray, predicted: np.ndarray, melanoma: np.ndarray, correlation: float
) -> dict[str, Any]:
    right = labels == predicted
    intervals = accuracy_intervals(bootstrap, labels, predicted, correlation)
    return {
        "accuracy": float(right.mean()),
        "accuracy_interval": intervals["accuracy"],
        "balanced_accuracy": float(np.mean([right[labels == label].mean() for label in np.unique(labels)])),
        "balanced_accuracy_interval": intervals["balanced_accuracy"],
        "melanomas": int(melanoma.sum()),
        "melanoma_sensitivity": float(right[melanoma].mean()) if melanoma.any() else None,
        "melanoma_interval": bootstrap.rate(right, melanoma, correlation=correlation),
    }
