"""A few minutes on a laptop: drawn images, the CNN, S2.

Run: python -m hamjax.main --config configs/quickstart.py
"""

from hamjax.config import Config
from hamjax.recipes import make_config


def get_config() -> Config:
    return make_config(
        model="cnn",
        strategy="s2",
        data__name="synthetic",
        data__image_size=32,
        data__split="honest",
        sampling__threshold=450,
        model__dropout=False,  # without it four short epochs scored higher here
        train__epochs=4,
    )
