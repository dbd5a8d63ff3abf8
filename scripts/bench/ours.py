"""hamjax's own step, as the training loop compiles it, on one held batch."""

import time
from typing import Any, Self

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from hamjax.evaluation.eval_step import make_eval_step
from hamjax.models.registry import create_model
from hamjax.runtime.compiler import compiler_options as chosen_options
from hamjax.runtime.devices import make_mesh, put_batch, put_replicated, split_batch
from hamjax.training.losses import Loss
from hamjax.training.optimizers import make_optimizer
from hamjax.training.state import create_train_state
from hamjax.training.step import StepSettings, compile_train_step, make_train_step

MEMORY = 32  # steps whose losses are remembered: as many as a dispatch has at most here


@flax.struct.dataclass
class RecentLosses:
    """The losses of the last steps, oldest first: what a step counts here in place of clu's averages.

    Single losses can so be read from a dispatch of many steps; and clu need not be there.
    """

    losses: jax.Array

    @classmethod
    def empty(cls) -> Self:
        """Start with none."""
        return cls(jnp.zeros(MEMORY, jnp.float32))

    @classmethod
    def single_from_model_output(cls, *, loss: jax.Array, logits: jax.Array, labels: jax.Array) -> Self:
        """Take a step's loss."""
        del logits, labels
        return cls(jnp.full(MEMORY, loss, jnp.float32))

    def merge(self, other: Self) -> Self:
        """Append the newest loss of another."""
        return self.replace(losses=jnp.append(self.losses[1:], other.losses[-1]))  # pyright: ignore


class Ours:
    """State, compiled step, and the batch it is timed on.

    Args:
        name: of the network.
        variables: to start from.
        batch: image [B, S, S, 3] uint8 and label [B].
        optimizer: its name.
        learning_rate: constant.
        dtype: to compute in.
        steps_per_dispatch: K.
        compiler_options: of XLA; by default those that training uses.
        trainable: a tree like the parameters, false for those that get no gradient.

    Attributes:
        mesh: of one device.
        dtype: as given.
    """

    def __init__(
        self,
        name: str,
        variables: dict[str, Any],
        batch: dict[str, np.ndarray],
        *,
        optimizer: str,
        learning_rate: float,
        dtype: str,
        steps_per_dispatch: int = 1,
        compiler_options: dict[str, str] | None = None,
        trainable: Any = None,
    ) -> None:
        model, tx = create_model(name, compute_dtype=dtype, dropout=False), make_optimizer(optimizer)
        step = make_train_step(model, tx, loss=Loss(), input_scale="unit", trainable=trainable)
        # Placed as the training loop places them: its program is then the same one, and comes from the same cache.
        self.mesh = make_mesh(jax.devices()[:1])
        state, metrics = create_train_state(variables, tx), RecentLosses.empty()
        self._state, self._metrics = put_replicated((state, metrics), self.mesh)
        self._per_dispatch, self.dtype = steps_per_dispatch, dtype
        self.set_rate(learning_rate)
        self._batch = put_batch(batch, split_batch(self.mesh))
        stacked = {key: np.stack([value] * steps_per_dispatch) for key, value in batch.items()}
        self._stacked = put_batch(stacked, split_batch(self.mesh, axis=1))
        options = chosen_options(name) if compiler_options is None else compiler_options
        self._eval_step = make_eval_step(model, "unit", compiler_options=options)
        dispatch: Any = compile_train_step(step, unroll=jax.default_backend() == "cpu", compiler_options=options)
        self._dispatch = dispatch.lower(self._state, self._metrics, self._stacked, self._settings).compile()

    def set_rate(self, learning_rate: float) -> None:
        """Take the next steps at another rate, without compiling anything."""
        dtype = np.float64 if jax.config.read("jax_enable_x64") else np.float32
        self._settings = put_replicated(StepSettings(np.asarray(learning_rate, dtype)), self.mesh)

    @property
    def state(self) -> Any:
        """The state after the last step."""
        return self._state

    def losses(self, steps: int) -> list[float]:
        """Take steps, whole dispatches of them; return the losses of the first ones."""
        losses: list[float] = []
        while len(losses) < steps:
            self._advance()
            losses += np.asarray(self._metrics.losses)[-self._per_dispatch :].tolist()
        return losses[:steps]

    def train(self, steps: int) -> None:
        """Take steps, as many a dispatch as the loop does."""
        assert steps % self._per_dispatch == 0
        for _ in range(steps // self._per_dispatch):
            self._advance()
        jax.block_until_ready(self._state)

    def predict(self, passes: int) -> None:
        """Pass the batch forward."""
        arguments = (self._state.params, self._state.batch_stats, self._batch["image"])
        jax.block_until_ready([self._eval_step(*arguments) for _ in range(passes)])

    def host_seconds(self) -> float:
        """Return the time until the call of a step is back; on a CPU of one device that is when the step is done."""
        self.train(self._per_dispatch)
        start = time.perf_counter()
        self._advance()
        spent = time.perf_counter() - start
        jax.block_until_ready(self._state)
        return spent / self._per_dispatch

    def forward_flops(self) -> float:
        """Count the floating point operations of a forward pass, before anything is fused."""
        arguments = jax.device_get((self._state.params, self._state.batch_stats, self._batch["image"]))
        # Lowered for the CPU: of a program for a GPU, JAX (0.11) counts nothing before it is compiled.
        with jax.default_device(jax.devices("cpu")[0]):
            function: Any = self._eval_step
            return _cost(jax.jit(function.__wrapped__).lower(*arguments))["flops"]

    def compiled_facts(self) -> dict[str, float]:
        """Return what XLA says of the compiled step: bytes it touches, bytes it needs."""
        memory = self._dispatch.memory_analysis()
        needed = memory.argument_size_in_bytes + memory.temp_size_in_bytes
        facts = {"bytes_accessed": _cost(self._dispatch)["bytes accessed"], "planned_memory_bytes": needed}
        peak = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
        return facts if peak is None else facts | {"peak_memory_bytes": peak}

    def dispatch(self, state: Any, metrics: Any, batches: Any) -> tuple[Any, Any]:
        """Call the compiled steps on another state and other batches of the same shapes."""
        return self._dispatch(state, metrics, batches, self._settings)

    def _advance(self) -> None:
        self._state, self._metrics = self._dispatch(self._state, self._metrics, self._stacked, self._settings)


def _cost(stage: Any) -> dict[str, float]:
    costs = stage.cost_analysis()
    return costs[0] if isinstance(costs, list) else costs
