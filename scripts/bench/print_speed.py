"""Print the README's tables of speed from `scripts/results`."""

import json
import statistics
from pathlib import Path
from typing import Any

from bench.accelerator import summary
from bench.accelerator.rows import NETWORKS, PARTS
from bench.measure import table

RESULTS = Path(__file__).parents[1] / "results"
VECTORS = {256: "AVX2", 512: "AVX-512"}
# What a step is compared with, on processors of how many bits a vector, under which heading.
COLUMNS = {
    ("textbook", 512): "textbook Flax", ("keras", 512): "Keras 3 on JAX", ("torch", 512): "PyTorch eager",
    ("torch", 256): "PyTorch eager, AVX2",
}  # fmt: skip
NOT_RUN = "not run"
TRAIN_IMAGES, VAL_IMAGES = 7809, 1103  # of the paper's split (its section 4.2)


def main() -> None:
    """Print all of them."""
    for lines in (
        describe_input(), describe_steps(), describe_epochs(), describe_starts(), describe_loops(),
        describe_accelerators(),
    ):  # fmt: skip
        print(lines, end="\n\n")


def describe_input() -> str:
    """Return how the input pipeline compares."""
    results = _read("input")["results"]
    rows = [
        [f"{c['ours']}, against {c['theirs']}", f"{c['median']:.2f} ({c['least']:.2f}-{c['most']:.2f})"]
        for c in results["claims"]
    ]
    return table(["augmented images at 224 px", "x as fast"], rows)


def describe_steps() -> str:
    """Return how many times as fast as each peer's our training steps are, medians of runs; inference in brackets."""
    runs: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(RESULTS.glob("step_*.json")):
        record = _read(path.stem)
        chosen = record["settings"]
        name = f"{chosen['model']}, {chosen['image_size']} px, batch {chosen['batch_size']}"
        runs.setdefault(name, []).append(record)
    rows = [[name, *(_cell(records, *column) for column in COLUMNS)] for name, records in runs.items()]
    return table(["training step (inference)", *(f"against {name}" for name in COLUMNS.values())], rows)


def describe_epochs() -> str:
    """Return what an epoch of S1 costs at an earlier revision and now, and how many times as fast a step is."""
    rows = []
    for path in sorted(RESULTS.glob("revisions_*px*.json")):
        record = _read(path.stem)
        speeds, ratios = record["results"]["speeds"], record["results"]["ratios"]
        bits = record["environment"]["vector_bits"]
        words = dict(zip(record["settings"]["words"][::2], record["settings"]["words"][1::2], strict=False))
        minutes = (
            statistics.median(
                (TRAIN_IMAGES / each["training"] + VAL_IMAGES / each["inference"]) / 60 for each in speeds[side]
            )
            for side in ("before", "now")
        )
        rows.append(
            [f"{words['--model']}, {words['--image-size']} px, batch {words['--batch-size']}, {VECTORS[bits]}",
             *(f"{each:.1f}" for each in minutes),
             f"{ratios['training']['median']:.2f} ({ratios['inference']['median']:.2f})"]
        )  # fmt: skip
    header = ["an epoch of S1, its validation included", "minutes, before", "now", "training step (inference)"]
    return table(header, rows)


def describe_starts() -> str:
    """Return the seconds of each phase of a start, medians, and how starts compare."""
    record = _read("startup")
    chosen, median = record["settings"], record["results"]["median_seconds"]
    name = f"a start of {chosen['model']}, {chosen['image_size']} px, seconds"
    phases = list(next(iter(median.values())))
    rows = [[kind, *(f"{found[phase]:.1f}" for phase in phases)] for kind, found in median.items()]
    ratios = [
        [what, f"{found['median']:.2f} ({found['least']:.2f}-{found['most']:.2f})"]
        for what, found in record["results"]["ratios"].items()
    ]
    return table([name, *phases], rows) + "\n\n" + table(["ratio", "median"], ratios)


def describe_loops() -> str:
    """Return how much of a held batch's rate the real loop reaches, and what it waits for."""
    rows = [
        [f"{model}, {found['image_size']} px",
         f"{found['ratio']['median']:.3f} ({found['ratio']['least']:.3f}-{found['ratio']['most']:.3f})",
         f"{found['data_wait_share']:.1%}", f"{1e3 * found['checkpoint_blocking_seconds']:.0f} ms"]
        for model, found in _read("end_to_end")["results"].items()
    ]  # fmt: skip
    return table(["the real loop", "of a held batch's rate", "waits for data", "a save blocks"], rows)


def describe_accelerators() -> str:
    """Return images a second on each accelerator that was measured; in brackets, how many times PyTorch's best."""
    folders = sorted(path.parent for path in RESULTS.glob("*/part_A.json"))
    header = ["images/s, bfloat16, 224 px (over PyTorch)", *summary.COLUMNS]
    rows = []
    for folder in folders:
        found: dict[str, Any] = {part: {} for part in PARTS}
        device = NOT_RUN
        for path in sorted(folder.glob("part_*.json")):
            record = json.loads(path.read_text())
            found[record["name"]] = {row["name"]: row for row in record["rows"]}
            device = record["calls"][-1]["environment"].get("device", device)
        for model in NETWORKS:
            cells = iter(summary.cells(found, model))
            pairs = zip(cells, cells, strict=True)
            rows.append(
                [f"{model}, {device}", *(ours if ours == NOT_RUN else f"{ours} ({over})" for ours, over in pairs)]
            )
    return table(header, rows)


def _cell(records: list[dict[str, Any]], peer: str, vector_bits: int) -> str:
    found = [
        record["results"]
        for record in records
        if record["environment"]["vector_bits"] == vector_bits and peer in record["results"]["train_ratio"]
    ]
    if not found:
        return NOT_RUN
    train, inference = (
        statistics.median(each[f"{kind}_ratio"][peer]["median"] for each in found) for kind in ("train", "inference")
    )
    return f"{train:.2f} ({inference:.2f})"


def _read(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text())


if __name__ == "__main__":
    main()
