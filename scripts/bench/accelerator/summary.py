"""The table that ends the benchmark: ours over the best mode of PyTorch."""

from typing import Any

from bench.accelerator.rows import NETWORKS
from bench.measure import table

NOT_RUN = "not run"
# The parts in which our rates, and PyTorch's, are found.
COLUMNS = {"batch 16": ("AG", "AG"), "batch 256": ("B", "BD"), "inference at 256": ("C", "C")}
Results = dict[str, dict[str, Any]]


def describe(results: Results) -> str:
    """Lay out images a second of ours, and how many times as fast that is as the best PyTorch found."""
    header = [""]
    for name in COLUMNS:
        header += [f"{name}, img/s", "over torch"]
    rows = [[model, *cells(results, model)] for model in NETWORKS]
    return f"{_roof(results)}\n{table(header, rows)}"


def cells(results: Results, model: str) -> list[str]:
    """Return the images a second of each column, and how many times as fast as the best of PyTorch that is."""
    return [cell for parts in COLUMNS.values() for cell in _cells(results, model, *parts)]


def best(results: Results, parts: str, model: str, *, ours: bool) -> float | None:
    """Return the most images a second among the rows of some parts, ours or PyTorch's; None if none ran."""
    rates = [
        row["images_per_second"]
        for part in parts
        for row in results[part].values()
        if row["model"] == model and row["status"] == "done" and "images_per_second" in row
        and row["kind"] in (("ours", "inference") if ours else ("torch",))
        and row.get("smoke", {}).get("passed", True)
    ]  # fmt: skip
    return max(rates, default=None)


def _cells(results: Results, model: str, our_parts: str, their_parts: str) -> list[str]:
    ours, theirs = best(results, our_parts, model, ours=True), best(results, their_parts, model, ours=False)
    if ours is None:
        return [NOT_RUN, NOT_RUN]
    return [f"{ours:,.0f}", f"{ours / theirs:.2f}" if theirs else NOT_RUN]


def _roof(results: Results) -> str:
    """Say how near the roof our steps come: three passes of the forward one's operations; bytes by XLA's count."""
    roof = results["A"].get("roof", {}).get("roof")
    if not roof:
        return f"roof: {NOT_RUN}"
    flop_roof, byte_roof = roof["flop_per_second"], roof["bytes_per_second"]
    lines = [f"roof: {flop_roof / 1e12:,.1f} TFLOP/s in bfloat16, {byte_roof / 1e9:,.0f} GB/s"]
    for part in "AB":
        for row in results[part].values():
            if row["status"] == "done" and "forward_flops_per_image" in row:
                flops = 3 * row["forward_flops_per_image"] * row["images_per_second"]
                text = f"{part} {row['name']}: {flops / flop_roof:.1%} of the FLOP/s"
                if row["steps_per_dispatch"] == 1:  # XLA counts the body of a loop once
                    moved = row["bytes_accessed"] / row["seconds_per_step"]
                    text += f", {moved / byte_roof:.0%} of the bytes/s (XLA's count, caches included)"
                text += f", host {1e3 * row['host_seconds_per_step']:.2f} ms a step"
                if "peak_memory_bytes" in row:
                    text += f", {row['peak_memory_bytes'] / 2**30:.1f} GiB at most"
                lines.append(f"{text}; check {'passed' if row['smoke']['passed'] else 'FAILED'}")
    return "\n".join(lines)
