"""Print the tables of speed; see scripts/bench/print_speed.py."""

from bench.print_speed import main

if __name__ == "__main__":
    main()
