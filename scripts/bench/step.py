"""Time hamjax's training and inference steps beside what users would pick instead.

    python scripts/bench_step.py --model densenet201 --batch-size 8 --image-size 224 --json FILE

Synthetic batches that stay on the device, compilation excluded, everything measured in turn in one
process. A peer counts only if its losses are ours: five steps from the same weights on the same batch,
with running statistics, head and optimizer, to 1e-4, in float32, or where float32's rounding alone
moves them further, in float64 on a few small images. Dropout is off, as no two frameworks draw alike.
`--device cpu` measures the CPU where there is an accelerator, too. What other processes took of the CPU
meanwhile is counted, and above a tenth the result says that it is disturbed.
"""

import argparse
import contextlib
import functools
import os
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

os.environ["KERAS_BACKEND"] = "jax"

import jax
import numpy as np

from bench.batch import draw_batch
from bench.disturbance import OthersWatch, describe_share
from bench.measure import in_turn, rate, ratio, table, write_result
from bench.ours import Ours
from bench.roof import measure_roof
from bench.textbook import Textbook
from hamjax.config.recipes import make_config
from hamjax.models.initialization import init_variables
from hamjax.models.registry import MODEL_SPECS, create_model
from hamjax.runtime.memory import keep_freed_memory

PEERS = ("textbook", "keras", "torch", "torch_compiled")
CHECKED_STEPS, CHECKED_IMAGES, TOLERANCE = 5, 4, 1e-4
QUICK = {"xla_backend_optimization_level": "0"}  # to compile what is not timed


def main() -> None:
    """Run the command line."""
    args = _arguments()
    if args.device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    # As a run does; it holds for the peers, too, which share the process.
    keep_freed_memory()
    dtype = args.dtype if args.dtype != "auto" else "float32" if jax.default_backend() == "cpu" else "bfloat16"
    if args.compilation_cache:
        jax.config.update("jax_compilation_cache_dir", args.compilation_cache)
    recipe = make_config(model=args.model, strategy="s1").optimizer
    # A tenth of the recipe's rate: steps take as long, and roundings grow less.
    common = {"optimizer": recipe.name, "learning_rate": recipe.learning_rate / 10}
    make = Factory(args.model, args.batch_size, args.image_size, common)
    # BatchNorm over a few values is chaotic: at the full rate five steps of ResNet50 part even in float64.
    slow = common | {"learning_rate": common["learning_rate"] / 100}
    small = Factory(args.model, CHECKED_IMAGES, max(32, MODEL_SPECS[args.model].minimum_size), slow)
    contenders, notes = _checked(make, small, args.peers, dtype)
    dispatch = {"steps_per_dispatch": args.steps_per_dispatch}
    if dtype != "float32" or args.steps_per_dispatch > 1:
        contenders = {**contenders, "ours": make("ours", dtype, **dispatch)}
    if args.xla is not None:
        options = dict(word.split("=", 1) for word in args.xla)
        name = f"ours with {' '.join(args.xla) or 'XLA defaults'}"
        contenders[name] = make("ours", dtype, compiler_options=options, **dispatch)
    steps = args.steps or args.steps_per_dispatch * max(1, round(4 / args.steps_per_dispatch))
    results = _measure(contenders, steps, args.rounds, args.batch_size, dtype) | {"not_counted": notes}
    _print(results, args.model, args.batch_size, args.image_size, dtype)
    settings = {**vars(args), "json": None, "dtype": dtype, "steps": steps, **common}
    write_result(args.json, settings, results)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODEL_SPECS, required=True)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=PEERS[:3])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=0, help="a timing; 0: about four")
    parser.add_argument("--steps-per-dispatch", type=int, default=1, help="of ours")
    parser.add_argument("--xla", nargs="*", metavar="NAME=VALUE", help="time ours with these compiler options, too; "
                        "with none: with XLA's defaults")  # fmt: skip
    parser.add_argument("--compilation-cache", default="", help="folder, to measure again without compiling again")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


class Factory:
    """Makes contenders that all start from the same weights on the same batch."""

    def __init__(self, model: str, batch_size: int, image_size: int, common: dict[str, Any]) -> None:
        self._batch = draw_batch(batch_size, image_size)
        self._variables = init_variables(create_model(model), image_size=image_size, seed=0)
        self._model, self._common = model, common

    def __call__(self, name: str, dtype: str, **more: Any) -> Any:
        """Make `ours` or a peer.

        Raises:
            ImportError: its framework is not installed.
        """
        kind: Callable[..., Any]
        if name == "ours":
            kind = Ours
        elif name == "textbook":
            kind = Textbook
        elif name == "keras":
            from bench.keras_peer import KerasPeer as kind
        else:
            from bench.torch_peer import TorchPeer as kind

            device = "cpu" if jax.default_backend() == "cpu" else "cuda"
            best = "max-autotune" if device == "cuda" else "default"
            more |= {"device": device, "compiled": best if name == "torch_compiled" else None}
        print(f"making {name} in {dtype}", flush=True)
        width = np.float64 if dtype == "float64" else np.float32
        variables = jax.tree.map(lambda x: x.astype(width), self._variables)
        return kind(self._model, variables, self._batch, dtype=dtype, **self._common, **more)


