"""The grid's page: tables and the paper's Figures 1, 2, 4, 5 and 6 in one self-contained file."""

import io
from collections.abc import Iterator, Sequence

from markupsafe import Markup

from hamjax.paper.cells import Cell
from hamjax.paper.layout import LEGEND, grouped_lines
from hamjax.paper.networks import TITLES
from hamjax.paper.protocols import Block
from hamjax.paper.results import Result
from hamjax.paper.tables import Table
from hamjax.report import markup
from hamjax.report.markup import join
from hamjax.report.page import document
from hamjax.report.sections.about import LICENCE

TITLE = "The paper's grid: Tables 4 to 7, ours beside the published"
OVERSAMPLED, BOTH = ("s2", "s3"), ("s5",)  # Figure 6 sets oversampling against oversampling and weights


def page(blocks: Sequence[Block], compared: Table | None, notes: Sequence[str]) -> str:
    """Return the page.

    Args:
        blocks: one a protocol.
        compared: the protocols side by side, if there are several.
        notes: such as the cells that failed.
    """
    intro = "<h1>{}</h1><p>Research software, <strong>not a medical device</strong>.</p>"
    parts = [Markup(intro).format(TITLE)]
    if compared:
        parts.append(_table(compared, ""))
    for block in blocks:
        parts.append(Markup("<h2>Protocol {}</h2>").format(block.protocol))
        parts += [markup.paragraph(line) for line in block.lines]
        parts += [_table(table, f", protocol {block.protocol}") for table in block.tables]
        parts += _figures(block)
    parts.append(Markup("<h2>How to read this</h2>"))
    parts += [*map(markup.paragraph, LEGEND), markup.note(LICENCE)]
    alarms = Markup('<section class="alarms" role="alert"><ul>{}</ul></section>').format(join("<li>{}</li>", notes))
    return document(TITLE, Markup("{}<main>{}</main>").format(alarms if notes else "", markup.NOTHING.join(parts)))


def _table(table: Table, where: str) -> Markup:
    return markup.grouped_table(f"{table.title}{where}", ["", *table.columns], grouped_lines(table))


def _figures(block: Block) -> Iterator[Markup]:
    """Yield the figures of the best network and of the CNN, as far as they have run."""
    if block.best_model is None:
        return
    best = block.best[block.best_model]
    # The paper shows one run; of several seeds and folds the first stands for all.
    first = best.cells[0]
    yield from _kept(first, "sample_sheet", "Figure 1: training images of every class, augmented")
    yield from _kept(first, "class_histogram", "Figure 2: images per class, before and after the strategy")
    # Otherwise the same matrix would be drawn twice.
    if best.model == "cnn":
        yield _confusion(best, "Figures 4 and 5: confusion matrix of the best CNN, which is the best network")
    else:
        if "cnn" in block.best:
            yield _confusion(block.best["cnn"], "Figure 4: confusion matrix of the best CNN")
        yield _confusion(best, "Figure 5: confusion matrix of the best network")
    for result in block.results:
        if result.model == best.model and result.strategy in (*OVERSAMPLED, *BOTH):
            yield from _kept(result.cells[0], "training_curves", "Figure 6: training curves")


def _kept(cell: Cell, name: str, caption: str) -> Iterator[Markup]:
    """Yield a figure that a cell's own report holds."""
    path = cell.workdir / "report" / f"{name}.png"
    if path.exists():
        whole = f"{caption} ({TITLES[cell.model]} {cell.strategy.upper()}, seed {cell.seed}, split {cell.split})"
        yield markup.picture(path.read_bytes(), f"{whole}; the run directory {cell.name} holds the numbers", whole)


def _confusion(result: Result, caption: str) -> Markup:
    """Draw the confusion matrix of the first seed, all folds together."""
    from hamjax.report import figures  # matplotlib takes a second to import

    names = {"model": TITLES[result.model], "strategy": result.strategy.upper(), "partition": "test"}
    buffer = io.BytesIO()
    figures.confusion_matrix(result.reports[0] | names).savefig(buffer, format="png", dpi=130)
    whole = f"{caption}: {TITLES[result.model]} {result.strategy.upper()}, seed {result.seeds[0]}"
    return markup.picture(buffer.getvalue(), f"{whole}; recall and precision are in Tables 5 and 6", whole)
