"""The two jitted functions: one changes the state, one gives logits."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from hamjax.losses import weighted_cross_entropy
from hamjax.metrics import TrainMetrics
from hamjax.train_state import TrainState

Array = jax.Array
Batch = dict[str, Array]
TrainStep = Callable[[TrainState, TrainMetrics, Batch, Array], tuple[TrainState, TrainMetrics]]

# The published normalisation of ImageNet for weights of PyTorch's origin, which
# DenseNet201's are (keras/src/applications/imagenet_utils.py, mode "torch").
TORCH_MEAN, TORCH_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def scale_images(image: Array, input_scale: str, dtype: Any) -> Array:
    """Turn uint8 pixels into what the network was made for.

    `unit` divides by 255 (paper, 4.2); `native` is DenseNet201's own preprocessing.
    """
    x = image.astype(jnp.promote_types(dtype, jnp.float32)) / 255
    if input_scale == "native":
        x = (x - jnp.array(TORCH_MEAN, x.dtype)) / jnp.array(TORCH_STD, x.dtype)
    return x.astype(dtype)


def make_train_step(
    model: Any,
    tx: optax.GradientTransformation,
    *,
    class_weights: Array,
    normalize: str,
    input_scale: str,
    seed: int,
) -> TrainStep:
    """Make one optimizer step, a pure function of its arguments.

    The random stream of dropout depends on `seed` and the step alone.

    Returns:
        `(state, metrics, batch, learning_rate) -> (state, metrics)` for a batch of
        image [B, S, S, 3] uint8 and label [B]; the metrics are added to.
    """

    def train_step(
        state: TrainState, metrics: TrainMetrics, batch: Batch, learning_rate: Array
    ) -> tuple[TrainState, TrainMetrics]:
        rng = jax.random.fold_in(jax.random.key(seed), state.step)
        images = scale_images(batch["image"], input_scale, model.dtype)

        def loss_fn(params: Any) -> tuple[Array, tuple[Array, Any]]:
            logits, updated = model.apply(
                {"params": params, "batch_stats": state.batch_stats},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": rng},
            )
            loss = weighted_cross_entropy(logits, batch["label"], class_weights, normalize=normalize)
            return loss, (logits, updated.get("batch_stats", {}))

        (loss, (logits, batch_stats)), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = jax.tree.map(lambda p, u: p - learning_rate.astype(p.dtype) * u, state.params, updates)
        new = TrainMetrics.single_from_model_output(
            loss=loss.astype(jnp.float32),
            logits=logits,
            labels=batch["label"],
            grad_norm=optax.tree.norm(grads).astype(jnp.float32),
        )
        # clu counts in int64 where that is on; a scan's carry must keep its types.
        merged = jax.tree.map(lambda a, b: b.astype(a.dtype), metrics, metrics.merge(new))
        return TrainState(state.step + 1, params, batch_stats, opt_state), merged

    return train_step


def compile_train_step(train_step: TrainStep, *, unroll: bool) -> TrainStep:
    """Compile K steps into one dispatch, for batches stacked along a new first axis.

    Args:
        train_step: from `make_train_step`.
        unroll: lay the steps out one after another. XLA's CPU backend leaves its fast
            convolutions inside a loop, and is then some 20 times slower.

    Returns:
        A function like `train_step` that donates state and metrics.
    """

    def dispatch(
        state: TrainState, metrics: TrainMetrics, batches: Batch, learning_rate: Array
    ) -> tuple[TrainState, TrainMetrics]:
        def body(carry: tuple[TrainState, TrainMetrics], batch: Batch) -> tuple[Any, None]:
            return train_step(*carry, batch, learning_rate), None

        count = len(batches["label"])
        if count == 1:
            return body((state, metrics), jax.tree.map(lambda x: x[0], batches))[0]
        return jax.lax.scan(body, (state, metrics), batches, unroll=count if unroll else 1)[0]

    return jax.jit(dispatch, donate_argnums=(0, 1))


def make_eval_step(model: Any, input_scale: str) -> Callable[[Any, Any, Array], Array]:
    """Make the compiled `(params, batch_stats, image) -> logits [B, K]`."""

    @jax.jit
    def eval_step(params: Any, batch_stats: Any, image: Array) -> Array:
        images = scale_images(image, input_scale, model.dtype)
        return model.apply({"params": params, "batch_stats": batch_stats}, images, train=False)

    return eval_step
