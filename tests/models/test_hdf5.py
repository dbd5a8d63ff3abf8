"""HDF5 files that mean harm: no other file is read, and nothing of a size that is only claimed."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hamjax.models.pretrained.hdf5 import read_models
from hamjax.runtime.errors import UserError

KERNEL = np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4)


def _legacy(path: Path) -> Any:
    """Begin a file of one layer, whose tensor is still to be put in."""
    file = h5py.File(path, "w")
    layer = file.create_group("conv")
    layer.attrs["weight_names"] = np.array([b"conv/kernel:0"])
    file.attrs["layer_names"] = np.array([b"conv"])
    return file


def _external_link(file: Any, elsewhere: Path) -> None:
    file["conv/conv/kernel:0"] = h5py.ExternalLink(str(elsewhere), "kernel")


def _external_group(file: Any, elsewhere: Path) -> None:
    file["conv/conv"] = h5py.ExternalLink(str(elsewhere), "/")


def _soft_link(file: Any, elsewhere: Path) -> None:
    file["conv/conv/kernel:0"] = h5py.SoftLink("/conv/conv/kernel:0")


def _external_storage(file: Any, elsewhere: Path) -> None:
    file.create_dataset("conv/conv/kernel:0", (48,), "f", external=[(str(elsewhere), 0, 192)])


def _virtual(file: Any, elsewhere: Path) -> None:
    layout = h5py.VirtualLayout(KERNEL.shape, "f")
    layout[...] = h5py.VirtualSource(str(elsewhere), "kernel", KERNEL.shape)
    file.create_virtual_dataset("conv/conv/kernel:0", layout)


@pytest.mark.parametrize("refer", [_external_link, _external_group, _soft_link, _external_storage, _virtual])
def test_what_lies_elsewhere_is_not_read(tmp_path: Path, refer: Callable[[Any, Path], None]) -> None:
    with h5py.File(tmp_path / "elsewhere.h5", "w") as file:
        file["kernel"] = KERNEL
        file["kernel:0"] = KERNEL
    with _legacy(tmp_path / "weights.h5") as file:
        refer(file, tmp_path / "elsewhere.h5")
    with pytest.raises(UserError, match="without links|in the file itself"):
        read_models(tmp_path / "weights.h5")


def test_a_link_to_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["layers"] = h5py.ExternalLink(str(tmp_path / "pipe"), "/")
    with pytest.raises(UserError, match="without links"):
        read_models(tmp_path / "weights.h5")


@pytest.mark.parametrize("shape", [(2**40,), (2**15, 2**15), (2**31, 2**31)])
def test_a_shape_that_is_only_claimed_is_not_allocated(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with _legacy(tmp_path / "weights.h5") as file:
        file.create_dataset("conv/conv/kernel:0", shape, "f", chunks=(1,) * len(shape))
    assert (tmp_path / "weights.h5").stat().st_size < 20_000
    with pytest.raises(UserError, match="at most 1,073,741,824 bytes together"):
        read_models(tmp_path / "weights.h5")


@pytest.mark.parametrize("dtype", ["i4", "S8", h5py.string_dtype(), h5py.vlen_dtype("f"), h5py.ref_dtype, [("a", "f")]])
def test_what_is_no_array_of_numbers_is_not_read(tmp_path: Path, dtype: Any) -> None:
    with _legacy(tmp_path / "weights.h5") as file:
        file.create_dataset("conv/conv/kernel:0", (3,), dtype)
    with pytest.raises(UserError, match="floating-point numbers"):
        read_models(tmp_path / "weights.h5")


def test_a_file_as_keras_writes_it_is_read(tmp_path: Path) -> None:
    with _legacy(tmp_path / "weights.h5") as file:
        file["conv/conv/kernel:0"] = KERNEL
        del file.attrs["layer_names"]
        file.attrs["layer_names0"] = np.array([b"conv"])
        file.attrs["layer_names1"] = np.array([b"conv"])
    (model,) = read_models(tmp_path / "weights.h5")
    first, second = model.layers
    assert first.name == second.name == "conv"
    np.testing.assert_array_equal(first.tensors["kernel"], KERNEL)


def test_a_heap_of_texts_that_has_no_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        variables = file.create_group("layers/conv2d/vars")
        variables.attrs["name"] = "conv1_conv"
        variables["0"] = KERNEL
    (model,) = read_models(path)
    assert model.layers[0].name == "conv1_conv"
    content = bytearray(path.read_bytes())
    first = content.index(b"GCOL") + 16
    content[first + 8 : first + 16] = (2**64 - 16).to_bytes(8, "little")  # with its header it takes no room
    path.write_bytes(content)
    with pytest.raises(UserError, match="a damaged heap of texts"):
        read_models(path)
