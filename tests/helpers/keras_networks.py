"""Keras's own networks with random weights and statistics, as references and as files."""

from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import keras
import numpy as np
from keras.src.legacy.saving import legacy_h5_format

ORIGINALS: dict[str, Any] = {
    "resnet50": keras.applications.ResNet50,
    "inceptionv3": keras.applications.InceptionV3,
    "densenet201": keras.applications.DenseNet201,
}
# Our stages, and the layers of Keras that put them out; the stem of InceptionV3 has no name.
STAGES: dict[str, dict[str, str]] = {
    "resnet50": {"stem": "pool1_pool", "conv2": "conv2_block3_out", "conv3": "conv3_block4_out",
                 "conv4": "conv4_block6_out", "conv5": "conv5_block3_out"},
    "inceptionv3": {"stem": "max_pooling2d_1", **{f"mixed{i}": f"mixed{i}" for i in range(11)}},
    "densenet201": {"stem": "pool1", "conv2": "conv2_block6_concat", "pool2": "pool2_pool",
                    "conv3": "conv3_block12_concat", "pool3": "pool3_pool", "conv4": "conv4_block48_concat",
                    "pool4": "pool4_pool", "conv5": "conv5_block32_concat"},
}  # fmt: skip


def _kernel(self: Any, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
    """Draw a kernel that keeps activations in range; Keras's own draw compiles for every shape."""
    rng = np.random.default_rng(sum(shape))
    return rng.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape).astype(dtype or keras.config.floatx())


def make_network(name: str) -> Any:
    """Make a network without its top, pooled, for images of any size."""
    keras.utils.clear_session()
    with mock.patch.object(keras.initializers.GlorotUniform, "__call__", _kernel):
        network = ORIGINALS[name](weights=None, include_top=False, pooling="avg", input_shape=(None, None, 3))
    rng = np.random.default_rng(7)
    for variable in network.variables:
        kind = variable.path.rsplit("/", 1)[-1]
        if kind in ("bias", "beta", "moving_mean"):
            variable.assign(rng.normal(0, 0.1, variable.shape))
        elif kind in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return network


def with_top(network: Any) -> Any:
    """Add the classifier of the 1000 classes."""
    with mock.patch.object(keras.initializers.GlorotUniform, "__call__", _kernel):
        top = keras.layers.Dense(1000, activation="softmax", name="predictions")
        return keras.Model(network.inputs, top(network.output))


def save_legacy(network: Any, path: Path) -> None:
    """Save in the layout of the official files."""
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, network)


def names(attribute: Any) -> list[str]:
    """Return an HDF5 attribute that lists names."""
    return [str(name) for name in attribute]


def name_as_published(path: Path) -> None:
    """Rename as in files of Keras 2: `:0` after tensors, `conv1/conv`, and `fc1000` for the top."""
    renamed = {"conv1_conv": "conv1/conv", "conv1_bn": "conv1/bn", "predictions": "fc1000"}
    with h5py.File(path, "r+") as file:
        layers = names(file.attrs["layer_names"])
        for layer in layers:
            group: Any = file[layer]
            tensors = names(group.attrs["weight_names"])
            for tensor in tensors:
                group.move(tensor, f"{tensor}:0")
            group.attrs["weight_names"] = np.array([f"{tensor}:0".encode() for tensor in tensors])
        for old in set(renamed) & set(layers):
            file.move(old, f"renamed_{old}")  # first out of the way: conv1 is to be a group
        for old in set(renamed) & set(layers):
            file.move(f"renamed_{old}", renamed[old])
        file.attrs["layer_names"] = np.array([renamed.get(name, name).encode() for name in layers])


def run(name: str, network: Any, size: int) -> dict[str, np.ndarray]:
    """Return random `images` [2, size, size, 3] and every stage's output for them."""
    outputs = {stage: network.get_layer(layer).output for stage, layer in STAGES[name].items()}
    outputs |= {"pooled": network.output, "probabilities": with_top(network).output}
    images = np.random.default_rng(size).random((2, size, size, 3), np.float32)
    staged: Any = keras.Model(network.inputs, outputs)
    return {"images": images, **staged.predict(images, verbose=0)}


def save_all(name: str, folder: Path) -> None:
    """Write three files of one network, and what it does with images of 96 x 96.

    notop.h5 and notop.weights.h5 as Keras 3 saves them, top.h5 named as published, and
    reference.npz, which also has the epsilon of every batch normalisation.
    """
    network = make_network(name)
    network.save_weights(folder / "notop.weights.h5")
    save_legacy(network, folder / "notop.h5")
    save_legacy(with_top(network), folder / "top.h5")
    name_as_published(folder / "top.h5")
    norms = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    reference = run(name, network, 96) | {"epsilons": np.array([norm.epsilon for norm in norms])}
    np.savez(folder / "reference.npz", **reference)  # pyright: ignore[reportArgumentType]
