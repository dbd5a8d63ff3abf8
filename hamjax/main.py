"""`hamjax train` as a module: `python -m hamjax.main --config configs/quickstart.py`."""

import sys

from hamjax.commands import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
