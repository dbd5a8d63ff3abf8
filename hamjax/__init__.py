"""hamjax trains and judges skin-lesion classifiers on HAM10000, in JAX and Flax."""

from importlib import metadata

from hamjax.config import Config
from hamjax.evaluate import evaluate, evaluate_external
from hamjax.models import create_model, init_variables
from hamjax.pretrained import load_pretrained
from hamjax.recipes import make_config
from hamjax.train import train

__version__ = metadata.version("hamjax")
__all__ = [
    "Config",
    "create_model",
    "evaluate",
    "evaluate_external",
    "init_variables",
    "load_pretrained",
    "make_config",
    "train",
]
