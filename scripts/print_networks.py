"""`hamjax networks` as a script."""

import sys

from hamjax.commands import main

if __name__ == "__main__":
    main(["networks", *sys.argv[1:]], name="print_networks")
