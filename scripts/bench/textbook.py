"""The same four networks and the same step as a textbook Flax port has them.

`nn.Conv`, `nn.BatchNorm` (each layer takes its own statistics), concatenation, pooling by
reduce-window, one jitted step. Layers carry hamjax's names, so the variables are interchangeable.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from hamjax.models.inception import AVERAGE, BLOCKS, MAX, Unit, unit_names
from hamjax.training.optimizers import make_optimizer

Array = jax.Array
Variables = dict[str, Any]
ONE_AROUND: Any = ((1, 1), (1, 1))  # flax's type for a padding leaves this out


class CNN(nn.Module):
    """Table 2 of the paper."""

    dtype: Any

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Classify images [B, S, S, 3]."""
        del train  # dropout is off in comparisons
        for i, features in enumerate((32, 64)):
            for j in (1, 2):
                x = nn.relu(nn.Conv(features, (3, 3), dtype=self.dtype, name=f"conv{2 * i + j}")(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = nn.relu(nn.Dense(128, dtype=self.dtype, name="dense")(x.reshape(len(x), -1)))
        return nn.Dense(7, name="predictions")(_wide(x))


class ResNet50(nn.Module):
    """Keras's ResNet50 below its pooling."""

    conv: Any
    norm: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map images to features."""
        x = nn.relu(self.conv_norm(x, "conv1", 64, 7, stride=2))
        x = nn.max_pool(x, (3, 3), (2, 2), ONE_AROUND)
        for i, (features, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
            for j in range(1, blocks + 1):
                name, stride = f"conv{i + 2}_block{j}", 2 if i > 0 and j == 1 else 1
                shortcut = self.conv_norm(x, f"{name}_0", 4 * features, 1, stride=stride) if j == 1 else x
                y = nn.relu(self.conv_norm(x, f"{name}_1", features, 1, stride=stride))
                y = nn.relu(self.conv_norm(y, f"{name}_2", features, 3))
                x = nn.relu(shortcut + self.conv_norm(y, f"{name}_3", 4 * features, 1))
        return x

    def conv_norm(self, x: Array, name: str, features: int, size: int, stride: int = 1) -> Array:
        """Convolve and normalise."""
        pads = [(size // 2, size // 2)] * 2
        x = self.conv(features, (size, size), (stride, stride), pads, name=f"{name}_conv")(x)
        return self.norm(epsilon=1.001e-5, name=f"{name}_bn")(x)


class DenseNet201(nn.Module):
    """Keras's DenseNet201 below its pooling."""

    conv: Any
    norm: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map images to features."""
        conv, norm = functools.partial(self.conv, use_bias=False), functools.partial(self.norm, epsilon=1.001e-5)
        x = conv(64, (7, 7), (2, 2), [(3, 3), (3, 3)], name="conv1_conv")(x)
        x = nn.max_pool(nn.relu(norm(name="conv1_bn")(x)), (3, 3), (2, 2), ONE_AROUND)
        for i, layers in enumerate((6, 12, 48, 32)):
            for j in range(1, layers + 1):
                prefix = f"conv{i + 2}_block{j}"
                y = conv(128, (1, 1), name=f"{prefix}_1_conv")(nn.relu(norm(name=f"{prefix}_0_bn")(x)))
                y = conv(32, (3, 3), name=f"{prefix}_2_conv")(nn.relu(norm(name=f"{prefix}_1_bn")(y)))
                x = jnp.concatenate([x, y], -1)
            x = nn.relu(norm(name="bn" if i == 3 else f"pool{i + 2}_bn")(x))
            if i < 3:
                x = nn.avg_pool(conv(x.shape[-1] // 2, (1, 1), name=f"pool{i + 2}_conv")(x), (2, 2), (2, 2))
        return x


class InceptionV3(nn.Module):
    """Keras's InceptionV3 below its pooling, read off hamjax's table of blocks."""

    conv: Any
    norm: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map images to features."""
        for name, block in BLOCKS.items():
            outputs = []
            for kind, steps in block.items():
                y, names = x, iter(unit_names(f"{name}_{kind}", steps))
                for step in steps:
                    if step == AVERAGE:
                        y = nn.avg_pool(y, (3, 3), (1, 1), "SAME", count_include_pad=False)
                    elif step == MAX:
                        y = nn.max_pool(y, (3, 3), (2, 2))
                    else:
                        fork = [step] if isinstance(step, Unit) else step
                        y = jnp.concatenate([self.unit(y, next(names), unit) for unit in fork], -1)
                outputs.append(y)
            x = jnp.concatenate(outputs, -1)
        return x

    def unit(self, x: Array, name: str, unit: Any) -> Array:
        """Convolve, normalise, rectify."""
        padding = "SAME" if unit.padding == "SAME" else "VALID"
        strides = (unit.stride, unit.stride)
        x = self.conv(
            unit.features, (unit.rows, unit.columns), strides, padding, use_bias=False, name=f"{name}_conv"
        )(x)  # fmt: skip
        return nn.relu(self.norm(epsilon=1e-3, use_scale=False, name=f"{name}_bn")(x))


class Classifier(nn.Module):
    """A backbone, pooling, and the head of the paper's Table 3."""

    backbone: Callable[..., nn.Module]
    dtype: Any

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Classify images."""
        norm = functools.partial(nn.BatchNorm, use_running_average=not train, momentum=0.99)
        conv = functools.partial(nn.Conv, dtype=self.dtype)
        x = self.backbone(conv=conv, norm=functools.partial(norm, dtype=self.dtype), name="backbone")(x)
        return Head(norm, name="head")(x.mean((1, 2)))


class Head(nn.Module):
    """Dense, BatchNorm, Dense."""

    norm: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map pooled features to logits."""
        x = self.norm(epsilon=1e-3, name="bn")(nn.relu(nn.Dense(1024, name="dense")(_wide(x))))
        return nn.Dense(7, name="predictions")(x)


BACKBONES = {"resnet50": ResNet50, "inceptionv3": InceptionV3, "densenet201": DenseNet201}


def _wide(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _scale(image: Array, dtype: Any) -> Array:
    return (image.astype(jnp.promote_types(dtype, jnp.float32)) / 255).astype(dtype)


def make_network(name: str, dtype: str) -> nn.Module:
    """Make a network that takes hamjax's variables."""
    return CNN(jnp.dtype(dtype)) if name == "cnn" else Classifier(BACKBONES[name], jnp.dtype(dtype))


def make_step(model: Any, tx: optax.GradientTransformation, learning_rate: float) -> Callable[..., Any]:
    """Make the compiled `(variables, opt_state, batch) -> (variables, opt_state, loss)`."""

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(variables: Variables, opt_state: Any, batch: dict[str, Array]) -> tuple[Variables, Any, Array]:
        images = _scale(batch["image"], model.dtype)

        def loss_fn(params: Any) -> tuple[Array, Any]:
            given = {"params": params, "batch_stats": variables["batch_stats"]}
            logits, updated = model.apply(given, images, train=True, mutable=["batch_stats"])
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
            return losses.mean(), updated.get("batch_stats", {})

        (loss, statistics), grads = jax.value_and_grad(loss_fn, has_aux=True)(variables["params"])
        updates, opt_state = tx.update(grads, opt_state, variables["params"])
        params = optax.apply_updates(variables["params"], jax.tree.map(lambda u: -learning_rate * u, updates))
        return {"params": params, "batch_stats": statistics}, opt_state, loss

    return step


class Textbook:
    """Its state, compiled step, and the batch it is timed on."""

    def __init__(
        self,
        name: str,
        variables: Variables,
        batch: dict[str, Any],
        *,
        optimizer: str,
        learning_rate: float,
        dtype: str,
    ) -> None:
        model: Any = make_network(name, dtype)
        tx = make_optimizer(optimizer)
        self._step = make_step(model, tx, learning_rate)
        self._variables = jax.tree.map(jnp.asarray, variables)
        self._opt_state = tx.init(self._variables["params"])
        self._batch = jax.device_put(batch)

        def forward(variables: Variables, image: Array) -> Array:
            return jnp.asarray(model.apply(variables, _scale(image, model.dtype), train=False))

        self._forward = jax.jit(forward)

    def losses(self, steps: int) -> list[float]:
        """Take steps; return each one's loss."""
        return [float(self._advance()) for _ in range(steps)]

    def train(self, steps: int) -> None:
        """Take steps."""
        for _ in range(steps):
            self._advance()
        jax.block_until_ready(self._variables)

    def predict(self, passes: int) -> None:
        """Pass the batch forward."""
        jax.block_until_ready([self._forward(self._variables, self._batch["image"]) for _ in range(passes)])

    def _advance(self) -> Array:
        self._variables, self._opt_state, loss = self._step(self._variables, self._opt_state, self._batch)
        return loss
