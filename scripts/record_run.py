"""Keep the result of a run; see scripts/bench/record_run.py."""

from bench.record_run import main

if __name__ == "__main__":
    main()
