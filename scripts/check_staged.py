"""`hamjax check` as a script."""

import sys

from hamjax.commands import main

if __name__ == "__main__":
    main(["check", *sys.argv[1:]], name="check_staged")
