"""CNN, square-root class weights, the improved recipe (`hamjax.recipes.IMPROVED`).

Run: python -m hamjax.main --config configs/cnn_improved.py
"""

from hamjax.config import Config
from hamjax.recipes import make_config


def get_config() -> Config:
    return make_config(model="cnn", strategy="s4", recipe="improved")
