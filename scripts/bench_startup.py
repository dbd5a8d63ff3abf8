"""Time starts; see scripts/bench/startup.py."""

from bench.startup import main

if __name__ == "__main__":
    main()
