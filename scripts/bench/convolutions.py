"""Time the forms of a convolution on this device, by shape: XLA's own, and matrix products.

    python scripts/bench_convolutions.py --batch-size 16 --json scripts/results/convolutions.json

GFLOP/s of the fastest of several calls, for the output and for the gradients in the input and in the kernel. It is what
`hamjax/models/layers/small_maps.py` rests on: XLA's form is slow where the map has fewer pixels than the kernel.
"""

import argparse
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bench.measure import table, write_result
from hamjax.models.layers.convolution import (
    input_gradient,
    kernel_gradient,
    kernel_gradient_by_rows,
    kernel_gradient_by_shifts,
)
from hamjax.models.layers.small_maps import convolve_by_columns, input_gradient_by_columns

Shape = tuple[int, int, int, int, int]
# Side of the map, channels in and out, rows and columns of the kernel: of the networks at 64, 96 and 224 px, and around
# the size from which XLA's form is fast.
SHAPES: tuple[Shape, ...] = (
    (2, 512, 512, 3, 3), (3, 512, 512, 3, 3), (4, 256, 256, 3, 3), (7, 512, 512, 3, 3), (8, 128, 128, 3, 3),
    (14, 256, 256, 3, 3), (16, 64, 64, 3, 3), (28, 128, 128, 3, 3), (56, 64, 64, 3, 3),
    (2, 128, 32, 3, 3), (4, 128, 32, 3, 3), (8, 128, 32, 3, 3), (16, 128, 32, 3, 3), (28, 128, 32, 3, 3),
    (1, 384, 384, 1, 3), (2, 192, 192, 1, 7), (3, 192, 192, 1, 7), (4, 192, 192, 1, 7), (4, 48, 64, 5, 5),
    (5, 48, 64, 5, 5), (9, 48, 64, 5, 5),
)  # fmt: skip
CALLS = 15
FORMS = {
    "output": {"XLA": "plain", "columns": "columns"},
    "input gradient": {"XLA": "dx", "columns": "dx_columns"},
    "kernel gradient": {"XLA": "dk", "rows": "dk_rows", "shifts": "dk_shifts"},
}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--sides", type=int, nargs="*", help="of the maps to time (all)")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    header = [f"{what}, {form}" for what, forms in FORMS.items() for form in forms]
    rows, results = [], {}
    for shape in SHAPES:
        if args.sides and shape[0] not in args.sides:
            continue
        side, channels, features, height, width = shape
        name = f"{side}x{side}, {channels} to {features}, {height}x{width}"
        results[name] = measure(shape, args.batch_size)
        cells = [results[name][what][form] for what, forms in FORMS.items() for form in forms]
        rows.append([name, *(f"{cell:.1f}" for cell in cells)])
        print(rows[-1], flush=True)
    print(table(["GFLOP/s", *header], rows))
    write_result(args.json, {"batch_size": args.batch_size, "calls": CALLS, "sides": args.sides}, results)


def measure(shape: Shape, batch: int) -> dict[str, dict[str, float]]:
    """Return the rate of each form, in GFLOP/s, for a convolution of stride 1 that keeps the size of its map."""
    side, channels, features, height, width = shape
    rng = np.random.default_rng(0)
    x, dy = (jnp.asarray(rng.normal(size=(batch, side, side, c)), jnp.float32) for c in (channels, features))
    kernel = jnp.asarray(rng.normal(size=(height, width, channels, features)), jnp.float32)
    pads = ((height // 2, height // 2), (width // 2, width // 2))
    alike: dict[str, Any] = {"stride": 1, "pads": pads}
    of_input, of_kernel = {"shape": x.shape, **alike}, {"shape": kernel.shape, **alike}
    calls: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
        "plain": (functools.partial(_plain, pads=pads), (x, kernel)),
        "columns": (functools.partial(convolve_by_columns, **alike), (x, kernel)),
        "dx": (functools.partial(input_gradient, **of_input), (dy, kernel)),
        "dx_columns": (functools.partial(input_gradient_by_columns, **of_input), (dy, kernel)),
        "dk": (functools.partial(kernel_gradient, **of_kernel), (x, dy)),
        "dk_rows": (functools.partial(kernel_gradient_by_rows, **of_kernel), (x, dy)),
        "dk_shifts": (functools.partial(kernel_gradient_by_shifts, **of_kernel), (x, dy)),
    }
    gflop = 2e-9 * batch * side * side * channels * features * height * width
    rates = {name: gflop / _seconds(jax.jit(call), given) for name, (call, given) in calls.items()}
    return {what: {form: rates[name] for form, name in forms.items()} for what, forms in FORMS.items()}


def _plain(x: jax.Array, kernel: jax.Array, *, pads: Any) -> jax.Array:
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _seconds(call: Callable[..., Any], given: tuple[Any, ...]) -> float:
    """Return the time of the fastest call: what others on the machine take only adds to it."""
    jax.block_until_ready(call(*given))
    times = []
    for _ in range(CALLS):
        start = time.perf_counter()
        jax.block_until_ready(call(*given))
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    main()
