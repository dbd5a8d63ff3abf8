"""Keras 3: the network of Keras applications with the head of the paper, and the scaling of pixels as layers."""

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hamjax.data.classes import CLASSES
from hamjax.exports.libraries import load_library
from hamjax.exports.network import INPUT, TrainedNetwork, named_leaves
from hamjax.models.layers.normalization import KERAS_BN_EPSILON
from hamjax.models.preprocessing import CAFFE_MEAN_BGR, TORCH_MEAN, TORCH_STD
from hamjax.models.pretrained.convert import LEAVES
from hamjax.models.pretrained.hdf5 import SourceLayer
from hamjax.models.pretrained.key_maps import KEY_MAPS

MODEL, WEIGHTS = ".keras", ".weights.h5"
ENDINGS = (MODEL, WEIGHTS)
FACTS = "hamjax.json"  # a member of the .keras archive, which Keras does not look at
APPLICATIONS = {"resnet50": "ResNet50", "inceptionv3": "InceptionV3", "densenet201": "DenseNet201"}


def write(network: TrainedNetwork, path: Path) -> None:
    """Write the whole model (`.keras`) or its weights alone (`.weights.h5`).

    The facts are a file `hamjax.json` inside the first, and attributes of the second.
    """
    model = make_model(network)
    _fill(model, network)
    if path.name.endswith(WEIGHTS):
        model.save_weights(path)
        with h5py.File(path, "r+") as file:
            file.attrs.update(network.facts_as_text())
        return
    model.save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(FACTS, json.dumps(network.facts, indent=2))


def run(path: Path, images: np.ndarray, network: TrainedNetwork) -> np.ndarray:
    """Return the probabilities that Keras computes with the file that it reads."""
    if path.name.endswith(WEIGHTS):
        model = make_model(network)
        model.load_weights(path)
    else:
        model = load_library("keras").saving.load_model(path, compile=False)
    return model.predict(images, verbose=0)


def make_model(network: TrainedNetwork) -> Any:
    """Make the Keras model with values of its own: images [N, S, S, 3] uint8 to probabilities [N, 7]."""
    keras, size = load_library("keras"), network.image_size
    images = keras.Input((size, size, 3), dtype="uint8", name=INPUT)
    x = _scaled(keras, images, network.input_scale)
    name = network.config.model.name
    if name in APPLICATIONS:
        application = getattr(keras.applications, APPLICATIONS[name])
        x = application(weights=None, include_top=False, pooling="avg", input_shape=(size, size, 3))(x)
        x = _head(keras, x, network.config.model.head)
    else:
        x = _cnn(keras, x)
    probabilities = keras.layers.Dense(len(CLASSES), activation="softmax", name="predictions")(x)
    return keras.Model(images, probabilities, name=f"hamjax_{name}")


def _scaled(keras: Any, images: Any, input_scale: str) -> Any:
    """Do as `scale_images` does, in layers that a file of Keras can hold."""
    if input_scale == "caffe":
        images = keras.ops.flip(images, axis=-1)
        scale, offset = 1.0, [-mean for mean in CAFFE_MEAN_BGR]
    elif input_scale == "tf":
        scale, offset = 1 / 127.5, -1.0
    elif input_scale == "torch":
        scale = [1 / (255 * std) for std in TORCH_STD]
        offset = [-mean / std for mean, std in zip(TORCH_MEAN, TORCH_STD, strict=True)]
    else:
        scale, offset = 1 / 255, 0.0
    return keras.layers.Rescaling(scale, offset, name="scaling")(images)


def _head(keras: Any, x: Any, kind: str) -> Any:
    """Add the layers of `hamjax.models.head.Head` but the last."""
    layers = keras.layers
    if kind == "linear":
        return x
    x = layers.Dense(1024, activation="relu", name="dense")(x)
    last = [layers.Dropout(0.5, name="dropout"), layers.BatchNormalization(epsilon=KERAS_BN_EPSILON, name="bn")]
    for layer in last if kind == "paper" else reversed(last):
        x = layer(x)
    return x


def _cnn(keras: Any, x: Any) -> Any:
    """Add the layers of `hamjax.models.cnn.CNN` but the last."""
    layers = keras.layers
    for i, (features, rate) in enumerate(((32, 0.25), (64, 0.4))):
        for j in (1, 2):
            name = f"conv{2 * i + j}"
            x = layers.Conv2D(features, 3, padding="same", activation="relu", name=name)(x)
        x = layers.MaxPooling2D(2, name=f"pool{i + 1}")(x)
        x = layers.Dropout(rate, name=f"dropout{i + 1}")(x)
    x = layers.Dense(128, activation="relu", name="dense")(layers.Flatten(name="flatten")(x))
    return layers.Dropout(0.5, name="dropout3")(x)


def _fill(model: Any, network: TrainedNetwork) -> None:
    """Put the values of the network into the model, each in its place."""
    values, name = dict(named_leaves(network.variables)), network.config.model.name
    inside = [layer for layer in model.layers if hasattr(layer, "layers")]
    outside = "head/" if inside else ""
    places = {f"{outside}{layer.name}": layer for layer in model.layers if layer.weights and layer not in inside}
    for backbone in inside:
        layers = [layer for layer in backbone.layers if layer.weights]
        # The key map that reads files of Keras says of every layer which of ours it is.
        labels = KEY_MAPS[name]([SourceLayer(layer.name, _tensors(layer)) for layer in layers])
        places |= {f"backbone/{label}": layer for label, layer in zip(labels, layers, strict=True)}
    for place, layer in places.items():
        for variable in layer.weights:
            collection, leaf = LEAVES[variable.name]
            variable.assign(values.pop(f"{collection}/{place}/{leaf}"))
    assert not values, f"no layer of Keras for {sorted(values)}"


def _tensors(layer: Any) -> dict[str, np.ndarray]:
    return {variable.name: np.empty(variable.shape, np.float32) for variable in layer.weights}
