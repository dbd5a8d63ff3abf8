"""The page on how sure the answers are: what sets promise, and which classes they say nothing of."""

from typing import Any

import numpy as np
import pytest

from hamjax.report.evidence import Evidence
from hamjax.report.figures import risk_coverage
from hamjax.report.page import page
from tests.helpers.html_reader import Reader
from tests.helpers.report_fixture import full_summary


def _block(anchor: str, **changes: Any) -> str:
    return Reader(page(Evidence(full_summary() | changes))).block(anchor)


def _with_conformal(**changes: Any) -> str:
    return _block("prediction-sets", conformal=full_summary()["conformal"] | changes)


def test_coverage_and_size_are_shown_with_their_intervals() -> None:
    block = _block("prediction-sets")
    for kind in ("marginal", "by_class"):
        found = full_summary()["conformal"][kind]
        interval = found["coverage_interval"]
        assert f"{found['coverage']:.3f}{interval['low']:.2f} to {interval['high']:.2f}" in block
        interval = found["mean_size_interval"]
        assert f"{found['mean_size']:.2f}{interval['low']:.2f} to {interval['high']:.2f}" in block
    assert "1,103 validation images of 1,103 lesions" in block


def test_what_chance_lets_expect_stands_beside_what_was_found() -> None:
    block, conformal = _block("prediction-sets"), full_summary()["conformal"]
    for low, high in (conformal["marginal"]["expected"], conformal["by_class"]["per_class"]["mel"]["expected"]):
        assert low < 0.9 < high
        assert f"{low:.2f} to {high:.2f}" in block
    assert conformal["by_class"]["per_class"]["df"]["expected"] == [1, 1]


def test_a_class_of_too_few_calibration_lesions_is_named() -> None:
    assert "Fewer than 9 validation lesions: df (8)." in _block("prediction-sets")
    conformal = full_summary()["conformal"]
    conformal["calibration"]["per_class"]["df"]["lesions"] = 9
    assert "Fewer than" not in _block("prediction-sets", conformal=conformal)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"promise": "exact", "because": []}, "Promised: a coverage of at least 90% for an image of a new lesion"),
        (
            {"promise": "approximate", "because": ["checkpoint", "lesions"]},
            "The promised coverage of 90% is approximate: validation also chose the checkpoint; lesions are not known",
        ),
        (
            {"promise": "none", "because": ["elsewhere"]},
            "No coverage is promised here: these images are from elsewhere",
        ),
    ],
)
def test_what_is_promised_is_said(changes: dict[str, Any], said: str) -> None:
    assert said in _with_conformal(**changes)


def test_where_lesions_are_not_known_images_are_the_units() -> None:
    conformal = full_summary()["conformal"]
    conformal["calibration"]["unit"] = "images"
    assert "1,103 validation images of 1,103 units" in _block("prediction-sets", conformal=conformal)


def test_sets_that_could_not_be_calibrated_were_not_measured() -> None:
    assert "Not measured: there are no validation images" in _block("prediction-sets", conformal=None)


def test_the_classes_of_the_answered_images_are_shown() -> None:
    block, selective = _block("risk-coverage"), full_summary()["selective"]
    answered = selective["at_80"]["per_class"]["nv"]
    assert f"{answered['images']:,}{answered['answered']:,}" in block
    assert f"{selective['aurc']:.3f}" in block


def test_the_figure_draws_the_curve_within_its_interval_and_the_best_order_below_it() -> None:
    selective = full_summary()["selective"]
    (axes,) = risk_coverage(selective).axes
    found, best, *_ = axes.lines
    assert np.asarray(found.get_ydata()).tolist() == [row["risk"] for row in selective["curve"]]
    below = np.asarray(found.get_ydata()) - np.asarray(best.get_ydata())
    assert (below >= -1e-12).all()
    assert below[-1] == pytest.approx(0)
