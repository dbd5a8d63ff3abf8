"""InceptionV3's layers are found by their order in a file, whatever numbers they carry."""

from collections.abc import Callable
from pathlib import Path

import h5py
import jax
import numpy as np
import pytest

from hamjax.runtime.errors import UserError
from tests.helpers import keras_networks
from tests.parity.loading import load_network

pytestmark = pytest.mark.usefixtures("quick_compiler")


Files = Callable[[str], Path]


def _rewrite_layers(path: Path, order: Callable[[list[str]], list[str]], rename: Callable[[str], str]) -> None:
    """Rewrite the list of layers of a legacy file: their order, and their names."""
    with h5py.File(path, "r+") as file:
        names = keras_networks.names(file.attrs["layer_names"])
        for name in names:
            file.move(name, f"_{name}")
        for name in names:
            file.move(f"_{name}", rename(name))
        file.attrs["layer_names"] = np.array([rename(name).encode() for name in order(names)])


def _number(name: str) -> int:
    tail = name.rpartition("_")[2]
    return int(tail) if tail.isdigit() else 0


@pytest.fixture
def inception_copy(keras_files: Files, tmp_path: Path) -> Path:
    path = tmp_path / "copy.h5"
    path.write_bytes((keras_files("inceptionv3") / "notop.h5").read_bytes())
    return path


def test_inception_is_read_whatever_numbers_its_layers_carry(keras_files: Files, inception_copy: Path) -> None:
    def renumbered(name: str) -> str:
        stem = name.rstrip("0123456789").rstrip("_")
        return f"{stem}_{(_number(name) * 37 + 11) % 101}" if "conv2d" in name or "batch" in name else name

    _rewrite_layers(inception_copy, list, renumbered)
    _, expected = load_network("inceptionv3", keras_files("inceptionv3") / "notop.h5")
    _, variables = load_network("inceptionv3", inception_copy)
    jax.tree.map(np.testing.assert_array_equal, variables, expected)


def test_inception_in_the_order_of_its_numbers_is_another_network(inception_copy: Path) -> None:
    _rewrite_layers(inception_copy, lambda names: sorted(names, key=_number), str)
    with pytest.raises(UserError, match="another shape"):
        load_network("inceptionv3", inception_copy)
