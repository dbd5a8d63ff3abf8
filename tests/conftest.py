"""Tests run offline on the CPU, with four fake devices, so every step is data-parallel."""

import os
from importlib import metadata

os.environ["KERAS_BACKEND"] = "jax"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# numpy's products are small here, and pytest's workers share the cores: more threads spin and take twice the time
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Nearly all time goes into compiling. So it takes 40% of that, programs run as fast, and equal runs stay equal to the
# bit, as all processes of the tests inherit it. Level 0 would run float64 convolutions 13 times longer.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=1"
    # later versions stop at its name
    + (" --xla_cpu_use_fusion_emitters=false" if metadata.version("jaxlib") < "0.11" else ""),
)

# Programs that take less than a second to compile are not kept by default. Here each process would compile the train
# step of the smallest network anew, in 0.9 s.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

import csv
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import keras
import numpy as np
import pytest
from filelock import FileLock
from keras.src.backend.common import dtypes
from matplotlib.figure import Figure

from hamjax.commands.training_run import train
from hamjax.config import Config, make_config
from hamjax.data.classes import CLASSES
from hamjax.data.sources.synthetic import SyntheticSource
from tests.helpers import keras_networks

jax.config.update("jax_num_cpu_devices", 4)
# A shell starts background jobs with SIGINT ignored, and nohup with SIGHUP: hamjax then leaves both so, and tests of
# them would wait for ever. Child processes inherit what is set here.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

COLUMNS = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")
IMAGES = 300
DRAW = Figure.savefig


@pytest.fixture(autouse=True, scope="session")
def _user_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's own compilation cache out of it, also where other fixtures train; all workers share one."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared / "cache"))
        yield


@pytest.fixture(scope="module")
def quick_compiler() -> Iterator[None]:
    """Compile without optimizing: for files of programs that are large or many, and that run briefly.

    Not for files that use `finished`: a run is equal to the bit only to runs that were compiled alike.
    """
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()  # what was compiled so is not to serve later files


@pytest.fixture
def compiled(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    """Return a function that names what JAX has compiled so far in this test."""
    with jax.log_compiles(), caplog.at_level("WARNING", logger="jax"):
        yield lambda: [line for line in caplog.messages if line.startswith("Compiling")]


@pytest.fixture
def rng() -> np.random.Generator:
    """Draw the same in a test whatever tests ran before it."""
    return np.random.default_rng(0)


@pytest.fixture
def stand_ins(tmp_path: Path) -> Path:
    """A folder of stand-ins for a cluster's commands, to be put first on PATH; what they are asked is kept in it."""
    (tmp_path / "bin").mkdir()
    for file in (Path(__file__).parent / "helpers" / "stand_ins").iterdir():
        (tmp_path / "bin" / file.stem).symlink_to(file)
    return tmp_path / "bin"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of HAM10000 images that `HAMJAX_TEST_DATA` names."""
    folder = os.environ.get("HAMJAX_TEST_DATA")
    if not folder:
        pytest.skip("HAMJAX_TEST_DATA does not name a folder with HAM10000")
    return Path(folder)


@pytest.fixture(scope="session")
def _drawn_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    source = SyntheticSource(IMAGES)
    with (folder / "HAM10000_metadata.csv").open("w", newline="") as file:
        writer: csv.DictWriter[str] = csv.DictWriter(file, list(COLUMNS), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(source.metadata.rows())
    for image_id in source.metadata.image_id.tolist():
        (folder / f"{image_id}.jpg").write_bytes(source.read(image_id))
    return folder


@pytest.fixture
def copy(_drawn_copy: Path, tmp_path: Path) -> Path:
    """A local copy of a small data set in HAM10000's flat layout, free to be damaged."""
    return Path(shutil.copytree(_drawn_copy, tmp_path / "copy"))


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all tests prepare the drawn data set."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def tiny(data_dir: Path) -> Callable[..., Config]:
    """Make the smallest config that goes through every phase."""

    def make(**changes: Any) -> Config:
        settings: dict[str, Any] = {
            "data__name": "synthetic",
            "data__data_dir": str(data_dir),
            "data__synthetic_images": IMAGES,
            "data__image_size": 16,
            "data__split": "honest",
            "sampling__threshold": 40,
            "train__epochs": 2,
            "train__log_every_steps": 5,
            "train__checkpoint_every_steps": 10,
        }
        return make_config(model="cnn", strategy="s5", **(settings | changes))

    return make


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., Config]) -> Path:
    """A finished run; not to be changed."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    with mock.patch.object(Figure, "savefig", DRAW):
        train(tiny(), workdir)
    return workdir


@pytest.fixture(autouse=True)
def _undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a report's pictures empty but in tests that ask for `pictures`: they take half the time of a small run."""
    if "pictures" not in request.fixturenames:
        monkeypatch.setattr(Figure, "savefig", lambda *_, **__: None)


@pytest.fixture
def pictures() -> None:
    """Draw a report's pictures."""


@pytest.fixture
def unreported(finished: Path, tmp_path: Path) -> Path:
    """A run that has still to write its report."""
    workdir = Path(shutil.copytree(finished, tmp_path / "run"))
    shutil.rmtree(workdir / "report")
    return workdir


@pytest.fixture
def unfinished(unreported: Path) -> Path:
    """A run that has still to take its last steps, from the last checkpoint but one."""
    shutil.rmtree(max((unreported / "checkpoints" / "last").iterdir(), key=lambda path: int(path.name)))
    return unreported


@pytest.fixture(scope="session")
def keras_files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the folder of a network's files and reference outputs; see `keras_networks.save_all`."""
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "keras_files"
    root.mkdir(exist_ok=True)

    def folder(name: str) -> Path:
        with FileLock(root / f".{name}.lock"):
            if not (root / name / "reference.npz").exists():
                (root / name).mkdir(exist_ok=True)
                keras_networks.save_all(name, root / name)
        return root / name

    return folder


@pytest.fixture
def float64() -> Iterator[None]:
    """Compute in float64, where frameworks and devices can be compared closely."""
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    # Outside TensorFlow Keras takes float64 and float32 together as float32, and so computes means
    # and batch normalisation, whatever its policy says.
    wide = mock.patch.dict(dtypes.BIT64_TO_BIT32_DTYPE, float64="float64")
    with jax.enable_x64(True), wide:
        yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


def read_rows(folder: Path) -> list[dict[str, str]]:
    """Read a copy's metadata."""
    with (folder / "HAM10000_metadata.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def write_rows(folder: Path, rows: list[dict[str, str]]) -> None:
    """Replace a copy's metadata."""
    with (folder / "HAM10000_metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_one_hot(folder: Path) -> None:
    """Replace a copy's metadata by ISIC's ground truth and lesion groupings."""
    rows = read_rows(folder)
    (folder / "HAM10000_metadata.csv").unlink()
    codes = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
    assert {code.lower() for code in codes} == set(CLASSES)
    truth = ["image," + ",".join(codes)]
    truth += [f"{r['image_id']}," + ",".join(f"{float(r['dx'] == c.lower())}" for c in codes) for r in rows]
    (folder / "ISIC2018_Task3_Training_GroundTruth.csv").write_text("\n".join(truth) + "\n")
    lesions = ["image,lesion_id,diagnosis_confirm_type"]
    lesions += [f"{r['image_id']},{r['lesion_id']},{r['dx_type']}" for r in rows]
    (folder / "ISIC2018_Task3_Training_LesionGroupings.csv").write_text("\n".join(lesions) + "\n")
