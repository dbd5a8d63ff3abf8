"""The page of a run: self-contained, described, escaped, and honest about what it lacks."""

import functools
from typing import Any

import numpy as np
import pytest

from hamjax.report.checklists import CLAIM, TRIPOD_AI
from hamjax.report.evidence import Evidence, Exhibit
from hamjax.report.figures import reliability
from hamjax.report.page import page
from tests.helpers.html_reader import Reader
from tests.helpers.report_fixture import external_overlap, full_records, full_summary

PNG = b"\x89PNG\r\n\x1a\n"  # the page embeds bytes, it does not read them
PICTURES: dict[str, bytes] = dict.fromkeys(
    ("training_curves", "reliability", "risk_coverage", "class_histogram", "sample_sheet"), PNG
)
EVIL = "<script src=\"https://evil.example/x.js\">alert('&')</script>"


def _full(**changes: Any) -> Evidence:
    gallery = [Exhibit(PNG, error["image_id"], "a lesion") for error in full_summary()["worst_errors"]]
    return Evidence(full_summary() | changes, full_records(), PICTURES, gallery)


@functools.cache
def _complete() -> Reader:
    return Reader(page(_full()))


def _without(*keys: str) -> Evidence:
    return Evidence({key: value for key, value in full_summary().items() if key not in keys})


def _older() -> Evidence:
    """What a run of the first version recorded."""
    kept = ("partition", "model", "strategy", "seed", "images_note", "images_dropped", "split", "data_fingerprint",
            "params_total", "params_trainable", "checkpoint", "n", "classes", "accuracy", "balanced_accuracy",
            "macro_f1", "majority_baseline_accuracy", "majority_baseline_balanced_accuracy", "confusion_matrix",
            "per_class", "loss", "leaks", "alarms")  # fmt: skip
    summary = {key: value for key, value in full_summary().items() if key in kept}
    first = ("precision", "recall", "f1", "support", "predicted")
    summary["per_class"] = {dx: {k: row[k] for k in first} for dx, row in summary["per_class"].items()}
    return Evidence(summary, full_records())


EVIDENCE = {
    "full": _full,
    "external": lambda: _full(external=external_overlap()),
    "older": _older,
    "val": lambda: _full(partition="val", leaks={}),
    "nothing": lambda: Evidence({}),
}


@pytest.mark.parametrize("kind", EVIDENCE)
def test_the_page_refers_to_nothing_outside_itself(kind: str) -> None:
    text = page(EVIDENCE[kind]())
    reader = Reader(text)
    anchors = reader.attributes("id")
    assert len(anchors) == len(set(anchors))
    for url in reader.attributes("href") + reader.attributes("src"):
        assert url.startswith("data:image/png;base64,") or url.removeprefix("#") in anchors
    assert not {"script", "link", "iframe", "object", "form"} & {tag for tag, _ in reader.tags}
    assert "@import" not in text
    assert "url(" not in text


@pytest.mark.parametrize("kind", EVIDENCE)
def test_figures_have_a_text_alternative_and_tables_headers(kind: str) -> None:
    reader = Reader(page(EVIDENCE[kind]()))
    for tag, values in reader.tags:
        if tag == "img":
            assert values["alt"]
        if tag == "svg":
            assert values["role"] == "img"
            assert values["aria-label"]
        if tag == "th":
            assert values["scope"] in ("col", "row", "rowgroup")
    count = [tag for tag, _ in reader.tags].count
    assert count("table") == count("caption") == count("thead") > 0


def test_a_full_summary_leaves_no_block_without_data() -> None:
    reader = Reader(page(_full(external=external_overlap())))
    empty = [tag for tag, values in reader.tags if values.get("class") == "none"]
    assert len(empty) == 1  # nobody knows the reference standard of an external set
    assert "not recorded" in reader.block("reference-standard").lower()
    assert not [1 for _, values in _complete().tags if values.get("class") == "none"]


