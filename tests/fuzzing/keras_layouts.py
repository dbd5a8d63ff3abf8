"""One small network in every layout of Keras's files, alone, as a layer of another, and in a .keras archive."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np

from hamjax.models.pretrained.store import KERAS_WEIGHTS
from tests.fuzzing.hostile import damage, word

LAYERS: dict[str, dict[str, tuple[int, ...]]] = {
    "conv1_conv": {"kernel": (3, 3, 3, 4), "bias": (4,)},
    "conv1_bn": {"gamma": (4,), "beta": (4,), "moving_mean": (4,), "moving_variance": (4,)},
    "conv2_conv": {"kernel": (1, 1, 4, 8), "bias": (8,)},
    "predictions": {"kernel": (8, 10), "bias": (10,)},
}


def write_samples(folder: Path) -> None:
    """Write one small network in every layout, alone and as a layer of another."""
    rng = np.random.default_rng(0)
    with h5py.File(folder / "legacy.h5", "w") as file:
        _write_legacy(rng, file, {name: [name] for name in LAYERS})
    with h5py.File(folder / "nested.h5", "w") as file:
        file.attrs["model_config"] = '{"class_name": "Sequential", "config": {"name": "outer"}}'
        *inside, last = LAYERS
        _write_legacy(rng, file.create_group("model_weights"), {"net": inside, last: [last]})
    with h5py.File(folder / "numbered.weights.h5", "w") as file:
        _write_numbered(rng, file.create_group("layers"))
    with h5py.File(folder / "nested.weights.h5", "w") as file:
        _write_numbered(rng, file.create_group("layers/functional/layers"))
        file.create_group("layers/functional/vars").attrs["name"] = "net"
        file["layers/dropout/seed_generator/vars/0"] = np.zeros(2, np.uint32)
        file["optimizer/vars/0"] = np.zeros((), np.int64)
    with zipfile.ZipFile(folder / "nested.keras", "w") as archive:
        archive.writestr("config.json", '{"class_name": "Sequential", "config": {"name": "outer"}}')
        archive.write(folder / "nested.weights.h5", KERAS_WEIGHTS)


def repack(rng: Random, sample: Path, mutant: Path, change: Callable[[Random, io.BytesIO], None]) -> None:
    """Pack a .keras file anew with other weights, members, names or methods; the archive is valid."""
    with zipfile.ZipFile(sample) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    kind = rng.choice(("change", "change", "damage", "rename", "drop", "bomb", "config"))
    if kind == "change":
        content = io.BytesIO(members[KERAS_WEIGHTS])
        change(rng, content)
        members[KERAS_WEIGHTS] = content.getvalue()
    elif kind == "damage":
        members[KERAS_WEIGHTS] = damage(rng, members[KERAS_WEIGHTS])
    elif kind == "rename":
        members[rng.choice(("../model.weights.h5", "a/data.pkl", "about.npy", word(rng).replace("\0", "0") or "x"))] = (
            members.pop(KERAS_WEIGHTS)
        )
    elif kind == "drop":
        del members[KERAS_WEIGHTS]
    elif kind == "bomb":
        members[KERAS_WEIGHTS] += bytes(3 * 10**7)
    else:
        members["config.json"] = b"[" * 10_000
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    with zipfile.ZipFile(mutant, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def _write_legacy(rng: np.random.Generator, file: Any, layers: dict[str, list[str]]) -> None:
    """Write layers, each of one or more of `LAYERS`; one of several is a nested model."""
    file.attrs["layer_names"] = np.array([name.encode() for name in layers])
    for layer, parts in layers.items():
        group = file.create_group(layer)
        names = [(part, leaf) for part in parts for leaf in LAYERS[part]]
        group.attrs["weight_names"] = np.array([f"{part}/{leaf}:0".encode() for part, leaf in names])
        for part, leaf in names:
            group[f"{part}/{leaf}:0"] = rng.random(LAYERS[part][leaf], np.float32)


def _write_numbered(rng: np.random.Generator, layers: Any) -> None:
    for key, name in zip(("conv2d", "batch_normalization", "conv2d_1", "dense"), LAYERS, strict=True):
        group = layers.create_group(f"{key}/vars")
        group.attrs["name"] = name
        for i, shape in enumerate(LAYERS[name].values()):
            group[str(i)] = rng.random(shape, np.float32)
