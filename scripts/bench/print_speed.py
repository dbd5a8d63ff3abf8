"""Print the README's tables of speed from `scripts/results`."""

import json
from pathlib import Path
from typing import Any

from bench.accelerator import summary
from bench.accelerator.rows import NETWORKS, PARTS
from bench.measure import table

RESULTS = Path(__file__).parents[1] / "results"
PEERS = {"textbook": "textbook Flax", "keras": "Keras 3 on JAX", "torch": "PyTorch eager"}
NOT_RUN = "not run"


def main() -> None:
    """Print all of them."""
    for lines in (
        describe_input(), describe_steps(), describe_starts(), describe_loops(), describe_accelerators(),
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
    """Return how many times as fast as each peer's our training steps are; inference in brackets."""
    rows = []
    for path in sorted(RESULTS.glob("step_*.json")):
        record = _read(path.stem)
        chosen, results = record["settings"], record["results"]
        name = f"{chosen['model']}, {chosen['image_size']} px, batch {chosen['batch_size']}"
        rows.append([name, *(_cell(results, peer) for peer in PEERS)])
    return table(["training step (inference)", *(f"against {name}" for name in PEERS.values())], rows)


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


def _cell(results: dict[str, Any], peer: str) -> str:
    if peer not in results["train_ratio"]:
        return NOT_RUN
    return f"{results['train_ratio'][peer]['median']:.2f} ({results['inference_ratio'][peer]['median']:.2f})"


def _read(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text())


if __name__ == "__main__":
    main()
