"""`python -m tests.torture`; see `tests.torture.campaign`."""

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax

from scripts.bench.measure import write_result
from tests.torture import campaign, kills
from tests.torture.campaign import Torture, TortureError


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=campaign.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", dest="wanted", type=int, default=50, help="at least so many (50)")
    parser.add_argument("--per-phase", type=int, default=5, help="at least so many in each phase (5)")
    parser.add_argument("--processes", type=int, default=2, help="of the run (2)")
    parser.add_argument("--seed", type=int, default=0, help="of the pauses and the victims (0)")
    parser.add_argument("--grace", type=float, default=90, help="seconds to end in by themselves, after a kill (90)")
    parser.add_argument("--folder", type=Path, help="keep all that the runs write here; a new one")
    parser.add_argument("--out", type=Path, help="write the outcome here, as JSON")
    args = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    settings = {name: getattr(args, name) for name in ("wanted", "per_phase", "processes", "seed", "grace")}
    print(f"seed {args.seed}", flush=True)
    with contextlib.ExitStack() as held:
        folder = args.folder or Path(held.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        torture = Torture(folder, **settings)
        try:
            torture.run()
        except TortureError as error:
            print(f"torture: {error}", file=sys.stderr)
            sys.exit(1)
        finally:
            print(describe(torture.outcome()))
    write_result(args.out, settings, torture.outcome())


def describe(outcome: dict[str, Any]) -> str:
    """Show an outcome."""
    lost = outcome["lost_steps"]
    each = f": {lost['median']:g} a resume by the median, {lost['most']} at most" if outcome["resumes"] else ""
    counts = f"{outcome['starts']} starts, {outcome['resumes']} resumes, {lost['all']} steps lost{each}"
    return f"{kills.describe(outcome['kills'])}\n{counts}"


if __name__ == "__main__":
    main()
