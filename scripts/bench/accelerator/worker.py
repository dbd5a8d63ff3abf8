"""Make one row's measurement: `python -m bench.accelerator.worker SPEC ANSWER`, in a process of its own.

Each kind imports what it needs and no more, so that a row fails alone for a package that is not there.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Spec = dict[str, Any]
BEGUN = time.perf_counter()  # before JAX is imported
ROUNDS = 5  # where a row's options do not say another number


def main() -> None:
    """Run the command line."""
    spec = json.loads(sys.argv[1])
    try:
        answer = KINDS[spec["kind"]](spec)
    except ModuleNotFoundError as error:
        answer = {"status": f"not run: {error.name} is not installed"}
    Path(sys.argv[2]).write_text(json.dumps(answer))


def measure_roof(spec: Spec) -> dict[str, Any]:
    """Measure what the device can do at most, and describe it."""
    from bench.roof import measure_roof as measure
    from hamjax.runtime.environment import environment

    del spec
    return {"environment": environment(), "roof": measure("bfloat16")}


def measure_ours(spec: Spec) -> dict[str, Any]:
    """Check our step, then time it: one program for both."""
    import jax

    from bench.accelerator import reference
    from bench.ours import Ours

    # Off in the whole process: float32 products (the head's) are then float32, as in the reference. Products of
    # bfloat16 are not changed by it.
    jax.config.update("jax_default_matmul_precision", "highest")
    imported = time.perf_counter()
    problem = reference.Problem(spec["model"], spec["image_size"], spec["batch_size"])
    quick = {"compiler_options": {"xla_backend_optimization_level": "0"}} if spec["options"].get("quick") else {}
    per_dispatch = spec["steps_per_dispatch"]
    ours = Ours(spec["model"], problem.variables, problem.batch, optimizer=problem.optimizer, dtype=spec["dtype"],
                learning_rate=problem.slow_rate, steps_per_dispatch=per_dispatch, **quick)  # fmt: skip
    compiled = time.perf_counter()
    facts: dict[str, Any] = {
        "tf32": "off: jax_default_matmul_precision=highest",
        "seconds_until_imported": imported - BEGUN,
        "seconds_until_compiled": compiled - BEGUN,
        "smoke": reference.check(problem, ours, steps=spec["options"].get("steps", reference.STEPS)),
    }
    if spec["options"].get("steps"):
        return facts
    ours.set_rate(problem.rate)
    steps, seconds = _time(lambda n: ours.train(n * per_dispatch), spec)
    return facts | _rates(spec, steps * per_dispatch, seconds) | {
        "host_seconds_per_step": statistics.median(ours.host_seconds() for _ in range(_rounds(spec))),
        "forward_flops_per_image": ours.forward_flops() / spec["batch_size"],
        **ours.compiled_facts(),
    }  # fmt: skip


def measure_inference(spec: Spec) -> dict[str, Any]:
    """Time a forward pass in inference mode."""
    import jax
    import numpy as np

    from bench.accelerator import reference
    from hamjax.evaluation.eval_step import make_eval_step
    from hamjax.models.registry import create_model

    problem = reference.Problem(spec["model"], spec["image_size"], spec["batch_size"])
    variables, image = jax.device_put((problem.variables, problem.batch["image"]))
    step = make_eval_step(create_model(spec["model"], compute_dtype=spec["dtype"]), "unit")
    arguments = variables["params"], variables["batch_stats"], image
    logits = np.asarray(step(*arguments))
    passes, seconds = _time(lambda n: jax.block_until_ready([step(*arguments) for _ in range(n)]), spec)
    return {"finite": bool(np.isfinite(logits).all()), **_rates(spec, passes, seconds)}


def measure_torch(spec: Spec) -> dict[str, Any]:
    """Time PyTorch's training step, or its forward pass: channels_last, with autocast for bfloat16."""
    import torch  # pyright: ignore[reportMissingImports]

    from bench.accelerator import reference
    from bench.torch_peer import TorchPeer

    problem = reference.Problem(spec["model"], spec["image_size"], spec["batch_size"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    peer = TorchPeer(spec["model"], problem.variables, problem.batch, optimizer=problem.optimizer,
                     learning_rate=problem.slow_rate, dtype=spec["dtype"], device=device,
                     compiled=spec["options"]["compiled"])  # fmt: skip
    facts = {"torch": torch.__version__, "device": device, "losses": peer.losses(reference.STEPS)}
    facts["tf32"] = "on beside bfloat16, off in float32"
    steps, seconds = _time(peer.predict if spec["options"].get("inference") else peer.train, spec)
    if device == "cuda":
        facts["peak_memory_bytes"] = torch.cuda.max_memory_allocated()
    return facts | _rates(spec, steps, seconds)


def measure_textbook(spec: Spec) -> dict[str, Any]:
    """Time the same step in textbook Flax."""
    from bench.accelerator import reference
    from bench.textbook import Textbook

    problem = reference.Problem(spec["model"], spec["image_size"], spec["batch_size"])
    peer = Textbook(spec["model"], problem.variables, problem.batch, optimizer=problem.optimizer,
                    learning_rate=problem.slow_rate, dtype=spec["dtype"])  # fmt: skip
    losses = peer.losses(reference.STEPS)
    steps, seconds = _time(peer.train, spec)
    return {"losses": losses, **_rates(spec, steps, seconds)}


def measure_loop(spec: Spec) -> dict[str, Any]:
    """Time the real loop beside a held batch; see `bench.accelerator.real`."""
    from bench.accelerator import real

    return real.time_loop(spec, BEGUN)


def measure_training(spec: Spec) -> dict[str, Any]:
    """Train for real; see `bench.accelerator.real`."""
    from bench.accelerator import real

    return real.train(spec)


KINDS: dict[str, Callable[[Spec], dict[str, Any]]] = {
    "roof": measure_roof,
    "ours": measure_ours,
    "inference": measure_inference,
    "torch": measure_torch,
    "textbook": measure_textbook,
    "loop": measure_loop,
    "training": measure_training,
}


def _time(run: Callable[[int], Any], spec: Spec) -> tuple[int, list[float]]:
    """Return how many calls a round makes, and the seconds of each round; rounds fill the time of a row."""
    from bench.accelerator.rows import MEASURE

    run(1)  # what is left to warm up
    start = time.perf_counter()
    run(1)
    once = time.perf_counter() - start
    rounds = _rounds(spec)
    count = max(1, round(spec["options"].get("measure", MEASURE) / rounds / max(once, 1e-6)))
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        run(count)
        seconds.append(time.perf_counter() - start)
    return count, seconds


def _rounds(spec: Spec) -> int:
    return spec["options"].get("rounds", ROUNDS)


def _rates(spec: Spec, steps: int, seconds: list[float]) -> dict[str, Any]:
    per_step = statistics.median(seconds) / steps
    return {"status": "done", "seconds_per_step": per_step, "images_per_second": spec["batch_size"] / per_step,
            "rounds": {"steps": steps, "seconds": seconds}}  # fmt: skip


if __name__ == "__main__":
    main()
