"""The distance from a run's training images, and its threshold."""

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.distance import cdist

from hamjax.data.preparation.images import decode, resize
from hamjax.data.sources.synthetic import SyntheticSource
from hamjax.evaluation import unlike
from hamjax.evaluation.unlike import draw_evenly, fit_likeness, measure


def _looks(rng: np.random.Generator, count: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw three classes around means of their own, with one covariance that is no unit matrix."""
    labels = rng.integers(0, 3, count)
    mixing = 2 * np.eye(width) + 0.3 * np.random.default_rng(1).normal(size=(width, width))
    means = 5 * np.random.default_rng(2).normal(size=(3, width))
    return means[labels] + rng.normal(size=(count, width)) @ mixing, labels


def test_the_distance_is_mahalanobis_to_the_nearest_class_mean(rng: np.random.Generator) -> None:
    measured, labels = _looks(rng, 400, 6)
    tested, _ = _looks(rng, 50, 6)
    found = fit_likeness(measured, labels, tested).distances(tested)
    means = np.stack([measured[labels == k].mean(0) for k in range(3)])
    around = measured - means[labels]
    inverse = np.linalg.inv(around.T @ around / len(around))
    expected = cdist(tested, means, "mahalanobis", VI=inverse).min(1) ** 2
    np.testing.assert_allclose(found, expected, rtol=0.02)  # but for the ridge
    assert np.corrcoef(found, expected)[0, 1] > 0.9999


def test_the_threshold_leaves_one_validation_image_in_a_hundred_above(rng: np.random.Generator) -> None:
    measured, labels = _looks(rng, 800, 6)
    validated, _ = _looks(rng, 1000, 6)
    likeness = fit_likeness(measured, labels, validated)
    assert (likeness.distances(validated) > likeness.threshold).sum() == 10


@pytest.mark.parametrize("count", [1, 4, 30])
def test_few_images_and_numbers_that_are_all_alike_have_a_distance(rng: np.random.Generator, count: int) -> None:
    measured, labels = _looks(rng, count, 6)
    measured[:, 3:] = 1
    likeness = fit_likeness(measured, labels, measured)
    assert np.isfinite(likeness.distances(measured)).all()
    elsewhere = measured.copy()
    elsewhere[:, 3:] += 1
    assert (likeness.distances(elsewhere) > likeness.threshold).all()


@pytest.fixture(scope="module")
def skin() -> list[Image.Image]:
    source = SyntheticSource(300)
    return [decode(source.read(i)) for i in source.metadata.image_id.tolist()]


@pytest.mark.parametrize("side", [4, 16, 64, 100])
def test_noise_a_page_and_one_colour_look_unlike_drawn_skin(skin: list[Image.Image], side: int) -> None:
    looks, labels = measure(resize(image, side, "squash") for image in skin), SyntheticSource(300).metadata.label
    likeness = fit_likeness(looks[:200], labels[:200], looks[200:])
    assert (likeness.distances(looks) > likeness.threshold).mean() < 0.1
    rng = np.random.default_rng(0)
    page = np.where(rng.random((side, side, 1)) < 0.2, 20, 240).astype(np.uint8).repeat(3, axis=2)
    noise = rng.integers(0, 256, (side, side, 3), np.uint8)
    assert (likeness.distances(measure([noise, page, np.full_like(page, 128)])) > likeness.threshold).all()


@pytest.mark.parametrize(
    ("counts", "count", "expected"),
    [((5, 50, 500), 100, (5, 47, 48)), ((5, 50, 500), 30, (5, 12, 13)), ((5, 0, 7), 100, (5, 0, 7))],
)
def test_training_images_are_drawn_evenly_by_class(
    rng: np.random.Generator, counts: tuple[int, ...], count: int, expected: tuple[int, ...]
) -> None:
    labels = rng.permutation(np.repeat(np.arange(3), counts))
    rows = draw_evenly(labels, count, rng)
    assert len(set(rows.tolist())) == len(rows)
    assert np.bincount(labels[rows], minlength=3).tolist() == list(expected)


def test_a_run_measures_a_bounded_number_of_images() -> None:
    assert unlike.TRAINED <= 2000  # at the end of every training
