"""CNN, strategy S4.

Run: python -m hamjax.main --config configs/cnn_s4.py
"""

from hamjax.config import Config
from hamjax.recipes import make_config


def get_config() -> Config:
    return make_config(model="cnn", strategy="s4")
