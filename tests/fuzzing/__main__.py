"""Try mutated input of seven kinds: each must end in success or be refused with a message.

    python scripts/fuzz.py --mutants 20000 --seed 1
    python scripts/fuzz.py --kinds weights --seed 1 --start 17 --mutants 1     # one again

Kinds: metadata tables, zip archives, layouts of sources, images, weights, run directories with their checkpoints'
metadata, overrides.
"""

import argparse
import sys

from tests.fuzzing import KINDS
from tests.fuzzing.campaign import FAILURES, LIMIT_S, command_line, histogram, run


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=1200, help="over all kinds (1200)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (0)")
    parser.add_argument("--start", type=int, default=0, help="the first mutant of each kind (0)")
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"some of {','.join(KINDS)}")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help=f"seconds for one mutant ({LIMIT_S:g})")
    args = parser.parse_args()
    kinds = args.kinds.split(",")
    if not set(kinds) <= set(KINDS):
        parser.error(f"--kinds: expected some of {','.join(KINDS)}, got {args.kinds}")
    outcomes = []
    for kind in kinds:
        outcomes += run(
            f"tests.fuzzing.{kind}", args.seed, -(-args.mutants // len(kinds)), start=args.start, limit_s=args.limit
        )
    failed = [outcome for outcome in outcomes if outcome.outcome in FAILURES]
    for outcome in failed:
        print(f"{outcome.outcome}: {command_line(outcome.kind, args.seed, outcome.index)}\n{outcome.message}")
    print(f"seed {args.seed}\n{histogram(outcomes)}")
    if args.mutants == 1:
        print(*(f"{outcome.outcome}: {outcome.message}" for outcome in outcomes if outcome not in failed), sep="\n")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
