"""Who may import whom, and where each library lives."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "hamjax"
FILES = sorted(PACKAGE.rglob("*.py"))
ANY_ROOM = {"errors", "download", "archive"}
LEAVES = {"averaging", "losses", "mixing", "metrics", "optim", "sharding", "distributed", "preemption", "compiler",
          "telemetry", "profiling", "quiet", "gradcam", "environment", "checksums", "dispatch_plan", "train_state",
          "data", "models", *ANY_ROOM}  # fmt: skip
MAY_IMPORT = {
    "config": set(),
    "checkpoint": {"checksums", "distributed", "quiet"},
    "recipes": {"config"},
    "parts": {"config", "data", "losses", "mixing", "optim"},
    "train_step": {"averaging", "losses", "train_state"},
    "pretrained": {"models"},
    "resident": {"data", "sharding"},
    "network": {"config", "data", "models", "pretrained"},
    "plan": {"config", "data"},
    "experiment": {"config", "data", "metrics", "models", "network", "optim", "parts", "plan", "sharding",
                   "train_state", "train_step"},
    "run_directory": {"config", "data", "environment", "experiment"},
    "judgement": {"data", "metrics"},
    "predict": {"averaging", "config", "data", "experiment", "gradcam", "network", "sharding",
                "train_state", "train_step"},
    "trained": {"checkpoint", "config", "experiment", "network", "run_directory", "sharding", "train_state"},
    "ensemble": {"averaging", "data", "experiment", "predict", "train_state", "trained"},
    "evaluation_run": {"data", "ensemble", "experiment", "judgement", "predict", "run_directory", "train_state",
                       "trained"},
    "report": {"data", "experiment", "judgement", "metrics", "models", "parts", "run_directory", "telemetry"},
    "dispatch": {"compiler", "data", "experiment", "models", "network", "parts", "resident",
                 "train_state", "train_step"},
    "loop": {"checkpoint", "data", "dispatch", "dispatch_plan", "distributed", "experiment", "metrics", "optim",
             "preemption", "profiling", "sharding", "telemetry", "train_state"},
    "training_run": {"checkpoint", "compiler", "config", "data", "dispatch_plan", "distributed", "evaluation_run",
                     "experiment", "judgement", "loop", "metrics", "network", "predict", "preemption",
                     "report", "run_directory", "sharding", "train_state", "trained"},
    "staged": {"checkpoint", "compiler", "config", "network", "plan", "pretrained", "run_directory"},
    "commands": {"compiler", "config", "data", "distributed", "evaluation_run", "grid", "metrics", "models",
                 "pretrained", "report", "staged", "train_step", "training_run"},
    "main": {"commands"},
    "grid": {"config", "data", "metrics", "plan", "report", "run_directory", "telemetry"},
    "__init__": {"config", "evaluation_run", "models", "pretrained", "training_run"},
}  # fmt: skip
HOMES = {
    "flax.linen": {"models"},
    "orbax": {"checkpoint"},
    "grain": {"data"},
    "h5py": {"pretrained"},
    "tensorflow_datasets": {"data"},
    "cv2": {"data"},
    "PIL": {"data"},
    "sklearn": {"metrics"},
    "scipy": {"metrics"},
    "pandas": set(),
    "ml_collections": {"config"},
    "absl": {"config"},
    "matplotlib": {"report"},
    "markupsafe": {"report", "grid"},
    "clu": {"metrics"},
    "tensorboardX": {"telemetry"},
    "tensorflow": set(),
}


def _room(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def _imports(path: Path) -> set[str]:
    """Full names of what a file imports: `from flax import linen` is `flax.linen`."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_rooms_import_only_what_they_may(path: Path) -> None:
    room = _room(path)
    used = {name.split(".")[1] for name in _imports(path) if name.startswith("hamjax.")}
    allowed = MAY_IMPORT.get(room, set()) | ANY_ROOM | {room}
    assert used <= allowed, f"{room} may not import {used - allowed}"
    assert room in LEAVES | set(MAY_IMPORT), f"{room} is a new room: say what it may import"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_every_library_stays_in_its_home(path: Path) -> None:
    for name in _imports(path):
        for library, homes in HOMES.items():
            if name == library or name.startswith(f"{library}."):
                assert _room(path) in homes, f"{name} belongs in {homes or 'no room'}"


def test_data_rooms_never_import_jax() -> None:
    for path in (PACKAGE / "data").rglob("*.py"):
        assert not {name for name in _imports(path) if name.split(".")[0] in ("jax", "flax")}, path


def test_no_file_lets_numpy_read_pickles() -> None:
    given = [node for path in FILES for node in ast.walk(ast.parse(path.read_text()))
             if isinstance(node, ast.keyword) and node.arg == "allow_pickle"]  # fmt: skip
    assert given
    assert {ast.unparse(keyword.value) for keyword in given} == {"False"}


def test_public_names_are_what_is_promised() -> None:
    import hamjax

    assert sorted(hamjax.__all__) == [
        "Config",
        "create_model",
        "evaluate",
        "evaluate_external",
        "init_variables",
        "load_pretrained",
        "make_config",
        "train",
    ]
    assert all(hasattr(hamjax, name) for name in hamjax.__all__)
    assert "tensorflow" not in sys.modules


@pytest.mark.parametrize("module", ["hamjax", "hamjax.models", "hamjax.train_step", "hamjax.optim", "hamjax.compiler"])
def test_a_network_and_its_step_need_no_more_than_jax_and_flax(module: str) -> None:
    others = [*HOMES.keys() - {"flax.linen", "absl", "pandas"}, "keras"]  # flax and optax load absl
    code = f"import sys, {module}; print([name for name in {others!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
