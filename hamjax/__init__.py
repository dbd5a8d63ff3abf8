"""hamjax trains and evaluates skin-lesion classifiers on HAM10000, in JAX and Flax."""

import importlib
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hamjax.commands.training_run import train
    from hamjax.config import Config, make_config
    from hamjax.evaluation.evaluate import evaluate, evaluate_external
    from hamjax.evaluation.predict import predict
    from hamjax.exports.export import export
    from hamjax.models.initialization import init_variables
    from hamjax.models.pretrained import load_pretrained
    from hamjax.models.registry import create_model

try:
    __version__ = metadata.version("hamjax")
except metadata.PackageNotFoundError:  # run from a clone, as on a machine where nothing can be installed
    __version__ = "unknown"
__all__ = [
    "Config",
    "create_model",
    "evaluate",
    "evaluate_external",
    "export",
    "init_variables",
    "load_pretrained",
    "make_config",
    "predict",
    "train",
]

# Loaded when first asked for: who only wants a network, as a benchmark on a machine with no more than JAX
# does, needs neither grain nor TFDS nor OpenCV nor orbax.
_HOMES = {
    "Config": "hamjax.config",
    "create_model": "hamjax.models.registry",
    "evaluate": "hamjax.evaluation.evaluate",
    "evaluate_external": "hamjax.evaluation.evaluate",
    "export": "hamjax.exports.export",
    "init_variables": "hamjax.models.initialization",
    "load_pretrained": "hamjax.models.pretrained",
    "make_config": "hamjax.config",
    "predict": "hamjax.evaluation.predict",
    "train": "hamjax.commands.training_run",
}


def __getattr__(name: str) -> Any:
    """Return a public name, importing its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
