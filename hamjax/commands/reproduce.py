"""Run the paper's experiments and print its Tables 4 to 7 beside the published ones.

    hamjax reproduce --workdir runs/grid --models cnn --seeds 0,1,2 --config.data.source_dir=FOLDER

A cell is a network, a strategy and a seed; each has its own run directory, WORKDIR/PROTOCOL/MODEL_STRATEGY_seedN.
The same command resumes a grid that was stopped or killed. Any --config.KEY=VALUE applies to every cell.
"""

from collections.abc import Sequence

from hamjax.commands.arguments import make_parser
from hamjax.paper import reproduce
from hamjax.paper.cells import PROTOCOLS, STRATEGIES, Cell, list_cells, require_own_folders
from hamjax.paper.published import MODELS
from hamjax.runtime.errors import UserError
from hamjax.runtime.paths import user_path


def main(words: Sequence[str]) -> None:
    """Run the command."""
    parser = make_parser("reproduce", __doc__, allow_abbrev=False)
    parser.add_argument("--workdir", required=True, type=user_path, help="the grid's folder")
    parser.add_argument("--protocols", type=_words, default=["paper"], help=f"of {','.join(PROTOCOLS)} (paper)")
    parser.add_argument("--models", type=_words, default=list(MODELS), help=f"of {','.join(MODELS)} (all)")
    parser.add_argument("--strategies", type=_words, default=list(STRATEGIES), help=f"of {','.join(STRATEGIES)} (all)")
    parser.add_argument("--seeds", type=_numbers, default=[0], help="such as 0,1,2 (0)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--dry-run", action="store_true", help="list the cells with their steps and the time left")
    what.add_argument("--cell", type=int, metavar="K", help="run this one alone, as a job of an array, without tables")
    what.add_argument("--tables", action="store_true", help="run nothing; make the tables of what is finished")
    args, overrides = parser.parse_known_args(words)
    # argparse hands on what it does not know; a misspelled option must not become an override.
    strange = [word for word in overrides if not (word.startswith("--config.") and "=" in word)]
    if strange:
        parser.error(f"expected the options above and --config.KEY=VALUE, got {' '.join(strange)}")
    cells = list_cells(
        args.workdir, protocols=args.protocols, models=args.models,
        strategies=args.strategies, seeds=args.seeds, overrides=overrides,
    )  # fmt: skip
    require_own_folders(cells)
    if args.dry_run:
        print(reproduce.describe_plan(cells))
        return
    asked = [] if args.tables else cells if args.cell is None else [_pick(cells, args.cell)]
    failed = reproduce.run(asked) if asked else []
    if args.cell is None:
        print(reproduce.write_tables(args.workdir, cells))
    reproduce.require_none(failed)


def _pick(cells: list[Cell], number: int) -> Cell:
    if not 0 <= number < len(cells):
        raise UserError(f"--cell: expected 0 to {len(cells) - 1} as --dry-run lists them, got {number}.")
    return cells[number]


def _words(text: str) -> list[str]:
    return text.split(",")


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]
