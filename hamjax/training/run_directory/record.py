"""The run directory: its files, and the check that a config may resume in it.

config.json   config as asked, what it came to (see `resolved_block`), versions, revision, data and split fingerprints
split.csv     the partition of every image
metrics.jsonl, events.*    see `hamjax.training.run_directory.metrics_log`
checkpoints/  see `hamjax.training.run_directory.checkpoints`
report/       see `hamjax.report`; `test.json` comes last and marks the end
"""

import dataclasses
import hashlib
import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hamjax.config import Config, validate
from hamjax.data import splits
from hamjax.data.metadata import Metadata, from_rows
from hamjax.data.tables import read_table
from hamjax.runtime.environment import environment
from hamjax.runtime.errors import UserError, name_some
from hamjax.runtime.files import write_atomically
from hamjax.training.run_directory import resolved_block
from hamjax.training.run_directory.identity import run_identity
from hamjax.training.setup.resolved import starting_weights

# What config.json must hold, and what it may.
NEEDED = {"config": dict, "data_fingerprint": str, "split_fingerprint": str}
DESCRIPTIVE = {"command": str, "environment": dict, "tables": list}


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """The config of a run, and the fingerprints of its data and split."""

    config: Config
    data_fingerprint: str
    split_fingerprint: str

    def identity(self) -> dict[str, Any]:
        """Return what a checkpoint of this run is recognised by."""
        return run_identity(self.config, self.data_fingerprint, self.split_fingerprint)


def require_own(workdir: Path, config: Config) -> None:
    """Refuse a run directory that another config started.

    Raises:
        UserError: names the keys that differ.
    """
    stored = _read(workdir)
    if stored is None:
        return
    began = Config.from_dict(stored["config"])
    if starting_weights(began) == starting_weights(config):  # auto and what it stands for are one run
        began.model.weights = config.model.weights
    if "resolved" in stored:  # auto and what came of it are one run; what it is now is known once the devices are
        came = stored["resolved"]["compute_dtype"]
        began.model.compute_dtype = "auto" if config.model.compute_dtype == "auto" else came
    ours, theirs = config.result_keys(), began.result_keys()
    differing = [
        f"{topic}.{key} ({theirs[topic][key]!r} there, {value!r} now)"
        for topic, keys in ours.items()
        for key, value in keys.items()
        if theirs[topic][key] != value
    ]
    if differing:
        raise UserError(
            f"{workdir}: expected a run of this config, got one with another {name_some(differing)}; "
            "name another folder with --workdir, or start with the config it has."
        )


def require_same_data(workdir: Path, fingerprints: Mapping[str, str]) -> None:
    """Refuse a run directory that was made from other images or another split.

    Args:
        workdir: the run directory.
        fingerprints: `data_fingerprint` and `split_fingerprint`.

    Raises:
        UserError: names which of them differ.
    """
    stored = _read(workdir)
    if stored is None:
        return
    if changed := [name for name, value in fingerprints.items() if stored[name] != value]:
        raise UserError(
            f"{workdir}: expected the data it was started with, got another {' and '.join(changed)}; "
            "bring the old data back, or name another folder with --workdir."
        )


def require_same_dtype(workdir: Path, config: Config, compute_dtype: str) -> None:
    """Refuse to resume a run in another dtype than it began in; a run that did not record its dtype is resumed.

    Raises:
        UserError: says how to resume it.
    """
    if began := resolved_block.differing_dtype(_read(workdir) or {}, compute_dtype):
        raise UserError(
            f"{workdir}: expected to resume in {began}, as it began, got {compute_dtype}, which "
            f"model.compute_dtype={config.model.compute_dtype} is on these devices; set "
            f"--config.model.compute_dtype={began}, or name another folder with --workdir."
        )


