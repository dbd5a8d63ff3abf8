"""What `hamjax reproduce` does: list the grid, run it, make its tables."""

from collections.abc import Sequence
from pathlib import Path

from hamjax.data.preparation.prepare import read_table
from hamjax.paper import layout, page
from hamjax.paper.cells import Cell, describe, read_state
from hamjax.paper.protocols import make_block, side_by_side
from hamjax.paper.results import read_results
from hamjax.paper.runner import run_cells, say_now
from hamjax.runtime.errors import UserError, name_some
from hamjax.runtime.files import write_atomically
from hamjax.runtime.say import Say
from hamjax.training.setup.plan import data_request, make_plan, prepare_data


def describe_plan(cells: Sequence[Cell]) -> str:
    """List the cells with their steps and the time left; nothing is prepared or written.

    Raises:
        UserError: the data is not what it should be.
    """
    table = read_table(data_request(cells[0].config))
    # The table alone: a dry run on a laptop must not decode 10,015 images.
    steps = None if table is None else [make_plan(cell.config, table).num_steps for cell in cells]
    return describe(cells, steps)


def run(cells: Sequence[Cell], say: Say = say_now) -> list[Cell]:
    """Prepare the data once, then run the cells that are not finished; return those that failed.

    Raises:
        UserError: the data is not what it should be.
        PreemptedError: SIGTERM came.
    """
    dataset = prepare_data(cells[0].config, say)
    for cell in cells:
        make_plan(cell.config, dataset.metadata)  # what cannot be split fails before the first hour
    return run_cells(cells, say)


def require_none(failed: Sequence[Cell]) -> None:
    """Raise if there are cells that failed."""
    if failed:
        raise UserError(
            f"{len(failed)} cells failed: {name_some(cell.name for cell in failed)}; each one's log.txt says why. "
            "The same command keeps what is finished and tries them again."
        )


def write_tables(root: Path, cells: Sequence[Cell]) -> str:
    """Write tables.txt, tables.json, a CSV a table and index.html; return the text.

    Args:
        root: the grid's folder.
        cells: all that were asked for, finished or not.

    Raises:
        UserError: finished cells do not go together; see `read_results`.
    """
    protocols, models = list(dict.fromkeys(c.protocol for c in cells)), list(dict.fromkeys(c.model for c in cells))
    blocks = []
    for protocol in protocols:
        results = read_results([cell for cell in cells if cell.protocol == protocol])
        blocks.append(make_block(protocol, models, results))
    compared = side_by_side(blocks, models) if len(blocks) > 1 else None
    states = {cell.name: read_state(cell) for cell in cells}
    notes = [f"{name}: {state}: {state.failure}" for name, state in states.items() if state.failure]
    notes += [f"{name}: {alarm}" for name, state in states.items() for alarm in (state.summary or {}).get("alarms", ())]
    unfinished = [name for name, state in states.items() if not state.summary]
    if unfinished:
        notes.insert(0, f"{len(unfinished)} of {len(cells)} cells are not finished: {name_some(unfinished)}.")
    text = layout.text(blocks, compared, notes)
    write_atomically(root / "tables.txt", text)
    # A CSV for each table, not for each protocol: what is compared stands in one file.
    for i, table in enumerate(blocks[0].tables):
        pairs = [(block.protocol, block.tables[i]) for block in blocks]
        write_atomically(root / f"{table.key}.csv", layout.csv_text(pairs))
    cell_lines = [{"cell": name, "state": str(state), "failure": state.failure} for name, state in states.items()]
    write_atomically(root / "tables.json", layout.json_text(blocks, compared, cell_lines))
    write_atomically(root / "index.html", page.page(blocks, compared, notes))
    return f"{text}\ntables {root}"
