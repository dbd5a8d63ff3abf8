"""The networks as the paper's Tables 2 and 3 show them: layers, output shapes, parameters."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from hamjax.models.initialization import count_parameters, init_variables
from hamjax.models.registry import MODEL_SPECS, create_model
from hamjax.report.terminal import table

IMAGE_SIZE = 224
TITLES = {"cnn": "CNN", "resnet50": "ResNet50", "inceptionv3": "InceptionV3", "densenet201": "DenseNet201"}
# What each row shows: the paper's name, the stage whose shape it has, where its parameters are.
CNN_ROWS = (
    ("Convolution", "conv1", "conv1"),
    ("Convolution", "conv2", "conv2"),
    ("Max_Pooling", "pool1", ""),
    ("Dropout(0.25)", "pool1", ""),
    ("Convolution", "conv3", "conv3"),
    ("Convolution", "conv4", "conv4"),
    ("Max_Pooling", "pool2", ""),
    ("Dropout(0.4)", "pool2", ""),
    ("Flatten", "flat", ""),
    ("Dense", "pooled", "dense"),
    ("Dropout(0.5)", "pooled", ""),
    ("Dense", "logits", "predictions"),
)
TRANSFER_ROWS = (
    ("", "pooled", "backbone"),
    ("Flatten", "pooled", ""),
    ("Dense", "dense", "head/dense"),
    ("Dropout(0.5)", "dense", ""),
    ("BatchNormalization", "dense", "head/bn"),
    ("Dense", "logits", "head/predictions"),
)
# The paper's counts: Table 2, Table 3 (which it gives for ResNet50 alone), and its text.
PAPER_ROWS = {
    "cnn": (896, 9248, 0, 0, 18496, 36928, 0, 0, 0, 25690240, 0, 903),
    "resnet50": (23587712, 0, 2098176, 0, 4096, 7175),
}
PAPER_TOTALS = {"cnn": 25_756_711, "resnet50": 25_697_159, "inceptionv3": 23_875_751, "densenet201": 20_300_359}


def describe_networks() -> str:
    """Lay out every network's table and one of the totals."""
    blocks, totals = [], []
    for name, title in TITLES.items():
        variables = init_variables(create_model(name), image_size=IMAGE_SIZE, seed=0)
        rows = _rows(name, variables)
        paper = PAPER_ROWS.get(name)
        header = [title, "output shape", "parameters"]
        if paper:
            header.append("paper's")
            rows = [[*row, f"{count:,}"] for row, count in zip(rows, paper, strict=True)]
        blocks.append(table(header, rows))
        counts = [count_parameters(variables), count_parameters(variables["params"]), PAPER_TOTALS[name]]
        totals.append([title, *(f"{count:,}" for count in counts)])
    blocks.append(table(["all", "total", "trainable", "paper's total"], totals))
    blocks.append("The paper's total for InceptionV3 is the count of its trainable parameters.")
    return "\n\n".join(blocks)


def _rows(name: str, variables: Mapping[str, Any]) -> list[list[object]]:
    rows = CNN_ROWS if name == "cnn" else TRANSFER_ROWS
    shapes = _shapes(name, variables)
    return [
        [label or TITLES[name], _format(shapes[stage]), f"{_count(variables, where):,}"] for label, stage, where in rows
    ]


def _shapes(name: str, variables: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the output shape of every stage for one image, without computing anything."""
    model = create_model(name)
    image = jax.ShapeDtypeStruct((1, IMAGE_SIZE, IMAGE_SIZE, 3), np.float32)
    logits, stages = jax.eval_shape(lambda v, x: model.apply(v, x, stages=True), variables, image)
    shapes = {stage: value.shape[1:] for stage, value in stages.items()} | {"logits": logits.shape[1:]}
    # Two rows of the paper's tables that are no stages of ours.
    if MODEL_SPECS[name].pretrained:
        shapes["dense"] = variables["params"]["head"]["dense"]["bias"].shape
    else:
        shapes["flat"] = (int(np.prod(shapes["pool2"])),)
    return shapes


def _count(variables: Mapping[str, Any], where: str) -> int:
    """Count the numbers under a path such as `head/bn`, the running statistics included."""
    count = 0
    for tree in variables.values():
        for part in where.split("/"):
            tree = tree.get(part, {})
        count += count_parameters(tree)
    return count


def _format(shape: tuple[int, ...]) -> str:
    return str(shape[0]) if len(shape) == 1 else str(shape)
