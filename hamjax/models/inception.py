"""InceptionV3 as in Keras applications (`keras/src/applications/inception_v3.py`).

The network is written as a table of blocks. Its convolutions have no bias, its BatchNorm has no
gamma and an epsilon of 1e-3, and its average pooling does not count the padding.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from hamjax.models.layers.convolution import Conv
from hamjax.models.layers.normalization import BatchNorm
from hamjax.models.layers.pooling import average_pool_3x3, max_pool
from hamjax.models.stages import Record

Array = jax.Array
BN_EPSILON = 1e-3
AVERAGE, MAX = "average", "max"  # 3x3, stride 1, same size; 3x3, stride 2, valid


class Unit(NamedTuple):
    """A convolution of rows x columns, BatchNorm and ReLU; padding 0 is Keras's `valid`."""

    features: int
    rows: int = 1
    columns: int = 1
    stride: int = 1
    padding: int | str = "SAME"


# A fork: both units are applied to the same input, and their outputs are concatenated.
Fork = tuple[Unit, Unit]
Branch = tuple["Unit | Fork | str", ...]
Block = dict[str, Branch]


def _block_35(pooled: int) -> Block:
    return {
        "1x1": (Unit(64),),
        "5x5": (Unit(48), Unit(64, 5, 5)),
        "3x3dbl": (Unit(64), Unit(96, 3, 3), Unit(96, 3, 3)),
        "pool": (AVERAGE, Unit(pooled)),
    }


def _block_17(c: int) -> Block:
    return {
        "1x1": (Unit(192),),
        "7x7": (Unit(c), Unit(c, 1, 7), Unit(192, 7, 1)),
        "7x7dbl": (Unit(c), Unit(c, 7, 1), Unit(c, 1, 7), Unit(c, 7, 1), Unit(192, 1, 7)),
        "pool": (AVERAGE, Unit(192)),
    }


def _block_8() -> Block:
    return {
        "1x1": (Unit(320),),
        "3x3": (Unit(384), (Unit(384, 1, 3), Unit(384, 3, 1))),
        "3x3dbl": (Unit(448), Unit(384, 3, 3), (Unit(384, 1, 3), Unit(384, 3, 1))),
        "pool": (AVERAGE, Unit(192)),
    }


# Each key is the name of Keras's concatenation; the comments give the side of its output at 299 x 299.
# A table, and not code as in Keras: the order of Keras's layers, which its weight files go by, is computed from it.
BLOCKS: dict[str, Block] = {
    "stem": {  # 35
        "main": (
            Unit(32, 3, 3, 2, 0), Unit(32, 3, 3, 1, 0), Unit(64, 3, 3), MAX, Unit(80), Unit(192, 3, 3, 1, 0), MAX,
        ),
    },
    "mixed0": _block_35(32),
    "mixed1": _block_35(64),
    "mixed2": _block_35(64),
    "mixed3": {  # 17
        "3x3": (Unit(384, 3, 3, 2, 0),),
        "3x3dbl": (Unit(64), Unit(96, 3, 3), Unit(96, 3, 3, 2, 0)),
        "pool": (MAX,),
    },
    "mixed4": _block_17(128),
    "mixed5": _block_17(160),
    "mixed6": _block_17(160),
    "mixed7": _block_17(192),
    "mixed8": {  # 8
        "3x3": (Unit(192), Unit(320, 3, 3, 2, 0)),
        "7x7x3": (Unit(192), Unit(192, 1, 7), Unit(192, 7, 1), Unit(192, 3, 3, 2, 0)),
        "pool": (MAX,),
    },
    "mixed9": _block_8(),
    "mixed10": _block_8(),
}  # fmt: skip


class InceptionV3(nn.Module):
    """The backbone of InceptionV3, up to the pooling.

    Attributes:
        groups: see `hamjax.models.layers.normalization.batch_statistics`.
        plain: take lax's own convolutions and pooling, for exports.
        dtype: type of the computation.
    """

    groups: int = 1
    plain: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool, record: Record) -> Array:
        """Map images [B, S, S, 3] to features [B, H, W, 2048]; H is 8 at 299, 5 at 224."""
        for name, block in BLOCKS.items():
            outputs = [self._branch(x, f"{name}_{kind}", steps, train) for kind, steps in block.items()]
            x = record(name, jnp.concatenate(outputs, -1))
        return x

    def _branch(self, x: Array, prefix: str, steps: Branch, train: bool) -> Array:
        names = iter(unit_names(prefix, steps))
        for step in steps:
            if step == AVERAGE:
                x = average_pool_3x3(x, plain=self.plain)
            elif step == MAX:
                x = max_pool(x, 3, 2, plain=self.plain)
            elif isinstance(step, Unit):
                x = self._unit(x, next(names), step, train)
            else:
                x = jnp.concatenate([self._unit(x, next(names), unit, train) for unit in step], -1)
        return x

    def _unit(self, x: Array, name: str, unit: Any, train: bool) -> Array:
        conv = Conv(
            unit.features, (unit.rows, unit.columns), unit.stride, unit.padding,
            use_bias=False, plain=self.plain, dtype=self.dtype, name=f"{name}_conv",
        )  # fmt: skip
        # No gamma: a ReLU follows, and the next convolution can learn the same scale (Keras: scale=False).
        norm = BatchNorm(epsilon=BN_EPSILON, use_scale=False, groups=self.groups, dtype=self.dtype, name=f"{name}_bn")
        return nn.relu(norm(conv(x), train=train))


def unit_names(prefix: str, steps: Branch) -> Iterator[str]:
    """Yield a name per unit of a branch: `mixed9_3x3_1`, or `mixed9_3x3_2a` and `mixed9_3x3_2b` for a fork."""
    convolutions = [step for step in steps if not isinstance(step, str)]
    for i, step in enumerate(convolutions, 1):
        yield from [f"{prefix}_{i}"] if isinstance(step, Unit) else [f"{prefix}_{i}a", f"{prefix}_{i}b"]


def creation_order() -> list[str]:
    """Return the names of all units in the order in which Keras makes and numbers them."""
    return [
        unit for name, block in BLOCKS.items() for kind, steps in block.items()
        for unit in unit_names(f"{name}_{kind}", steps)
    ]  # fmt: skip


def topological_order() -> list[str]:
    """Return the names of all units in the order of Keras's `model.layers`.

    The layers that are farthest from the output come first; at equal distance, the order of
    the branches decides (keras/src/ops/function.py, map_graph).
    """
    # Keras gives these layers no names. It numbers them (conv2d_7), and the numbers depend on what the process built
    # before; only the order is the same every time.
    order = []
    for name, block in BLOCKS.items():
        units = []
        for kind, steps in block.items():
            units += zip(_distances(steps), unit_names(f"{name}_{kind}", steps), strict=True)
        order += [unit for _, unit in sorted(units, key=lambda pair: -pair[0])]
    return order


def _distances(steps: Branch) -> list[int]:
    """Return, for each convolution, the number of Keras's layers from it to the end of its branch."""
    distances, distance = [], 0
    for step in reversed(steps):
        if isinstance(step, str):
            distance += 1
        elif isinstance(step, Unit):
            distance += 3  # convolution, BatchNorm, ReLU
            distances.append(distance)
        else:
            distance += 4  # and a concatenation
            distances += [distance, distance]
    return distances[::-1]
