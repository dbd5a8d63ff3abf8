"""A network with the weights of a Keras file."""

from pathlib import Path
from typing import Any

from hamjax import load_pretrained
from hamjax.models.initialization import init_variables
from hamjax.models.registry import create_model


def load_network(name: str, path: Path, head: str = "paper") -> tuple[Any, Any]:
    model = create_model(name, head=head)
    return model, load_pretrained(name, init_variables(model, image_size=96, seed=0), path)
