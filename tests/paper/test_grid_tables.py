"""The grid's tables: what is pooled, chosen, compared and shown."""

import csv
import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
from scipy.stats import binomtest

from hamjax.data.classes import CLASSES, PAPER_ORDER
from hamjax.paper import layout, published, reproduce
from hamjax.paper.cells import FAILURE
from hamjax.paper.protocols import make_block, side_by_side
from hamjax.paper.results import COLUMNS, METRICS, Score, read_results
from hamjax.paper.tables import choose_strategies, difference_interval, published_scores
from hamjax.runtime.errors import UserError
from tests.helpers.grid_runs import cells_of, finish

ORDER = [CLASSES.index(dx) for dx in PAPER_ORDER]
NV, MEL, BKL = (CLASSES.index(dx) for dx in ("nv", "mel", "bkl"))


def _draw(seed: int, n: int, right: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Draw labels of all classes, and predictions of which a share is right."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(7), rng.integers(0, 7, n - 7)])
    return labels, np.where(rng.random(n) < right, labels, rng.integers(0, 7, n))


def _sklearn(labels: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
    undefined: Any = 0.0
    scores = sklearn.metrics.precision_recall_fscore_support(labels, predicted, labels=ORDER, zero_division=undefined)
    accuracy = sklearn.metrics.accuracy_score(labels, predicted)
    rows = dict(zip(METRICS, map(np.asarray, scores), strict=False))
    return {name: np.array([*row, accuracy, row.mean()]) for name, row in rows.items()}


def test_seeds_are_averaged_and_unfinished_cells_say_so(tmp_path: Path) -> None:
    cells = cells_of(tmp_path, strategies=["s1", "s2"], seeds=[0, 1])
    nv, mel = [NV] * 3, [MEL]
    finish(cells[0], nv + mel, nv + mel, alarms=["leak: 3 images"])  # accuracy 1, balanced 1
    finish(cells[2], nv + mel, nv + nv[:1])  # accuracy 3/4, balanced 1/2
    (cells[1].workdir).mkdir()
    (cells[1].workdir / FAILURE).write_text(json.dumps({"status": 3, "message": "no number"}))
    text = reproduce.write_tables(tmp_path, cells)
    assert "2 of 4 cells are not finished: paper/cnn_s2_seed0, paper/cnn_s2_seed1." in text
    assert "paper/cnn_s2_seed0: failed, not run: no number" in text
    assert "paper/cnn_s1_seed0: leak: 3 images" in text
    assert "always nv scores accuracy 0.750, balanced accuracy 0.500" in text
    assert text == (tmp_path / "tables.txt").read_text() + f"\ntables {tmp_path}"

    rows = {row["row"]: row for row in _csv(tmp_path / "table4.csv")}
    assert float(rows["S1"]["ours"]) == pytest.approx(0.875)
    assert float(rows["S1"]["sd"]) == pytest.approx(np.std([1, 0.75], ddof=1))
    assert (rows["S1"]["seeds"], rows["S1"]["published"]) == ("2", "0.789")
    assert (rows["S2"]["ours"], rows["S2"]["published"], rows["S2"]["noise"]) == ("", "0.844", "")
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "S1 ours 0.875 ± 0.177 (2)" in lines
    assert "S2 ours not run" in lines

    recall = {row["column"]: row for row in _csv(tmp_path / "table6.csv")}
    assert float(recall["mel"]["ours"]) == pytest.approx(0.5)
    assert float(recall["mean"]["ours"]) == pytest.approx(0.75)
    stored = json.loads((tmp_path / "tables.json").read_text())
    assert stored["protocols"]["paper"]["chosen"] == {"cnn": "s1"}
    assert stored["cells"][1] == {"cell": "paper/cnn_s2_seed0", "state": "failed, not run", "failure": "no number"}


def test_the_paper_chooses_by_test_accuracy_and_the_others_by_validation(tmp_path: Path) -> None:
    for protocol, expected in (("paper", "s1"), ("honest", "s2")):
        cells = cells_of(tmp_path, protocols=[protocol], strategies=["s1", "s2", "s3"])
        labels = [NV, NV, NV, MEL]
        finish(cells[0], labels, [NV, NV, NV, NV], validation=0.3)  # the best accuracy
        finish(cells[1], labels, [NV, MEL, MEL, MEL], validation=0.4)
        finish(cells[2], labels, [NV, NV, NV, NV], validation=0.4)  # a tie goes to the first
        results = read_results(cells)
        assert {k: v.strategy for k, v in choose_strategies(protocol, results).items()} == {"cnn": expected}
        assert "test accuracy" in " ".join(make_block("paper", ["cnn"], results).lines)


def test_pooled_folds_are_scored_as_one_test_set(tmp_path: Path) -> None:
    cells = cells_of(tmp_path, protocols=["folds"], seeds=[0, 1])
    parts = [_draw(k, 40) for k in range(5)]
    for cell, (labels, predicted), validation in zip(cells, parts, (0.1, 0.2, 0.3, 0.4, 0.5), strict=False):
        finish(cell, labels, predicted, validation=validation)
    finish(cells[5], *parts[0])  # the second seed lacks four folds and does not count
    (result,) = read_results(cells)
    assert result.seeds == (0,)
    assert result.validation == pytest.approx(0.3)
    theirs = _sklearn(*map(np.concatenate, zip(*parts, strict=True)))
    for metric in METRICS:
        ours = [result.score(metric, column).value for column in COLUMNS]
        np.testing.assert_allclose(ours, theirs[metric], rtol=1e-12)


def test_protocols_stand_side_by_side_and_only_the_papers_is_compared(tmp_path: Path) -> None:
    cells = cells_of(tmp_path, protocols=["paper", "honest"])
    for cell in cells:
        finish(cell, *_draw(3, 300))
    blocks = [make_block(cell.protocol, ["cnn"], read_results([cell])) for cell in cells]
    noise = [block.tables[0].rows["S1"][0].noise for block in blocks]
    assert noise == ["below", ""]
    compared = side_by_side(blocks, ["cnn"])
    assert compared.columns[3:5] == ("honest: accuracy", "honest: balanced accuracy")
    accuracy = [entry.ours and entry.ours.value for entry in compared.rows["CNN"]]
    assert accuracy[:3] == accuracy[3:]
    assert compared.title in layout.text(blocks, compared, [])


@pytest.mark.parametrize(
    ("note", "words", "expected"),
    [
        ("300 drawn images, no photographs, of 120x90 pixels", (), "16 px, 120x90 drawn images, 50 epochs"),
        ("10,015 images of 200x150 pixels (3 of other sizes)", ("--config.sampling.epoch_size=fixed",
         "--config.train.epochs=6"), "16 px, 200x150 images, 6 epochs, as many steps in each"),
    ],
)  # fmt: skip
def test_every_table_says_what_was_trained_on(tmp_path: Path, note: str, words: tuple[str, ...], expected: str) -> None:
    cells = cells_of(tmp_path, *words, strategies=["s1", "s2"])
    for cell in cells:
        finish(cell, *_draw(3, 300), images_note=f"{note}, squash to 16x16")
    reproduce.write_tables(tmp_path, cells)
    titles = [
        table["title"]
        for table in json.loads((tmp_path / "tables.json").read_text())["protocols"]["paper"]["tables"].values()
    ]
    assert len(titles) == 5
    for title in titles:
        assert title.endswith(f"({expected})")
        assert title in (tmp_path / "tables.txt").read_text()
        assert title in (tmp_path / "index.html").read_text()


def test_cells_of_different_images_are_not_put_in_one_table(tmp_path: Path) -> None:
    cells = cells_of(tmp_path, seeds=[0, 1])
    finish(cells[0], [NV], [NV])
    finish(cells[1], [NV], [NV], data="other")
    with pytest.raises(UserError, match="cnn_s1_seed1: expected the images"):
        read_results(cells)
    finish_again = cells[1].workdir / "report" / "test.json"
    finish_again.write_text((cells[0].workdir / "report" / "test.json").read_text())
    (cells[1].workdir / "split.csv").write_text("image_id,lesion_id\n")
    with pytest.raises(UserError, match="remove its report/"):
        read_results(cells)


def test_the_interval_is_that_of_the_pooled_lesions_and_not_narrowed_by_seeds(tmp_path: Path) -> None:
    once, twice = cells_of(tmp_path), cells_of(tmp_path, strategies=["s2"], seeds=[0, 1])
    clustered = cells_of(tmp_path, strategies=["s3"])
    labels, predicted = _draw(0, 400)
    for cell in (*once, *twice):
        finish(cell, labels, predicted)
    lesions = [f"L{i // 4}" for i in range(1600)]
    finish(clustered[0], np.repeat(labels, 4), np.repeat(predicted, 4), lesion=lesions)
    (one,), (two,), (grouped,) = map(read_results, (once, twice, clustered))
    ours = one.score("recall", "overall")
    assert ours.interval is not None
    exact = binomtest(int((labels == predicted).sum()), 400).proportion_ci(method="wilson")
    np.testing.assert_allclose(ours.interval, [exact.low, exact.high], atol=0.01)
    assert two.score("recall", "overall").interval == ours.interval
    # Four like images of a lesion say no more than one.
    four = grouped.score("recall", "overall").interval
    assert four is not None
    np.testing.assert_allclose(np.diff(four), np.diff(ours.interval), rtol=0.1)
    assert (one.lesions, grouped.lesions) == (400, 400)


def test_the_interval_of_a_difference_is_newcombes() -> None:
    # Newcombe, Statistics in Medicine 17:873 (1998), Table II: 56/70 - 48/80, method 10.
    ends = {k: binomtest(k, n).proportion_ci(method="wilson") for k, n in ((56, 70), (48, 80))}
    a, b = (Score(share, (ends[k].low, ends[k].high)) for k, share in ((56, 0.8), (48, 0.6)))
    assert difference_interval(a, b) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_published_numbers_agree_with_each_other() -> None:
    for column, model in enumerate(published.MODELS):
        best = max(row[column] for row in published.ACCURACY.values())
        for metric in METRICS:
            assert published.PER_CLASS[metric][model][-1] == pytest.approx(best, abs=0.0101)
        for k, dx in enumerate(PAPER_ORDER):
            p, r, f1 = (published.PER_CLASS[metric][model][k] for metric in METRICS)
            assert f1 == pytest.approx(2 * p * r / (p + r) if p + r else 0, abs=0.02), (model, dx)
    assert sum(published.SUPPORT) == published.TEST_IMAGES
    means = {m: round(published_scores("recall", m)[-1].value, 3) for m in published.MODELS}
    assert means == {"cnn": 0.333, "resnet50": 0.683, "inceptionv3": 0.726, "densenet201": 0.727}


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_is_self_contained_and_shows_the_papers_figures(tmp_path: Path) -> None:
    cells = cells_of(tmp_path, models=["resnet50"], strategies=["s3", "s5"])
    for cell, right in zip(cells, (0.5, 0.8), strict=True):
        finish(cell, *_draw(3, 300, right))
        for name in ("sample_sheet", "class_histogram", "training_curves"):
            (cell.workdir / "report" / f"{name}.png").write_bytes(b"PNG")
    (cells[0].workdir / FAILURE).write_text(json.dumps({"message": "<script>"}))
    reproduce.write_tables(tmp_path, cells)
    text = (tmp_path / "index.html").read_text()
    page = _Page(text)
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert [str(image["alt"])[:8] for image in images] == [f"Figure {k}" for k in (1, 2, 5, 6, 6)]
    assert all(str(image["src"]).startswith("data:") for image in images)
    assert not any(tag in ("script", "link", "iframe") for tag, _ in page.tags)
    assert not any(str(a.get(key, "")).startswith("http") for _, a in page.tags for key in ("href", "src"))
    assert text.count("<table") == text.count("<thead") == 5
    assert "<script>" not in text


def _csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))
