"""The mistakes a classifier is surest of."""

from typing import Any

import numpy as np


def worst_errors(
    labels: np.ndarray, probabilities: np.ndarray, image_ids: np.ndarray, classes: tuple[str, ...], count: int = 12
) -> list[dict[str, Any]]:
    """Return wrong predictions, the most confident first; of equals the one that gives the truth less.

    Args:
        labels: [N] int.
        probabilities: [N, K].
        image_ids: [N] unicode.
        classes: K names.
        count: at most.

    Returns:
        `image_id, truth, predicted, probability_of_truth, probability_of_predicted` each; empty
        where every answer is right.
    """
    rows, predicted = np.arange(len(labels)), probabilities.argmax(1)
    of_truth, of_predicted = probabilities[rows, labels], probabilities[rows, predicted]
    worst_first = np.lexsort((image_ids, of_truth, -of_predicted))
    return [
        {
            "image_id": str(image_ids[i]),
            "truth": classes[labels[i]],
            "predicted": classes[predicted[i]],
            "probability_of_truth": float(of_truth[i]),
            "probability_of_predicted": float(of_predicted[i]),
        }
        for i in worst_first[predicted[worst_first] != labels[worst_first]][:count]
    ]
