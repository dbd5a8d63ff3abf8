"""Which package may import which, where each library lives, and how large things may grow."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

import hamjax

PACKAGE = Path(hamjax.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
# A package imports from the rows before its own alone.
ORDER = [["runtime"], ["config", "data", "models"], ["training"], ["evaluation"], ["exports", "report"], ["paper"],
         ["commands"], ["main"]]  # fmt: skip
OUTSIDE = {"__init__", "recipes"}  # the public names; a module that users' own config files import
HOMES = {
    "flax.linen": {"models"},
    "orbax": {"training/run_directory"},
    "grain": {"data"},
    "h5py": {"models/pretrained", "exports"},
    "tensorflow_datasets": {"data"},
    "cv2": {"data"},
    "PIL": {"data", "report"},
    "sklearn": {"evaluation/metrics"},
    "scipy": {"evaluation/metrics"},
    "pandas": set(),
    "ml_collections": {"config"},
    "absl": {"config"},
    "matplotlib": {"report"},
    "markupsafe": {"report", "paper", "commands/serving"},
    "clu": {"training"},
    "tensorboardX": {"training/run_directory"},
    "tensorflow": set(),
    "keras": {"exports"},
    "jax2onnx": {"exports"},
    "onnx": {"exports"},
    "onnxruntime": {"exports"},
    "safetensors": {"exports"},
    "flatbuffers": {"exports"},
    "fastapi": {"commands/serving"},
    "starlette": {"commands/serving"},
    "pydantic": {"commands/serving"},
    "uvicorn": {"commands"},
}
LONGEST_CHAIN, LOOP_IMPORTS, FILE_LINES, FUNCTION_LINES = 16, 16, 250, 60
COMMENTS = 0.03  # of the lines


def _module(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {_module(path): path for path in FILES}
by_module = pytest.mark.parametrize("module", MODULES)


def _names(path: Path) -> set[str]:
    """Full names of what a file imports: `from flax import linen` is `flax.linen`."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@functools.cache
def _imports(module: str) -> frozenset[str]:
    """Modules of hamjax that a module imports; the public names of `hamjax` itself are loaded when asked for."""
    found = set()
    for name in _names(MODULES[module]):
        while name and name not in MODULES:
            name = name.rpartition(".")[0]
        found.add(name)
    return frozenset(found - {"", module, "hamjax"})


def _package(module: str) -> str:
    return module.split(".")[1]


@by_module
def test_packages_are_imported_in_one_order(module: str) -> None:
    if module in ("hamjax", *(f"hamjax.{name}" for name in OUTSIDE)):
        return
    own = _package(module)
    place = next(i for i, row in enumerate(ORDER) if own in row)
    may = {own}.union(*ORDER[:place])
    against = {name for name in _imports(module) if _package(name) not in may}
    assert not against, f"{module} stands before {against}"


def test_imports_make_no_circle_and_no_long_chain() -> None:
    longest = max((_longest(module) for module in MODULES), key=len)
    assert len(longest) <= LONGEST_CHAIN, " > ".join(longest)


@functools.cache
def _longest(module: str) -> tuple[str, ...]:
    """Return the longest chain of imports from a module on; of a circle, Python says RecursionError."""
    return (module, *max((_longest(name) for name in _imports(module)), key=len, default=()))


def test_the_loop_knows_few_modules() -> None:
    assert len(_imports("hamjax.training.loop")) <= LOOP_IMPORTS


def test_the_package_has_few_entries() -> None:
    assert len([path for path in PACKAGE.iterdir() if path.name != "__pycache__"]) <= 14


def test_reasons_stand_beside_the_code() -> None:
    lines = [line.strip() for path in FILES for line in path.read_text().splitlines() if line.strip()]
    comments = [line for line in lines if line.startswith("#")]
    assert len(comments) >= COMMENTS * len(lines), f"{len(comments)} comments on lines of their own"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= FILE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < FUNCTION_LINES, node.name


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_every_library_stays_in_its_home(path: Path) -> None:
    folder = str(path.relative_to(PACKAGE).parent)
    for name in _names(path):
        for library, homes in HOMES.items():
            if name == library or name.startswith(f"{library}."):
                assert any(folder == home or folder.startswith(f"{home}/") for home in homes), f"{name}: {homes}"


@pytest.mark.parametrize("package", ["config", "data", "report"])
def test_some_packages_never_import_jax(package: str) -> None:
    for path in (PACKAGE / package).rglob("*.py"):
        assert not {name for name in _names(path) if name.split(".")[0] in ("jax", "flax")}, path


def test_config_knows_errors_and_paths_alone() -> None:
    outside = {name for module in MODULES if module.startswith("hamjax.config") for name in _imports(module)}
    assert {name for name in outside if not name.startswith("hamjax.config")} == {
        "hamjax.runtime.errors",
        "hamjax.runtime.paths",
    }


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_numpy_file_is_never_unpickled(path: Path) -> None:
    assert "allow_pickle=True" not in path.read_text()


def test_public_names_are_what_is_promised() -> None:
    assert sorted(hamjax.__all__) == [
        "Config",
        "create_model",
        "evaluate",
        "evaluate_external",
        "export",
        "init_variables",
        "load_pretrained",
        "make_config",
        "predict",
        "train",
    ]
    assert all(hasattr(hamjax, name) for name in hamjax.__all__)
    assert "tensorflow" not in sys.modules


STEP = ("models", "training.step", "training.optimizers", "evaluation.eval_step", "runtime.compiler")


@pytest.mark.parametrize("module", ["hamjax", *(f"hamjax.{name}" for name in STEP)])
def test_a_network_and_its_step_need_no_more_than_jax_and_flax(module: str) -> None:
    # flax and optax load absl, and jax flatbuffers where it is installed
    others = [*HOMES.keys() - {"flax.linen", "absl", "pandas", "flatbuffers"}]
    code = f"import sys, {module}; print([name for name in {others!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
