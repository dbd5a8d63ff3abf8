"""No lesion on two sides, the paper's counts, and shares per class."""

from pathlib import Path

import numpy as np
import pytest

from hamjax.data import splits
from hamjax.data.classes import CLASSES
from hamjax.data.lesions import NEAR_DUPLICATES, leak_meter
from hamjax.data.metadata import Metadata
from hamjax.data.sources.folder import LocalSource
from hamjax.data.sources.synthetic import SyntheticSource
from hamjax.data.splits import DRAWN, TEST, TRAIN, VAL, make_split


@pytest.fixture(scope="module")
def drawn() -> Metadata:
    return SyntheticSource(3000).metadata


@pytest.fixture(scope="module")
def real(real_data: Path) -> Metadata:
    return LocalSource(real_data).metadata


@pytest.mark.parametrize("name", DRAWN)
def test_no_lesion_is_on_two_sides(drawn: Metadata, name: str) -> None:
    split = make_split(drawn, name)
    for lesion in np.unique(drawn.lesion_id):
        assert len(set(split[drawn.lesion_id == lesion])) == 1
    assert set(split) == {TRAIN, VAL, TEST}


@pytest.mark.parametrize("name", DRAWN)
def test_the_same_seed_gives_the_same_split_and_another_another(drawn: Metadata, name: str) -> None:
    a, b, c = (splits.fingerprint(drawn, make_split(drawn, name, seed=s)) for s in (1, 1, 2))
    assert a == b != c


def test_folds_test_every_image_once(drawn: Metadata) -> None:
    tested = sum((make_split(drawn, f"fold{k}") == TEST).astype(int) for k in range(5))
    np.testing.assert_array_equal(tested, 1)


@pytest.mark.parametrize(("name", "shares"), [("honest", (0.7, 0.15, 0.15)), ("fold3", (0.7, 0.1, 0.2))])
def test_every_class_gives_its_share(drawn: Metadata, name: str, shares: tuple[float, ...]) -> None:
    counts = splits.split_counts(drawn, make_split(drawn, name))
    for dx in CLASSES:
        total = sum(counts[part][dx] for part in (TRAIN, VAL, TEST))
        for part, share in zip((TRAIN, VAL, TEST), shares, strict=True):
            assert abs(counts[part][dx] - share * total) <= 3


def test_leak_meter_counts_test_images_of_trained_lesions(drawn: Metadata) -> None:
    leaky = np.where(np.arange(len(drawn)) % 5 == 0, TEST, TRAIN)
    meter = leak_meter(drawn, leaky)
    trained = set(drawn.lesion_id[leaky == TRAIN])
    for k, dx in enumerate(CLASSES):
        lesions = drawn.lesion_id[(leaky == TEST) & (drawn.label == k)]
        found = sum(x in trained for x in lesions)
        assert meter[dx] == {"test": len(lesions), "leaked": found, "val": 0, "val_leaked": 0}
    clean = leak_meter(drawn, make_split(drawn, "honest"))
    assert {row["leaked"] for row in clean.values()} == {0}


def test_paper_split_has_the_papers_counts(real: Metadata) -> None:
    counts = splits.split_counts(real, make_split(real, "paper"))
    held_out = {"nv": 883, "bkl": 88, "mel": 46, "bcc": 35, "akiec": 30, "vasc": 13, "df": 8}
    assert counts[VAL] == counts[TEST] == held_out
    train = {"nv": 4939, "mel": 1021, "bkl": 923, "bcc": 444, "akiec": 267, "vasc": 116, "df": 99}
    assert counts[TRAIN] == train


def test_unstratified_paper_split_has_the_papers_totals(real: Metadata) -> None:
    split = make_split(real, "paper", stratify=False)
    assert [int((split == part).sum()) for part in (TRAIN, VAL, TEST)] == [7809, 1103, 1103]


@pytest.mark.parametrize("name", DRAWN)
def test_no_near_duplicate_is_on_two_sides(real: Metadata, name: str) -> None:
    row = {image_id: i for i, image_id in enumerate(real.image_id.tolist())}
    split = make_split(real, name)
    for a, b in NEAR_DUPLICATES:
        assert split[row[f"ISIC_{a:07d}"]] == split[row[f"ISIC_{b:07d}"]]
    assert {row["leaked"] for row in leak_meter(real, split).values()} == {0}


def test_paper_split_tests_on_one_image_lesions(real: Metadata) -> None:
    lesions, counts = np.unique(real.lesion_id, return_counts=True)
    size = dict(zip(lesions.tolist(), counts.tolist(), strict=True))
    held_out = make_split(real, "paper") != TRAIN
    assert {size[lesion] for lesion in real.lesion_id[held_out].tolist()} == {1}


def test_a_random_image_split_leaks_as_published(real: Metadata) -> None:
    rng = np.random.default_rng(0)
    split = np.where(rng.random(len(real)) < 0.2, TEST, TRAIN)
    meter = leak_meter(real, split)
    leaked, tested = (sum(row[key] or 0 for row in meter.values()) for key in ("leaked", "test"))
    assert leaked / tested == pytest.approx(0.387, abs=0.03)