def write_facts(
    workdir: Path,
    config: Config,
    fingerprints: Mapping[str, str],
    split: str,
    resolved: Mapping[str, Any],
    tables: Sequence[Mapping[str, Any]],
) -> None:
    """Write `config.json` and `split.csv` of a run that begins; of one that is resumed, add this start to `starts`.

    Args:
        workdir: the run directory.
        config: as asked.
        fingerprints: `data_fingerprint` and `split_fingerprint`.
        split: text of `split.csv`.
        resolved: the block of that name, with this start alone; with `weights` if the run begins.
        tables: the files that labels were read from; see `Dataset`.

    Raises:
        UserError: the disk is full.
    """
    stored = _read(workdir)
    if stored is not None and "weights" not in resolved:
        record = resolved_block.with_start(stored, resolved)
    else:
        asked = config.to_dict()
        for key in ("source_dir", "data_dir"):
            asked["data"][key] = asked["data"][key] and os.path.abspath(asked["data"][key])
        write_atomically(workdir / "split.csv", split)
        made = {"command": _command(sys.orig_argv), "environment": environment()}
        record = {"config": asked, "resolved": resolved, **fingerprints, "tables": list(tables), **made}
    if record != stored:
        write_atomically(workdir / "config.json", json.dumps(record, indent=2) + "\n")


def read_record(workdir: Path) -> RunRecord:
    """Return what `config.json` says a run was started with.

    Raises:
        UserError: there is no run.
    """
    stored = _read_run(workdir)
    config = Config.from_dict(stored["config"])
    try:
        validate(config, began=True)
    except UserError as error:
        raise UserError(f"{workdir / 'config.json'}: {error}\nRestore the file that the run wrote.") from error
    return RunRecord(config, stored["data_fingerprint"], stored["split_fingerprint"])


def read_facts(workdir: Path) -> dict[str, Any]:
    """Return how a run was made: `config`, `resolved`, `command` and `environment` of its `config.json`.

    Raises:
        UserError: there is no run.
    """
    record = _read_run(workdir)
    return {name: record[name] for name in ("config", "resolved", *DESCRIPTIVE) if name in record}


def read_origin(workdir: Path) -> str | None:
    """Return where the weights came from that a run began with, if `config.json` says so."""
    return (_read(workdir) or {}).get("resolved", {}).get("weights", {}).get("origin")


def read_split(workdir: Path) -> tuple[Metadata, np.ndarray]:
    """Return who was in which partition, as `split.csv` says.

    Returns:
        Ids, lesions and classes of N images, the other columns unknown; [N] partition names.

    Raises:
        UserError: the file is missing, or not what the run wrote.
    """
    path = workdir / "split.csv"
    rows = read_table(path)
    if hashlib.sha256(path.read_bytes()).hexdigest() != read_record(workdir).split_fingerprint:
        raise UserError(f"{path}: expected the split that the run was started with, got another; bring it back.")
    metadata = from_rows(rows, where=str(path))
    part = {row["image_id"]: row.get("split") for row in rows}
    if not set(part.values()) <= set(splits.PARTITIONS):
        raise UserError(f"{path}: expected a column split of {', '.join(splits.PARTITIONS)}, got others; restore it.")
    return metadata, np.array([part[i] for i in metadata.image_id.tolist()])


def _command(words: Sequence[str]) -> str:
    """Return the command line of a process as somebody would type it again.

    Args:
        words: as in `sys.orig_argv`: the interpreter first, and of an installed program its whole path.
    """
    is_program = len(words) > 1 and Path(words[1]).name == "hamjax"
    return shlex.join(["hamjax", *words[2:]] if is_program else ["python", *words[1:]])


def _read_run(workdir: Path) -> dict[str, Any]:
    stored = _read(workdir)
    if stored is None:
        raise UserError(f"{workdir}: expected a run directory with a config.json, got none; check --workdir.")
    return stored


def _read(workdir: Path) -> dict[str, Any] | None:
    path = workdir / "config.json"
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: expected the config of a run, got {error}; restore or remove it.") from error
    given = stored if isinstance(stored, dict) else {}
    wrong = resolved_block.wrong_names(given, NEEDED, DESCRIPTIVE | {"resolved": dict})
    if "resolved" in given and not wrong:
        block = resolved_block.wrong_names(given["resolved"], resolved_block.NEEDED, resolved_block.OPTIONAL)
        wrong = [f"resolved.{name}" for name in block]
    if wrong:
        raise UserError(f"{path}: expected what a run wrote, got other {', '.join(wrong)}; restore or remove it.")
    return given