@pytest.mark.parametrize(
    ("key", "anchor"),
    [("isic", "isic"), ("calibration", "calibration"), ("subgroups", "subgroups"), ("demographics", "demographics"),
     ("operating_points", "operating-points"), ("worst_errors", "worst-errors"), ("environment", "environment"),
     ("command", "command"), ("config", "settings"), ("bootstrap", "uncertainty"), ("leaks", "leak-meter"),
     ("split", "partitions"), ("checkpoint", "selection"), ("confusion_matrix", "confusion"),
     ("conformal", "prediction-sets"), ("selective", "risk-coverage")],
)  # fmt: skip
def test_a_missing_part_is_said_to_be_not_recorded_and_is_not_linked(key: str, anchor: str) -> None:
    reader = Reader(page(_without(key)))
    assert "Not recorded." in reader.block(anchor)
    assert f"#{anchor}" not in reader.attributes("href")
    assert "Not recorded." not in _complete().block(anchor)


@pytest.mark.parametrize("items", [CLAIM, TRIPOD_AI], ids=["claim", "tripod-ai"])
def test_checklist_items_point_to_blocks_that_exist(items: tuple[Any, ...]) -> None:
    blocks = set(Reader(page(_full(external=external_overlap()))).attributes("id"))
    assert {anchor for item in items for anchor in item.anchors} <= blocks
    assert all(item.anchors or not item.gap for item in items)


def test_checklists_are_complete() -> None:
    first, update = zip(*(item.number for item in CLAIM), strict=True)
    assert [n for n in first if n != "—"] == [str(n) for n in range(1, 43)]
    assert sorted(int(n) for n in update if n != "—") == list(range(1, 45))
    assert [int(n.number[0].rstrip("abcdefg")) for n in TRIPOD_AI] == sorted(
        int(n.number[0].rstrip("abcdefg")) for n in TRIPOD_AI
    )
    assert {int(n.number[0].rstrip("abcdefg")) for n in TRIPOD_AI} == set(range(1, 28))
    assert len(TRIPOD_AI) == 52


def test_drawn_images_are_not_passed_off_as_ham10000() -> None:
    reader = Reader(page(_full(images_note="4,000 drawn images, no photographs, of 32x32 pixels")))
    assert "Not recorded." in reader.block("collection")
    assert "say nothing about skin" in reader.block("data-source")
    assert "drawn as" in reader.block("reference-standard")


ALARMS = {
    "collapse: 96% of the predictions are nv": ("#confusion", {}),
    "leak: 5 test images show a lesion that was trained on": ("#leak-meter", {}),
    "overlap: 3 images of 2 lesions were trained on": ("#external", {"external": external_overlap()}),
}


@pytest.mark.parametrize("alarm", ALARMS)
def test_alarms_come_first_and_lead_to_their_numbers(alarm: str) -> None:
    link, changes = ALARMS[alarm]
    reader = Reader(page(_full(alarms=[alarm], **changes)))
    after_body = reader.tags[[tag for tag, _ in reader.tags].index("body") + 1 :]
    assert after_body[0][1]["id"] == "alarms"
    assert alarm in reader.block("alarms")
    assert next(values["href"] for tag, values in after_body if tag == "a") == link


def test_a_temperature_that_was_fitted_on_the_images_it_is_scored_on_is_said_to_be() -> None:
    calibration = full_summary()["calibration"] | {"fitted_on_scored_images": True}
    assert "these very images" in Reader(page(_full(partition="val", calibration=calibration))).block("calibration")
    assert "these very images" not in _complete().block("calibration")
    figure = reliability(calibration)
    assert "fitted on these images" in figure.axes[0].get_legend_handles_labels()[1][-1]


def test_a_run_without_alarms_shows_none() -> None:
    assert "alarms" not in _complete().attributes("id")


