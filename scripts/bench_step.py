"""Time hamjax's steps beside what users would pick instead; see scripts/bench/step.py."""

from bench.step import main

if __name__ == "__main__":
    main()
