"""`hamjax evaluate` as a script."""

import sys

from hamjax.commands import main

if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]], name="evaluate_checkpoint")
