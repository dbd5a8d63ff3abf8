"""Scores of predictions against labels: those of the paper, and balanced accuracy and macro F1 beside them."""

from typing import Any

import numpy as np

COLLAPSE_SHARE = 0.95  # nv has 67% of all images, and up to 80% of a test part: more than that is no prior


def classification_report(labels: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...]) -> dict[str, Any]:
    """Return the scores that the paper gives, and those that count all classes alike.

    The paper's "overall" precision, recall and F1 are micro averages, equal to the
    accuracy. Balanced accuracy is the mean recall of the classes that occur, as in
    scikit-learn; macro F1 is that of the classes that occur or are predicted. An undefined
    precision or recall is 0. The majority baseline predicts the most frequent of these labels.

    Args:
        labels: [N] int.
        probabilities: [N, K].
        classes: K names.

    Returns:
        `n, classes, accuracy, balanced_accuracy, macro_f1, majority_baseline_accuracy,
        majority_baseline_balanced_accuracy, confusion_matrix` (rows true, columns
        predicted) and `per_class` with `precision, recall, f1, support, predicted`.
    """
    # Takes seconds to import: only where something is scored.
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    predicted = probabilities.argmax(1)
    indices = np.arange(len(classes))
    matrix = confusion_matrix(labels, predicted, labels=indices)
    undefined: Any = 0.0  # scikit-learn's stubs know of strings alone
    scores = precision_recall_fscore_support(labels, predicted, labels=indices, zero_division=undefined)
    precision, recall, f1, support = (np.asarray(score) for score in scores)
    # scikit-learn's own means would count a class that neither occurs nor is predicted as 0.
    present, predicted_once = support > 0, matrix.sum(0) > 0
    return {
        "n": len(labels),
        "classes": list(classes),
        "accuracy": float(np.trace(matrix) / len(labels)),
        "balanced_accuracy": float(recall[present].mean()),
        "macro_f1": float(f1[present | predicted_once].mean()),
        "majority_baseline_accuracy": float(support.max() / len(labels)),
        "majority_baseline_balanced_accuracy": float(1 / present.sum()),
        "confusion_matrix": matrix.tolist(),
        "per_class": {
            name: {
                "precision": float(precision[k]),
                "recall": float(recall[k]),
                "f1": float(f1[k]),
                "support": int(support[k]),
                "predicted": int(matrix[:, k].sum()),
            }
            for k, name in enumerate(classes)
        },
    }


def collapse_warning(report: dict[str, Any]) -> str:
    """Return in what way a classifier has collapsed, or an empty text.

    It has collapsed if one class gets over 95% of the predictions, or one that occurs gets none.
    """
    n, per_class = report["n"], report["per_class"]
    shares = {name: row["predicted"] / n for name, row in per_class.items()}
    top = max(shares, key=lambda name: shares[name])
    never = [name for name, row in per_class.items() if row["support"] and not row["predicted"]]
    parts = []
    if shares[top] > COLLAPSE_SHARE:
        parts.append(f"{shares[top]:.0%} of the predictions are {top}")
    if never:
        parts.append(f"{', '.join(never)} {'is' if len(never) == 1 else 'are'} never predicted")
    return "; ".join(parts)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities, [N, K] float64, from logits."""
    # float64: ties and thresholds are then decided by the logits, not by rounding here.
    wide = logits.astype(np.float64)
    powers = np.exp(wide - wide.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def mean_cross_entropy(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the unweighted loss of probabilities [N, K]."""
    # A probability can round to 0, and one such image would make the mean infinite.
    chosen = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, np.finfo(np.float64).tiny)).mean())
