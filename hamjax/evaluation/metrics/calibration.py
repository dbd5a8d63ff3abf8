"""Whether probabilities mean what they say, before and after temperature scaling.

Resampling and class weights distort them; one number, fitted on the validation set, corrects most of
it (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017).
"""

import itertools
from typing import Any

import numpy as np

from hamjax.evaluation.metrics.classification import mean_cross_entropy, softmax

BINS = 15  # as Guo et al.
TEMPERATURES = (0.01, 100.0)


def calibration(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """Measure calibration.

    Args:
        labels: [N] int.
        probabilities: [N, K].

    Returns:
        `ece`: expected calibration error, over 15 bins of equal width of the highest
        probability. `brier`: mean over images of the squared error *summed* over classes, so
        0 to 2 (Brier 1950). `nll`: mean negative log-likelihood in nats. `bins`, from low to
        high: `low` (excluded), `high` (included), `n`, and the mean `confidence` and
        `accuracy`, which are None where n is 0.
    """
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    edges = np.linspace(0, 1, BINS + 1)
    # right=True: a bin holds its upper edge, so that a confidence of 1 falls into the last one.
    bin_of = np.digitize(confidence, edges[1:-1], right=True)
    bins = []
    for i, (low, high) in enumerate(itertools.pairwise(edges.tolist())):
        inside = bin_of == i
        n = int(inside.sum())
        means = [float(x[inside].mean()) if n else None for x in (confidence, right)]
        bins.append({"low": low, "high": high, "n": n, "confidence": means[0], "accuracy": means[1]})
    # Empty bins weigh nothing, and have no means.
    gaps = [row["n"] * abs(row["confidence"] - row["accuracy"]) for row in bins if row["n"]]
    truth = labels[:, None] == np.arange(probabilities.shape[1])
    return {
        "ece": float(sum(gaps) / len(labels)),
        "brier": float(((probabilities - truth) ** 2).sum(1).mean()),
        "nll": mean_cross_entropy(labels, probabilities),
        "bins": bins,
    }


def fit_temperature(labels: np.ndarray, logits: np.ndarray) -> float:
    """Return the T, 0.01 to 100, at which softmax(logits / T) has the least mean NLL.

    The NLL is convex in 1/T, so has no other minimum. Where no T is better than 1, it is 1: if
    all logits are equal, or all images already certain and right.

    Args:
        labels: [N] int.
        logits: [N, K], or log-probabilities, which differ from logits by a constant a row.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    wide, rows = logits.astype(np.float64), np.arange(len(labels))

    def nll(log_temperature: float) -> float:
        return -float(log_softmax(wide / np.exp(log_temperature), axis=1)[rows, labels].mean())

    # Over the logarithm: T = 0.5 and T = 2 are then equally far from 1.
    bounds = tuple(np.log(TEMPERATURES))
    best: Any = minimize_scalar(nll, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(best.x)) if best.fun < nll(0.0) else 1.0


def calibration_report(
    val_labels: np.ndarray, val_logits: np.ndarray, labels: np.ndarray, logits: np.ndarray, *, same_images: bool
) -> dict[str, Any]:
    """Measure calibration before and after a temperature fitted on validation images.

    Args:
        val_labels: [M] int.
        val_logits: [M, K].
        labels: [N] int, of the images to score.
        logits: [N, K].
        same_images: whether these are the validation images; `after` is then better than on other images.

    Returns:
        `before` and `after`, each as from `calibration`; `temperature`; `fitted_on`; `fitted_on_scored_images`.
    """
    temperature = fit_temperature(val_labels, val_logits)
    return {
        "before": calibration(labels, softmax(logits)),
        "after": calibration(labels, softmax(logits / temperature)),
        "temperature": temperature,
        "fitted_on": "val",
        "fitted_on_scored_images": same_images,
    }
