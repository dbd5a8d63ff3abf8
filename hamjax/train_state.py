"""Everything a training step changes."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np


@flax.struct.dataclass
class TrainState:
    """A pytree of arrays; `params` and `batch_stats` are plain nested dictionaries.

    Attributes:
        step: [] int32, optimizer steps taken.
        params: trained by gradients.
        batch_stats: running statistics of BatchNorm; empty for the CNN.
        opt_state: of optax.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any

    def is_finite(self) -> bool:
        """Say whether no parameter is NaN or infinite; this waits for the device.

        Looked at where a state is saved. A norm of the gradients in every step would tell as much,
        and cost DenseNet201 a quarter more kernels to compile and launch.
        """
        return all(bool(np.isfinite(leaf).all()) for leaf in jax.device_get(jax.tree.leaves(self.params)))


def create_train_state(variables: dict[str, Any], tx: Any) -> TrainState:
    """Start at step 0 from a network's variables and an optax transformation."""
    params = jax.tree.map(jnp.asarray, variables["params"])
    return TrainState(
        step=jnp.zeros([], jnp.int32),
        params=params,
        batch_stats=jax.tree.map(jnp.asarray, variables["batch_stats"]),
        opt_state=tx.init(params),
    )
