"""ImageNet weights: the official Keras files, fetched, checked, converted and kept."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hamjax.models.pretrained.convert import Weights, convert_layers, fill
from hamjax.models.pretrained.hdf5 import read_models
from hamjax.models.pretrained.key_maps import KEY_MAPS, find_backbone, recognise
from hamjax.models.pretrained.store import is_archive, read_keras_member, read_stored, save_weights
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
        path: the official HDF5 file, with or without its top; a model or weights that Keras saved (`.keras`,
            `.weights.h5`, `.h5`), also of a model that the network is a part of; or what `hamjax weights` wrote.

    Raises:
        UserError: the file is no such file, or not of this network; lists what differs.
    """
    return fill(name, variables, read_tensors(name, Path(path)), where=path)


def read_tensors(name: str, path: Path) -> Weights:
    """Read a weights file of any accepted form.

    Raises:
        UserError: there is no such network, or no such file.
    """
    if name not in KEY_MAPS:
        raise UserError(f"{name}: expected a network with ImageNet weights, one of {', '.join(KEY_MAPS)}.")
    if path.exists() and not path.is_file() and not path.is_dir():  # reading a pipe would wait for its writer
        raise UserError(f"{path}: expected a file, got a pipe or a device; write the weights to a file first.")
    content = None
    if is_archive(path):
        content = read_keras_member(path)
        if content is None:
            return Weights(read_stored(path, name), "")
    models = read_models(path, content)
    model = find_backbone(name, models, path)
    network = recognise(model)
    return Weights(convert_layers(name, model.layers), "" if network == name else network or str(model))
