"""Count the images that a run calls unlike its training images; see scripts/bench/unlike.py."""

from bench.unlike import main

if __name__ == "__main__":
    main()
