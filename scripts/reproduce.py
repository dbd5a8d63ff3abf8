"""`hamjax reproduce` as a script."""

import sys

from hamjax.commands import main

if __name__ == "__main__":
    main(["reproduce", *sys.argv[1:]], name="reproduce")
