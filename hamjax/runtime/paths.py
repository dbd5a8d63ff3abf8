"""Paths as users give them, and as libraries take them."""

import atexit
import functools
import os
import re
import shutil
import tempfile
from pathlib import Path

from hamjax.runtime.errors import UserError

# What libraries take for a pattern, or for the separator of Windows.
NO_TEXT = re.compile("[\ud800-\udfff]")  # how Python keeps bytes that are none
NOT_PLAIN = re.compile(r"[*?\[\]\\]")


def user_path(given: str | Path) -> Path:
    """Return a path that a user gives; `~` is the home folder.

    Raises:
        UserError: it, or the current folder that it begins in, is no text: records and pages could not name it.
    """
    path = Path(os.path.expanduser(given))
    whole = os.path.abspath(path)
    if NO_TEXT.search(whole):
        raise UserError(
            f"{as_text(whole)}: expected a path in UTF-8, got other bytes in it, such as Latin-1; rename the file or "
            "folder."
        )
    return path


def as_text(path: str | Path) -> str:
    """Return a path as text that can be printed and written: bytes that are none are shown as a question mark each."""
    return NO_TEXT.sub("\N{REPLACEMENT CHARACTER}", str(path))


@functools.cache
def plain_path(folder: Path) -> Path:
    """Return a path to a folder without characters that a library takes for a pattern.

    Orbax finds its files by patterns that begin with the folder's path, so that nothing it has written below `[1]` is
    found again. Where there are such characters, the path is that of a link, which is removed when the process ends.
    """
    if not NOT_PLAIN.search(str(folder)):
        return folder
    place = tempfile.mkdtemp(prefix="hamjax-")
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    link = Path(place, "link")
    link.symlink_to(folder.absolute(), target_is_directory=True)
    return link
