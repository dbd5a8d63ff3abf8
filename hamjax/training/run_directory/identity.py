"""What a checkpoint is recognised by, so that no run goes on from that of another."""

from typing import Any

from hamjax.config import Config


def run_identity(config: Config, data_fingerprint: str, split_fingerprint: str) -> dict[str, Any]:
    """Return what a checkpoint of a run is recognised by."""
    return {
        "model": config.model.name,
        "strategy": str(config.sampling.strategy),
        "image_size": config.data.image_size,
        "seed": config.train.seed,
        "data": data_fingerprint[:16],
        "split": split_fingerprint[:16],
    }
