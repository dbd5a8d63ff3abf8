"""The best checkpoint as a second name of one of the last ones: hard links, so that no state is written twice."""

import os
import shutil
from pathlib import Path

TRASH = "deleted"  # what is to go is renamed into it first: a kill half-way must not leave half a checkpoint


def steps_in(folder: Path) -> list[int]:
    """Return the steps of the complete checkpoints in a folder, oldest first."""
    # What is not complete, and what is about to be deleted, has a name that is no number.
    return sorted(int(path.name) for path in folder.glob("[0-9]*") if path.name.isdecimal() and path.is_dir())


def link_newest(checkpoint: Path, folder: Path, *, keep: int) -> None:
    """Give a checkpoint a second name in another folder, and keep the newest of those that are there.

    Args:
        checkpoint: the folder of a complete checkpoint.
        folder: where its second name goes.
        keep: how many stay there; the others are moved to the trash, which the caller empties.

    Raises:
        OSError: the disk is full, or a folder is gone.
    """
    trash, kept = folder / TRASH, folder / checkpoint.name
    # Made inside the trash and renamed at the end: a kill half-way leaves nothing that looks like a checkpoint.
    shutil.rmtree(trash / "new", ignore_errors=True)
    shutil.copytree(checkpoint, trash / "new", copy_function=_link)
    if kept.exists():  # of a killed run that got this far before
        os.replace(kept, trash / kept.name)
    os.replace(trash / "new", kept)
    for old in steps_in(folder)[:-keep]:
        os.replace(folder / str(old), trash / str(old))


def _link(source: str, target: str) -> None:
    """Give a file a second name; copy it where the file system knows no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
