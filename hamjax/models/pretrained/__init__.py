"""ImageNet weights: the official Keras files, fetched, checked, converted and kept."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hamjax.models.pretrained.convert import Tensor, convert_layers, fill
from hamjax.models.pretrained.hdf5 import read_layers
from hamjax.models.pretrained.key_maps import KEY_MAPS
from hamjax.models.pretrained.store import is_stored, read_stored, save_weights
from hamjax.runtime.errors import UserError

__all__ = ["KEY_MAPS", "load_pretrained", "read_tensors", "save_weights"]


def load_pretrained(name: str, variables: Mapping[str, Any], path: str | Path) -> dict[str, Any]:
    """Put a file's weights into a network's backbone.

    Every tensor of the file must find its place and every value of the backbone its
    tensor, of the same shape. The head is left as it is, unless it is ImageNet's own
    (`head="imagenet"`), which is then filled too.

    Args:
        name: `resnet50`, `inceptionv3` or `densenet201`.
        variables: from `hamjax.init_variables`; not changed.
        path: the official HDF5 file, with or without its top, a Keras `.weights.h5`, or
            what `hamjax weights` wrote.

    Raises:
        UserError: the file is no such file, or not of this network; lists what differs.
    """
    return fill(name, variables, read_tensors(name, Path(path)), where=path)


def read_tensors(name: str, path: Path) -> list[Tensor]:
    """Read a weights file of any accepted form.

    Raises:
        UserError: there is no such network, or no such file.
    """
    if name not in KEY_MAPS:
        raise UserError(f"{name}: expected a network with ImageNet weights, one of {', '.join(KEY_MAPS)}.")
    if is_stored(path):
        return read_stored(path, name)
    return convert_layers(name, read_layers(path))
