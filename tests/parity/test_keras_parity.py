"""The three published networks are Keras's, stage by stage, from Keras's own files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from flax import linen as nn

from hamjax.models import densenet, inception, resnet
from hamjax.models.layers.convolution import Conv
from hamjax.models.layers.normalization import BatchNorm
from tests.helpers import keras_networks
from tests.helpers.blank import blank
from tests.helpers.keras_networks import ORIGINALS, STAGES
from tests.parity.loading import load_network

pytestmark = pytest.mark.usefixtures("quick_compiler")

Files = Callable[[str], Path]
TOLERANCE = 1e-4


def _error(ours: Any, reference: np.ndarray) -> float:
    if ours.shape != reference.shape:
        return np.inf
    return float(np.abs(ours - reference).max() / np.abs(reference).max())


def _run(model: Any, variables: Any, images: np.ndarray, stage: str | None = None) -> Any:
    """Return all outputs by stage, or one of them without compiling what comes after."""

    def forward(variables: Any, images: Any) -> Any:
        logits, stages = model.apply(variables, images, train=False, stages=True)
        return {"logits": logits, **stages} if stage is None else stages[stage]

    return jax.jit(forward)(variables, images)


def _assert_every_stage_agrees(name: str, path: Path, reference: Any) -> None:
    model, variables = load_network(name, path, head="imagenet")
    outputs = _run(model, variables, reference["images"])
    for stage in (*STAGES[name], "pooled"):
        assert _error(outputs[stage], reference[stage]) <= TOLERANCE, stage
    assert _error(jax.nn.softmax(outputs["logits"]), reference["probabilities"]) <= TOLERANCE
    assert np.std(reference["pooled"]) > 0.01


SLOW_TO_COMPILE = [pytest.param("densenet201", marks=pytest.mark.slow)]


@pytest.mark.parametrize("name", ["resnet50", "inceptionv3", *SLOW_TO_COMPILE])
def test_every_stage_is_keras(keras_files: Files, name: str) -> None:
    _assert_every_stage_agrees(name, keras_files(name) / "top.h5", np.load(keras_files(name) / "reference.npz"))


# Sizes are the networks' own; a larger map goes through the same layers.
FULL = [pytest.param("resnet50", 224, marks=pytest.mark.slow),
        *(pytest.param(*full, marks=pytest.mark.long)
          for full in (("inceptionv3", 224), ("inceptionv3", 299), ("densenet201", 224)))]  # fmt: skip


@pytest.mark.parametrize(("name", "size"), FULL)
def test_every_stage_is_keras_at_its_full_size(keras_files: Files, name: str, size: int) -> None:
    reference = keras_networks.run(name, keras_networks.make_network(name), size)
    _assert_every_stage_agrees(name, keras_files(name) / "top.h5", reference)


@pytest.mark.parametrize("name", ORIGINALS)
def test_every_layout_holds_the_same(keras_files: Files, name: str) -> None:
    _, expected = load_network(name, keras_files(name) / "top.h5")
    for file in ("notop.h5", "notop.weights.h5"):
        _, variables = load_network(name, keras_files(name) / file)
        jax.tree.map(np.testing.assert_array_equal, variables, expected)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "resnet50" else pytest.mark.long) for name in ORIGINALS]
)
def test_the_head_is_left_as_it_was(keras_files: Files, name: str) -> None:
    before = blank(name)
    _, after = load_network(name, keras_files(name) / "top.h5")
    for kind in ("params", "batch_stats"):
        jax.tree.map(np.testing.assert_array_equal, before[kind]["head"], after[kind]["head"])


def test_a_whole_model_in_one_file_is_read_too(keras_files: Files, tmp_path: Path) -> None:
    with h5py.File(keras_files("resnet50") / "notop.h5") as source, h5py.File(tmp_path / "model.h5", "w") as file:
        source.copy(source["/"], file, "model_weights")
    _, expected = load_network("resnet50", keras_files("resnet50") / "notop.h5")
    _, variables = load_network("resnet50", tmp_path / "model.h5")
    jax.tree.map(np.testing.assert_array_equal, variables, expected)


# What breaks conversions in practice: each is turned round, and shows at some stage.


def _stride_on_the_3x3(patch: pytest.MonkeyPatch, variables: Any) -> None:
    """Do as torchvision's ResNet50 does."""
    conv_norm = resnet.ResNet._conv_norm

    def moved(self: Any, x: Any, name: str, features: int, size: int, train: bool, **options: Any) -> Any:
        if name.endswith("block1_1") and not name.startswith("conv2"):
            options["stride"] = 1
        if name.endswith("block1_2") and not name.startswith("conv2"):
            options["stride"] = 2
        return conv_norm(self, x, name, features, size, train, **options)

    patch.setattr(resnet.ResNet, "_conv_norm", moved)


def _no_bias(patch: pytest.MonkeyPatch, variables: Any) -> None:
    for name, layer in variables["params"]["backbone"].items():
        if name.endswith("_conv"):
            layer["bias"] = np.zeros_like(layer["bias"])


def _another_epsilon(module: Any, epsilon: float) -> Callable[..., None]:
    return lambda patch, variables: patch.setattr(module, "BN_EPSILON", epsilon)


