"""The identity of a run, kept in its checkpoints, so that no run resumes from the checkpoint of another."""

from typing import Any

from hamjax.config import Config


def run_identity(config: Config, data_fingerprint: str, split_fingerprint: str) -> dict[str, Any]:
    """Return the values that a checkpoint of a run must hold."""
    return {
        "model": config.model.name,
        "strategy": str(config.sampling.strategy),
        "image_size": config.data.image_size,
        "seed": config.train.seed,
        "data": data_fingerprint[:16],
        "split": split_fingerprint[:16],
    }
