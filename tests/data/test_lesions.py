"""Which lesions are known, and what is said of parts that may share some."""

import numpy as np
import pytest

from hamjax.data.lesions import (
    count_lesions,
    known_lesions,
    leak_meter,
    lesion_facts,
    overlap,
    unit_of_resampling,
    with_lesions,
)
from hamjax.data.metadata import Metadata, from_rows


def _table(**lesion_of: str) -> Metadata:
    return from_rows([{"image_id": i, "lesion_id": k, "dx": "nv"} for i, k in lesion_of.items()], where="test")


def _known(metadata: Metadata) -> list[bool]:
    return known_lesions(metadata.image_id, metadata.lesion_id).tolist()


def test_an_image_under_its_own_id_has_no_known_lesion_unless_it_shares_it() -> None:
    assert _known(_table(a="a", b="b")) == [False, False]
    assert _known(_table(a="L1", b="b", c="L1")) == [True, False, True]
    assert lesion_facts(_table(a="L1", b="b", c="c")) == {"images": 3, "unknown": 2}


def test_lesions_named_after_their_images_are_known_unless_the_table_lacks_some() -> None:
    assert _known(_table(a="a", b="a", c="c")) == [True, True, True]
    # Other names beside them: the ids may stand for lesions that somebody did not know.
    assert _known(_table(a="a", b="a", c="c", d="L1")) == [True, True, False, True]
    rows = [{"image_id": i, "lesion_id": lesion, "dx": "nv"} for i, lesion in (("a", "a"), ("b", "a"), ("c", ""))]
    filled = from_rows(with_lesions(rows, None, "test", allow_missing=True), where="test")
    assert _known(filled) == [True, True, False]
    assert lesion_facts(filled)["unknown"] == 1


@pytest.mark.parametrize(
    ("known", "unit", "count"),
    [([True, True], "lesions", 2), ([True, False], "lesions and images", None), ([False, False], "images", None)],
)
def test_what_is_counted_and_resampled_says_what_is_known(known: list[bool], unit: str, count: int | None) -> None:
    assert unit_of_resampling(np.array(known)) == unit
    assert count_lesions(np.array([4, 7]), np.array(known)) == count


def test_the_leak_meter_compares_every_part_with_those_learned_or_chosen_from() -> None:
    table = _table(a="L1", b="L1", c="L2", d="L2", e="L3", f="L3", g="L4")
    split = np.array(["train", "test", "val", "test", "train", "val", "test"])
    assert leak_meter(table, split)["nv"] == {"test": 3, "leaked": 2, "val": 2, "val_leaked": 1}
    apart = np.array(["train", "train", "val", "val", "test", "test", "test"])
    assert leak_meter(table, apart)["nv"] == {"test": 3, "leaked": 0, "val": 2, "val_leaked": 0}


def test_a_leak_that_is_not_found_is_not_excluded_where_any_lesion_is_unknown() -> None:
    split = np.array(["train", "val", "test"])
    nothing = leak_meter(_table(a="L1", b="L2", c="c"), split)
    assert nothing["nv"] == {"test": 1, "leaked": None, "val": 1, "val_leaked": None}
    assert nothing["mel"] == {"test": 0, "leaked": None, "val": 0, "val_leaked": None}
    found = leak_meter(_table(a="L1", b="b", c="L1"), split)
    assert found["nv"] == {"test": 1, "leaked": 1, "val": 1, "val_leaked": None}


def test_an_overlap_is_found_under_longer_names() -> None:
    run, split = _table(ISIC_0024306="L1", ISIC_0024307="L2", ISIC_0024308="L3"), np.array(["train", "val", "test"])
    names = ("ISIC_0024306_downsampled", "b/ISIC_0024307", "b/ISIC_0024308", "ISIC_00243060")
    lesion, certain = overlap(_table(**dict(zip(names, names, strict=True))), run, split)
    found = dict(zip(sorted(names), zip(lesion.tolist(), certain.tolist(), strict=True), strict=True))
    assert found["ISIC_0024306_downsampled"] == ("L1", True)
    assert found["b/ISIC_0024307"] == ("L2", True)
    assert found["b/ISIC_0024308"] == ("", True)
    assert found["ISIC_00243060"] == ("", False)


def test_an_overlap_is_excluded_only_where_all_lesions_are_known() -> None:
    split = np.array(["train", "val", "test"])
    known, unknown = _table(a="L1", b="L2", c="L3"), _table(a="L1", b="b", c="c")
    tested = _table(a="a", c="c", x="L2", y="L9", z="z")
    lesion, certain = overlap(tested, known, split)
    assert lesion.tolist() == ["L1", "", "L2", "", ""]
    assert certain.tolist() == [True, True, True, True, False]
    lesion, certain = overlap(tested, unknown, split)
    assert lesion.tolist() == ["L1", "", "", "", ""]
    assert not certain.any()
    lesion, certain = overlap(_table(b="b", x="x"), unknown, split)
    assert lesion.tolist() == ["b", ""]
