"""ONNX, by jax2onnx; run by onnxruntime."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np

from hamjax.exports.libraries import load_library
from hamjax.exports.network import INPUT, OUTPUT, TrainedNetwork


def write(network: TrainedNetwork, path: Path) -> None:
    """Write the network with a free batch dimension; the facts are its `metadata_props`."""
    size, names = network.image_size, {"input_names": [INPUT], "output_names": [OUTPUT]}
    images = jax.ShapeDtypeStruct(("N", size, size, 3), np.uint8)  # pyright: ignore[reportArgumentType]
    with _quiet():
        jax2onnx, onnx = load_library("jax2onnx"), load_library("onnx")
        model = jax2onnx.to_onnx(network.forward(), [images], model_name=network.config.model.name, **names)
    onnx.helper.set_model_props(model, network.facts_as_text())
    onnx.save(model, path)


def run(path: Path, images: np.ndarray, network: TrainedNetwork) -> np.ndarray:
    """Return the probabilities that onnxruntime computes."""
    del network  # the file says all
    runtime = load_library("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run([OUTPUT], {INPUT: images})[0]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what jax2onnx says of operations that a newer JAX has moved, and of types that its file does without.

    Neither says anything of the networks here, and what is written is compared with the run.
    """
    loggers = [logging.getLogger(name) for name in ("jax2onnx", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
