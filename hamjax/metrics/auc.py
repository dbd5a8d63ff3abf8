"""The area under the ROC curve of many weightings of the same scores at once."""

import numpy as np


def weighted_auc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the share of (positive, negative) pairs in which the positive scores higher; ties count half.

    By rank sums (Mann and Whitney): scores are sorted once, and each weighting then costs a running sum.

    Args:
        scores: [N] float.
        positive: [N] bool.
        weights: [N, B] whole numbers in a float type, how often an image counts.

    Returns:
        [B] float64, NaN where no positive or no negative has a weight.
    """
    order = np.argsort(scores, kind="stable")
    ascending = scores[order]
    starts = np.flatnonzero(np.r_[True, ascending[1:] != ascending[:-1]])
    tied = weights[order]
    if len(starts) < len(scores):
        tied = np.add.reduceat(tied, starts)
    midranks = tied.cumsum(0)
    total = midranks[-1].copy()
    midranks -= tied / 2
    positives = weights[positive]
    midranks = midranks[np.searchsorted(ascending[starts], scores[positive])]
    rank_sum = np.einsum("pb,pb->b", positives, midranks, dtype=np.float64)
    count = positives.sum(0, dtype=np.float64)
    pairs = count * (total - count)
    return np.divide(rank_sum - count**2 / 2, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
