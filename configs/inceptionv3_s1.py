"""InceptionV3, strategy S1.

Run: python -m hamjax.main --config configs/inceptionv3_s1.py
"""

from hamjax.config import Config
from hamjax.recipes import make_config


def get_config() -> Config:
    return make_config(model="inceptionv3", strategy="s1")
