"""Train the runs of a study and compare them; see scripts/bench/study.py."""

from bench.study import main

if __name__ == "__main__":
    main()
