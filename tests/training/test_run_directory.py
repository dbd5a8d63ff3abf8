"""A run directory that someone else has written in is refused, not believed."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from hamjax.config import Config
from hamjax.evaluation.trained_run import TrainedRun
from hamjax.runtime.errors import UserError
from hamjax.training.run_directory.record import read_facts, read_record, read_split, require_own, write_facts
from tests.fuzzing import runs

SPLIT = "image_id,lesion_id,dx,split\nI1,L1,nv,train\nI2,L2,mel,test\n"


def _write(folder: Path, *, split: str = SPLIT, config: dict[str, Any] | None = None, **changes: Any) -> Path:
    (folder / "split.csv").write_text(split)
    stored = {
        "config": Config().to_dict() | (config or {}),
        "data_fingerprint": "0" * 64,
        "split_fingerprint": hashlib.sha256(split.encode()).hexdigest(),
        "command": "python",
        "environment": {},
    }
    (folder / "config.json").write_text(json.dumps(stored | changes))
    return folder


def test_what_a_run_wrote_is_read_back(tmp_path: Path) -> None:
    assert read_record(_write(tmp_path)).config == Config()
    metadata, split = read_split(tmp_path)
    assert (metadata.image_id.tolist(), split.tolist()) == (["I1", "I2"], ["train", "test"])


@pytest.mark.parametrize(
    "changes",
    [{"config": []}, {"config": None}, {"data_fingerprint": 5}, {"split_fingerprint": None}, {"environment": "x"},
     {"command": ["rm"]}, {"resolved": []}, {"resolved": None}],
)  # fmt: skip
def test_a_record_of_another_form_is_refused_by_name(tmp_path: Path, changes: dict[str, Any]) -> None:
    _write(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(stored | changes))
    with pytest.raises(UserError, match=f"got other {next(iter(changes))}"):
        read_facts(tmp_path)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        (
            ["/opt/bin/python", "/opt/bin/hamjax", "train", "--config", "cnn_s1"],
            "hamjax train --config cnn_s1",
        ),
        (["/usr/bin/python3", "-m", "hamjax.main", "--config", "a b.py"], "python -m hamjax.main --config 'a b.py'"),
    ],
    ids=["program", "module"],
)
def test_the_command_is_kept_as_somebody_would_type_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: list[str], kept: str
) -> None:
    monkeypatch.setattr(sys, "orig_argv", typed)
    fingerprints = {"data_fingerprint": "0" * 64, "split_fingerprint": hashlib.sha256(SPLIT.encode()).hexdigest()}
    write_facts(tmp_path, Config(), fingerprints, SPLIT, BLOCK, [])
    assert read_facts(tmp_path)["command"] == kept


BLOCK = {"compute_dtype": "float32", "input_scale": "unit", "checkpoint": "last", "starts": []}


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"starts": {}}, "resolved.starts"),
        ({"compute_dtype": 5, "checkpoint": None}, "resolved.compute_dtype, resolved.checkpoint"),
        ({"weights": "0" * 64}, "resolved.weights"),
    ],
)
def test_a_damaged_block_of_what_ran_is_refused_by_name(tmp_path: Path, changes: dict[str, Any], names: str) -> None:
    read_record(_write(tmp_path, resolved=BLOCK))
    with pytest.raises(UserError, match=f"got other {names}; restore"):
        require_own(_write(tmp_path, resolved=BLOCK | changes), Config())


@pytest.mark.parametrize("text", ["", "[]", "{}", "5", "[" * 100_000, '{"config": {}}'])
def test_json_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match="expected"):
        read_record(tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"data": 5}, "got data"),
        ({"__class__": {"__name__": "x"}}, "got __class__.__name__"),
        ({"to_dict": {"__doc__": "x"}}, "got to_dict.__doc__"),
        ({"data": {"__slots__": 5}}, "got data.__slots__"),
        ({"train": {"epochs": "many"}}, "train.epochs: expected a whole number"),
        ({"train": {"epochs": True}}, "train.epochs: expected a whole number"),
        ({"train": {"seed": 2**40}}, "train.seed: expected a whole number"),
        ({"optimizer": {"learning_rate": float("inf")}}, "optimizer.learning_rate: expected a finite number"),
        ({"sampling": {"given_weights": ["a"]}}, "sampling.given_weights: expected numbers"),
        ({"model": {"name": ["cnn"]}}, "model.name: expected text"),
        ({"model": {"name": "vgg"}}, "model.name: expected one of"),
    ],
)
def test_a_stored_config_is_checked_as_one_from_the_command_line(
    tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read_record(_write(tmp_path, config=config))


@pytest.mark.parametrize("split", [SPLIT.replace("train", "exam"), "image_id,lesion_id,dx\nI1,L1,nv\n"])
def test_a_split_of_other_parts_is_refused(tmp_path: Path, split: str) -> None:
    with pytest.raises(UserError, match="expected a column split of train, val, test"):
        read_split(_write(tmp_path, split=split))


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("host/metadata", "[]"),
        ("host/metadata", '{"best": {}}'),
        ("state/_METADATA", '{"tree_metadata": "x"}'),
    ],
)
def test_a_checkpoint_that_is_not_as_it_was_written_is_refused(tmp_path: Path, file: str, content: str) -> None:
    runs.make_samples(tmp_path)
    TrainedRun(tmp_path / "run").restore()
    for kind in ("last", "best"):
        path = tmp_path / "run" / "checkpoints" / kind / "2" / file
        stored = json.loads(path.read_text()) if file == "host/metadata" and content != "[]" else {}
        path.write_text(json.dumps(stored | json.loads(content)) if stored else content)
    with pytest.raises(UserError, match="expected a whole checkpoint"):
        TrainedRun(tmp_path / "run").restore()


@pytest.mark.parametrize("content", ['{"init_timestamp_nsecs": "x"}', "[" * 100_000])
def test_what_orbax_notes_of_a_checkpoint_is_not_needed_to_read_it(tmp_path: Path, content: str) -> None:
    runs.make_samples(tmp_path)
    for path in (tmp_path / "run" / "checkpoints").rglob("_CHECKPOINT_METADATA"):
        path.write_text(content)
    TrainedRun(tmp_path / "run").restore()
