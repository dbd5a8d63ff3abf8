"""The program `hamjax`, run in this process."""

from pathlib import Path

from hamjax.commands import main


def run(*words: str | Path, name: str = "hamjax") -> int:
    """Run a command; return its exit status."""
    try:
        main([str(word) for word in words], name=name)
    except SystemExit as end:
        return int(end.code or 0)
    return 0
