"""Measure everything on one accelerator within a few minutes.

    python scripts/bench_accelerator.py --minutes 9 --out DIR [--source-dir IMAGES]
    python scripts/bench_accelerator.py --smoke --out DIR

Every row is a process of its own: one that crashes, or runs out of memory or time, is marked failed, and the rest is
done. A row that no longer fits is marked "not run: no time left". DIR gets a JSON a part (A to G), written whole after
each row, and one log. Where DIR holds results of the same device, the rows that are not done there are measured, so
that several short sessions make one table. Parts A to D need jax, flax, optax and numpy alone (and torch for its rows).
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from bench.accelerator import reference, summary
from bench.accelerator.rows import NETWORKS, PARTS, SMOKE_LEAVES_OUT, accelerator_rows, smoke_rows
from bench.accelerator.runner import Runner


def main() -> None:
    """Run the command line."""
    args = _arguments()
    if args.make_reference:
        reference.make(args.networks)
        return
    if args.source_dir and not Path(args.source_dir).is_dir():
        _refuse(f"--source-dir {args.source_dir}: expected a folder of images, got none; check the path.")
    try:
        _measure(args)
    except ValueError as error:
        _refuse(f"--out: {error}.")


def _measure(args: argparse.Namespace) -> None:
    rows = (smoke_rows if args.smoke else accelerator_rows)(args.networks, args.source_dir)
    with (
        tempfile.TemporaryDirectory() as scratch,
        Runner(args.out, Path(scratch), minutes=args.minutes, smoke=args.smoke) as runner,
    ):
        for row in rows:
            runner.run(row)
        if args.smoke:
            runner.say(SMOKE_LEAVES_OUT)
        if failed := runner.count("failed"):
            runner.say(f"{failed} rows failed; their reasons are in {args.out}")
        runner.say(summary.describe(runner.results))


def _arguments() -> argparse.Namespace:
    parts = "\n".join(f"  {name}  {what}" for name, what in PARTS.items())
    parser = argparse.ArgumentParser(
        description=f"{__doc__}\nparts, in this order:\n{parts}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=9, help="the budget (9)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("accelerator"),
        metavar="DIR",
        help="of results, new or to go on with (accelerator)",
    )
    parser.add_argument("--source-dir", default="", metavar="IMAGES", help="HAM10000, for the real training")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--smoke", action="store_true", help="every kind of row in small, on a CPU, in minutes")
    parser.add_argument("--make-reference", action="store_true", help="compute the float32 losses to compare with")
    return parser.parse_args()


def _refuse(message: str) -> NoReturn:
    print(f"bench_accelerator: {message}", file=sys.stderr)
    sys.exit(2)
