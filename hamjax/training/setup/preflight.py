"""Pre-flight check for a job without network access: is everything that its config needs in place?

It only looks: it downloads, makes and changes no files.
"""

import dataclasses
import enum
import os
from collections.abc import Iterator
from pathlib import Path

from hamjax.config import Config
from hamjax.models.pretrained import read_tensors
from hamjax.models.pretrained.official_files import kept_weights
from hamjax.runtime.compiler import cache_folder
from hamjax.runtime.download import user_cache
from hamjax.runtime.errors import UserError
from hamjax.runtime.files import require_room
from hamjax.training.run_directory.checkpoints import Checkpoints
from hamjax.training.run_directory.finished import read_summary
from hamjax.training.run_directory.record import require_own
from hamjax.training.setup.network import require_fitting
from hamjax.training.setup.plan import data_request, look_ahead_at_data
from hamjax.training.setup.resolved import starting_weights


class State(enum.StrEnum):
    """The state of one need of a job."""

    THERE = "there"
    LATER = "made at the start"
    WITHOUT = "goes without"
    NOT_READY = "not ready"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One need of a job.

    Attributes:
        what: its name.
        state: whether it is in place.
        note: where it is, or why it is not ready and which command fixes that; may have several lines.
    """

    what: str
    state: State
    note: str


def check(config: Config, workdir: Path) -> list[Finding]:
    """Return what a run reads or writes before its first step, and whether each is in place.

    Raises:
        UserError: the config asks for what its network cannot do.
    """
    require_fitting(config)
    findings = []
    for what, find in (
        ("data", _data(config)),
        ("weights", _weights(config, workdir)),
        ("run directory", _run_directory(config, workdir)),
        ("compiled programs", _programs(config)),
    ):
        try:
            findings += [Finding(what, *found) for found in find]
        # One problem must not hide the others: all are to be fixed before the job is queued.
        except UserError as error:
            findings.append(Finding(what, State.NOT_READY, str(error)))
    return findings


def _data(config: Config) -> Iterator[tuple[State, str]]:
    outlook, folder = look_ahead_at_data(config), data_request(config).root
    size = f"{config.data.image_size}x{config.data.image_size}"
    yield (State.LATER, f"records {outlook.records}") if outlook.records else (State.THERE, f"records in {folder}")
    if not outlook.cache:
        yield State.THERE, f"pixels of {size} in {folder / 'cache'}"
        return
    existing = _require_writable(folder, "--config.data.data_dir")  # what is prepared already is only read
    require_room(existing, outlook.cache_bytes, remedy="name another folder with --config.data.data_dir")
    yield State.LATER, f"pixels of {size}: {outlook.cache}; {outlook.cache_bytes:,} bytes"


def _weights(config: Config, workdir: Path) -> Iterator[tuple[State, str]]:
    name, weights = config.model.name, starting_weights(config)
    # A resumed run reads its weights from the checkpoint, so the file may be gone.
    if _last_step(workdir) is not None:
        yield State.THERE, "in the checkpoint"
    elif weights == "random":
        yield State.THERE, "random"
    elif weights != "imagenet":
        # Read whole, not only looked for: a file that is cut short would stop the job after hours in a queue.
        read_tensors(name, Path(weights))
        yield State.THERE, weights
    elif kept := kept_weights(name):
        yield State.THERE, str(kept)
    else:
        raise UserError(
            f"{user_cache()}: expected the official weights of {name}, got none. Bring them, where there is a network "
            f"and with the XDG_CACHE_HOME of the job, with\n  hamjax weights --model {name}"
        )


def _run_directory(config: Config, workdir: Path) -> Iterator[tuple[State, str]]:
    require_own(workdir, config)
    _require_writable(workdir, "--workdir")
    step = _last_step(workdir)
    if not workdir.exists():
        yield State.LATER, str(workdir)
    elif read_summary(workdir):
        yield State.THERE, f"{workdir}: finished; a start prints the report"
    else:
        yield State.THERE, f"{workdir}: " + ("starts from step 0" if step is None else f"resumes at step {step}")


def _programs(config: Config) -> Iterator[tuple[State, str]]:
    folder = cache_folder(config.runtime.compilation_cache)
    if folder is None:
        yield State.WITHOUT, "off"
        return
    try:
        _require_writable(folder, "--config.runtime.compilation_cache")
    except UserError as error:
        yield State.WITHOUT, f"compiled anew at every start: {error}"
    else:
        yield State.THERE if folder.exists() else State.LATER, str(folder)


def _last_step(workdir: Path) -> int | None:
    """Return the step of the last whole checkpoint, if there is one."""
    folder = workdir / "checkpoints"
    if not (folder / "last").is_dir():
        return None
    with Checkpoints(folder, {}, read_only=True) as checkpoints:
        return max(checkpoints.steps("last"), default=None)


def _require_writable(folder: Path, option: str) -> Path:
    """Return the nearest folder above that exists; raises a UserError if nothing could be written there."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(
            f"{folder}: expected a folder that can be written to, got {existing}, which cannot; set {option}."
        )
    return existing
