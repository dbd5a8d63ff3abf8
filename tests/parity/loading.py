"""A network with the weights of a Keras file."""

from pathlib import Path
from typing import Any

from hamjax import load_pretrained
from hamjax.models.registry import create_model
from tests.helpers.blank import blank


def load_network(name: str, path: Path, head: str = "paper") -> tuple[Any, Any]:
    return create_model(name, head=head), load_pretrained(name, blank(name, head=head), path)
