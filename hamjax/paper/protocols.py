"""Protocols: how each one tests and chooses, its tables, and all of them side by side."""

import dataclasses
import re
from collections.abc import Sequence

from hamjax.paper.cells import Cell, read_state
from hamjax.paper.networks import TITLES
from hamjax.paper.published import best_strategies
from hamjax.paper.results import Result
from hamjax.paper.tables import Table, choose_strategies, make_tables, merit

CHOSEN_BY = {
    "paper": "test accuracy, as in the paper; the test images choose, so the figures of the chosen one are too good",
    "honest": "balanced accuracy on validation",
    "folds": "balanced accuracy on validation, the mean of the folds",
}
TESTED_ON = {
    "paper": "lesions with one image, four fifths of them nv",
    "honest": "15% of the images, by lesion",
    "folds": "every image once, by the fold it was not trained in (grouped by lesion, near-duplicates merged)",
}
TESTED_ON_IMAGES = {
    "paper": "a fifth of the images of which no other of the same lesion is known",
    "honest": "15% of the images",
    "folds": "every image once, by the fold that it was not trained in",
}
UNKNOWN = (
    "Lesions are not known for all images; the others were drawn one by one. Whether a lesion is both trained on and "
    "tested on is not known, and the intervals resample {resampled}, so they can be too narrow."
)


@dataclasses.dataclass(frozen=True)
class Block:
    """Everything of one protocol.

    Attributes:
        protocol: its name.
        lines: what is said above the tables.
        tables: 4, 4 for balanced accuracy, 5, 6, 7.
        results: of every strategy that has run.
        best: every network's chosen strategy.
    """

    protocol: str
    lines: tuple[str, ...]
    tables: tuple[Table, ...]
    results: tuple[Result, ...]
    best: dict[str, Result]

    @property
    def best_model(self) -> str | None:
        """The network whose chosen strategy is best by what strategies are chosen by."""
        return max(self.best, key=lambda model: merit(self.protocol, self.best[model]), default=None)


def make_block(protocol: str, models: Sequence[str], results: Sequence[Result]) -> Block:
    """Return the tables of a protocol and the lines above them."""
    best = choose_strategies(protocol, results)
    chosen = [
        f"{TITLES[model]} {result.strategy.upper()} (the paper: {' or '.join(map(str.upper, best_strategies(model)))})"
        for model, result in best.items()
    ]
    lines = []
    if results:
        report, lesions = results[0].reports[0], results[0].lesions
        tested = TESTED_ON[protocol] if lesions is not None else TESTED_ON_IMAGES[protocol]
        shown = "" if lesions is None else f" of {lesions:,} lesions"
        lines.append(f"Protocol {protocol}: tested on {tested}.")
        if lesions is None:
            lines.append(UNKNOWN.format(resampled=results[0].resampled))
        # Beside every accuracy: always saying nv scores two thirds, and four fifths in the paper's test part.
        top = max(report["per_class"], key=lambda dx: report["per_class"][dx]["support"])
        lines.append(
            f"{report['n']:,} test images{shown}. Majority baseline: always {top} scores "
            f"accuracy {report['majority_baseline_accuracy']:.3f}, balanced accuracy "
            f"{report['majority_baseline_balanced_accuracy']:.3f}."
        )
    lines.append(f"Strategy chosen by {CHOSEN_BY[protocol]}: {', '.join(chosen) or 'none has run'}.")
    how = describe_training([cell for result in results for cell in result.cells])
    # In each title, since a table is read and copied alone.
    tables = (dataclasses.replace(table, title=f"{table.title} ({how})") if how else table
              for table in make_tables(protocol, models, results))  # fmt: skip
    return Block(protocol, tuple(lines), tuple(tables), tuple(results), best)


def describe_training(cells: Sequence[Cell]) -> str:
    """Return what finished cells were trained on and how long, such as "64 px, 200x150 images, 6 epochs"."""
    parts = []
    for cell in cells:
        state = read_state(cell)
        note = (state.summary or {}).get("images_note", "")
        found = re.search(r"(drawn images, [^,]+, )?of (\d+x\d+) pixels", note)
        images = f"{found[2]} {'drawn images' if found[1] else 'images'}" if found else ""
        epochs = cell.config.train.epochs
        parts.append((f"{cell.config.data.image_size} px", images, f"{epochs} epoch{'s' if epochs > 1 else ''}",
                      "as many steps in each" if cell.config.sampling.epoch_size == "fixed" else ""))  # fmt: skip
    # Networks can differ in size, and strategies in nothing.
    return ", ".join(
        text for part in zip(*parts, strict=True) if (text := " or ".join(dict.fromkeys(filter(None, part))))
    )


def side_by_side(blocks: Sequence[Block], models: Sequence[str]) -> Table:
    """Return a table of the chosen strategy of each network under each protocol."""
    # One measure that the majority class decides, and two in which all seven count alike.
    measures = (
        ("accuracy", "table6", "overall"),
        ("balanced accuracy", "table6", "mean"),
        ("macro F1", "table7", "mean"),
    )
    columns, entries = [], []
    for block in blocks:
        by_key = {table.key: table for table in block.tables}
        for name, key, column in measures:
            columns.append(f"{block.protocol}: {name}")
            place = by_key[key].columns.index(column)
            entries.append([row[place] for row in by_key[key].rows.values()])
    rows = {TITLES[model]: tuple(column[i] for column in entries) for i, model in enumerate(models)}
    return Table("protocols", "Protocols side by side, each with its own choice of strategy", 2, tuple(columns), rows)
