"""Which layer of a Keras file is which of ours: one key map a network.

A key map gives every layer of a file the name it has in our network. One without a place
there keeps a name of its own, and the check of completeness lists it.
"""

import re
from collections.abc import Callable, Sequence

from hamjax.models.inception import creation_order, topological_order
from hamjax.models.pretrained.hdf5 import CONVOLUTION, DENSE, NORM, SourceLayer, SourceModel
from hamjax.runtime.errors import UserError

Layers = Sequence[SourceLayer]
KeyMap = Callable[[Layers], list[str]]
TOP = "predictions"
SUFFIXES = {CONVOLUTION: "conv", NORM: "bn"}
# Convolutions and batch normalizations of each network.
LAYER_COUNTS = {"resnet50": (53, 53), "inceptionv3": (94, 94), "densenet201": (200, 201)}


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
    """Match InceptionV3's numbered layers by their order among their kind.

    The numbers behind their names depend on what else was made in the same session of Keras, so the order in the file
    counts. Only where the file has them in another order do the numbers say it, by which layer was made first.
    """
    numbers = [_number(layer) for layer in layers]
    numbered = all(number is not None for number, layer in zip(numbers, layers, strict=True) if layer.kind in SUFFIXES)
    known = numbered and not all(layer.in_order for layer in layers)
    units = creation_order() if known else topological_order()
    order = sorted(range(len(layers)), key=lambda i: (numbers[i] or 0) if known else i)
    places = {kind: iter([f"{unit}_{suffix}" for unit in units]) for kind, suffix in SUFFIXES.items()}
    labels = {}
    for i in order:
        layer = layers[i]
        surplus = f"{layer.name or 'layer'} ({layer.kind}, number {i + 1} in the file)"
        labels[i] = _label(layer, next(places.get(layer.kind, iter(())), surplus))
    return [labels[i] for i in range(len(layers))]


def _number(layer: SourceLayer) -> int | None:
    """Return the number that Keras put behind a layer's name; the first of its kind has none."""
    match = re.fullmatch(r"(conv2d|batch_normalization)(?:_(\d+))?", layer.name)
    return match and int(match[2] or 0)


def _label(layer: SourceLayer, label: str) -> str:
    """Call the classifier by one name; the official files say probs, fc1000 or predictions."""
    return TOP if layer.kind == DENSE else label


def recognise(model: SourceModel) -> str | None:
    """Return which of the networks a model is, by how many layers it has; it may have some at its end besides."""
    for name, (convolutions, norms) in LAYER_COUNTS.items():
        if model.count(CONVOLUTION) == convolutions and model.count(NORM) >= norms:
            return name
    return None


def find_backbone(name: str, models: Sequence[SourceModel], where: object) -> SourceModel:
    """Return the model that is the network; if none is, the one that comes nearest.

    Raises:
        UserError: there are several.
    """
    found = [model for model in models if recognise(model) == name]
    if len(found) > 1:
        raise UserError(f"{where}: expected one {name}, got {len(found)}; save the one that is meant alone.")
    return found[0] if found else max(models, key=lambda model: model.count(CONVOLUTION))


KEY_MAPS: dict[str, KeyMap] = {
    "resnet50": by_name,
    "inceptionv3": inception_by_position,
    "densenet201": by_name,
}
