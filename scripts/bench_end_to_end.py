"""Time the real loop beside its own step; see scripts/bench/end_to_end.py."""

from bench.end_to_end import main

if __name__ == "__main__":
    main()
