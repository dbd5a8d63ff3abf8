"""The training state: everything that a step changes."""

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
        ema: exponential averages of `params` and `batch_stats`, under these names; empty if
            none are kept.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    ema: Any = flax.struct.field(default_factory=dict)

    @property
    def eval_variables(self) -> dict[str, Any]:
        """The `params` and `batch_stats` to evaluate and explain: the averages, where they are kept."""
        return {"params": self.params, "batch_stats": self.batch_stats} | self.ema

    def is_finite(self) -> bool:
        """Return whether no parameter is NaN or infinite; this waits for the device.

        Looked at where a state is saved. A norm of the gradients in every step would tell as much,
        and cost DenseNet201 a quarter more kernels to compile and launch.
        """
        return bool(_all_finite(jax.tree.leaves(self.params)))


@jax.jit
def _all_finite(leaves: list[jax.Array]) -> jax.Array:
    # Joined first: a reduction for each of DenseNet201's 608 arrays takes 5 s to compile, the joined one 0.4 s.
    return jnp.isfinite(jnp.concatenate([leaf.ravel() for leaf in leaves])).all()


def create_train_state(variables: dict[str, Any], tx: Any, *, ema: bool = False) -> TrainState:
    """Return the state at step 0 of a network's variables and an optax transformation.

    Args:
        variables: `params` and `batch_stats`.
        tx: of optax, of a state that starts at zero.
        ema: keep averages of the variables, from these values on.
    """
    kept = {name: variables[name] for name in ("params", "batch_stats")}
    # The states of our optimizers start at zero. To run `tx.init` would compile a program for every shape.
    shapes = jax.eval_shape(tx.init, kept["params"])
    return jax.device_put(
        TrainState(
            step=np.zeros([], np.int32),  # pyright: ignore[reportArgumentType]  not yet on a device
            **kept,
            opt_state=jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes),
            # Copies: a step is given its state's memory, and cannot be given the same twice.
            ema=jax.tree.map(np.array, kept) if ema else {},
        )
    )


def average(ema: Any, variables: Any, steps: jax.Array, decay: float) -> Any:
    """Move averages e towards variables x after n steps: e + (1 - d) (x - e), d = min(decay, (1 + n) / (10 + n)).

    The early, shorter memory is that of TensorFlow's ExponentialMovingAverage: it forgets the
    initial values. BatchNorm's statistics are averaged like the weights: those of the latest
    weights belong to a network that is nowhere evaluated. In this form, a difference, what is
    frozen stays as it is to the bit.
    """
    n = steps.astype(jnp.float32)
    pace = 1 - jnp.minimum(decay, (1 + n) / (10 + n))
    return jax.tree.map(lambda e, x: e + pace.astype(e.dtype) * (x - e), ema, variables)
