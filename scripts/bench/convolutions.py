"""Time the forms of every convolution of the networks on this device: XLA's, as a product, and PyTorch's.

    python scripts/bench_convolutions.py --json scripts/results/convolutions.json
    python scripts/bench_convolutions.py --networks resnet50:64:16

GFLOP/s of the fastest of several calls, for the output and for the gradients in the input and in the kernel. `XLA` is
compiled with the options that hamjax takes, and `XLA defaults` without; `term by term` is the form for three channels,
`from output` that for kernels with fewer channels out than in, `Winograd` that with half the products (counted as if
it had them all). The options in `hamjax/runtime/compiler.py` rest on it,
and the rules in `hamjax/models/layers`. 1x1 convolutions, which are matrix products in every form, are left out.
"""

import argparse
import functools
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from bench.measure import table, write_result
from hamjax.models.initialization import init_variables
from hamjax.models.layers import convolution, few_terms, lax_forms, narrow_kernels, small_maps, winograd
from hamjax.models.layers.lax_forms import Pads
from hamjax.models.registry import create_model
from hamjax.runtime.compiler import compiler_options
from hamjax.runtime.memory import keep_freed_memory

# Shapes of x and of the kernel, the stride and the padding.
Convolution = tuple[tuple[int, ...], tuple[int, ...], int, Pads]
Call = Callable[..., Any]
NETWORKS = ("cnn:64:16", "resnet50:64:16", "inceptionv3:96:16", "densenet201:64:16",
            "cnn:224:8", "resnet50:224:8", "inceptionv3:224:8", "densenet201:224:8")  # fmt: skip
SECONDS, LEAST, MOST = 0.25, 3, 15  # of calls, and how many: a call of a large map takes as long as 15 of a small one


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="*", default=NETWORKS, metavar="NAME:SIZE:BATCH")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    keep_freed_memory()  # as a run does
    results: dict[str, dict[str, Any]] = {}
    for network in args.networks:
        name, size, batch = network.split(":")
        for shapes, count in find_convolutions(name, int(size), int(batch)).items():
            described = describe(shapes)
            # The same convolution may be in several networks.
            result = results.setdefault(described, {"networks": {}, "rates": {}})
            result["networks"][network] = count
            result["rates"] = result["rates"] or measure(*shapes)
            rows = [
                [what, *(f"{form} {rate:.0f}" for form, rate in forms.items())]
                for what, forms in result["rates"].items()
            ]
            print(f"{network}, {count} x {described}", *("  " + ", ".join(row) for row in rows), sep="\n", flush=True)
    print(table(["GFLOP/s", "output", "input gradient", "kernel gradient"], [_row(*item) for item in results.items()]))
    write_result(args.json, {"networks": args.networks, "calls": MOST, "seconds": SECONDS}, results)


def find_convolutions(name: str, size: int, batch: int) -> Counter[Convolution]:
    """Return how often a network has each convolution of a kernel larger than 1x1."""
    model = create_model(name)
    variables = jax.eval_shape(lambda: init_variables(model, image_size=size, seed=0))
    found: Counter[Convolution] = Counter()
    real = convolution.convolve

    def note(x: jax.Array, kernel: jax.Array, stride: int, pads: Pads) -> jax.Array:
        if kernel.shape[:2] != (1, 1):
            found[x.shape, kernel.shape, stride, pads] += 1
        return real(x, kernel, stride, pads)

    with mock.patch.object(convolution, "convolve", note):
        jax.eval_shape(model.apply, variables, jax.ShapeDtypeStruct((batch, size, size, 3), jnp.float32))
    return found


def describe(shapes: Convolution) -> str:
    """Return a convolution in words: `16 x 8x8, 128 to 32, 3x3`."""
    (batch, height, width, channels), (rows, columns, _, features), stride, ((pad, _), _) = shapes
    stepped = f", stride {stride}" if stride > 1 else ""
    # Padding that keeps the size needs no word.
    bare = ", no padding" if pad == 0 and min(rows, columns) > 1 else ""
    return f"{batch} x {height}x{width}, {channels} to {features}, {rows}x{columns}{stepped}{bare}"


