"""Time the forms of a convolution by shape; see scripts/bench/convolutions.py."""

from bench.convolutions import main

if __name__ == "__main__":
    main()
