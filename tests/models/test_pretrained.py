"""Weights that are not this network's are refused by name; official ones arrive once and whole."""

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import jax
import numpy as np
import pytest
from flax import traverse_util

from hamjax import load_pretrained
from hamjax.models.pretrained import read_tensors, save_weights, store
from hamjax.runtime.errors import UserError
from tests.helpers import keras_networks
from tests.helpers.blank import blank

pytestmark = pytest.mark.usefixtures("quick_compiler")

Files = Callable[[str], Path]


@pytest.fixture(scope="module")
def resnet() -> Any:
    return blank("resnet50")


@pytest.fixture
def h5(keras_files: Files, tmp_path: Path) -> Path:
    """A ResNet50 file in the published layout, free to be damaged."""
    return Path(shutil.copy(keras_files("resnet50") / "notop.h5", tmp_path / "copy.h5"))


@pytest.fixture
def numbered(keras_files: Files, tmp_path: Path) -> Path:
    """The same as Keras 3 numbers it."""
    return Path(shutil.copy(keras_files("resnet50") / "notop.weights.h5", tmp_path / "copy.weights.h5"))


def _refusal(variables: Any, path: Path, name: str = "resnet50") -> str:
    with pytest.raises(UserError) as caught:
        load_pretrained(name, variables, path)
    return str(caught.value)


@pytest.mark.parametrize("file", ["top.h5", "notop.h5", "notop.weights.h5"])
@pytest.mark.parametrize("other", ["densenet201", "inceptionv3"])
def test_another_networks_file_is_refused(keras_files: Files, resnet: Any, other: str, file: str) -> None:
    path = keras_files(other) / file
    assert _refusal(resnet, path) == (
        f"{path}: expected weights of resnet50, got those of {other}; use a file of resnet50."
    )


def test_inception_refuses_another_networks_file(keras_files: Files) -> None:
    path = keras_files("resnet50") / "notop.h5"
    assert "expected weights of inceptionv3, got those of resnet50" in _refusal(
        blank("inceptionv3"), path, "inceptionv3"
    )


