"""Exports: another program, in a process of its own, gives the probabilities of the run; it goes by the page."""

import functools
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import keras
import numpy as np
import pytest

import hamjax
from hamjax import load_pretrained
from hamjax.config import make_config
from hamjax.data.classes import CLASSES
from hamjax.evaluation.eval_step import make_eval_step
from hamjax.evaluation.metrics.classification import softmax
from hamjax.evaluation.trained_run import TrainedRun
from hamjax.exports.export import FORMATS
from hamjax.models.initialization import init_variables
from hamjax.models.registry import MODEL_SPECS
from tests.helpers.untrained_run import random_variables, varied_images, write_run

pytestmark = pytest.mark.usefixtures("quick_compiler")
# Each takes a minute and more to convert; they share all code with the CNN but the names of their layers.
PUBLISHED = [pytest.param(model, marks=pytest.mark.long) for model in ("resnet50", "inceptionv3", "densenet201")]
TOLERANCE = 1e-5
BATCHES = (1, 7)
# What stands before and behind a block of the page. hamjax is no part of the other programs.
BEFORE = "import numpy as np\nfor n in (1, 7):\n    images = np.load(f'images_{n}.npy')\n"
BEHIND = (
    "    np.save(f'found_{n}.npy', np.asarray(probabilities))\n    json.dump(dict(facts), open('facts.json', 'w'))\n"
)
ALONE = "import sys\nassert not {'hamjax', 'flax'} & set(sys.modules)\n"

RunOf = Callable[..., Path]


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> RunOf:
    """Make a run of random values at the smallest size of its network; `changes` are those of `make_config`."""

    @functools.cache
    def make(model: str, **changes: Any) -> Path:
        workdir = tmp_path_factory.mktemp(model) / "run"
        settings: dict[str, Any] = {"data__image_size": MODEL_SPECS[model].minimum_size, "data__name": "synthetic",
                    "model__weights": "random"}  # fmt: skip
        config = make_config(model=model, strategy="s1", **(settings | changes))
        write_run(workdir, config, random_variables(config))
        return workdir

    return make


@pytest.fixture(scope="module")
def cnn(run_of: RunOf) -> Path:
    """A run of the CNN; not to be changed."""
    return run_of("cnn")


@functools.cache
def _expected(workdir: Path) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Return, for each size of a batch, images and what `hamjax evaluate` computes for them."""
    run = TrainedRun(workdir)
    variables, _ = run.restore()
    step = make_eval_step(run.model, run.resolved.input_scale)
    images = {n: varied_images(n, run.config.data.image_size) for n in BATCHES}
    logits = {n: step(variables["params"], variables["batch_stats"], jnp.asarray(x)) for n, x in images.items()}
    return {n: (images[n], softmax(np.asarray(logits[n]))) for n in BATCHES}


def _block(format: str) -> str:
    """Return the code of the page that loads a file of this format."""
    page = resources.files("hamjax.exports").joinpath("README.md").read_text()
    _, _, section = page.lower().partition(f"\n## {format}\n")
    start = len(page) - len(section)
    (code,) = re.findall(r"```python\n(.*?)```", page[start:].partition("\n## ")[0], re.DOTALL)
    return code


def _load_as_the_page_says(format: str, folder: Path) -> None:
    code = BEFORE + "".join(f"    {line}\n" for line in _block(format).splitlines()) + "    import json\n" + BEHIND
    code += "" if format == "safetensors" else ALONE
    # The choice of the tests' own Keras is none that a reader of the page has made.
    inherited = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    environment = inherited | {"JAX_NUM_CPU_DEVICES": "1", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


def _require_equal_elsewhere(workdir: Path, format: str, folder: Path) -> dict[str, Any]:
    """Export a run, load the file in a process of its own, compare; return the facts that this found."""
    hamjax.export(workdir, folder / f"a.{format}", format=format)
    expected = _expected(workdir)
    for n in BATCHES:
        np.save(folder / f"images_{n}.npy", expected[n][0])
    _load_as_the_page_says(format, folder)
    for n in BATCHES:
        difference = np.abs(np.load(folder / f"found_{n}.npy") - expected[n][1]).max()
        print(f"{format}, batch {n}: a difference of {difference:.1e}")  # pytest -rP shows it
        assert difference <= TOLERANCE
    # Not the same for every image: equal constants would prove nothing.
    assert np.ptp(expected[7][1], axis=0).min() > 0.05
    return json.loads((folder / "facts.json").read_text())


@pytest.mark.parametrize("format", FORMATS)
def test_another_program_gives_the_probabilities_of_the_run(
    cnn: Path, format: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    facts = _require_equal_elsewhere(cnn, format, tmp_path)
    if format in ("onnx", "safetensors"):
        facts = {name: fact if name in ("network", "made_by") else json.loads(fact) for name, fact in facts.items()
                 if name in ("network", "made_by", "classes", "image_size", "config", "checkpoint")}  # fmt: skip
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert facts["classes"] == list(CLASSES)
    assert (facts["network"], facts["image_size"]) == ("cnn", 4)
    assert facts["made_by"] == f"hamjax {hamjax.__version__}"
    assert facts["config"]["train"]["seed"] == 0
    assert facts["checkpoint"] == {"name": "last", "step": 1}


# Of the published networks' own are Keras's layers and the many operations in ONNX; the other two formats take any
# network as they take the CNN.
LARGER = ("inceptionv3", "densenet201")
OWN = [
    ("resnet50", "onnx", pytest.mark.slow),
    *(("resnet50", format, pytest.mark.long) for format in FORMATS if format != "onnx"),
    *((model, format, pytest.mark.long) for model in LARGER for format in FORMATS),
]


# Each with the pixel scale of its ImageNet weights, so that all scales are written.
@pytest.mark.parametrize(("model", "format"), [pytest.param(*words, marks=mark) for *words, mark in OWN])
def test_another_program_gives_the_probabilities_of_a_published_network(
    run_of: RunOf, model: str, format: str, tmp_path: Path
) -> None:
    _require_equal_elsewhere(run_of(model, model__input_scale="native"), format, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("head", ["bn_first", "linear"])
def test_keras_gets_the_head_of_the_run(run_of: RunOf, head: str, tmp_path: Path) -> None:
    _require_equal_elsewhere(run_of("resnet50", model__head=head), "keras", tmp_path)


@pytest.mark.parametrize("ending", [".keras", pytest.param(".weights.h5", marks=pytest.mark.long)])
@pytest.mark.parametrize("model", PUBLISHED)
def test_another_run_can_start_from_the_keras_file(run_of: RunOf, model: str, ending: str, tmp_path: Path) -> None:
    workdir = run_of(model)
    path = hamjax.export(workdir, tmp_path / f"a{ending}", format="keras")
    run = TrainedRun(workdir)
    blank = init_variables(run.model, image_size=run.config.data.image_size, seed=1)
    found, (expected, _) = load_pretrained(model, blank, path), run.restore()
    for kind in ("params", "batch_stats"):
        keras.tree.map_structure(np.testing.assert_array_equal, found[kind]["backbone"], expected[kind]["backbone"])


def test_weights_alone_load_into_the_keras_model(cnn: Path, tmp_path: Path) -> None:
    whole = hamjax.export(cnn, tmp_path / "a.keras", format="keras")
    alone = hamjax.export(cnn, tmp_path / "a.weights.h5", format="keras")
    model: Any = keras.saving.load_model(whole)
    expected = model.get_weights()
    model.set_weights([np.zeros_like(value) for value in expected])
    model.load_weights(alone)
    for found, value in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(found, value)
