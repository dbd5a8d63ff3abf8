"""What ran is recorded beside what was asked, stays true when a run is resumed, and another dtype is refused."""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import traverse_util

import hamjax
from hamjax.commands import training_run
from hamjax.config import Config
from hamjax.models.initialization import init_variables
from hamjax.models.registry import create_model
from hamjax.runtime.errors import UserError
from hamjax.training.run_directory.record import require_own
from hamjax.training.setup.network import weights_fingerprint, weights_origin
from hamjax.training.setup.resolved import Resolved, resolve

Tiny = Callable[..., Config]
CHOSEN = {"model__compute_dtype": "float64", "train__steps_per_dispatch": 3, "eval__batch_size": 5,
          "eval__checkpoint": "best", "data__num_threads": 0}  # fmt: skip


class Stopped(Exception):
    """Stands for a kill before anything is saved."""


def _stop(_: int) -> None:
    raise Stopped


def _record(workdir: Path) -> dict[str, Any]:
    return json.loads((workdir / "config.json").read_text())


def _change(workdir: Path, **changes: Any) -> None:
    record = _record(workdir)
    record["resolved"] |= changes
    (workdir / "config.json").write_text(json.dumps(record))


@pytest.mark.parametrize(("backend", "automatic"), [("cpu", ("float32", 1, 64)), ("tpu", ("bfloat16", 8, 256))])
def test_auto_follows_the_backend_and_a_choice_does_not(
    monkeypatch: pytest.MonkeyPatch, backend: str, automatic: tuple[str, int, int]
) -> None:
    def values(resolved: Resolved) -> tuple[str, int, int]:
        return resolved.compute_dtype, resolved.steps_per_dispatch, resolved.eval_batch_size

    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    resolved = resolve(hamjax.make_config(model="cnn", strategy="s1"))
    assert values(resolved) == automatic
    assert resolved.checkpoint == "last"
    assert 1 <= resolved.num_threads <= 16
    assert resolve(hamjax.make_config(model="cnn", strategy="s1", data__split="fold3")).checkpoint == "best"
    with jax.enable_x64(True):
        resolved = resolve(hamjax.make_config(model="cnn", strategy="s1", **CHOSEN))
    assert values(resolved) == ("float64", 3, 5)
    assert (resolved.checkpoint, resolved.num_threads) == ("best", 0)


def test_float64_is_float64_or_refused(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny(model__compute_dtype="float64", train__max_steps=1)
    with pytest.raises(UserError, match="float64: expected a JAX that computes in 64 bits.*JAX_ENABLE_X64=1"):
        hamjax.train(config, tmp_path / "run")
    with jax.enable_x64(True):
        result = hamjax.train(config, tmp_path / "run")
    assert result is not None
    assert {leaf.dtype for leaf in jax.tree.leaves(result.state.params)} == {np.dtype("float64")}
    assert _record(tmp_path / "run")["resolved"]["compute_dtype"] == "float64"


def test_a_run_records_what_ran_and_leaves_the_config_as_asked(finished: Path, tiny: Tiny) -> None:
    record = _record(finished)
    assert (record["config"]["model"]["compute_dtype"], record["config"]["eval"]["batch_size"]) == ("auto", 0)
    block, resolved = record["resolved"], dataclasses.asdict(resolve(tiny()))
    settled = {name: block[name] for name in ("compute_dtype", "input_scale", "checkpoint")}
    assert [block["starts"][0] | settled | {"model": "cnn"}] == [resolved]
    assert (block["compute_dtype"], block["checkpoint"]) == ("float32", "best")
    assert (block["starts"][0]["device"], block["starts"][0]["devices"]) == ("cpu", 4)
    assert block["weights"]["origin"] == "random, seed 0"
    started = init_variables(create_model("cnn", num_classes=7), image_size=16, seed=0)
    assert block["weights"]["sha256"] == weights_fingerprint(started["params"], started.get("batch_stats", {}))


def test_the_fingerprint_is_that_of_the_values_in_the_order_of_their_names() -> None:
    params = {"b": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}, "a": {"bias": np.ones(2, np.float32)}}
    digest = hashlib.sha256()
    for name, value in sorted(traverse_util.flatten_dict(params, sep="']['").items()):
        digest.update(f"[0]['{name}'] float32 {value.shape}\n".encode() + value.tobytes())
    found = weights_fingerprint(params, {})
    assert found == digest.hexdigest()
    assert found == weights_fingerprint({name: params[name] for name in ("a", "b")}, {})
    assert found != weights_fingerprint(params | {"a": {"bias": np.array([1, 1.0000001], np.float32)}}, {})


