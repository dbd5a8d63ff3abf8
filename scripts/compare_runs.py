"""`hamjax compare` as a script."""

import sys

from hamjax.commands import main

if __name__ == "__main__":
    main(["compare", *sys.argv[1:]], name="compare_runs")
