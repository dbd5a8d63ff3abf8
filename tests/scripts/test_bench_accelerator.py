"""The benchmark of an accelerator: each row stands alone, within the budget, and a wrong step is noticed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import jax
import pytest
from bench.accelerator import reference, summary
from bench.accelerator.rows import NETWORKS, PARTS, Row, accelerator_rows, smoke_rows
from bench.accelerator.runner import Runner
from bench.ours import Ours

ROOT = Path(__file__).parents[2]
QUICK = {"xla_backend_optimization_level": "0"}
LAYERS = ("conv1", "conv4", "dense", "predictions")


def _ours(problem: reference.Problem, dtype: str = "float32", trainable: Any = None) -> Ours:
    return Ours("cnn", problem.variables, problem.batch, optimizer=problem.optimizer, dtype=dtype,
                learning_rate=problem.slow_rate, compiler_options=QUICK, trainable=trainable)  # fmt: skip


@pytest.fixture(scope="module")
def problem() -> reference.Problem:
    return reference.Problem("cnn", 32, reference.BATCH_SIZE)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_right_step_passes(problem: reference.Problem, dtype: str) -> None:
    found = reference.check(problem, _ours(problem, dtype))
    assert found["passed"], found
    assert len(found["losses"]) == 5
    assert found["off"] < (1e-4 if dtype == "float32" else 2e-3)


def test_sizes_of_gradients_do_not_depend_on_the_number_of_steps(problem: reference.Problem) -> None:
    ours, sizes = _ours(problem), []
    for steps in (2, 8):
        ours.train(steps - int(ours.state.step))
        sizes.append(reference.gradient_sizes(ours.state, problem.optimizer))
    assert sizes[0].keys() == {
        f"{layer}/kernel" for layer in ("conv1", "conv2", "conv3", "conv4", "dense", "predictions")
    }
    for name, size in sizes[0].items():
        # The gradients change a little; without the correction the second would be twice the first.
        assert sizes[1][name] == pytest.approx(size, rel=0.15)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_network_with_one_layers_gradient_left_out_fails(problem: reference.Problem, layer: str) -> None:
    trainable = jax.tree.map_with_path(lambda path, _: path[0].key != layer, problem.variables["params"])
    found = reference.check(problem, _ours(problem, trainable=trainable))
    assert not found["passed"]
    assert found["wrong_gradients"] == [f"{layer}/kernel"]


def test_a_loss_that_is_not_finite_fails(problem: reference.Problem) -> None:
    ours = _ours(problem)
    ours.set_rate(1e30)
    assert not reference.check(problem, ours)["passed"]


def test_every_network_has_a_reference() -> None:
    stored = json.loads(reference.FILE.read_text())["references"]
    assert stored.keys() == {"cnn_32px_batch16", *(f"{model}_224px_batch16" for model in NETWORKS)}
    for found in stored.values():
        assert len(found["losses"]) == reference.STEPS
        assert min(found["gradients"].values()) > 0


def test_the_order_says_something_of_all_networks_first() -> None:
    rows = list(accelerator_rows(NETWORKS, "images"))
    assert [row.part for row in rows] == sorted(row.part for row in rows)
    assert {row.part for row in rows} == set(PARTS)
    assert [row.model for row in rows if row.part == "A" and row.kind == "ours"] == list(NETWORKS)
    assert len({(row.part, row.name) for row in rows}) == len(rows)
    assert {row.kind for row in smoke_rows(NETWORKS, "")} == {row.kind for row in rows}


def test_a_row_that_no_longer_fits_is_not_run(tmp_path: Path) -> None:
    with Runner(tmp_path / "out", tmp_path, minutes=0.01, smoke=True) as runner:
        runner.run(Row(part="A", kind="roof", name="roof", estimate=8))
    (row,) = json.loads((tmp_path / "out" / "part_A.json").read_text())["rows"]
    assert row["status"] == "not run: no time left"


def test_a_row_that_crashes_fails_alone(tmp_path: Path) -> None:
    with Runner(tmp_path / "out", tmp_path, minutes=1, smoke=True) as runner:
        runner.run(Row(part="A", kind="no such kind", name="crash", estimate=5))
    (row,) = json.loads((tmp_path / "out" / "part_A.json").read_text())["rows"]
    assert (row["status"], row["reason"]) == ("failed", "exit status 1: KeyError: 'no such kind'")


def test_the_table_compares_with_the_best_of_torch() -> None:
    def row(part: str, kind: str, rate: float, **more: Any) -> dict[str, Any]:
        return {"part": part, "kind": kind, "model": "resnet50", "status": "done", "images_per_second": rate, **more}

    results: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
    results["A"] = {"ours": row("A", "ours", 300.0), "eager": row("A", "torch", 100.0)}
    results["G"] = {"compiled": row("G", "torch", 150.0), "wrong": row("G", "ours", 900.0, smoke={"passed": False})}
    line = next(line for line in summary.describe(results).splitlines() if "resnet50" in line)
    assert [cell.strip() for cell in line.split("|")[2:6]] == ["300", "2.00", "not run", "not run"]


def _call(out: Path, smoke: bool = True, minutes: float = 0.01) -> dict[str, Any]:
    with Runner(out, out.parent, minutes=minutes, smoke=smoke) as runner:
        runner.run(Row(part="A", kind="roof", name="roof", estimate=8))
        runner.run(Row(part="A", kind="ours", name="cnn, ours, K = 8", estimate=8))
    return json.loads((out / "part_A.json").read_text())


def _kept(out: Path, *, device: str = "cpu") -> None:
    """Write what a call before this one has kept: one row done, one failed."""
    out.mkdir()
    rows = [{"name": "cnn, ours, K = 8", "status": "done", "call": 0}, {"name": "roof", "status": "failed", "call": 0}]
    call = {"command": "", "minutes": 9, "environment": {"device": device}}
    (out / "part_A.json").write_text(json.dumps({"name": "A", "smoke": True, "calls": [call], "rows": rows}))


def test_a_second_call_goes_on_with_what_is_not_done(tmp_path: Path) -> None:
    _kept(tmp_path / "out")
    record = _call(tmp_path / "out")
    statuses = {row["name"]: (row["status"], row["call"]) for row in record["rows"]}
    assert statuses == {"cnn, ours, K = 8": ("done", 0), "roof": ("not run: no time left", 1)}
    assert len(record["calls"]) == 2


def test_results_of_another_device_are_not_gone_on_with(tmp_path: Path) -> None:
    _kept(tmp_path / "out", device="NVIDIA H200")
    with pytest.raises(ValueError, match="expected the device of its results, NVIDIA H200, got cpu"):
        _call(tmp_path / "out", minutes=1)


def test_bad_words_are_refused(tmp_path: Path) -> None:
    command = [sys.executable, "scripts/bench_accelerator.py", "--out", str(tmp_path), "--source-dir", "nowhere"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--source-dir nowhere: expected a folder" in done.stderr
    _kept(tmp_path / "out")
    command = [sys.executable, "scripts/bench_accelerator.py", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "expected results without --smoke; name another" in done.stderr


def _kill_when_seen(name: str) -> None:
    """Kill the process of a row from outside, soon after it has begun."""
    while True:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if b"bench.accelerator.worker" in words and any(name.encode() in word for word in words):
                os.kill(int(path.parent.name), signal.SIGKILL)
                return
        time.sleep(0.05)


def test_a_row_that_is_killed_fails_alone(tmp_path: Path) -> None:
    name = f"killed in {tmp_path}"
    threading.Thread(target=_kill_when_seen, args=(name,), daemon=True).start()
    with Runner(tmp_path / "out", tmp_path, minutes=5, smoke=True) as runner:
        runner.run(Row(part="A", kind="ours", name=name, image_size=32, dtype="float32", estimate=60))
        runner.run(Row(part="A", kind="roof", name="roof", estimate=60))
    killed, after = json.loads((tmp_path / "out" / "part_A.json").read_text())["rows"]
    assert killed["status"] == "failed"
    assert killed["reason"].startswith("ended by SIGKILL")
    assert after["status"] == "done"


@pytest.mark.slow
def test_the_cnns_smoke_fits_a_minute(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "scripts/bench_accelerator.py", "--smoke", "--networks", "cnn", "--minutes", "1"]
    start = time.monotonic()
    done = subprocess.run([*command, "--out", str(out)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - start < 75
    parts = {path.stem[-1]: json.loads(path.read_text()) for path in out.glob("part_*.json")}
    assert set(parts) == set(PARTS)
    assert len(list(out.iterdir())) == 8
    rows = {(part, row["name"]): row for part, record in parts.items() for row in record["rows"]}
    absent = {status for status in (row["status"] for row in rows.values()) if status != "done"}
    assert absent <= {"not run: torch is not installed", "not run: no time left"}
    assert rows["A", "cnn, ours, K = 8"]["smoke"]["passed"]
    assert parts["A"]["calls"][0]["environment"]["packages"]["jax"]
    assert "| cnn " in done.stdout.splitlines()[-4]
