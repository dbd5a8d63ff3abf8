"""The paper's five balancing strategies, as data: an index list and class weights.

Section 4.1 of the paper leaves open what is counted, when, and how weights and
oversampling combine; every such point is an argument here, with its default.
"""

import dataclasses
import enum

import numpy as np

from hamjax.data.classes import CLASSES


class Oversample(enum.StrEnum):
    """Which classes are drawn more often than they occur."""

    NONE = "none"
    SMALL = "small"  # classes below a threshold, up to it
    ALL = "all"  # every class, up to the largest


@dataclasses.dataclass(frozen=True)
class Strategy:
    """One row of the paper's list of strategies (section 4.1); `{threshold}` in the summary stands for its 1000."""

    oversample: Oversample
    weighted: bool
    summary: str


STRATEGIES = {
    "s1": Strategy(Oversample.NONE, False, "no balancing"),
    "s2": Strategy(Oversample.SMALL, False, "oversample classes under {threshold}"),
    "s3": Strategy(Oversample.ALL, False, "oversample to the majority"),
    "s4": Strategy(Oversample.NONE, True, "class weights"),
    "s5": Strategy(Oversample.SMALL, True, "class weights and oversampled classes under {threshold}"),
}


def target_counts(
    oversample: Oversample,
    train_counts: np.ndarray,
    all_counts: np.ndarray,
    *,
    threshold: int = 1000,
    threshold_on: str = "all",
) -> np.ndarray:
    """Return how many images of each class an epoch shows.

    Args:
        oversample: which classes grow.
        train_counts: [7] images in the training part.
        all_counts: [7] images in the data set.
        threshold: classes smaller than this grow to it (`SMALL`).
        threshold_on: `all` compares the threshold with the whole data set's counts, as
            the paper's Table 1 does; `train` with the training part's.

    Returns:
        [7] int64; a class without training images stays empty.
    """
    if oversample is Oversample.NONE:
        return train_counts.copy()
    if oversample is Oversample.ALL:
        target = np.full_like(train_counts, train_counts.max())
    else:
        counted = all_counts if threshold_on == "all" else train_counts
        target = np.where(counted < threshold, threshold, train_counts)
    return np.where(train_counts > 0, np.maximum(target, train_counts), 0)


def resample(labels: np.ndarray, targets: np.ndarray, *, seed: int, draw: str = "top_up") -> np.ndarray:
    """Return the training images of an epoch, oversampled ones repeated.

    Args:
        labels: [N] int of the training images.
        targets: [7] from `target_counts`.
        seed: of the draw; one draw serves all epochs, as resampling before training does.
        draw: `top_up` keeps every image and draws the shortfall with replacement;
            `replace` draws a grown class entirely with replacement, which leaves some
            images out.

    Returns:
        [sum(targets)] int64 indices into `labels`, ordered by class.
    """
    # A stream of its own: the order of epochs has 2, augmentation 3, and none follows from another.
    rng = np.random.default_rng((seed, 1))
    chosen = []
    for k in range(len(CLASSES)):
        members = np.flatnonzero(labels == k)
        extra = int(targets[k]) - len(members)
        if extra > 0 and draw == "replace":
            members = rng.choice(members, size=int(targets[k]))
        elif extra > 0:
            members = np.concatenate([members, rng.choice(members, size=extra)])
        chosen.append(members)
    return np.concatenate(chosen)


def class_weights(rule: str, counts: np.ndarray, *, beta: float = 0.999, given: tuple[float, ...] = ()) -> np.ndarray:
    """Return the loss weight of each class.

    Rules: `balanced` is n / (K n_k) over the K classes present (scikit-learn's), which
    the paper's w_j = n_j / (j n_j) is read as; `sqrt` its square root, `effective_number`
    (1 - beta) / (1 - beta^n_k) (Cui et al., CVPR 2019), both scaled so that an
    average image weighs 1; `given` takes seven numbers.

    Args:
        rule: one of the above.
        counts: [7] images per class to count.
        beta: for `effective_number`.
        given: for `given`, in the order of `CLASSES`.

    Returns:
        [7] float32; a class without images weighs 0.
    """
    if rule == "given":
        return np.asarray(given, dtype=np.float32)
    # scikit-learn counts the classes that occur; one that does not must not change the weights of the others.
    present = counts > 0
    n = np.where(present, counts, 1).astype(np.float64)
    raw = {
        "balanced": lambda: 1 / n,
        "sqrt": lambda: 1 / np.sqrt(n),
        "effective_number": lambda: (1 - beta) / (1 - beta**n),
    }[rule]()
    raw = np.where(present, raw, 0)
    return (raw * counts.sum() / (raw * counts).sum()).astype(np.float32)


def log_prior(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the log share of each class in the training loss, for logit adjustment.

    Menon et al. (ICLR 2021) take the shares of the training images. A class that is shown
    or weighed c times as much is to the loss one with c times the images, so these are
    the shares of an epoch's images times their weights: what oversampling and weights have
    balanced is not adjusted once more, and S3 leaves nothing to adjust.

    Args:
        counts: [7] images of an epoch.
        weights: [7] of the loss.

    Returns:
        [7] float32; a class that the loss never sees gets the smallest share of the others.
    """
    seen = counts * weights.astype(np.float64)
    # The logarithm of 0 would make the loss NaN.
    seen = np.where(seen > 0, seen, seen[seen > 0].min())
    return np.log(seen / seen.sum()).astype(np.float32)
