"""Checkpoints: the last ones to resume from, and the best on validation.

A checkpoint is the train state and a small JSON (`host`) with what lives outside the device: the schedule, the best
result so far, the identity of the run. Orbax writes under a temporary name and renames at the end, so a checkpoint is
there whole or not at all. It is written once: the best checkpoint is a second name of one of the last (see `best`).

The first process writes, and all wait for each other in doing so. Each reads the whole by itself, so any number of
processes and devices can resume from it, and a process that cannot read keeps no other waiting.
"""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np
import orbax.checkpoint as ocp

from hamjax.runtime.distributed import all_or_none, from_first, is_first, is_peer_loss
from hamjax.runtime.errors import UserError, name_some
from hamjax.runtime.paths import plain_path
from hamjax.runtime.quiet import quiet_orbax
from hamjax.training.run_directory.best import TRASH, link_newest, steps_in
from hamjax.training.run_directory.checksums import CHECKSUMS, SEAL, checksums, on_host, sealed

# What orbax, tensorstore and json raise on files that are damaged, or that we did not write.
DAMAGE = (OSError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)
KINDS = ("last", "best")
KEEP = 2  # the newest, and the one before in case that one is damaged


class _Manager(ocp.CheckpointManager):
    def reached_preemption(self, step: int) -> bool:
        """Never query JAX's preemption service: it numbers its calls, and only some processes would make this one."""
        del step
        return False


