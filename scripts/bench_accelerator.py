"""Measure everything on one accelerator within a few minutes; see scripts/bench/README.md."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]  # also where hamjax is not installed

if __name__ == "__main__":
    from bench.accelerator.command import main

    main()
