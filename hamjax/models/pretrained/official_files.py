"""The official ImageNet weights of Keras applications: where they are, and how they get here.

Addresses and hashes: keras/src/applications/{resnet,inception_v3,densenet,imagenet_utils}.py.
"""

import dataclasses
import json
from pathlib import Path

from hamjax.models.initialization import init_variables
from hamjax.models.pretrained.convert import Weights, convert_layers, fill
from hamjax.models.pretrained.hdf5 import read_models
from hamjax.models.pretrained.store import read_stored, save_weights
from hamjax.models.registry import create_model
from hamjax.runtime.download import fetch, file_md5, user_cache
from hamjax.runtime.errors import UserError
from hamjax.runtime.files import hold
from hamjax.runtime.say import Say

BASE_URL = "https://storage.googleapis.com/tensorflow/keras-applications"
CLASS_INDEX_URL = "https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json"
CLASS_INDEX_MD5 = "c2c37ea517e94d9795004a39431a14cb"


@dataclasses.dataclass(frozen=True)
class PublishedFile:
    """A file of Keras applications: its folder and name there, and its MD5."""

    folder: str
    name: str
    md5: str

    @property
    def url(self) -> str:
        """Where it is."""
        return f"{BASE_URL}/{self.folder}/{self.name}"


def _files(folder: str, stem: str, top: str, no_top: str) -> dict[bool, PublishedFile]:
    name = f"{stem}_weights_tf_dim_ordering_tf_kernels"
    return {
        True: PublishedFile(folder, f"{name}.h5", top),
        False: PublishedFile(folder, f"{name}_notop.h5", no_top),
    }


# With the 1000-class top, and without.
FILES: dict[str, dict[bool, PublishedFile]] = {
    "resnet50": _files(
        "resnet", "resnet50", "2cb95161c43110f7111970584f804107", "4d473c1dd8becc155b73f8504c6f6626"
    ),
    "inceptionv3": _files(
        "inception_v3", "inception_v3", "9a0d58056eeedaa3f26cb7ebd46da564", "bcbd6486424b2319ff4ef7d526e38f63"
    ),
    "densenet201": _files(
        "densenet", "densenet201", "1ceb130c1ea1b78c3bf6114dbdfd8807", "c13680b51ded0fb44dff2d8f86ac8bb1"
    ),
}  # fmt: skip


def published_weights(name: str, *, top: bool = False, say: Say = print) -> Path:
    """Return the converted official weights of a network; the first time fetch and convert them.

    They are kept in the user's cache folder, as published and converted.

    Args:
        name: `resnet50`, `inceptionv3` or `densenet201`.
        top: with the classifier of the 1000 ImageNet classes.
        say: takes a line for the user.

    Raises:
        UserError: they cannot be fetched, or other bytes came; names the file, its address and
            MD5, and the ways out.
    """
    file = FILES[name][top]
    original, converted = _places(file)
    folder = original.parent
    waiting = f"{folder}: waiting for another process that is bringing weights there"
    with hold(folder, lambda: say(waiting), remedy="set XDG_CACHE_HOME"):
        if _is_whole(converted, name):
            say(f"ImageNet weights {converted}")
            return converted
        try:
            fetch(file.url, original, md5=file.md5, attempts=4, say=say)
        except UserError as error:
            raise UserError(
                f"{error}\nOr name a file you have, the official one or one that `hamjax weights` wrote: "
                "--config.model.weights=FILE; or train from random weights: --config.model.weights=random"
            ) from error
        weights = Weights(convert_layers(name, read_models(original)[0].layers), "")
        model = create_model(name, head="imagenet" if top else "paper")
        variables = init_variables(model, image_size=224, seed=0)
        save_weights(converted, name, fill(name, variables, weights, where=file.name), source=file.url)
        say(f"ImageNet weights converted to {converted}")
    return converted


def kept_weights(name: str, *, top: bool = False) -> Path | None:
    """Return what `published_weights` would use without a network: converted, as published, or nothing."""
    file = FILES[name][top]
    original, converted = _places(file)
    if _is_whole(converted, name):
        return converted
    return original if original.is_file() and file_md5(original) == file.md5 else None


def _places(file: PublishedFile) -> tuple[Path, Path]:
    """Return where a file is kept as published, and converted."""
    original = user_cache() / "weights" / file.name
    return original, original.with_suffix(".npz")


def _is_whole(path: Path, name: str) -> bool:
    if not path.exists():
        return False
    try:
        read_stored(path, name)
    except UserError:
        return False  # damaged; it is made again
    return True


def imagenet_class_names(path: Path | None = None, *, say: Say = print) -> list[str]:
    """Return the names of ImageNet's 1000 classes in the order of the published tops.

    Args:
        path: Keras's `imagenet_class_index.json`; by default it is fetched once.
        say: takes a line for the user.

    Raises:
        UserError: it cannot be fetched, or is something else.
    """
    if path is None:
        path = user_cache() / "weights" / "imagenet_class_index.json"
        fetch(CLASS_INDEX_URL, path, md5=CLASS_INDEX_MD5, attempts=4, say=say)
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        return [index[str(i)][1] for i in range(1000)]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(
            f"{path}: expected Keras's imagenet_class_index.json, got {error!r}; name another file."
        ) from error
