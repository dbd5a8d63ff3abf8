"""Time two revisions of hamjax in turn; see scripts/bench/revisions.py."""

from bench.revisions import main

if __name__ == "__main__":
    main()
