"""Draw the studies' results; see scripts/bench/draw_results.py."""

from bench.draw_results import main

if __name__ == "__main__":
    main()
