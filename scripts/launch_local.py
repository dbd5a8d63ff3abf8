"""`hamjax launch` as a script."""

import sys

from hamjax.commands import main

if __name__ == "__main__":
    main(["launch", *sys.argv[1:]], name="launch_local")
