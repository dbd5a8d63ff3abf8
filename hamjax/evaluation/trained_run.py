"""Load the network of an existing run at one of its checkpoints; the run's data is not needed."""

import dataclasses
from pathlib import Path
from typing import Any

import optax

from hamjax.models.initialization import Variables
from hamjax.runtime.devices import make_mesh, put_replicated
from hamjax.runtime.errors import UserError
from hamjax.runtime.paths import user_path
from hamjax.training.run_directory.checkpoints import Checkpoints
from hamjax.training.run_directory.record import read_record, read_split
from hamjax.training.setup.experiment import run_facts
from hamjax.training.setup.network import initial_variables, make_network
from hamjax.training.setup.resolved import resolve
from hamjax.training.state import create_train_state


class TrainedRun:
    """A run that has been started.

    Args:
        workdir: the run directory.

    Attributes:
        workdir, config: of the run.
        resolved: what its config leaves to the program; on these devices, not on those it was trained on.
        record: what its checkpoints are recognised by.
        mesh: of all devices.
        model: a Flax module.

    Raises:
        UserError: there is no such run.
    """

    def __init__(self, workdir: str | Path) -> None:
        self.workdir = user_path(workdir)
        self.record = read_record(self.workdir)
        self.config = self.record.config
        # Not as the run recorded it: a bfloat16 run is evaluated in float32 on a CPU, which only rounds less.
        self.resolved = resolve(self.config)
        self.mesh = make_mesh()
        self.model = make_network(self.config, self.resolved)

    def restore(self, asked: str | None = None) -> tuple[Variables, dict[str, Any]]:
        """Read the part of a checkpoint that predicts.

        Args:
            asked: `last`, `best` or a step; by default what training reports.

        Returns:
            The variables to evaluate, on every device; the checkpoint's `name` and `step`.

        Raises:
            UserError: there is no such checkpoint, it is damaged, or another run's.
        """
        folder = self.workdir / "checkpoints"
        if not folder.is_dir():
            raise UserError(f"{folder}: expected the checkpoints of a run, got none; train first.")
        # Shapes alone: the values are read over. No optimizer either, which is half of a checkpoint or more.
        variables = initial_variables(self.config, self.model)
        blank = create_train_state(variables, optax.identity(), ema=self.config.train.ema_decay > 0)
        kept = {name: getattr(blank, name) for name in ("step", "params", "batch_stats", "ema")}
        with Checkpoints(folder, self.record.identity(), read_only=True) as checkpoints:
            kind, step = _find_checkpoint(checkpoints, asked, self.resolved.checkpoint)
            saved = checkpoints.restore_part(kind, step, {"state": kept})
        restored = dataclasses.replace(blank, **saved["state"])
        return put_replicated(restored.eval_variables, self.mesh), {"name": kind, "step": step}

    def facts(self, variables: Variables) -> dict[str, Any]:
        """Return the facts of the set-up that `split.csv` holds; see `Experiment.facts`."""
        metadata, split = read_split(self.workdir)
        return run_facts(self.config, metadata, split, self.record.data_fingerprint, variables)


def _find_checkpoint(checkpoints: Checkpoints, asked: str | None, reported: str) -> tuple[str, int]:
    last = checkpoints.steps("last")
    if not last:
        raise UserError(f"{checkpoints.folder}: expected a checkpoint, got none; train first.")
    if asked is not None and asked.isdigit():
        kind = "last" if int(asked) in last else "best"
        return kind, int(asked)
    if asked not in (None, "last", "best"):
        raise UserError(f"--checkpoint: expected last, best or a step, got {asked!r}.")
    host = checkpoints.read_host("last", last[-1])
    kind = asked or reported
    # The last one is written before its step is validated, and may itself have become the best.
    best = last[-1] if last[-1] in checkpoints.steps("best") else int(host["best"]["step"])
    return kind, last[-1] if kind == "last" else best
