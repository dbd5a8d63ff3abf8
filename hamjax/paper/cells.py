"""The cells of the grid: their list, their state, and the time that is left."""

import dataclasses
import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hamjax.config import Config
from hamjax.config.command_line import parse
from hamjax.config.recipes import config_name
from hamjax.paper.published import ACCURACY, MODELS
from hamjax.report.terminal import table
from hamjax.runtime.errors import UserError, expected_one_of
from hamjax.training.run_directory.finished import read_summary
from hamjax.training.run_directory.metrics_log import read_records
from hamjax.training.run_directory.record import require_own

PROTOCOLS = {
    "paper": ("paper",),
    "honest": ("honest",),
    "folds": ("fold0", "fold1", "fold2", "fold3", "fold4"),
}
STRATEGIES = tuple(ACCURACY)
OWN_KEYS = {"data.split": "--protocols", "model.name": "--models", "sampling.strategy": "--strategies",
            "train.seed": "--seeds"}  # fmt: skip
FAILURE = "failure.json"


@dataclasses.dataclass(frozen=True, eq=False)
class Cell:
    """One run of the grid.

    Attributes:
        protocol: a key of `PROTOCOLS`.
        model: of `MODELS`.
        strategy: of `STRATEGIES`.
        seed: of the run.
        split: one of the protocol's.
        workdir: the run directory.
        words: the arguments of `hamjax train`.
        config: what they mean.
    """

    protocol: str
    model: str
    strategy: str
    seed: int
    split: str
    workdir: Path
    words: tuple[str, ...]
    config: Config

    @property
    def name(self) -> str:
        """The path below the grid's folder."""
        return f"{self.protocol}/{self.workdir.name}"


@dataclasses.dataclass(frozen=True)
class State:
    """The state of a cell.

    Attributes:
        summary: of `report/test.json`; None before the run has ended.
        step: the last one that was recorded.
        seconds: that its recorded steps took, validation included.
        timed_steps: how many those are.
        failure: why its last start failed.
    """

    summary: dict[str, Any] | None
    step: int
    seconds: float
    timed_steps: int
    failure: str

    def __str__(self) -> str:
        if self.summary:
            return "finished"
        where = f"stopped at step {self.step:,}" if self.step else "not run"
        return f"failed, {where}" if self.failure else where


def list_cells(
    root: Path,
    *,
    protocols: Sequence[str],
    models: Sequence[str],
    strategies: Sequence[str],
    seeds: Sequence[int],
    overrides: Sequence[str] = (),
) -> list[Cell]:
    """Return the cells, the first seed of everything before the second.

    Args:
        root: the grid's folder.
        protocols: of `PROTOCOLS`.
        models: of `MODELS`.
        strategies: of `STRATEGIES`.
        seeds: of the runs.
        overrides: words such as `--config.train.epochs=2` for every cell.

    Raises:
        UserError: a name or an override is not what it should be.
    """
    _require_known("--protocols", protocols, PROTOCOLS)
    _require_known("--models", models, MODELS)
    _require_known("--strategies", strategies, STRATEGIES)
    if len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds: expected each once, got {','.join(map(str, seeds))}.")
    # An override would win over the cell's own word, and all its cells would be one run under several names.
    for key, option in OWN_KEYS.items():
        if any(word.startswith(f"--config.{key}=") for word in overrides):
            raise UserError(f"--config.{key}: expected {option} in its place, as each cell has its own.")
    # Seeds outside networks and strategies: a grid that is stopped half-way has whole tables of the first seed.
    cells = []
    for protocol, seed, model, strategy in itertools.product(protocols, seeds, models, strategies):
        for split in PROTOCOLS[protocol]:
            # The folder says the split only where a protocol has several.
            fold = f"_{split}" if len(PROTOCOLS[protocol]) > 1 else ""
            workdir = root / protocol / f"{model}_{strategy}_seed{seed}{fold}"
            words = ("--config", config_name(model, strategy), f"--config.data.split={split}",
                     f"--config.train.seed={seed}", *overrides, "--workdir", str(workdir))  # fmt: skip
            config, _ = parse(words)
            cells.append(Cell(protocol, model, strategy, seed, split, workdir, words, config))
    return cells


def require_own_folders(cells: Iterable[Cell]) -> None:
    """Refuse a grid's folder in which another config has run; see `run_directory.require_own`."""
    for cell in cells:
        require_own(cell.workdir, cell.config)


def read_state(cell: Cell) -> State:
    """Return the state of a cell, read from its run directory."""
    records = cell.workdir / "metrics.jsonl"
    lines = read_records(records) if records.exists() else []
    step, seconds, timed_steps, wall = 0, 0.0, 0, 0.0
    for line in lines:
        # A resumed run counts its seconds anew: where they fall, the line's own count is what has passed since.
        seconds += line["wall_s"] - (wall if line["wall_s"] >= wall else 0)
        timed_steps += line["step"] - step
        step, wall = line["step"], line["wall_s"]
    failure = _read_json(cell.workdir / FAILURE) or {}
    return State(read_summary(cell.workdir), step, seconds, timed_steps, failure.get("message", ""))


def describe(cells: Sequence[Cell], steps: Sequence[int] | None) -> str:
    """List the cells with their steps and the time that is left.

    Args:
        cells: to list.
        steps: of each cell, of the whole run; None if there is no data to count yet.
    """
    states = [read_state(cell) for cell in cells]
    speeds = {model: _seconds_per_step(cells, states, model) for model in {cell.model for cell in cells}}
    rows: list[list[object]] = []
    left = []
    for k, (cell, state) in enumerate(zip(cells, states, strict=True)):
        seconds = 0.0 if state.summary else None
        speed = speeds[cell.model]
        if steps and speed and not state.summary:
            seconds = speed * max(steps[k] - state.step, 0)
        left.append(seconds)
        count = f"{steps[k]:,}" if steps else "not known"
        rows.append([cell.name, k, count, _duration(seconds), str(state)])
    known = [seconds for seconds in left if seconds is not None]
    total = _duration(sum(known)) if len(known) == len(left) else "not known"
    if total == "not known" and any(known):
        total = f"{_duration(sum(known))} for {len(known)} of them, not known for the others"
    return "\n".join(
        [
            table(["cell", "--cell", "steps", "time left", "state"], rows),
            f"{len(cells)} cells, time left: {total} (by the speed of finished or begun cells of the same network, "
            "without compilation and the test part)",
        ]
    )


def _require_known(option: str, got: Sequence[str], known: Iterable[str]) -> None:
    if unknown := [word for word in got if word not in known]:
        raise UserError(expected_one_of(option, known, unknown[0]))
    if not got or len(set(got)) < len(got):
        raise UserError(f"{option}: expected some of {','.join(known)}, each once, got {','.join(got) or 'none'}.")


def _seconds_per_step(cells: Sequence[Cell], states: Sequence[State], model: str) -> float | None:
    of_model = [state for cell, state in zip(cells, states, strict=True) if cell.model == model]
    steps = sum(state.timed_steps for state in of_model)
    return sum(state.seconds for state in of_model) / steps if steps else None


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "not known"
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes // 60} h {minutes % 60:02} min"


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return stored if isinstance(stored, dict) else None
