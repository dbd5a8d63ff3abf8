"""Converted weights on disk: numpy's npz, a tensor an entry, nothing that could run code."""

import io
import json
import tokenize
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from hamjax.models.pretrained.convert import IMAGENET_CLASSES, Tensor
from hamjax.models.pretrained.key_maps import TOP
from hamjax.runtime.archive import open_archive, read_member
from hamjax.runtime.errors import UserError, name_some
from hamjax.runtime.files import replacing

ABOUT = "about"
FORMAT = "hamjax weights 1"
# What numpy raises at members that are no arrays, SyntaxError and TokenError at their headers, and json.
DAMAGE = (
    LookupError, ValueError, TypeError, ArithmeticError, MemoryError, RecursionError, SyntaxError, tokenize.TokenError,
)  # fmt: skip
KERAS_WEIGHTS = "model.weights.h5"
MAX_BYTES = 2**30  # of all tensors; the largest network has a tenth of it


def save_weights(path: Path, name: str, variables: Mapping[str, Any], *, source: str) -> None:
    """Write a network's backbone, and its ImageNet classifier if it has one.

    Args:
        path: there whole or not at all.
        name: of the network.
        variables: `{"params": ..., "batch_stats": ...}`.
        source: what they were converted from.

    Raises:
        UserError: the file cannot be written.
    """
    leaves: dict[str, Any] = traverse_util.flatten_dict(dict(variables), sep="/")
    bias: Any = leaves.get(f"params/head/{TOP}/bias", ())
    kept = ("backbone", "head") if np.shape(bias) == (IMAGENET_CLASSES,) else ("backbone",)
    arrays = {key: np.asarray(value) for key, value in leaves.items() if key.split("/")[1] in kept}
    about = json.dumps({"format": FORMAT, "model": name, "source": source})
    with replacing(path) as part, part.open("wb") as file:  # a file: numpy adds .npz to a name without it
        np.savez(file, **arrays, **{ABOUT: np.array(about)})  # pyright: ignore[reportArgumentType]


def is_archive(path: Path) -> bool:
    """Say whether a file begins as a zip archive does; an npz is one, and so is Keras's own format."""
    try:
        with path.open("rb") as file:
            return file.read(2) == b"PK"
    except OSError:
        return False  # reading it as HDF5 says what is wrong


def read_keras_member(path: Path) -> io.BytesIO | None:
    """Return the weights inside a `.keras` file; nothing of another archive.

    Raises:
        UserError: the archive is damaged, or PyTorch's or another program's.
    """
    with open_archive(path) as archive:
        names = archive.namelist()
        if KERAS_WEIGHTS in names:
            return io.BytesIO(read_member(archive, archive.getinfo(KERAS_WEIGHTS), MAX_BYTES))
    if not any(name.endswith(".npy") for name in names):
        what = "PyTorch's weights" if any(name.endswith("data.pkl") for name in names) else "an archive of other files"
        raise UserError(
            f"{path}: expected a .keras file or what `hamjax weights` wrote, got {what} ({name_some(names, 3)}); save "
            "the network with Keras."
        )
    return None


def read_stored(path: Path, name: str) -> list[Tensor]:
    """Read what `save_weights` wrote.

    Raises:
        UserError: it is damaged, something else, or another network's.
    """
    try:
        arrays = _read_arrays(path)
        about = json.loads(str(arrays.pop(ABOUT)))
        found = (about["format"], about["model"])
    except DAMAGE as error:
        raise UserError(
            f"{path}: expected weights that `hamjax weights` wrote, got {error}; convert them again."
        ) from error
    if found != (FORMAT, name):
        raise UserError(
            f"{path}: expected {FORMAT!r} of {name}, got {found[0]!r} of {found[1]}; convert that network's."
        )
    return [Tensor(key, key, value) for key, value in arrays.items()]


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read every member of an npz; np.load would take a member for as large as it says it is."""
    arrays, left = {}, MAX_BYTES
    with open_archive(path) as archive:
        for member in archive.infolist():
            content = read_member(archive, member, left)
            left -= len(content)
            arrays[member.filename.removesuffix(".npy")] = np.lib.format.read_array(
                io.BytesIO(content), allow_pickle=False
            )
    return arrays
