"""The rows of the benchmark: what is measured, in which order, and how long each may take."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

NETWORKS = ("cnn", "resnet50", "inceptionv3", "densenet201")
PARTS = {
    "A": "batch 16: our step, 8 steps a dispatch, and PyTorch eager",
    "B": "batch 256: our step and PyTorch eager",
    "C": "inference at batch 256",
    "D": "PyTorch compiled at batch 256",
    "E": "the real loop, saves, a warm start",
    "F": "a real training",
    "G": "other forms at batch 16",
}
# Seconds until a step of each network is compiled, beside the start of its process: the longest seen on an H200 with 16
# cores (results/accelerator_h200), DenseNet201's a guess, since 190 were too few. Too low, and a row is ended half-way;
# too high, and it is not tried.
COMPILE = {"cnn": 35, "resnet50": 30, "inceptionv3": 70, "densenet201": 240}
TORCH_COMPILE = {"cnn": 30, "resnet50": 60, "inceptionv3": 80, "densenet201": 110}
START = 8  # seconds of imports and of the device
MEASURE = 3  # seconds of timed steps; a step takes milliseconds, and some thirty rows share minutes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A measurement, made by a process of its own.

    Attributes:
        part: a key of `PARTS`.
        kind: a key of `bench.accelerator.worker.KINDS`.
        name: unique within the part.
        model, batch_size, image_size, dtype, steps_per_dispatch: what is measured.
        estimate: seconds that it takes; it is skipped if they are not left.
        options: what only some kinds need.
    """

    part: str
    kind: str
    name: str
    model: str = "cnn"
    batch_size: int = 16
    image_size: int = 224
    dtype: str = "bfloat16"
    steps_per_dispatch: int = 1
    estimate: float
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


def accelerator_rows(networks: Sequence[str], source_dir: str) -> Iterator[Row]:
    """Yield the rows in their order: a run that is broken off says something of all four networks."""
    yield Row(part="A", kind="roof", name="roof", estimate=START + 10)
    for part, batch_size, k in (("A", 16, 8), ("B", 256, 1)):
        for model in networks:  # the two that are compared, one after the other
            yield _torch(part, model, batch_size)
            yield _ours(part, model, batch_size, k)
    yield from _inference(networks)
    yield from (_torch("D", model, 256, "default") for model in networks if model in ("resnet50", "densenet201"))
    yield from _whole_program(networks, source_dir)
    for model in networks:
        yield Row(part="G", kind="textbook", name=f"{model}, textbook Flax", model=model,
                  estimate=START + 2 * COMPILE[model] + MEASURE)  # fmt: skip
        yield _torch("G", model, 16, "reduce-overhead")
        yield from (_ours("G", model, 16, k) for k in (1, 32))


def _inference(networks: Sequence[str]) -> Iterator[Row]:
    for model in networks:
        yield Row(part="C", kind="inference", name=f"{model}, ours", model=model, batch_size=256,
                  estimate=START + COMPILE[model] / 2 + MEASURE)  # fmt: skip
        yield dataclasses.replace(_torch("C", model, 256), options={"compiled": None, "inference": True})


def _whole_program(networks: Sequence[str], source_dir: str) -> Iterator[Row]:
    for model in networks:  # the programs of A come from the cache
        yield _loop(model, "host", START + COMPILE[model] / 4 + 20, source_dir)
    # An H200's host had 16 cores, all reading, and the loop ran at 0.62 of the held batch's rate without waiting for
    # data: does the thread that hands steps over then wait for a core?
    yield _loop("cnn", "host", START + COMPILE["cnn"] / 4 + 20, source_dir, num_threads=8)
    for model in networks[:2]:
        yield _loop(model, "device", START + COMPILE[model] + 20, source_dir)
    if source_dir:
        yield Row(part="F", kind="training", name="cnn s1", steps_per_dispatch=8, estimate=75,
                  options={"source_dir": source_dir, "max_epochs": 50})  # fmt: skip


