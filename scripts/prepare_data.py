"""`hamjax prepare` as a script."""

import sys

from hamjax.commands import main

if __name__ == "__main__":
    main(["prepare", *sys.argv[1:]], name="prepare_data")
