"""Files that Keras saves: the network is found inside a model, in every format; what it is not is said."""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import jax
import keras
import numpy as np
import pytest

from hamjax import load_pretrained
from hamjax.models.pretrained import read_tensors
from hamjax.models.pretrained.hdf5 import CONVOLUTION, NORM, read_models
from hamjax.models.pretrained.key_maps import LAYER_COUNTS
from hamjax.runtime.errors import UserError
from tests.helpers import keras_networks
from tests.helpers.blank import blank

pytestmark = pytest.mark.usefixtures("quick_compiler")

Files = Callable[[str], Path]
FORMATS = ("h5", "weights.h5", "keras")


def _save(model: Any, path: Path) -> Path:
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
    elif path.suffix == ".keras":
        model.save(path)
    else:
        keras_networks.save_legacy(model, path)
    return path


def _head(features: Any) -> list[Any]:
    return [features, keras.layers.Dropout(0.5), keras.layers.Dense(16, activation="relu"),
            keras.layers.BatchNormalization(), keras.layers.Dense(7, activation="softmax")]  # fmt: skip


def _sequential(network: Any) -> Any:
    return keras.Sequential([keras.Input((96, 96, 3)), keras.layers.RandomFlip(), *_head(network)])


def _deep(network: Any) -> Any:
    inside = keras.Sequential([keras.layers.Conv2D(3, 1), network])
    return keras.Sequential([keras.Input((96, 96, 3)), inside, keras.layers.Dense(7)])


def _extended(network: Any) -> Any:
    x = network.output
    for layer in _head(None)[1:]:
        x = layer(x)
    return keras.Model(network.inputs, x)


@pytest.fixture(scope="module")
def resnet() -> Any:
    return keras_networks.make_network("resnet50")


@pytest.fixture(scope="module")
def inception() -> Any:
    network = keras_networks.make_network("inceptionv3")
    for layer in network.layers[:249]:  # as in Keras's own guide; its weights then come last
        layer.trainable = False
    return network


def _require_equal(name: str, path: Path, keras_files: Files) -> None:
    found, expected = (load_pretrained(name, blank(name), p) for p in (path, keras_files(name) / "notop.h5"))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("wrap", [_sequential, _deep, _extended])
def test_the_backbone_is_found_inside(
    resnet: Any, keras_files: Files, tmp_path: Path, form: str, wrap: Callable[[Any], Any]
) -> None:
    _require_equal("resnet50", _save(wrap(resnet), tmp_path / f"model.{form}"), keras_files)


@pytest.mark.parametrize("form", FORMATS)
def test_inception_is_found_in_a_model_that_is_partly_frozen(
    inception: Any, keras_files: Files, tmp_path: Path, form: str
) -> None:
    _require_equal("inceptionv3", _save(_sequential(inception), tmp_path / f"model.{form}"), keras_files)


def test_a_compiled_model_has_more_than_weights(resnet: Any, keras_files: Files, tmp_path: Path) -> None:
    model = _sequential(resnet)
    model.compile(optimizer="adam", loss="categorical_crossentropy")
    model.optimizer.build(model.trainable_variables)
    _require_equal("resnet50", _save(model, tmp_path / "model.keras"), keras_files)


@pytest.mark.parametrize("name", LAYER_COUNTS)
def test_the_networks_have_as_many_layers_as_they_are_recognised_by(keras_files: Files, name: str) -> None:
    (model,) = read_models(keras_files(name) / "notop.h5")
    assert (model.count(CONVOLUTION), model.count(NORM)) == LAYER_COUNTS[name]


@pytest.mark.parametrize("form", FORMATS)
def test_another_model_is_named(tmp_path: Path, form: str) -> None:
    layers = [keras.layers.Conv2D(4, 3), keras.layers.Flatten(), keras.layers.Dense(7)]
    path = _save(keras.Sequential([keras.Input((8, 8, 3)), *layers], name="tiny"), tmp_path / f"model.{form}")
    with pytest.raises(UserError, match=r"got those of (tiny|a model without a name) \(1 convolution, 1 dense layer\)"):
        load_pretrained("resnet50", blank("resnet50"), path)


def test_another_of_the_networks_is_named(keras_files: Files) -> None:
    with pytest.raises(UserError, match="expected weights of resnet50, got those of densenet201;"):
        load_pretrained("resnet50", blank("resnet50"), keras_files("densenet201") / "notop.h5")


def test_two_of_the_network_are_refused(resnet: Any, keras_files: Files, tmp_path: Path) -> None:
    path = _save(_sequential(resnet), tmp_path / "twice.weights.h5")
    with h5py.File(path, "r+") as file:
        file.copy("layers/functional", file["layers"], "functional_1")
    with pytest.raises(UserError, match="expected one resnet50, got 2"):
        read_tensors("resnet50", path)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (("model.weights.h5",), "expected a whole HDF5 file of Keras weights"),
        (("archive/data.pkl", "archive/data/0"), "PyTorch's weights"),
        (("config.json", "metadata.json"), "an archive of other files"),
    ],
)
def test_another_archive_is_named(tmp_path: Path, members: tuple[str, ...], message: str) -> None:
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for member in members:
            archive.writestr(member, b"nothing")
    with pytest.raises(UserError, match=message):
        read_tensors("resnet50", path)


def test_a_saved_model_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="got a folder, as TensorFlow's SavedModel is"):
        read_tensors("resnet50", tmp_path)


def test_groups_that_hold_each_other_end(keras_files: Files, tmp_path: Path) -> None:
    path = Path(shutil.copy(keras_files("resnet50") / "notop.weights.h5", tmp_path / "loop.weights.h5"))
    with h5py.File(path, "r+") as opened:
        file: Any = opened
        file["layers/again"] = file["/"]
    assert len(read_tensors("resnet50", path).tensors) == 318
