"""The training step, and its compilation: several steps in one dispatch."""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from hamjax.models.preprocessing import scale_images
from hamjax.training.losses import Loss
from hamjax.training.state import TrainState, average

Array = jax.Array
Batch = dict[str, Array]
MIXING = 1  # folded into a step's key: a stream apart from dropout's


@flax.struct.dataclass
class StepSettings:
    """The values that a compiled step takes as arguments.

    A value that is compiled into the step makes it another program. As arguments, they let every seed, strategy and
    fold of a network share one.

    Attributes:
        learning_rate: [] float.
        seed: [] uint32, of dropout and mixing.
        class_weights: [K] float32; those of no weighting by default, for HAM10000's seven classes.
        log_prior: [K] float32, see `hamjax.data.sampling.log_prior`; only logit adjustment reads it.
    """

    learning_rate: Any
    seed: Any = flax.struct.field(default_factory=lambda: np.uint32(0))
    class_weights: Any = flax.struct.field(default_factory=lambda: np.ones(7, np.float32))
    log_prior: Any = flax.struct.field(default_factory=lambda: np.zeros(7, np.float32))


# The metrics are a `clu.metrics.Collection`, or anything with its `single_from_model_output` and `merge`. Their class
# comes with the value, so this module does not need clu.
TrainStep = Callable[[TrainState, Any, Batch, StepSettings], tuple[TrainState, Any]]


def make_train_step(
    model: Any,
    tx: optax.GradientTransformation,
    *,
    loss: Loss,
    input_scale: str,
    trainable: Any = None,
    mix: Callable[[Array, Array, Array], tuple[Array, Array]] | None = None,
    ema_decay: float = 0.0,
) -> TrainStep:
    """Make one optimizer step: a pure function, whose dropout and mixing depend on the seed and the step alone.

    Args:
        model: a Flax module.
        tx: of optax, for a learning rate of 1.
        loss: of logits and targets.
        input_scale: see `scale_images`.
        trainable: a tree like the parameters, false for those to leave as they are; by default all are trained.
        mix: `(key, image, targets [B, K]) -> (image, targets)`, see `hamjax.training.mixing`; the label that counts
            for the accuracy is then the larger part's.
        ema_decay: of the averages of a state that keeps them, see `hamjax.training.state.average`.

    Returns:
        `(state, metrics, batch, settings) -> (state, metrics)` for a batch of
        image [B, S, S, 3] uint8 and label [B]; the metrics are added to.
    """

    def train_step(state: TrainState, metrics: Any, batch: Batch, settings: StepSettings) -> tuple[TrainState, Any]:
        rng = jax.random.fold_in(jax.random.key(settings.seed), state.step)
        image, targets = batch["image"], batch["label"]
        if mix is not None:
            shares = jax.nn.one_hot(targets, model.num_classes, dtype=jnp.promote_types(model.dtype, jnp.float32))
            image, targets = mix(jax.random.fold_in(rng, MIXING), image, shares)
        images = scale_images(image, input_scale, model.dtype)
        trained = jax.tree.map(lambda _: True, state.params) if trainable is None else trainable

        def loss_fn(params: Any) -> tuple[Array, tuple[Array, Any]]:
            # A zero gradient leaves moments as they are, and XLA drops the backward pass that nothing needs.
            params = jax.tree.map(lambda p, moves: p if moves else lax.stop_gradient(p), params, trained)
            logits, updated = model.apply(
                {"params": params, "batch_stats": state.batch_stats},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": rng},
            )
            value = loss(logits, targets, settings.class_weights, settings.log_prior)
            return value, (logits, updated.get("batch_stats", {}))

        (value, (logits, batch_stats)), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = _moved(state.params, updates, trained, settings.learning_rate)
        labels = batch["label"] if mix is None else targets.argmax(axis=1).astype(batch["label"].dtype)
        ema = {}
        if state.ema:
            ema = average(state.ema, {"params": params, "batch_stats": batch_stats}, state.step + 1, ema_decay)
        counted = _counted(metrics, value, logits, labels)
        return TrainState(state.step + 1, params, batch_stats, opt_state, ema), counted

    return train_step


def _moved(params: Any, updates: Any, trained: Any, learning_rate: Array) -> Any:
    """Return the parameters after a step; weight decay would move what has no gradient, so that is left out."""
    return jax.tree.map(
        lambda p, u, moves: p - learning_rate.astype(p.dtype) * u if moves else p, params, updates, trained
    )


def _counted(metrics: Any, loss: Array, logits: Array, labels: Array) -> Any:
    """Return the metrics with a step added to them."""
    new = metrics.single_from_model_output(loss=loss.astype(jnp.float32), logits=logits, labels=labels)
    # clu counts in int64 where that is on; a scan's carry must keep its types.
    return jax.tree.map(lambda a, b: b.astype(a.dtype), metrics, metrics.merge(new))


def compile_train_step(
    train_step: TrainStep,
    *,
    unroll: bool,
    read: Callable[..., Batch] | None = None,
    compiler_options: dict[str, str] | None = None,
) -> Callable[..., tuple[TrainState, Any]]:
    """Compile K steps into one dispatch, for batches stacked along a new first axis.

    Args:
        train_step: from `make_train_step`.
        read: for images that live on the device: makes a batch of them and one of rows.
        compiler_options: of XLA.
        unroll: lay the steps out one after another. XLA's CPU backend leaves its fast
            convolutions inside a loop, and is then some 20 times slower.

    Returns:
        A function like `train_step` that donates state and metrics; with `read` it takes the
        images as one more argument.
    """

    def dispatch(
        state: TrainState, metrics: Any, batches: Batch, settings: StepSettings, images: Array | None = None
    ) -> tuple[TrainState, Any]:
        def body(carry: tuple[TrainState, Any], batch: Batch) -> tuple[Any, None]:
            whole = batch if read is None else read(images, batch)
            return train_step(*carry, whole, settings), None

        count = len(batches["label"])
        if count == 1:
            return body((state, metrics), jax.tree.map(lambda x: x[0], batches))[0]
        return lax.scan(body, (state, metrics), batches, unroll=count if unroll else 1)[0]

    return jax.jit(dispatch, donate_argnums=(0, 1), compiler_options=compiler_options)
