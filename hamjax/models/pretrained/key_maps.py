"""Which layer of a Keras file is which of ours: one key map a network.

A key map gives every layer of a file the name it has in our network. One without a place
there keeps a name of its own, and the check of completeness lists it.
"""

from collections.abc import Callable, Sequence

from hamjax.models.inception import topological_order
from hamjax.models.pretrained.hdf5 import CONVOLUTION, DENSE, NORM, SourceLayer
from hamjax.runtime.errors import UserError

Layers = Sequence[SourceLayer]
KeyMap = Callable[[Layers], list[str]]
TOP = "predictions"


def by_name(layers: Layers) -> list[str]:
    """Match layers that are named alike.

    The official DenseNet201 file says `conv1/conv` for `conv1_conv`.
    """
    if not all(layer.name for layer in layers):
        raise UserError(
            "expected layers with names, got a .weights.h5 without them, as early versions of Keras 3 wrote; "
            "load it with Keras and save it again with a newer version."
        )
    return [_label(layer, layer.name.replace("/", "_")) for layer in layers]


def inception_by_position(layers: Layers) -> list[str]:
    """Match InceptionV3's numbered layers by their order among their kind."""
    places = {
        kind: iter([f"{unit}_{suffix}" for unit in topological_order()])
        for kind, suffix in ((CONVOLUTION, "conv"), (NORM, "bn"))
    }
    labels = []
    for i, layer in enumerate(layers):
        surplus = f"{layer.name or 'layer'} ({layer.kind}, number {i + 1} in the file)"
        labels.append(_label(layer, next(places.get(layer.kind, iter(())), surplus)))
    return labels


def _label(layer: SourceLayer, label: str) -> str:
    """Call the classifier by one name; the official files say probs, fc1000 or predictions."""
    return TOP if layer.kind == DENSE else label


KEY_MAPS: dict[str, KeyMap] = {
    "resnet50": by_name,
    "inceptionv3": inception_by_position,
    "densenet201": by_name,
}
