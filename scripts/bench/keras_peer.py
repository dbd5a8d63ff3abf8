"""Keras's own networks, optimizers and `train_on_batch`, on its JAX backend.

KERAS_BACKEND=jax must be set before this is imported.
"""

from typing import Any
from unittest import mock

import keras
import numpy as np
from keras import layers
from keras.src.backend.common import dtypes

from hamjax.models.inception import topological_order

BACKBONES: dict[str, Any] = {
    "resnet50": keras.applications.ResNet50,
    "inceptionv3": keras.applications.InceptionV3,
    "densenet201": keras.applications.DenseNet201,
}
OPTIMIZERS: dict[str, Any] = {"adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop}
LEAVES = ("kernel", "scale", "bias", "mean", "var")  # in the order of Keras's get_weights


class KerasPeer:
    """A compiled Keras model with hamjax's weights, and the batch it is timed on."""

    def __init__(
        self,
        name: str,
        variables: dict[str, Any],
        batch: dict[str, np.ndarray],
        *,
        optimizer: str,
        learning_rate: float,
        dtype: str,
    ) -> None:
        keras.utils.clear_session()
        keras.config.set_floatx("float64" if dtype == "float64" else "float32")
        keras.config.set_dtype_policy("mixed_bfloat16" if dtype == "bfloat16" else dtype)
        if dtype == "float64":  # which Keras on JAX otherwise leaves for means and batch normalisation
            dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"
        self._model = _cnn(batch["image"].shape[1]) if name == "cnn" else _transfer(name, batch["image"].shape[1])
        _copy_weights(self._model, name, variables)
        # Keras compiles with jax.jit by itself.
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self._model.compile(optimizer=OPTIMIZERS[optimizer](learning_rate), loss=loss)
        self._image, self._label = batch["image"], batch["label"]

    def losses(self, steps: int) -> list[float]:
        """Take steps; return each one's loss."""
        return [float(np.squeeze(self._step())) for _ in range(steps)]

    def train(self, steps: int) -> None:
        """Take steps."""
        for _ in range(steps):
            self._step()

    def predict(self, passes: int) -> None:
        """Pass the batch forward."""
        for _ in range(passes):
            self._model.predict_on_batch(self._image)

    def _step(self) -> Any:
        return self._model.train_on_batch(self._image, self._label)


def _input(size: int) -> tuple[Any, Any]:
    image = layers.Input((size, size, 3), dtype="uint8")
    return image, layers.Rescaling(1 / 255)(image)


def _cnn(size: int) -> Any:
    image, x = _input(size)
    for i, features in enumerate((32, 64)):
        for j in (1, 2):
            x = layers.Conv2D(features, 3, padding="same", activation="relu", name=f"conv{2 * i + j}")(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Dense(128, activation="relu", name="dense")(layers.Flatten()(x))
    return keras.Model(image, layers.Dense(7, dtype=keras.config.floatx(), name="predictions")(x))


def _transfer(name: str, size: int) -> Any:
    image, x = _input(size)
    wide = keras.config.floatx()  # the head's, whatever the backbone computes in
    # The values are replaced at once, and Keras compiles a program for every shape that it draws.
    with mock.patch.object(keras.initializers.GlorotUniform, "__call__", lambda _, shape, dtype=None: np.zeros(shape)):
        x = BACKBONES[name](weights=None, include_top=False, pooling="avg", input_tensor=x).output
        x = layers.Dense(1024, activation="relu", dtype=wide, name="head_dense")(x)
        x = layers.BatchNormalization(dtype=wide, name="head_bn")(x)
        return keras.Model(image, layers.Dense(7, dtype=wide, name="head_predictions")(x))


def _copy_weights(model: Any, name: str, variables: dict[str, Any]) -> None:
    """Give every layer hamjax's values for it."""
    names = {layer.name: layer for layer in model.layers}
    if name == "inceptionv3":  # whose layers Keras numbers
        below = [layer for layer in model.layers if not layer.name.startswith("head_")]
        for kind, suffix in ((layers.Conv2D, "conv"), (layers.BatchNormalization, "bn")):
            found = [layer for layer in below if isinstance(layer, kind)]
            names |= {f"{unit}_{suffix}": layer for unit, layer in zip(topological_order(), found, strict=True)}
    params, statistics = variables["params"], variables["batch_stats"]
    places = {layer: (params[layer], {}) for layer in params if name == "cnn"}
    if name != "cnn":
        for part, prefix in (("backbone", ""), ("head", "head_")):
            places |= {f"{prefix}{k}": (v, statistics[part].get(k, {})) for k, v in params[part].items()}
    for place, (trained, running) in places.items():
        values = {**trained, **running}
        names[place].set_weights([np.asarray(values[leaf]) for leaf in LEAVES if leaf in values])
