"""Tables as text, CSV and JSON."""

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from typing import Any

from hamjax.paper.protocols import Block
from hamjax.paper.results import Score
from hamjax.paper.tables import Table
from hamjax.report.terminal import table as lay_out

NOT_RUN = "not run"
LEGEND = (
    "ours: the mean over seeds ± their standard deviation (number of seeds). 95% CI: for the draw of test images, a "
    "percentile bootstrap of 1,000 resamples of lesions, or of images where lesions are not known (a class with under "
    "20 images: Wilson's, and none of its F1); over seeds the mean of their ends, as if all erred on the same images. "
    "It does not hold the noise of the seed.",
    "noise: inside if the 95% interval of ours minus the published figure holds zero, else above or below; from ours "
    "and Wilson's interval of the published figure on a test part of 1,103 images as the paper describes it (akiec 30, "
    "bcc 35, bkl 88, df 8, nv 883, mel 46, vasc 13), its rounding added. Only the paper protocol is marked: the others "
    "test on another mix of classes.",
    "overall: micro average, equal to the accuracy. mean: over classes; of recall it is the balanced accuracy. The "
    "published means are those of the paper's rows.",
)
CSV_HEADER = ("protocol", "row", "column", "ours", "sd", "seeds", "low", "high", "published", "published_low",
              "published_high", "noise")  # fmt: skip


def text(blocks: Sequence[Block], compared: Table | None, notes: Sequence[str]) -> str:
    """Return everything for a terminal.

    Args:
        blocks: one a protocol.
        compared: the protocols side by side, if there are several.
        notes: such as the cells that failed.
    """
    # First, as the tables below them look whole even where cells failed.
    parts = ["\n".join(notes)] if notes else []
    for block in blocks:
        parts.append("\n".join(block.lines))
        parts += [_text_table(table) for table in block.tables]
    if compared:
        parts.append(_text_table(compared))
    return "\n\n".join([*parts, *LEGEND]) + "\n"


def grouped_lines(table: Table) -> dict[str, list[list[str]]]:
    """Return a table's lines by row: of the paper, of ours, of the interval, of the noise."""
    groups = {}
    for name, entries in table.rows.items():
        lines = {
            "paper": [_published(entry.published, table.digits) for entry in entries],
            "ours": [_ours(entry.ours) for entry in entries],
            "95% CI": [_interval(entry.ours) for entry in entries],
            "noise": [entry.noise for entry in entries],
        }
        # A line that is empty in every column is left out: no network has run, or nothing was published.
        groups[name] = [[what, *cells] for what, cells in lines.items() if any(cells)]
    return groups


def csv_text(tables: Sequence[tuple[str, Table]]) -> str:
    """Return one table under several protocols, a line an entry.

    Args:
        tables: pairs of a protocol and its table.
    """
    text = io.StringIO()
    # As on every other file of the grid, whatever the machine; csv's own default is \r\n.
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    for protocol, table in tables:
        for name, entries in table.rows.items():
            for column, entry in zip(table.columns, entries, strict=True):
                ours, theirs = entry.ours, entry.published
                writer.writerow(
                    [protocol, name, column]
                    + ([ours.value, ours.sd, ours.seeds, *_ends(ours)] if ours else ["", "", 0, "", ""])
                    + ([theirs.value, *_ends(theirs)] if theirs else ["", "", ""])
                    + [entry.noise]
                )
    return text.getvalue()


def json_text(blocks: Sequence[Block], compared: Table | None, cells: Sequence[dict[str, Any]]) -> str:
    """Return everything for a program.

    Args:
        blocks: one a protocol.
        compared: the protocols side by side, if there are several.
        cells: a line each of what was asked for, and how far it is.
    """
    whole = {
        "protocols": {
            block.protocol: {
                "about": block.lines,
                "chosen": {model: result.strategy for model, result in block.best.items()},
                "tables": {table.key: dataclasses.asdict(table) for table in block.tables},
            }
            for block in blocks
        },
        "side_by_side": compared and dataclasses.asdict(compared),
        "legend": LEGEND,
        "cells": cells,
    }
    return json.dumps(whole, indent=1) + "\n"


def _text_table(table: Table) -> str:
    rows = [[f"{name} {what}", *cells] for name, lines in grouped_lines(table).items() for what, *cells in lines]
    return f"{table.title}\n{lay_out(['', *table.columns], rows)}"


def _published(score: Score | None, digits: int) -> str:
    return f"{score.value:.{digits}f}" if score else ""


def _ours(score: Score | None) -> str:
    if score is None:
        return NOT_RUN
    spread = f" ± {score.sd:.3f}" if score.sd is not None else ""
    return f"{score.value:.3f}{spread} ({score.seeds})"


def _ends(score: Score) -> tuple[float | str, float | str]:
    return score.interval or ("", "")


def _interval(score: Score | None) -> str:
    return f"{score.interval[0]:.3f}-{score.interval[1]:.3f}" if score and score.interval else ""