def _checked(make: Factory, small: Factory, names: list[str], dtype: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Make the contenders whose losses are ours; say of the others why they are left out.

    Args:
        make: for the batch to be timed.
        small: for a batch on which float64, that XLA has no quick convolutions for, is bearable.
        names: of peers.
        dtype: to time in.
    """
    contenders: dict[str, Any] = {"ours": make("ours", "float32")}
    notes: dict[str, str] = {}
    expected = contenders["ours"].losses(CHECKED_STEPS)
    exact: list[float] = []
    for name in names:
        try:
            contender = make(name, "float32")
        except ImportError as error:
            notes[name] = f"not installed ({error.name})"
            continue
        off = _distance(name, contender.losses(CHECKED_STEPS), expected)
        if not off <= TOLERANCE:
            # A few values a channel, RMSprop's first step: a rounding grows beyond any bound. So without.
            with _in_float64():
                exact = exact or small("ours", "float64", compiler_options=QUICK).losses(CHECKED_STEPS)
                off = _distance(name, small(name, "float64").losses(CHECKED_STEPS), exact)
        if off <= TOLERANCE:
            contenders[name] = contender
        else:
            notes[name] = f"its losses are off by {off:.1e}, more than {TOLERANCE:.0e}"
    if dtype != "float32":
        contenders = {name: make(name, dtype) for name in contenders if name != "ours"}
    return contenders, notes


@contextlib.contextmanager
def _in_float64() -> Iterator[None]:
    """Compute in float64, and compile in haste, as nothing here is timed."""
    jit = functools.partial(jax.jit, compiler_options=QUICK)
    with contextlib.ExitStack() as stack:
        stack.enter_context(jax.enable_x64(True))
        stack.enter_context(mock.patch.object(jax, "jit", jit))
        if trainer := sys.modules.get("keras.src.backend.jax.trainer"):
            stack.enter_context(mock.patch.object(trainer, "jit", jit))
        yield


def _distance(name: str, losses: list[float], expected: list[float]) -> float:
    off = max(abs(a - b) for a, b in zip(losses, expected, strict=True))
    print(f"{name}: losses {', '.join(f'{loss:.5f}' for loss in losses)}, off by {off:.1e}", flush=True)
    return off


def _measure(contenders: dict[str, Any], steps: int, rounds: int, batch_size: int, dtype: str) -> dict[str, Any]:
    ours = contenders["ours"]
    train = {name: lambda c=contender: c.train(steps) for name, contender in contenders.items()}
    infer = {name: lambda c=contender: c.predict(2 * steps) for name, contender in contenders.items()}
    for warm_up in (*train.values(), *infer.values()):
        warm_up()
    watch = OthersWatch()
    trained, inferred = in_turn(train, rounds), in_turn(infer, rounds)
    others = watch.share()
    roof, facts = measure_roof(dtype), ours.compiled_facts()
    step_seconds = statistics.median(trained["ours"]) / steps
    return {
        "train_images_per_second": {name: rate(s, steps * batch_size) for name, s in trained.items()},
        "inference_images_per_second": {name: rate(s, 2 * steps * batch_size) for name, s in inferred.items()},
        "train_ratio": {name: ratio(trained, "ours", name) for name in contenders if name != "ours"},
        "inference_ratio": {name: ratio(inferred, "ours", name) for name in contenders if name != "ours"},
        "train_seconds": trained,
        "inference_seconds": inferred,
        "host_seconds_per_step": statistics.median(ours.host_seconds() for _ in range(max(rounds, 3))),
        # A step is three passes of the forward one's size: outputs, gradients in inputs and in kernels.
        "flop_per_second": 3 * ours.forward_flops() / step_seconds,
        "bytes_per_second": facts["bytes_accessed"] / step_seconds,
        "roof": roof,
        "others_share_of_cpu": others,
        **facts,
    }


def _print(results: dict[str, Any], model: str, batch_size: int, image_size: int, dtype: str) -> None:
    print(f"\n{model}, batch {batch_size}, {image_size} px, {dtype}, {jax.devices()[0].device_kind}")
    rows = []
    for name, trained in results["train_images_per_second"].items():
        cells = [name, f"{trained:,.1f}", "", f"{results['inference_images_per_second'][name]:,.1f}", ""]
        if name != "ours":
            for place, kind in ((2, "train_ratio"), (4, "inference_ratio")):
                found = results[kind][name]
                cells[place] = f"{found['median']:.2f} ({found['least']:.2f}-{found['most']:.2f})"
        rows.append(cells)
    rows += [[name, why, "", "", ""] for name, why in results["not_counted"].items()]
    print(table(["", "train img/s", "ours is x as fast", "inference img/s", "ours is x as fast"], rows))
    roof = results["roof"]
    flops, moved = results["flop_per_second"], results["bytes_per_second"]
    print(
        f"ours: {flops / 1e9:,.0f} GFLOP/s of {roof['flop_per_second'] / 1e9:,.0f} (a large matrix product), "
        f"{moved / 1e9:,.1f} GB/s of {roof['bytes_per_second'] / 1e9:,.1f} (a large copy; "
        "ours is XLA's count, caches included); "
        f"memory {results.get('peak_memory_bytes', results['planned_memory_bytes']) / 2**20:,.0f} MiB; "
        f"the call of a step takes {1e3 * results['host_seconds_per_step']:.2f} ms"
    )
    print(describe_share(results["others_share_of_cpu"]))


if __name__ == "__main__":
    main()
