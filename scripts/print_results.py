"""Print the tables of results; see scripts/bench/print_results.py."""

from bench.print_results import main

if __name__ == "__main__":
    main()
