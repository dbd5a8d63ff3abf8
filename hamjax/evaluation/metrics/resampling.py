"""Resamples of whole lesions: images of one lesion are no independent evidence."""

import numpy as np

from hamjax.evaluation.metrics.intervals import FEW, Interval, percentile_interval, wilson_bound, wilson_interval


class ClusterBootstrap:
    """Draws of clusters with replacement, the same ones for everything that is asked of them.

    Attributes:
        cluster: [N] int, which cluster an image belongs to.
        clusters: C, how many there are.
        counts: [B, C] float32, how often each resample holds each cluster.
        level: nominal coverage of the intervals.
    """

    def __init__(self, clusters: np.ndarray, *, resamples: int = 1000, seed: int = 0, level: float = 0.95) -> None:
        """Draw `resamples` times as many of the clusters, [N] int or str, as there are."""
        # A fixed seed: the same report gets the same intervals, on every machine.
        self._rng = np.random.default_rng(seed)
        names, self.cluster = np.unique(clusters, return_inverse=True)
        self.clusters = len(names)
        self._order = np.argsort(self.cluster, kind="stable")
        self._starts = np.searchsorted(self.cluster[self._order], np.arange(self.clusters))
        # Drawn once and kept as counts: every figure is then resampled by the same draws, with one matrix product.
        drawn = self._rng.integers(self.clusters, size=(resamples, self.clusters), dtype=np.int32)
        # In front of them the data as they are: the first of whatever is summed is the estimate itself.
        self._weights = np.ones((1 + resamples, self.clusters), np.float32)
        self.counts = self._weights[1:]
        for counts, row in zip(self.counts, drawn, strict=True):
            counts[:] = np.bincount(row, minlength=self.clusters)
        self.level = level

    def within(self, values: np.ndarray) -> np.ndarray:
        """Return the sums of whole numbers of images, [N, M], over each cluster: [C, M] float32."""
        return np.add.reduceat(values[self._order], self._starts, dtype=np.float32)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Return the sums of whole numbers of images, [N, M], over all and over each resample: [1 + B, M] float64."""
        return (self._weights @ self.within(values)).astype(np.float64)  # exact below 2^24

    def cluster_means(self, values: np.ndarray, among: np.ndarray) -> np.ndarray:
        """Return the mean over clusters of the mean within each, over all and over each resample: [1 + B] float64.

        Unlike `rate`, which counts images, it counts a cluster once, however many images it has.

        Args:
            values: [N].
            among: [N] bool, the images that count; NaN where a resample holds none of them.
        """
        images = np.bincount(self.cluster[among], minlength=self.clusters)
        sums = np.bincount(self.cluster[among], values[among], minlength=self.clusters)
        means = sums / np.maximum(images, 1)
        # No matrix product here: these are no whole numbers, and its order of summing changes with the machine.
        return ratio((self._weights * means).sum(1), (self._weights * (images > 0)).sum(1, dtype=np.float64))

    def image_weights(self) -> np.ndarray:
        """Return ones, and how often each resample holds each image, [N, 1 + B] float32."""
        return np.ascontiguousarray(self._weights.T)[self.cluster]

    def interval(self, values: np.ndarray) -> Interval | None:
        """Return the percentile interval of a statistic, from its estimate and resampled values, [1 + B]."""
        return percentile_interval(values[1:], values[0], level=self.level)

    def effective_size(self, among: np.ndarray, correlation: float) -> float:
        """Return how many independent images `among`, [N] bool, are worth.

        Their number over Kish's design effect 1 + (m - 1) correlation, m being the mean size of an image's
        cluster (L. Kish, Survey Sampling, 1965).
        """
        images = self.within(among[:, None])[:, 0]
        n = images.sum()
        return float(n / (1 + ((images**2).sum() / n - 1) * correlation))

    def rate(self, hits: np.ndarray, among: np.ndarray, *, correlation: float = 1.0) -> Interval | None:
        """Return the interval of a share of some images, or None where there are none.

        Wilson's, of their effective size, where `is_few` says so.

        Args:
            hits: [N] bool.
            among: [N] bool, the images it is a share of.
            correlation: of two hits in a cluster; 1 takes images of a cluster for copies.
        """
        n, hit = int(among.sum()), int((hits & among).sum())
        if n == 0:
            return None
        # A resample of eight right images is always eight right images: no width, whatever is true.
        if is_few(hit, n):
            size = self.effective_size(among, correlation)
            return wilson_interval(hit / n * size, size, level=self.level)
        both, all_ = self.sums(np.stack([hits & among, among], axis=1)).T
        return self.interval(ratio(both, all_))

    def rate_draws(self, hit: int, n: int, size: float) -> np.ndarray:
        """Return a rate, and draws from the distribution whose every percentile is the end of a Wilson interval.

        Returns:
            [1 + B].
        """
        draws = wilson_bound(np.array(hit / n), np.array(size), self._rng.standard_normal(len(self.counts)))
        return np.r_[hit / n, draws]


def correctness_correlation(labels: np.ndarray, predicted: np.ndarray, clusters: np.ndarray) -> float:
    """Estimate how alike two images of one cluster are in being right, from 0 to 1.

    The mean product of their deviations from the recall of their class, over the mean variance, over all
    pairs. Where there is nothing to tell it from, 1.

    Args:
        labels: [N] int.
        predicted: [N] int.
        clusters: [N] int or str.
    """
    _, cluster = np.unique(clusters, return_inverse=True)
    right = labels == predicted
    # Deviations from the recall of the class: images of one lesion share their class, which is not what is asked.
    expected = (np.bincount(labels, right) / np.maximum(np.bincount(labels), 1))[labels]
    deviation, others = right - expected, np.bincount(cluster)[cluster] - 1
    products = np.bincount(cluster, deviation) ** 2 - np.bincount(cluster, deviation**2)
    variance = (others * expected * (1 - expected)).sum()
    return float(np.clip(products.sum() / variance, 0, 1)) if variance > 0 else 1.0


def is_few(hit: float, n: int) -> bool:
    """Return whether a bootstrap interval of `hit / n` would be too narrow: under 20 images, or all alike."""
    return n < FEW or hit in (0, n)


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide; 0/0 is NaN, "undefined in this resample"."""
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator > 0)
