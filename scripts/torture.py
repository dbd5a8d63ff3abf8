"""`python -m tests.torture` as a script."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.torture.__main__ import main

    main()
