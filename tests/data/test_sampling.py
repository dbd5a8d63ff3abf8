"""The five strategies, on the counts of the paper's training part."""

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from hamjax.data.sampling import STRATEGIES, Oversample, class_weights, log_prior, resample, target_counts

TRAIN = np.array([267, 444, 923, 99, 1021, 4939, 116])
ALL = np.array([327, 514, 1099, 115, 1113, 6705, 142])
S2 = [1000, 1000, 923, 1000, 1021, 4939, 1000]


@pytest.mark.parametrize(
    ("oversample", "threshold_on", "expected"),
    [
        (Oversample.NONE, "all", TRAIN.tolist()),
        (Oversample.SMALL, "all", S2),
        (Oversample.SMALL, "train", [*S2[:2], 1000, *S2[3:]]),
        (Oversample.ALL, "all", [4939] * 7),
    ],
)
def test_epoch_sizes(oversample: Oversample, threshold_on: str, expected: list[int]) -> None:
    targets = target_counts(oversample, TRAIN, ALL, threshold_on=threshold_on)
    assert targets.tolist() == expected


def test_epoch_totals_are_those_of_the_paper() -> None:
    totals = {name: int(target_counts(s.oversample, TRAIN, ALL).sum()) for name, s in STRATEGIES.items()}
    assert totals == {"s1": 7809, "s2": 10883, "s3": 34573, "s4": 7809, "s5": 10883}


@pytest.mark.parametrize("draw", ["top_up", "replace"])
def test_resampling_reaches_its_targets_from_the_right_images(draw: str) -> None:
    labels = np.repeat(np.arange(7), TRAIN)
    rows = resample(labels, np.array(S2), seed=3, draw=draw)
    assert np.bincount(labels[rows]).tolist() == S2
    grown = np.array(S2) > TRAIN
    kept = [len(np.unique(rows[labels[rows] == k])) for k in range(7)]
    assert [kept[k] == TRAIN[k] for k in range(7) if not grown[k]] == [True] * 3
    # 444 images drawn 1000 times with replacement: about a tenth is never drawn.
    assert (kept[1] == TRAIN[1]) == (draw == "top_up")
    np.testing.assert_array_equal(rows, resample(labels, np.array(S2), seed=3, draw=draw))


def test_balanced_weights_are_scikit_learns() -> None:
    labels = np.repeat(np.arange(7), TRAIN)
    expected = compute_class_weight("balanced", classes=np.arange(7), y=labels)
    np.testing.assert_allclose(class_weights("balanced", TRAIN), expected, rtol=1e-6)


@pytest.mark.parametrize("rule", ["balanced", "sqrt", "effective_number"])
def test_an_average_image_weighs_one(rule: str) -> None:
    assert (class_weights(rule, TRAIN) * TRAIN).sum() / TRAIN.sum() == pytest.approx(1, rel=1e-6)


def test_rules_are_their_formulas() -> None:
    sqrt, effective = class_weights("sqrt", TRAIN), class_weights("effective_number", TRAIN, beta=0.99)
    np.testing.assert_allclose(sqrt / sqrt[5], np.sqrt(4939 / TRAIN), rtol=1e-6)
    raw = 0.01 / (1 - 0.99**TRAIN)
    np.testing.assert_allclose(effective / effective[5], raw / raw[5], rtol=1e-5)
    given = (1.0, 1, 1, 1, 3, 1, 1)
    assert class_weights("given", TRAIN, given=given).tolist() == list(given)


def test_a_class_without_images_stays_without() -> None:
    counts = np.array([0, 5, 5, 5, 5, 50, 5])
    assert target_counts(Oversample.ALL, counts, counts)[0] == 0
    assert class_weights("balanced", counts)[0] == 0


def test_the_prior_is_what_the_loss_sees() -> None:
    ones = np.ones(7, np.float32)
    np.testing.assert_allclose(np.exp(log_prior(TRAIN, ones)), TRAIN / TRAIN.sum(), rtol=1e-6)
    for balanced in (log_prior(np.full(7, 4939), ones), log_prior(TRAIN, class_weights("balanced", TRAIN))):
        np.testing.assert_allclose(balanced, np.log(1 / 7), rtol=1e-5)  # nothing is left to adjust
    half = log_prior(TRAIN, class_weights("sqrt", TRAIN))
    np.testing.assert_allclose(half - half[5], np.log(TRAIN / 4939) / 2, rtol=1e-4, atol=1e-5)
    counts = np.array([0, 5, 5, 5, 5, 50, 10])
    without = log_prior(counts, class_weights("sqrt", counts))
    assert np.isfinite(without).all()
    assert without[0] == without[1]
