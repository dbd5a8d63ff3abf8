"""CNN, strategy S5.

Run: python -m hamjax.main --config configs/cnn_s5.py
"""

from hamjax.config import Config
from hamjax.recipes import make_config


def get_config() -> Config:
    return make_config(model="cnn", strategy="s5")
