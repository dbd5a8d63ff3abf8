"""hamjax's own step, as the training loop compiles it, on one held batch."""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hamjax.compiler import compiler_options as chosen_options
from hamjax.losses import Loss
from hamjax.metrics.training import compute, empty_metrics
from hamjax.models import create_model
from hamjax.optim import make_optimizer
from hamjax.train_state import create_train_state
from hamjax.train_step import StepSettings, compile_train_step, make_eval_step, make_train_step


class Ours:
    """State, compiled step, and the batch it is timed on."""

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
    ) -> None:
        model, tx = create_model(name, compute_dtype=dtype, dropout=False), make_optimizer(optimizer)
        step = make_train_step(model, tx, loss=Loss(), input_scale="unit")
        self._state, self._metrics = create_train_state(variables, tx), empty_metrics()
        self._settings, self._per_dispatch = StepSettings(jnp.asarray(learning_rate)), steps_per_dispatch
        self._batch = jax.device_put(batch)
        self._stacked = {k: jnp.stack([v] * steps_per_dispatch) for k, v in self._batch.items()}
        self._eval_step = make_eval_step(model, "unit")
        options = chosen_options(name) if compiler_options is None else compiler_options
        dispatch: Any = compile_train_step(step, unroll=jax.default_backend() == "cpu", compiler_options=options)
        self._dispatch = dispatch.lower(self._state, self._metrics, self._stacked, self._settings).compile()

    def losses(self, steps: int) -> list[float]:
        """Take steps; return each one's loss. Metrics are per dispatch, so it must be one step."""
        assert self._per_dispatch == 1
        losses = []
        for _ in range(steps):
            self._state, metrics = self._dispatch(self._state, empty_metrics(), self._stacked, self._settings)
            losses.append(compute(metrics)["loss"])
        return losses

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
        """Return the time the host spends on a step: until the call is back, not until it is done."""
        self.train(self._per_dispatch)
        start = time.perf_counter()
        self._advance()
        spent = time.perf_counter() - start
        jax.block_until_ready(self._state)
        return spent / self._per_dispatch

    def forward_flops(self) -> float:
        """Count the floating point operations of a forward pass, before anything is fused."""
        arguments = (self._state.params, self._state.batch_stats, self._batch["image"])
        return _cost(self._eval_step.lower(*arguments))["flops"]  # pyright: ignore[reportFunctionMemberAccess]

    def compiled_facts(self) -> dict[str, float]:
        """Return what XLA says of the compiled step: bytes it touches, bytes it needs."""
        memory = self._dispatch.memory_analysis()
        needed = memory.argument_size_in_bytes + memory.temp_size_in_bytes
        facts = {"bytes_accessed": _cost(self._dispatch)["bytes accessed"], "planned_memory_bytes": needed}
        peak = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
        return facts if peak is None else facts | {"peak_memory_bytes": peak}

    def _advance(self) -> None:
        self._state, self._metrics = self._dispatch(self._state, self._metrics, self._stacked, self._settings)


def _cost(stage: Any) -> dict[str, float]:
    costs = stage.cost_analysis()
    return costs[0] if isinstance(costs, list) else costs
