"""What the commands' parsers have in common."""

import argparse
from collections.abc import Callable, Iterable, Sequence

from hamjax.runtime.errors import expected_one_of


def make_parser(command: str, text: str | None, *, allow_abbrev: bool = True) -> argparse.ArgumentParser:
    """Make the parser of a command; its module's docstring is the help text."""
    return argparse.ArgumentParser(
        prog=f"hamjax {command}",
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=allow_abbrev,
    )


def one_of(known: Iterable[str]) -> Callable[[str], str]:
    """Return the argparse type of a name out of several; a misspelled one is answered with the nearest."""

    def read(word: str) -> str:
        if word not in known:
            raise argparse.ArgumentTypeError(expected_one_of("name", known, word))
        return word

    return read


def wants_help(words: Sequence[str]) -> bool:
    """Return whether a command line that argparse does not read asks for help."""
    return not {"-h", "--help"}.isdisjoint(words)
