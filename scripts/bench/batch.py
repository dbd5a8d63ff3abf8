"""The batch that steps are timed on: drawn, and the same on every machine."""

import numpy as np


def draw_batch(batch_size: int, image_size: int) -> dict[str, np.ndarray]:
    """Return image [B, S, S, 3] uint8 and label [B] int32."""
    rng = np.random.default_rng(0)
    shape = (batch_size, image_size, image_size, 3)
    return {
        "image": rng.integers(0, 256, shape, dtype=np.uint8),
        "label": rng.integers(0, 7, batch_size).astype(np.int32),
    }
