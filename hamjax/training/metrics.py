"""The metrics of a training step: sums on the device, fetched once a window."""

import flax.struct
import jax
import jax.numpy as jnp
from clu import metrics as clu_metrics


@flax.struct.dataclass
class TrainMetrics(clu_metrics.Collection):
    """Loss and accuracy, averaged on the device over a window of steps."""

    loss: clu_metrics.Average.from_output("loss")  # pyright: ignore[reportInvalidTypeForm]
    accuracy: clu_metrics.Accuracy


def compute(metrics: TrainMetrics) -> dict[str, float]:
    """Fetch the averages of a window; this waits for the device."""
    # One fetch for all values: each would wait for the device by itself.
    return {name: float(value) for name, value in jax.device_get(metrics).compute().items()}


def empty_metrics() -> TrainMetrics:
    """Start a window."""
    # Arrays, not clu's Python numbers: those would make the first step of a window another program.
    return jax.tree.map(jnp.asarray, TrainMetrics.empty())
