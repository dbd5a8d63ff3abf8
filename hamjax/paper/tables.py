"""The paper's Tables 4 to 7, ours beside the published."""

import dataclasses
import math
from collections.abc import Sequence

from hamjax.data.classes import PAPER_ORDER
from hamjax.evaluation.metrics.intervals import wilson_interval
from hamjax.paper import published
from hamjax.paper.cells import STRATEGIES
from hamjax.paper.networks import TITLES
from hamjax.paper.results import COLUMNS, METRICS, Result, Score

PAPER = "paper"
NAMES = {"precision": "precision", "recall": "recall", "f1": "F1-score"}


@dataclasses.dataclass(frozen=True)
class Entry:
    """A place in a table; `noise` is inside, above, below, or empty where it cannot be told."""

    ours: Score | None
    published: Score | None
    noise: str


@dataclasses.dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        key: such as `table4`.
        title: what it shows.
        digits: that the paper prints.
        columns: their names.
        rows: by their name.
    """

    key: str
    title: str
    digits: int
    columns: tuple[str, ...]
    rows: dict[str, tuple[Entry, ...]]


def make_tables(protocol: str, models: Sequence[str], results: Sequence[Result]) -> list[Table]:
    """Return Table 4, the same for balanced accuracy, and Tables 5 to 7.

    Args:
        protocol: only the paper's own is compared with the paper.
        models: the rows and columns of ours; those without results say so.
        results: of this protocol.
    """
    compare = protocol == PAPER
    by_cell = {(result.model, result.strategy): result for result in results}
    titles = tuple(TITLES[model] for model in models)
    tables = []
    for key, title, column, theirs in (
        ("table4", "Table 4: test accuracy", "overall", _published_accuracy),
        ("table4_balanced", "Balanced accuracy, in the layout of Table 4", "mean", _published_balanced),
    ):
        rows = {}
        for strategy in STRATEGIES:
            found = [by_cell.get((model, strategy)) for model in models]
            rows[strategy.upper()] = tuple(
                _entry(result and result.score("recall", column), theirs(model, strategy), compare)
                for model, result in zip(models, found, strict=True)
            )
        tables.append(Table(key, title, 3, titles, rows))
    best = choose_strategies(protocol, results)
    for number, metric in enumerate(METRICS, 5):
        rows = {}
        for model in models:
            chosen = best.get(model)
            ours = [chosen and chosen.score(metric, column) for column in COLUMNS]
            theirs = published_scores(metric, model)
            rows[TITLES[model]] = tuple(_entry(a, b, compare) for a, b in zip(ours, theirs, strict=True))
        tables.append(Table(f"table{number}", f"Table {number}: {NAMES[metric]}", 2, COLUMNS, rows))
    return tables


def choose_strategies(protocol: str, results: Sequence[Result]) -> dict[str, Result]:
    """Choose every network's strategy; of equal ones the first.

    The paper's protocol takes the best test accuracy, as the paper does, which flatters it. The
    others take the best balanced accuracy on validation, which the test images have no part in.
    """
    best: dict[str, Result] = {}
    for result in results:
        held = best.get(result.model)
        # Strictly better, so that of equal ones the first stays, on every machine.
        if held is None or merit(protocol, result) > merit(protocol, held):
            best[result.model] = result
    return best


def merit(protocol: str, result: Result) -> float:
    """Return what a strategy is chosen by."""
    return result.score("recall", "overall").value if protocol == PAPER else result.validation


def published_scores(metric: str, model: str) -> list[Score]:
    """Return the paper's row with intervals: the classes, overall, and the mean over classes.

    A rate is taken as a binomial share (Wilson), of a test part as the paper describes it: recall
    of the class's images, precision of those predicted so, F1 of the mean of these two numbers.
    Half a unit of the last printed digit is added on both sides.
    """
    values, recalls = published.PER_CLASS[metric][model], published.PER_CLASS["recall"][model]
    precisions = published.PER_CLASS["precision"][model]
    scores = []
    for k in range(len(PAPER_ORDER)):
        # Images that were predicted as this class: recall * truth are right, and they are `precision` of all of them.
        truth = published.SUPPORT[k]
        predicted = truth * recalls[k] / precisions[k] if precisions[k] else 0.0
        n = {"recall": truth, "precision": predicted, "f1": (truth + predicted) / 2}[metric]
        scores.append(_share(values[k], n, rounding=0.005))
    overall = _share(values[len(PAPER_ORDER)], published.TEST_IMAGES, rounding=0.005)
    return [*scores, overall, _mean(scores)]


def difference_interval(a: Score, b: Score) -> tuple[float, float] | None:
    """Return the interval of a - b from those of two independent figures.

    The method of variance estimates recovery (Zou and Donner, Statistics in Medicine 27:1693,
    2008); of two shares with Wilson's intervals it is Newcombe's.
    """
    if a.interval is None or b.interval is None:
        return None
    (a_low, a_high), (b_low, b_high), difference = a.interval, b.interval, a.value - b.value
    below, above = math.hypot(a.value - a_low, b_high - b.value), math.hypot(a_high - a.value, b.value - b_low)
    return difference - below, difference + above


def _mean(scores: Sequence[Score]) -> Score:
    """Average independent figures; see `difference_interval`."""
    n, value = len(scores), math.fsum(score.value for score in scores) / len(scores)
    margins = [(score.value - score.interval[0], score.interval[1] - score.value) for score in scores if score.interval]
    below, above = (math.hypot(*side) / n for side in zip(*margins, strict=True))
    return Score(value, (value - below, value + above))


def _published_accuracy(model: str, strategy: str) -> Score:
    value = published.ACCURACY[strategy][published.MODELS.index(model)]
    return _share(value, published.TEST_IMAGES, rounding=0.0005)


def _published_balanced(model: str, strategy: str) -> Score | None:
    """Return the mean recall of Table 6, where this strategy may be the one it shows."""
    return published_scores("recall", model)[-1] if strategy in published.best_strategies(model) else None


def _entry(ours: Score | None, theirs: Score | None, compare: bool) -> Entry:
    return Entry(ours, theirs, _noise(ours, theirs) if compare and ours and theirs else "")


def _noise(ours: Score, theirs: Score) -> str:
    """Return `inside` if the 95% interval of the difference holds zero, else `above` or `below`."""
    ends = difference_interval(ours, theirs)
    if ends is None:
        return ""
    return "above" if ends[0] > 0 else "below" if ends[1] < 0 else "inside"


def _share(value: float, n: float, rounding: float) -> Score:
    """Return a printed share of n, which need not be whole; its interval is 0 to 1 where n is 0."""
    interval = wilson_interval(value * n, n) if n else {"low": 0.0, "high": 1.0}
    return Score(value, (max(interval["low"] - rounding, 0.0), min(interval["high"] + rounding, 1.0)))
