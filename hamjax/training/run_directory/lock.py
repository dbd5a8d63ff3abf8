"""Who works in a run directory: one job at a time."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import NoReturn

from hamjax.runtime.errors import UserError
from hamjax.runtime.files import hold


def run_lock(workdir: Path) -> AbstractContextManager[None]:
    """Hold a run directory; see `hold`.

    Raises:
        UserError: another process holds it, or the folder cannot be written to.
    """

    def refuse() -> NoReturn:
        raise UserError(
            f"{workdir}: expected a run directory of our own, got one that another process is working in; "
            "wait for it, or name another one with --workdir."
        )

    return hold(workdir, refuse, remedy="name another one with --workdir")