def test_the_origin_of_weights_names_a_file_with_its_hash(tmp_path: Path) -> None:
    config = hamjax.make_config(model="resnet50", strategy="s1", model__weights="random", train__seed=3)
    assert weights_origin(config) == "random, seed 3"
    config.model.weights = "imagenet"
    name = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
    assert weights_origin(config) == f"{name}, MD5 4d473c1dd8becc155b73f8504c6f6626"
    config.model.weights = str(tmp_path / "mine.h5")
    with pytest.raises(UserError, match=r"mine.h5: expected the weights that were just read"):
        weights_origin(config)
    (tmp_path / "mine.h5").write_bytes(b"abc")
    assert weights_origin(config) == f"{tmp_path}/mine.h5, SHA-256 {hashlib.sha256(b'abc').hexdigest()}"


def test_weights_follow_the_network_and_the_start_says_where_they_come_from(
    tiny: Tiny, unfinished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Config()
    assert weights_origin(config) == "random, seed 0"
    config.model.name = "densenet201"  # as with --config.model.name on top of the CNN's config
    assert weights_origin(config).startswith("densenet201_weights_tf_dim_ordering_tf_kernels_notop.h5, MD5 ")
    hamjax.train(tiny(train__max_steps=1), tmp_path / "new")
    assert "\nweights: random, seed 0\n" in capsys.readouterr().out
    hamjax.train(tiny(), unfinished)
    assert "\nweights: those of a checkpoint; the run began from random, seed 0\n" in capsys.readouterr().out


@pytest.mark.parametrize(("began", "now"), [("random", "auto"), ("auto", "random")])
def test_a_run_goes_on_whether_its_weights_were_named_or_followed(
    tiny: Tiny, unreported: Path, began: str, now: str
) -> None:
    record = _record(unreported)
    record["config"]["model"]["weights"] = began
    (unreported / "config.json").write_text(json.dumps(record))
    require_own(unreported, tiny(model__weights=now))
    with pytest.raises(UserError, match=f"model.weights \\('{began}' there, 'other.npz' now\\)"):
        require_own(unreported, tiny(model__weights="other.npz"))


def test_a_resumed_run_adds_a_start_where_something_changed(tiny: Tiny, unfinished: Path) -> None:
    before = _record(unfinished)
    config = tiny(data__num_threads=0, train__steps_per_dispatch=2, eval__batch_size=16)
    hamjax.train(config, unfinished)
    first, second = _record(unfinished)["resolved"].pop("starts")
    assert [first] == before["resolved"]["starts"]
    assert second == first | {"num_threads": 0, "steps_per_dispatch": 2, "eval_batch_size": 16}
    _change(unfinished, starts=[first])
    assert _record(unfinished) == before  # nothing else is touched


def test_a_resumed_run_that_works_as_before_leaves_the_record_alone(tiny: Tiny, unreported: Path) -> None:
    before = (unreported / "config.json").stat().st_mtime_ns
    hamjax.train(tiny(), unreported)
    assert (unreported / "config.json").stat().st_mtime_ns == before


def test_going_on_in_another_dtype_is_refused(tiny: Tiny, unfinished: Path) -> None:
    _change(unfinished, compute_dtype="bfloat16")
    before = (unfinished / "config.json").read_text()
    with pytest.raises(UserError, match=r"resume in bfloat16, as it began, got float32.*compute_dtype=bfloat16, or"):
        hamjax.train(tiny(), unfinished)
    assert (unfinished / "config.json").read_text() == before
    require_own(unfinished, tiny(model__compute_dtype="bfloat16"))  # the way out that it names
    with pytest.raises(UserError, match=r"model.compute_dtype \('bfloat16' there, 'float32' now\)"):
        require_own(unfinished, tiny(model__compute_dtype="float32"))
    assert hamjax.evaluate(unfinished).summary["n"]  # another backend may judge it


def test_a_run_without_the_block_goes_on_without_it(tiny: Tiny, unreported: Path) -> None:
    record = _record(unreported)
    del record["resolved"]
    (unreported / "config.json").write_text(json.dumps(record))
    assert hamjax.train(tiny(), unreported) is not None
    assert _record(unreported) == record


def test_a_run_stopped_before_its_first_checkpoint_begins_anew(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        hamjax.train(tiny(), tmp_path / "run", on_dispatch=_stop)
    assert (tmp_path / "run" / "checkpoints" / "last").is_dir()
    began = _record(tmp_path / "run")["resolved"]
    _change(tmp_path / "run", weights={"origin": "elsewhere", "sha256": "0"}, starts=[])
    with pytest.raises(Stopped):
        hamjax.train(tiny(), tmp_path / "run", on_dispatch=_stop)
    assert _record(tmp_path / "run")["resolved"] == began


def test_processes_are_asked_for_their_starting_weights_where_a_run_begins(
    tiny: Tiny, unfinished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(training_run, "require_alike", asked.append)
    for workdir in (Path(shutil.copytree(unfinished, tmp_path / "old")), tmp_path / "new"):
        with pytest.raises(Stopped):
            hamjax.train(tiny(), workdir, on_dispatch=_stop)
    resumed, *begun = asked
    assert {"eval.batch_size", "train.steps_per_dispatch"} <= resumed.keys()
    assert begun[1:] == [{"starting weights": _record(tmp_path / "new")["resolved"]["weights"]["sha256"]}]