def _same_padding(patch: pytest.MonkeyPatch, variables: Any) -> None:
    """Pad strided stems as `SAME` does: less at the top and left."""

    def pad(self: Any, size: int) -> tuple[int, int]:
        return ((size - 2) // 2, (size - 1) // 2) if self.stride == 2 else (size // 2, size // 2)

    patch.setattr(Conv, "_pad", pad)


def _same_max_pool(module: Any) -> Callable[..., None]:
    pool = lambda x, plain: nn.max_pool(x, (3, 3), (2, 2), "SAME")  # noqa: E731
    return lambda patch, variables: patch.setattr(module, "zero_padded_max_pool", pool)


def _count_the_padding(patch: pytest.MonkeyPatch, variables: Any) -> None:
    """Divide by nine everywhere, as PyTorch does."""
    patch.setattr(inception, "average_pool_3x3", lambda x, plain: nn.avg_pool(x, (3, 3), (1, 1), "SAME"))


def _with_gamma(patch: pytest.MonkeyPatch, variables: Any) -> None:
    rng = np.random.default_rng(0)
    for name, layer in variables["params"]["backbone"].items():
        if name.endswith("_bn"):
            layer["scale"] = rng.uniform(0.5, 1.5, layer["bias"].shape).astype(np.float32)
    plain: Any = BatchNorm
    patch.setattr(inception, "BatchNorm", lambda **options: plain(**(options | {"use_scale": True})))


def _columns_for_rows(patch: pytest.MonkeyPatch, variables: Any) -> None:
    """Take 1x7 for 7x1 and the other way round."""
    plain = inception.Conv
    patch.setattr(inception, "Conv", lambda features, size, *rest, **names: plain(features, size[::-1], *rest, **names))
    for layer in variables["params"]["backbone"].values():
        if "kernel" in layer:
            layer["kernel"] = layer["kernel"].swapaxes(0, 1)


def _no_last_norm(patch: pytest.MonkeyPatch, variables: Any) -> None:
    bn, stats = variables["params"]["backbone"]["bn"], variables["batch_stats"]["backbone"]["bn"]
    for tree, name, value in ((bn, "scale", 1), (bn, "bias", 0), (stats, "mean", 0), (stats, "var", 1)):
        tree[name] = np.full_like(tree[name], value)


FLIPS: list[tuple[str, str, Callable[..., None]]] = [
    ("resnet50", "conv3", _stride_on_the_3x3),
    ("resnet50", "stem", _no_bias),
    ("resnet50", "stem", _another_epsilon(resnet, 1e-3)),
    ("resnet50", "stem", _same_padding),
    ("resnet50", "stem", _same_max_pool(resnet)),
    ("inceptionv3", "stem", _another_epsilon(inception, 1.001e-5)),
    ("inceptionv3", "stem", _same_padding),
    ("inceptionv3", "stem", _with_gamma),
    ("inceptionv3", "mixed0", _count_the_padding),
    ("inceptionv3", "mixed4", _columns_for_rows),
    ("densenet201", "stem", _another_epsilon(densenet, 1e-3)),
    ("densenet201", "stem", _same_padding),
    ("densenet201", "stem", _same_max_pool(densenet)),
    ("densenet201", "pooled", _no_last_norm),
]


@pytest.mark.parametrize(("name", "stage", "flip"), FLIPS)
def test_a_known_difference_breaks_parity(
    keras_files: Files, monkeypatch: pytest.MonkeyPatch, name: str, stage: str, flip: Callable[..., None]
) -> None:
    reference = np.load(keras_files(name) / "reference.npz")
    model, variables = load_network(name, keras_files(name) / "notop.h5")
    flip(monkeypatch, variables)
    ours = _run(model, variables, reference["images"], stage)
    assert _error(ours, reference[stage]) > TOLERANCE


@pytest.mark.parametrize(
    ("name", "module"), [("resnet50", resnet), ("inceptionv3", inception), ("densenet201", densenet)]
)
def test_epsilons_are_keras(keras_files: Files, name: str, module: Any) -> None:
    assert set(np.load(keras_files(name) / "reference.npz")["epsilons"].tolist()) == {module.BN_EPSILON}


def test_an_epsilon_off_by_a_thousandth_shows_where_variances_are_small() -> None:
    x = np.random.default_rng(0).normal(0, 1e-3, (4, 5, 5, 6)).astype(np.float32)
    layer = keras.layers.BatchNormalization(epsilon=1.001e-5)
    layer.build(x.shape)
    stats = {"mean": np.zeros(6, np.float32), "var": np.full(6, 1e-6, np.float32)}
    params = {"scale": np.ones(6, np.float32), "bias": np.zeros(6, np.float32)}
    layer.set_weights([*params.values(), *stats.values()])
    expected = np.asarray(layer(x))
    errors = []
    for epsilon in (1.001e-5, 1e-5):
        ours: Any = BatchNorm(epsilon=epsilon)
        errors.append(
            _error(ours.apply({"params": params, "batch_stats": stats}, jnp.asarray(x), train=False), expected)
        )
    assert errors[0] < 1e-6
    assert errors[1] > TOLERANCE


def test_zeros_around_the_stem_serve_as_minus_infinity_after_relu(keras_files: Files) -> None:
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    pads: Any = ((1, 1), (1, 1))
    padded = lambda x: nn.max_pool(x, (3, 3), (2, 2), pads)  # noqa: E731
    np.testing.assert_array_equal(resnet.zero_padded_max_pool(nn.relu(jnp.asarray(x))), padded(nn.relu(x)))
    assert (np.asarray(resnet.zero_padded_max_pool(jnp.asarray(x - 9))) != np.asarray(padded(x - 9))).any()
