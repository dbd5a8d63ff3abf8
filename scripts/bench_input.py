"""Time the input pipeline beside others; see scripts/bench/input.py."""

from bench.input import main

if __name__ == "__main__":
    main()