class Checkpoints:
    """The folder `checkpoints/` of a run.

    Args:
        folder: is created where it is missing.
        identity: what a checkpoint must have been made for; written into each.
        read_only: neither create nor tidy up anything.
    """

    def __init__(self, folder: Path, identity: dict[str, Any], *, read_only: bool = False) -> None:
        self._identity, self._read_only = identity, read_only
        self.folder = folder.absolute()
        quiet_orbax()
        if read_only:
            return
        for kind in KINDS:
            (self.folder / kind).mkdir(parents=True, exist_ok=True)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=KEEP, cleanup_tmp_directories=True, lightweight_initialize=True, todelete_subdir=TRASH
        )
        self._manager = _Manager(plain_path(self.folder) / "last", options=options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        # To finish a save is to wait for the other processes: for those that are gone, for ever.
        if not is_peer_loss(error):
            self.close()

    def steps(self, kind: str) -> list[int]:
        """Return the steps of the complete checkpoints of a kind, oldest first."""
        return steps_in(self.folder / kind)

    def save(self, state: Any, host: dict[str, Any], *, step: int) -> None:
        """Start writing a `last` checkpoint; returns once the state is copied off the device.

        A checkpoint of this step that a killed run left is replaced.
        """
        # Of an array on 8 devices orbax would save 8 slices, and compile a program for each shape of them.
        here = on_host(state)
        noted = {"identity": self._identity, CHECKSUMS: checksums(here), **host}
        items = ocp.args.Composite(state=ocp.args.StandardSave(here), host=ocp.args.JsonSave(sealed(noted)))
        with self._writing():
            # Orbax would make a vanished folder anew, and the run would continue without what it had saved.
            if gone := self._gone():
                raise FileNotFoundError(f"{' and '.join(gone)} gone")
            if step in self._manager.all_steps():
                self._manager.delete(step)
            self._manager.save(step, args=items, force=True)

    def mark_best(self, step: int) -> None:
        """Keep the `last` checkpoint of a step as the best one as well; waits for all processes.

        Two best ones are kept: the newest `last` checkpoint may still name the one before.

        Raises:
            UserError: the disk is full, or the folder is gone.
        """
        self.wait()  # half a checkpoint must not get a second name
        with all_or_none():
            if is_first():
                with self._writing():
                    link_newest(self.folder / "last" / str(step), self.folder / "best", keep=KEEP)
                    self._empty_trash()

    def wait(self) -> None:
        """Return once everything is on disk.

        Raises:
            UserError: it could not be written.
        """
        with self._writing():
            self._manager.wait_until_finished()
        self._empty_trash()

    def restore(self, kind: str, step: int, template: Any) -> tuple[Any, dict[str, Any]]:
        """Read a checkpoint.

        Args:
            kind: `last` or `best`.
            step: one of `steps(kind)`.
            template: a state of the same shapes.

        Returns:
            The state, of numpy arrays, and its `host` dictionary.

        Raises:
            UserError: it is not there, damaged, or of another run.
        """
        host = self.read_host(kind, step)
        state = self._read(kind, step, state=ocp.args.StandardRestore(_blank(template)))["state"]
        self._require_unchanged(kind, step, state, host)
        return state, host

    def restore_part(self, kind: str, step: int, template: Any) -> Any:
        """Read only those arrays of a checkpoint that a template of nested dictionaries names; see `restore`."""
        host = self.read_host(kind, step)
        blank = _blank(template)
        placed = ocp.checkpoint_utils.construct_restore_args(blank)
        part = ocp.args.PyTreeRestore(item=blank, restore_args=placed, partial_restore=True)
        state = self._read(kind, step, state=part)["state"]
        self._require_unchanged(kind, step, state, host)
        return state

    def read_host(self, kind: str, step: int) -> dict[str, Any]:
        """Read only the JSON of a checkpoint; raises as `restore` does."""
        path = self.folder / kind / str(step)
        if step not in self.steps(kind):
            found = ", ".join(map(str, self.steps(kind))) or "none"
            raise UserError(f"{path}: expected a checkpoint, got none; there are: {found}.")
        host = self._read(kind, step, host=ocp.args.JsonRestore())["host"]
        if host["identity"] != self._identity:
            raise UserError(
                f"{path}: expected a checkpoint of {self._identity}, got one of {host['identity']}; it belongs to "
                "another run."
            )
        return host

    def restore_newest(self, template: Any) -> tuple[Any, dict[str, Any], list[str]] | None:
        """Read the newest `last` checkpoint that every process can read; waits for all.

        Returns:
            State, `host` and the messages of those that were skipped as damaged; None
            if there is no checkpoint at all.

        Raises:
            UserError: there are some, and none can be read.
        """
        skipped: list[str] = []
        for step in reversed(from_first(self.steps("last"))):
            try:
                with all_or_none():
                    found = self.restore("last", step, template)
                return *found, skipped
            except UserError as error:
                skipped.append(str(error))
        if skipped:
            raise UserError("\n".join([*skipped, "No checkpoint is left to resume from; use a new folder."]))
        return None

    def close(self) -> None:
        """Finish what is being written; raises as `wait` does."""
        if self._read_only:
            return
        with self._writing():
            self._manager.close()
        self._empty_trash()

    def _empty_trash(self) -> None:
        if is_first():
            for kind in KINDS:
                shutil.rmtree(self.folder / kind / TRASH, ignore_errors=True)

    def _gone(self) -> list[str]:
        return [str(folder) for kind in KINDS if not (folder := self.folder / kind).is_dir()]

    def _reader(self, kind: str) -> ocp.CheckpointManager:
        me = jax.process_index()
        alone = ocp.options.MultiprocessingOptions(
            primary_host=None, active_processes={me}, barrier_sync_key_prefix=f"reader{me}"
        )
        options = ocp.CheckpointManagerOptions(
            create=False,
            cleanup_tmp_directories=False,
            lightweight_initialize=True,  # a damaged checkpoint must not keep the others from being seen
            multiprocessing_options=alone,
        )
        return ocp.CheckpointManager(plain_path(self.folder) / kind, options=options)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # tensorstore's own of a full disk or a vanished folder is a ValueError
            if is_peer_loss(error):
                raise
            cure = "bring the folder back" if self._gone() else "free some space"
            raise UserError(
                f"{self.folder}: expected to write a checkpoint, got {error}; {cure} "
                "and start the same command again; it resumes from the last whole one."
            ) from error

    def _read(self, kind: str, step: int, **items: Any) -> Any:
        try:
            with contextlib.closing(self._reader(kind)) as reader:
                read = reader.restore(step, args=ocp.args.Composite(**items))
            if "host" in items and read["host"].get(SEAL) != sealed(read["host"])[SEAL]:
                raise ValueError("its host/metadata is not as it was written")
        except DAMAGE as error:
            first = str(error).strip().splitlines()[:1]
            raise self._damaged(kind, step, f"{type(error).__name__}: {first[0][:300] if first else ''}") from error
        return read

    def _require_unchanged(self, kind: str, step: int, state: Any, host: dict[str, Any]) -> None:
        """Compare what was read with what was written: orbax reads a flipped bit without an error."""
        written = host.get(CHECKSUMS, {})
        if changed := [name for name, crc in checksums(state).items() if written.get(name) != crc]:
            raise self._damaged(kind, step, f"other bytes than were written in {name_some(changed)}")

    def _damaged(self, kind: str, step: int, got: str) -> UserError:
        return UserError(
            f"{self.folder / kind / str(step)}: expected a whole checkpoint of this run, got {got}; it is truncated, "
            "changed, or not ours. Bring it back; `hamjax evaluate --checkpoint` takes another."
        )


def _blank(template: Any) -> Any:
    """Return numpy arrays of the same shapes, to read into."""
    return jax.tree.map(lambda x: np.empty(x.shape, x.dtype), template)