def smoke_rows(networks: Sequence[str], source_dir: str) -> Iterator[Row]:
    """Yield every kind of row, so small that a CPU has done all of them in minutes."""
    small: dict[str, Any] = {"image_size": 32, "dtype": "float32"}
    quick = {"quick": True, "measure": 0.1, "rounds": 1}
    yield Row(part="A", kind="roof", name="roof", estimate=8)
    if "cnn" in networks:
        yield Row(part="A", kind="ours", name="cnn, ours, K = 8", steps_per_dispatch=8, estimate=15, options=quick,
                  image_size=32)  # fmt: skip
    for model in [model for model in networks if model != "cnn"]:
        size = 75 if model == "inceptionv3" else 32
        yield Row(part="A", kind="ours", name=f"{model}, ours, K = 1", model=model, batch_size=2, estimate=60,
                  image_size=size, dtype="float32", options=quick | {"steps": 1})  # fmt: skip
    if "cnn" not in networks:
        return
    yield Row(part="A", kind="torch", name="cnn, torch eager", estimate=8, options=quick | {"compiled": None}, **small)
    yield Row(part="B", kind="ours", name="cnn, ours, K = 1", batch_size=32, estimate=8, options=quick, **small)
    yield Row(part="B", kind="torch", name="cnn, torch eager", batch_size=32, estimate=8,
              options=quick | {"compiled": None}, **small)  # fmt: skip
    yield Row(part="C", kind="inference", name="cnn, ours", batch_size=32, estimate=8, options=quick, **small)
    yield Row(part="C", kind="torch", name="cnn, torch eager", batch_size=32, estimate=8,
              options=quick | {"compiled": None, "inference": True}, **small)  # fmt: skip
    yield Row(part="D", kind="torch", name="cnn, torch default", batch_size=32, estimate=45,
              options=quick | {"compiled": "default"}, **small)  # fmt: skip
    for augment_on in ("host", "device"):
        yield Row(part="E", kind="loop", name=f"cnn, fed from {augment_on}", steps_per_dispatch=2, estimate=15,
                  options=quick | {"augment_on": augment_on, "source_dir": source_dir}, **small)  # fmt: skip
    yield Row(part="F", kind="training", name="cnn s1", estimate=20, steps_per_dispatch=1,
              options={"source_dir": source_dir, "max_epochs": 1}, **small)  # fmt: skip
    yield Row(part="G", kind="textbook", name="cnn, textbook Flax", estimate=8, options=quick, **small)
    yield Row(part="G", kind="torch", name="cnn, torch reduce-overhead", estimate=45,
              options=quick | {"compiled": "reduce-overhead"}, **small)  # fmt: skip
    yield Row(part="G", kind="ours", name="cnn, ours, K = 2", steps_per_dispatch=2, estimate=8, options=quick, **small)


SMOKE_LEAVES_OUT = (
    "smoke: the numbers say nothing of speed. Left out: 224 px, batch 256, K = 32; of the other networks all but one "
    "step of ours in float32 at batch 2; losses against the reference of all but the CNN at 32 px, batch 16."
)


def _ours(part: str, model: str, batch_size: int, k: int) -> Row:
    # The loop of K steps is compiled once, but autotuning a larger batch takes longer.
    return Row(part=part, kind="ours", name=f"{model}, ours, K = {k}", model=model, batch_size=batch_size,
               steps_per_dispatch=k, estimate=START + COMPILE[model] + MEASURE)  # fmt: skip


def _torch(part: str, model: str, batch_size: int, compiled: str | None = None) -> Row:
    extra = TORCH_COMPILE[model] if compiled else 8
    return Row(part=part, kind="torch", name=f"{model}, torch {compiled or 'eager'}", model=model,
               batch_size=batch_size, estimate=START + extra + MEASURE, options={"compiled": compiled})  # fmt: skip


def _loop(model: str, augment_on: str, estimate: float, source_dir: str, **more: Any) -> Row:
    name = ", ".join([f"{model}, fed from {augment_on}", *(f"{key} = {value}" for key, value in more.items())])
    return Row(part="E", kind="loop", name=name, model=model, steps_per_dispatch=8, estimate=estimate,
               options={"augment_on": augment_on, "source_dir": source_dir, **more})  # fmt: skip
