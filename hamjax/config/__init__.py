"""The configuration of a run. Imports no jax, so that it can be read, checked and explained in an instant."""

from hamjax.config.recipes import make_config
from hamjax.config.schema import KEYS, Config, Strategy
from hamjax.config.validation import validate

__all__ = ["KEYS", "Config", "Strategy", "make_config", "validate"]
