"""For whom a classifier fails, and whom the images show."""

import json

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from hamjax.data.classes import CLASSES
from hamjax.data.demographics import demographics
from hamjax.evaluation.metrics.intervals import wilson_interval
from hamjax.evaluation.metrics.subgroups import age_bands, subgroup_tables

N = 400
ALL_KNOWN = np.ones(N, bool)
Columns = dict[str, np.ndarray]
Answers = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture
def columns() -> Columns:
    rng = np.random.default_rng(0)
    age = rng.integers(0, 18, N) * 5.0
    age[::50] = np.nan
    site = np.where(np.arange(N) < 12, "ear", rng.choice(["back", "face", "unknown"], N))
    return {
        "age": age.astype(np.float32),
        "sex": rng.choice(["female", "male"], N),
        "localization": site,
        "dataset": np.full(N, "unknown"),
        "dx_type": np.full(N, "histo"),
    }


@pytest.fixture
def answers() -> Answers:
    """Labels, predictions, and lesions of two images each."""
    rng = np.random.default_rng(1)
    labels = rng.choice(7, N // 2, p=[0.05, 0.05, 0.1, 0.05, 0.2, 0.5, 0.05]).repeat(2)
    return labels, np.where(rng.random(N) < 0.7, labels, 5), np.arange(N) // 2


def test_a_subgroup_is_judged_by_its_images_alone(columns: Columns, answers: Answers) -> None:
    labels, predicted, lesions = answers
    rows = subgroup_tables(labels, predicted, lesions, ALL_KNOWN, columns, CLASSES, resamples=100)["sex"]
    assert [row["group"] for row in rows] == ["female", "male"]
    for row in rows:
        of_it = columns["sex"] == row["group"]
        y, answer = labels[of_it], predicted[of_it]
        assert (row["n"], row["lesions"]) == (of_it.sum(), len(np.unique(lesions[of_it])))
        assert row["accuracy"] == (y == answer).mean()
        assert row["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(y, answer))
        assert row["melanomas"] == (y == 4).sum()
        assert row["melanoma_sensitivity"] == (answer[y == 4] == 4).mean()
        for score, interval in (
            ("accuracy", "accuracy_interval"),
            ("balanced_accuracy", "balanced_accuracy_interval"),
            ("melanoma_sensitivity", "melanoma_interval"),
        ):
            assert row[interval]["low"] < row[score] < row[interval]["high"]
            assert row[interval]["method"] == "bootstrap"


def test_few_images_get_wilsons_interval_and_no_melanoma_none(columns: Columns) -> None:
    labels = np.full(N, 5)
    predicted = np.where(np.arange(N) % 4 == 0, 4, 5)
    row = subgroup_tables(labels, predicted, np.arange(N), ALL_KNOWN, columns, CLASSES, resamples=50)["localization"][1]
    assert (row["group"], row["n"]) == ("ear", 12)
    assert row["accuracy_interval"] == pytest.approx(wilson_interval(9, 12))
    assert row["melanoma_sensitivity"] is row["melanoma_interval"] is None


def test_unknown_comes_last_and_a_column_that_is_all_unknown_has_no_rows(columns: Columns, answers: Answers) -> None:
    labels, predicted, lesions = answers
    tables = subgroup_tables(labels, predicted, lesions, ALL_KNOWN, columns, CLASSES, resamples=20)
    assert tables["dataset"] == []
    assert [row["group"] for row in tables["localization"]] == ["back", "ear", "face", "unknown"]
    assert [row["group"] for row in tables["age"]] == ["0-19", "20-39", "40-59", "60-79", "80+", "unknown"]
    assert all(sum(row["n"] for row in rows) == N for rows in tables.values() if rows)
    assert json.loads(json.dumps(tables)) == tables


def test_age_bands_hold_their_ends() -> None:
    ages = np.array([0, 19.5, 20, 39, 40, 60, 79, 80, 105, np.nan], np.float32)
    bands = ["0-19", "0-19", "20-39", "20-39", "40-59", "60-79", "60-79", "80+", "80+", "unknown"]
    assert age_bands(ages).tolist() == bands


def test_demographics_count_images_and_describe_known_ages(columns: Columns) -> None:
    found = demographics(np.arange(N) // 2, ALL_KNOWN, columns)
    assert (found["images"], found["lesions"], found["age"]["unknown"]) == (N, N // 2, 8)
    assert found["age"]["mean"] == pytest.approx(np.nanmean(columns["age"]))
    assert found["age"]["sd"] == pytest.approx(np.nanstd(columns["age"], ddof=1))
    assert list(found["sex"].values()) == sorted(found["sex"].values(), reverse=True)
    assert sum(found["localization"].values()) == N
    assert found["dataset"] == {"unknown": N}
    assert json.loads(json.dumps(found)) == found


def test_demographics_without_an_age_say_so(columns: Columns) -> None:
    found = demographics(np.arange(N), ALL_KNOWN, columns | {"age": np.full(N, np.nan)})
    assert found["age"] == {"mean": None, "sd": None, "unknown": N}
