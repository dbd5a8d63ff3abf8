"""Time a start: from the process's first moment to the end of its first training step.

    python scripts/bench_startup.py --model densenet201 --image-size 64 --json FILE

Three kinds in turn, each in a process of its own: hamjax with an empty compilation cache (cold), hamjax
again with what that one left (warm), and a textbook Flax port with an empty cache, which initialises
its network with a jitted `model.init`, as is usual.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

KINDS = ("ours, cold", "ours, warm", "textbook, cold")
PHASES = ("imports", "init", "trace", "compile", "first step", "total")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="densenet201")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)  # whose start, and when it was started
    args = parser.parse_args()
    if args.device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"
    if args.child:
        kind, started = args.child
        print(json.dumps(_start(_start_ours if kind == "ours" else _start_textbook, args, float(started))))
        return
    starts: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for i in range(args.rounds):
        with tempfile.TemporaryDirectory() as ours, tempfile.TemporaryDirectory() as theirs:
            for kind, cache in zip(KINDS, (ours, ours, theirs), strict=True):
                starts[kind].append(_run_child(kind.partition(",")[0], cache))
                print(f"round {i + 1}, {kind}: {starts[kind][-1]}", flush=True)
    _report(starts, args)


def _run_child(kind: str, cache: str) -> dict[str, float]:
    command = [sys.executable, *sys.argv, "--child", kind, repr(time.time())]
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": cache}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _report(starts: dict[str, list[dict[str, float]]], args: argparse.Namespace) -> None:
    from bench.measure import ratio, table, write_result

    median = {k: {p: statistics.median(s[p] for s in found) for p in PHASES} for k, found in starts.items()}
    print(f"\n{args.model}, batch {args.batch_size}, {args.image_size} px; seconds, medians of {args.rounds}")
    print(table(["", *PHASES], [[kind, *(f"{median[kind][p]:.1f}" for p in PHASES)] for kind in KINDS]))
    compiles = {kind: [start["trace"] + start["compile"] for start in found] for kind, found in starts.items()}
    totals = {kind: [start["total"] for start in found] for kind, found in starts.items()}
    ratios = {
        "textbook's cold trace and compile over ours": ratio(compiles, "ours, cold", "textbook, cold"),
        "our cold start over our warm one": ratio(totals, "ours, warm", "ours, cold"),
        "textbook's cold start over ours": ratio(totals, "ours, cold", "textbook, cold"),
    }
    for name, found in ratios.items():
        print(f"{name}: {found['median']:.2f} ({found['least']:.2f}-{found['most']:.2f})")
    settings = {**vars(args), "json": None, "child": None}
    write_result(args.json, settings, {"seconds": starts, "median_seconds": median, "ratios": ratios})


def _start(start: Callable[[argparse.Namespace, Callable[[str], None]], Any], args: Any, began: float) -> Any:
    """Start up, and return the seconds that each phase took."""
    seconds: dict[str, float] = {}
    last = [began]

    def mark(phase: str) -> None:
        now = time.time()
        seconds[phase], last[0] = round(now - last[0], 3), now

    start(args, mark)
    return seconds | {"total": round(last[0] - began, 3)}


def _start_ours(args: argparse.Namespace, mark: Callable[[str], None]) -> None:
    import jax.numpy as jnp

    import hamjax.commands.training_run  # noqa: F401  the whole program, as users start it
    from hamjax.config.recipes import make_config
    from hamjax.models.initialization import init_variables
    from hamjax.models.registry import create_model
    from hamjax.runtime.compiler import compiler_options
    from hamjax.training.losses import Loss
    from hamjax.training.metrics import empty_metrics
    from hamjax.training.optimizers import make_optimizer
    from hamjax.training.state import create_train_state
    from hamjax.training.step import StepSettings, compile_train_step, make_train_step

    mark("imports")
    model, tx = create_model(args.model), make_optimizer(make_config(model=args.model, strategy="s1").optimizer.name)
    variables = init_variables(model, image_size=args.image_size, seed=0)
    mark("init")
    state = create_train_state(variables, tx)
    step = make_train_step(model, tx, loss=Loss(), input_scale="unit")
    batch = {name: value[None] for name, value in _batch(args).items()}
    dispatch: Any = compile_train_step(step, unroll=True, compiler_options=compiler_options(args.model))
    _take_step(dispatch, (state, empty_metrics(), batch, StepSettings(jnp.float32(1e-4))), mark)


def _start_textbook(args: argparse.Namespace, mark: Callable[[str], None]) -> None:
    import functools

    import jax
    import jax.numpy as jnp

    from bench.textbook import make_network, make_step
    from hamjax.config.recipes import make_config
    from hamjax.training.optimizers import make_optimizer

    mark("imports")
    model, tx = (
        make_network(args.model, "float32"),
        make_optimizer(make_config(model=args.model, strategy="s1").optimizer.name),
    )
    init = jax.jit(functools.partial(model.init, train=False))
    image = jnp.ones((1, args.image_size, args.image_size, 3))
    variables = {"batch_stats": {}} | dict(jax.block_until_ready(init(jax.random.key(0), image)))
    mark("init")
    _take_step(make_step(model, tx, 1e-4), (variables, tx.init(variables["params"]), _batch(args)), mark)


def _take_step(function: Any, arguments: tuple[Any, ...], mark: Callable[[str], None]) -> None:
    import jax

    lowered = function.lower(*arguments)
    mark("trace")
    compiled = lowered.compile()
    mark("compile")
    jax.block_until_ready(compiled(*arguments))
    mark("first step")


def _batch(args: argparse.Namespace) -> dict[str, Any]:
    import jax.numpy as jnp

    image = jnp.zeros((args.batch_size, args.image_size, args.image_size, 3), jnp.uint8)
    return {"image": image, "label": jnp.zeros(args.batch_size, jnp.int32)}


if __name__ == "__main__":
    main()