def test_a_pipe_is_refused_before_it_is_read(resnet: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.h5")
    assert "expected a file, got a pipe or a device" in _refusal(resnet, tmp_path / "pipe.h5")


def test_a_missing_tensor_is_named(h5: Path, resnet: Any) -> None:
    with h5py.File(h5, "r+") as file:
        group: Any = file["conv3_block2_1_bn"]
        kept = [name for name in group.attrs["weight_names"] if "beta" not in str(name)]
        group.attrs["weight_names"] = np.array(kept, dtype="S")
    message = _refusal(resnet, h5)
    assert "missing: params/backbone/conv3_block2_1_bn/bias (128,)" in message
    assert message.count("\n") == 1


def test_a_tensor_that_is_listed_but_not_there_is_named(h5: Path, resnet: Any) -> None:
    with h5py.File(h5, "r+") as file:
        del file["conv3_block2_1_bn/conv3_block2_1_bn/beta"]
    assert "conv3_block2_1_bn/beta" in _refusal(resnet, h5)


def test_a_missing_layer_of_a_numbered_file_is_named(numbered: Path, resnet: Any) -> None:
    with h5py.File(numbered, "r+") as opened:
        file: Any = opened
        found = [key for key in file["layers"] if file[f"layers/{key}/vars"].attrs["name"] == "conv4_block6_3_conv"]
        del file[f"layers/{found[0]}"]
    message = _refusal(resnet, numbered)
    assert "missing: params/backbone/conv4_block6_3_conv/bias (1024,)" in message
    assert "missing: params/backbone/conv4_block6_3_conv/kernel (1, 1, 256, 1024)" in message


def test_one_tensor_too_many_is_named(h5: Path, resnet: Any) -> None:
    with h5py.File(h5, "r+") as file:
        names = keras_networks.names(file.attrs["layer_names"])
        group = file.create_group("conv6_conv")
        group.create_dataset("conv6_conv/kernel", data=np.zeros((1, 1, 3, 3), np.float32))
        group.attrs["weight_names"] = np.array([b"conv6_conv/kernel"])
        file.attrs["layer_names"] = np.array([*names, "conv6_conv"], dtype="S")
    message = _refusal(resnet, h5)
    assert "left over: conv6_conv/kernel (1, 1, 3, 3)" in message
    assert message.count("\n") == 1


def test_one_layer_too_many_by_position_is_named(keras_files: Files, tmp_path: Path) -> None:
    path = Path(shutil.copy(keras_files("inceptionv3") / "notop.weights.h5", tmp_path / "more.weights.h5"))
    with h5py.File(path, "r+") as file:
        file.create_dataset("layers/conv2d_94/vars/0", data=np.zeros((1, 1, 3, 3), np.float32))
    message = _refusal(blank("inceptionv3"), path, "inceptionv3")
    assert "(convolution, number " in message
    assert message.count("\n") == 1


def test_another_shape_is_named(h5: Path, resnet: Any) -> None:
    with h5py.File(h5, "r+") as file:
        del file["conv1_conv/conv1_conv/kernel"]
        file["conv1_conv"].create_dataset("conv1_conv/kernel", data=np.zeros((7, 7, 1, 64), np.float32))  # pyright: ignore
    message = _refusal(resnet, h5)
    assert "another shape: conv1_conv/kernel (7, 7, 1, 64), expected (7, 7, 3, 64)" in message


def test_a_layer_that_comes_twice_is_named(h5: Path, resnet: Any) -> None:
    with h5py.File(h5, "r+") as file:
        names = keras_networks.names(file.attrs["layer_names"])
        file.attrs["layer_names"] = np.array([*names, "conv1_conv"], dtype="S")
    assert "more than once: params/backbone/conv1_conv/kernel" in _refusal(resnet, h5)


def test_numbers_that_are_none_are_named(h5: Path, resnet: Any) -> None:
    with h5py.File(h5, "r+") as file:
        dataset: Any = file["conv1_bn/conv1_bn/moving_variance"]
        dataset[3] = np.nan
    assert "not finite numbers: conv1_bn/moving_variance" in _refusal(resnet, h5)


@pytest.mark.parametrize("kept", [0.9, 0.5, 0.001])
@pytest.mark.parametrize("layout", ["h5", "numbered"])
def test_a_truncated_file_is_refused(request: pytest.FixtureRequest, resnet: Any, layout: str, kept: float) -> None:
    path: Path = request.getfixturevalue(layout)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    assert "expected a whole HDF5 file of Keras weights" in _refusal(resnet, path)


@pytest.mark.parametrize("content", [b"", b"<html>403 Forbidden</html>", bytes(5000)])
def test_a_file_that_is_no_hdf5_is_refused(tmp_path: Path, resnet: Any, content: bytes) -> None:
    (tmp_path / "weights.h5").write_bytes(content)
    assert "expected a whole HDF5 file of Keras weights" in _refusal(resnet, tmp_path / "weights.h5")


def test_hdf5_of_something_else_is_refused(tmp_path: Path, resnet: Any) -> None:
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["images"] = np.zeros(3)
    assert "got an HDF5 file with images" in _refusal(resnet, tmp_path / "data.h5")


def test_layers_without_names_are_refused_where_names_matter(numbered: Path, resnet: Any) -> None:
    with h5py.File(numbered, "r+") as opened:
        file: Any = opened
        for key in file["layers"]:
            del file[f"layers/{key}/vars"].attrs["name"]
    assert "expected layers with names" in _refusal(resnet, numbered)


def test_no_file_and_no_network_are_said(tmp_path: Path, resnet: Any) -> None:
    assert "check the path" in _refusal(resnet, tmp_path / "nowhere.h5")
    assert "one of resnet50, inceptionv3, densenet201" in _refusal(resnet, tmp_path / "nowhere.h5", "cnn")


def test_an_imagenet_head_needs_a_file_with_a_top(keras_files: Files) -> None:
    message = _refusal(blank("resnet50", head="imagenet"), keras_files("resnet50") / "notop.h5")
    assert "missing: params/head/predictions/kernel (2048, 1000)" in message


@pytest.mark.parametrize("head", ["paper", "imagenet"])
def test_converted_weights_come_back(keras_files: Files, tmp_path: Path, head: str) -> None:
    source = keras_files("resnet50") / "top.h5"
    variables = load_pretrained("resnet50", blank("resnet50", head=head), source)
    save_weights(tmp_path / "new" / "resnet50.npz", "resnet50", variables, source=str(source))
    again = load_pretrained("resnet50", blank("resnet50", head=head), tmp_path / "new" / "resnet50.npz")
    jax.tree.map(np.testing.assert_array_equal, again, variables)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["resnet50.npz"]


def test_damaged_and_foreign_converted_weights_are_refused(keras_files: Files, tmp_path: Path, resnet: Any) -> None:
    path = tmp_path / "resnet50.npz"
    save_weights(path, "resnet50", load_pretrained("resnet50", resnet, keras_files("resnet50") / "notop.h5"), source="")
    with pytest.raises(UserError, match="of densenet201, got 'hamjax weights 1' of resnet50"):
        read_tensors("densenet201", path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert "make the archive again" in _refusal(resnet, path)
    path.write_bytes(content[:1000])
    assert "make it again" in _refusal(resnet, path)
    np.savez(path, something=np.zeros(3))
    assert "convert them again" in _refusal(resnet, path)


def test_a_converted_file_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, a=np.zeros(2**27, np.uint8), b=np.zeros(2**27, np.uint8))
    assert path.stat().st_size < 1_000_000
    with mock.patch.object(store, "MAX_BYTES", 2**27), pytest.raises(UserError, match="expected at most"):
        read_tensors("resnet50", path)
    np.savez(path, about=np.array(["no json"], dtype=object))
    with pytest.raises(UserError, match="Object arrays cannot be loaded"):
        read_tensors("resnet50", path)
    with zipfile.ZipFile(path, "w") as file, file.open("a.npy", "w") as member:
        header = {"descr": "<f4", "fortran_order": False, "shape": (10**15,)}
        np.lib.format.write_array_header_1_0(member, header)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="convert them again"):
        read_tensors("resnet50", path)
    for text in ("((((", "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 40 + ",)}"):
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("a.npy", b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode())
        with pytest.raises(UserError, match="convert them again"):
            read_tensors("resnet50", path)


def test_variables_are_not_changed_in_place(keras_files: Files, resnet: Any) -> None:
    before = {path: np.array(value) for path, value in traverse_util.flatten_dict(resnet).items()}
    load_pretrained("resnet50", resnet, keras_files("resnet50") / "notop.h5")
    for path, value in traverse_util.flatten_dict(resnet).items():
        np.testing.assert_array_equal(value, before[path])