def test_a_leaky_split_is_not_called_disjoint() -> None:
    leaks = full_summary()["leaks"] | {"mel": {"test": 46, "leaked": 5}}
    reader = Reader(page(_full(leaks=leaks)))
    assert "5 of 1,103 test images" in reader.block("leak-meter")
    assert "no lesion is in two parts" not in reader.block("partitions")
    assert "no lesion is in two parts" in _complete().block("partitions")


def test_an_external_set_names_what_was_left_out_and_what_overlaps() -> None:
    block = Reader(page(_full(external=external_overlap()))).block("external")
    for said in ("ISIC_0000001, ISIC_0000002", "ISIC_0035068", "ISIC_0024306", "image and lesion id"):
        assert said in block
    others = external_overlap() | {
        "outside": {"B": "SCC", "C": "UNK", "D": "SCC"}, "table": {"place": "<a>.csv", "rows": 60, "sha256": "ab" * 32},
    }  # fmt: skip
    block = Reader(page(_full(external=others))).block("external")
    for said in ("3 (SCC 2, UNK 1): B, C, D", "<a>.csv: 60 rows", "ab" * 32):
        assert said in block
    unchecked = external_overlap() | {"overlap": None}
    assert "not recorded" in Reader(page(_full(external=unchecked))).block("external")


def _poison(value: Any) -> Any:
    """Put markup into every text of a summary that is no key of ours."""
    if isinstance(value, dict):
        return {key: _poison(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_poison(entry) for entry in value]
    return value + EVIL if isinstance(value, str) else value


@pytest.mark.parametrize("with_gallery", [True, False])
def test_every_text_is_escaped(with_gallery: bool) -> None:
    summary = full_summary() | {"external": external_overlap(), "images_dropped": ["ISIC_1"], "alarms": ["leak: 5"]}
    poisoned = _poison({key: value for key, value in summary.items() if key != "classes"})
    poisoned["demographics"]["test"]["localization"][EVIL] = 3
    poisoned["environment"][EVIL] = EVIL
    gallery = [Exhibit(PNG, EVIL, EVIL)] if with_gallery else []
    records = [*full_records(), {"step": 1, "epoch": 1, "alarm": EVIL}]
    text = page(Evidence({**poisoned, "classes": summary["classes"]}, records, PICTURES, gallery))
    reader = Reader(text)
    assert "<script" not in text
    assert text.count("&lt;script") > 50
    assert not any("evil" in url for url in reader.attributes("href") + reader.attributes("src"))
    assert not [key for _, values in reader.tags for key in values if key.startswith("on") or "evil" in key]


def test_wilson_intervals_are_marked_and_undefined_scores_dashed() -> None:
    reader = _complete()
    assert "†" in reader.block("per-class")
    assert "Wilson" in reader.block("uncertainty")
    assert "—of 0" in reader.block("subgroups")  # no melanoma below twenty


def test_a_checkpoint_asked_for_by_its_step_is_not_called_the_end() -> None:
    assert "the end of training" in _complete().block("selection")
    chosen = {"name": "last", "step": 40}
    assert "asked for by its step" in Reader(page(_full(checkpoint=chosen))).block("selection")


def test_the_reliability_diagram_leaves_out_empty_bins_and_what_is_missing() -> None:
    calibration = full_summary()["calibration"]
    filled = [sum(row["n"] > 0 for row in calibration[name]["bins"]) for name in ("before", "after")]
    assert max(filled) < 15
    drawn, _ = reliability(calibration).axes
    assert [np.size(line.get_xdata()) for line in drawn.lines] == [2, *filled]
    drawn, _ = reliability({"before": calibration["before"], "after": None}).axes
    assert len(drawn.lines) == 2


def test_the_page_says_it_is_no_medical_device_and_whose_images_these_are() -> None:
    for evidence in (_full(), Evidence({})):
        text = page(evidence)
        assert "not a medical device" in text
        assert "CC BY-NC 4.0" in text