def measure(
    x_shape: tuple[int, ...], kernel_shape: tuple[int, ...], stride: int, pads: Pads
) -> dict[str, dict[str, float]]:
    """Return the rate of each form, in GFLOP/s, by what it computes."""
    rng = np.random.default_rng(0)
    x, kernel = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in (x_shape, kernel_shape))
    alike: dict[str, Any] = {"stride": stride, "pads": pads}
    plain = functools.partial(lax_forms.convolve, **alike)
    dy = jnp.asarray(rng.normal(size=jax.eval_shape(plain, x, kernel).shape), jnp.float32)
    given = {"output": (x, kernel), "input gradient": (dy, kernel), "kernel gradient": (x, dy)}
    of_input, of_kernel = {"shape": x_shape, **alike}, {"shape": kernel_shape, **alike}
    calls: dict[str, dict[str, Call]] = {
        "output": {"XLA": plain, "columns": functools.partial(small_maps.convolve_by_columns, **alike)},
        "input gradient": {
            "XLA": functools.partial(lax_forms.input_gradient, **of_input),
            "columns": functools.partial(small_maps.input_gradient_by_columns, **of_input),
        },
        "kernel gradient": {
            "XLA": functools.partial(lax_forms.kernel_gradient, **of_kernel),
            "columns": functools.partial(small_maps.kernel_gradient_by_columns, **of_kernel),
        },
    }
    if kernel_shape[2] == 3:
        calls["output"]["term by term"] = functools.partial(few_terms.convolve_term_by_term, **alike)
    if stride == 1 and kernel_shape[3] < kernel_shape[2]:
        calls["kernel gradient"]["from output"] = functools.partial(
            narrow_kernels.kernel_gradient_from_output, **of_kernel
        )
    if (*kernel_shape[:2], stride) == (3, 3, 1):
        calls["output"]["Winograd"] = functools.partial(winograd.convolve_by_winograd, **alike)
        calls["input gradient"]["Winograd"] = functools.partial(winograd.input_gradient_by_winograd, **of_input)
    options = compiler_options("")  # those that all networks share
    gflop = 2e-9 * dy.size * np.prod(kernel_shape[:3])
    rates: dict[str, dict[str, float]] = {}
    for what, forms in calls.items():
        compiled = {name: jax.jit(form, compiler_options=options) for name, form in forms.items()}
        compiled["XLA defaults"] = jax.jit(forms["XLA"])
        rates[what] = {name: gflop / _seconds(call, given[what]) for name, call in compiled.items()}
    for what, call in _torch_calls(x, kernel, dy, stride, pads).items():
        rates[what]["PyTorch"] = gflop / _seconds(call, ())
    return rates


def _torch_calls(x: jax.Array, kernel: jax.Array, dy: jax.Array, stride: int, pads: Pads) -> dict[str, Call]:
    """Return PyTorch's calls, in its memory format for a CPU; none where it is not installed."""
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError:
        return {}
    last = torch.channels_last
    image, given = (torch.tensor(np.asarray(array)).permute(0, 3, 1, 2) for array in (x, dy))
    weight = torch.tensor(np.asarray(kernel)).permute(3, 2, 0, 1).contiguous(memory_format=last)
    step, padding = [stride, stride], [pads[0][0], pads[1][0]]

    def forward() -> None:
        with torch.no_grad():
            torch.nn.functional.conv2d(image, weight, stride=step, padding=padding)

    def backward(*wanted: bool) -> None:
        torch.ops.aten.convolution_backward(
            given, image, weight, None, step, padding, [1, 1], False, [0, 0], 1, [*wanted, False]
        )

    return {
        "output": forward,
        "input gradient": functools.partial(backward, True, False),
        "kernel gradient": functools.partial(backward, False, True),
    }


def _seconds(call: Call, given: tuple[Any, ...]) -> float:
    """Return the time of the fastest call: what others on the machine take only adds to it."""
    jax.block_until_ready(call(*given))
    times: list[float] = []
    while len(times) < LEAST or (sum(times) < SECONDS and len(times) < MOST):
        start = time.perf_counter()
        jax.block_until_ready(call(*given))
        times.append(time.perf_counter() - start)
    return min(times)


def _row(described: str, result: dict[str, Any]) -> list[str]:
    cells = []
    for forms in result["rates"].values():
        best = max((name for name in forms if name != "PyTorch"), key=lambda name: forms[name])
        beside = f" (PyTorch {forms['PyTorch']:.0f})" if "PyTorch" in forms else ""
        cells.append(f"{best} {forms[best]:.0f}{beside}")
    return [described, *cells]


if __name__ == "__main__":
    main()
