"""`hamjax weights` as a script."""

import sys

from hamjax.commands import main

if __name__ == "__main__":
    main(["weights", *sys.argv[1:]], name="convert_weights")
