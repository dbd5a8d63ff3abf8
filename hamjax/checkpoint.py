"""Checkpoints: the last ones to go on from, and the best on validation.

A checkpoint is the train state and a small JSON (`host`) with what lives outside the
device: the schedule, the best result so far, what the run is. Orbax writes under a
temporary name and renames at the end, so a checkpoint is there whole or not at all.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

from hamjax.errors import UserError

KEEP = 2  # the newest and the one before, to fall back on


class Checkpoints:
    """The folder `checkpoints/` of a run.

    Args:
        folder: is created where it is missing.
        identity: what a checkpoint must have been made for; written into each.
        read_only: neither create nor tidy up anything.
    """

    def __init__(self, folder: Path, identity: dict[str, Any], *, read_only: bool = False) -> None:
        self._identity = identity
        self.folder = folder.absolute()
        self._managers: dict[str, ocp.CheckpointManager] = {}
        for kind in ("last", "best"):
            options = ocp.CheckpointManagerOptions(
                max_to_keep=KEEP,
                cleanup_tmp_directories=not read_only,
                create=not read_only,
                read_only=read_only,
            )
            self._managers[kind] = ocp.CheckpointManager(self.folder / kind, options=options)

    def steps(self, kind: str) -> list[int]:
        """Return the steps of the complete checkpoints of a kind, oldest first."""
        return sorted(self._managers[kind].all_steps())

    def save(self, kind: str, state: Any, host: dict[str, Any], *, step: int) -> None:
        """Start writing; returns once the state is copied off the device.

        A checkpoint of this step that a killed run left is replaced.
        """
        manager = self._managers[kind]
        if step in manager.all_steps():
            manager.delete(step)
        self.wait()  # `last` speaks of `best`: it must not come first
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            host=ocp.args.JsonSave({"identity": self._identity, **host}),
        )
        with self._writing():
            manager.save(step, args=items, force=True)

    def wait(self) -> None:
        """Return once everything is on disk.

        Raises:
            UserError: it could not be written.
        """
        with self._writing():
            for manager in self._managers.values():
                manager.wait_until_finished()

    def restore(self, kind: str, step: int, template: Any) -> tuple[Any, dict[str, Any]]:
        """Read a checkpoint.

        Args:
            kind: `last` or `best`.
            step: one of `steps(kind)`.
            template: a state of the same shapes, placed as the result is to be.

        Returns:
            The state and its `host` dictionary.

        Raises:
            UserError: it is not there, damaged, or of another run.
        """
        host = self.read_host(kind, step)
        return self._read(kind, step, state=ocp.args.StandardRestore(template))["state"], host

    def restore_part(self, kind: str, step: int, template: Any) -> Any:
        """Read only those arrays of a checkpoint that a template of nested dictionaries names; see `restore`."""
        self.read_host(kind, step)
        placed = ocp.checkpoint_utils.construct_restore_args(template)
        part = ocp.args.PyTreeRestore(item=template, restore_args=placed, partial_restore=True)
        return self._read(kind, step, state=part)["state"]

    def read_host(self, kind: str, step: int) -> dict[str, Any]:
        """Read only the JSON of a checkpoint; raises as `restore` does."""
        path = self.folder / kind / str(step)
        if step not in self.steps(kind):
            found = ", ".join(map(str, self.steps(kind))) or "none"
            raise UserError(f"{path}: expected a checkpoint, got none; there are: {found}.")
        host = self._read(kind, step, host=ocp.args.JsonRestore())["host"]
        if host is None or host.get("identity") != self._identity:
            raise UserError(
                f"{path}: expected a checkpoint of {self._identity}, got one of "
                f"{host and host.get('identity')}; it belongs to another run."
            )
        return host

    def restore_newest(self, template: Any) -> tuple[Any, dict[str, Any], list[str]] | None:
        """Read the newest readable `last` checkpoint.

        Returns:
            State, `host` and the messages of those that were skipped as damaged; nothing
            if there is no checkpoint at all.

        Raises:
            UserError: there are some, and none can be read.
        """
        skipped: list[str] = []
        for step in reversed(self.steps("last")):
            try:
                return *self.restore("last", step, template), skipped
            except UserError as error:
                skipped.append(str(error))
        if skipped:
            skipped.append("No checkpoint is left to go on from; use a new folder.")
            raise UserError("\n".join(skipped))
        return None

    def close(self) -> None:
        """Finish what is being written."""
        for manager in self._managers.values():
            manager.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # tensorstore reports a full disk as ValueError
            raise UserError(
                f"{self.folder}: expected to write a checkpoint, got {error}; free some space "
                "and start the same command again, it goes on from the last whole one."
            ) from error

    def _read(self, kind: str, step: int, **items: Any) -> Any:
        try:
            return self._managers[kind].restore(step, args=ocp.args.Composite(**items))
        except Exception as error:  # orbax, tensorstore and json each raise their own kinds
            first = str(error).strip().splitlines()[:1]
            raise UserError(
                f"{self.folder / kind / str(step)}: expected a whole checkpoint of this run, got "
                f"{type(error).__name__}: {first[0][:300] if first else ''}; it is truncated or not ours. Remove it "
                "to go on without it, or name another one with --checkpoint."
            ) from error
