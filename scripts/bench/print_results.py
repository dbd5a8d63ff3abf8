"""Print the tables of results from `scripts/results`, for the README and the page of results.

python scripts/print_results.py
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.measure import table
from bench.studies import STUDIES

GRIDS = ("grid_cnn_64px",)
RESULTS = Path(__file__).parents[1] / "results"
PARTS = ("val", "test")


def main() -> None:
    """Print all of them."""
    for name in STUDIES:
        if (path := RESULTS / f"{name}.json").exists():
            print(f"{name}\n\n{describe_study(json.loads(path.read_text())['results'])}\n")
    for name in GRIDS:
        if (path := RESULTS / f"{name}.json").exists():
            print(f"{name}\n\n{describe_grid(json.loads(path.read_text())['results'])}\n")


def describe_study(results: Mapping[str, Any]) -> str:
    """Lay out a study: what its runs scored, and how those that are paired differ."""
    probes = {f"probe, {name}": each for name, each in results.get("probes", {}).items() if name != "comparisons"}
    scored = table(
        ["run", "accuracy, test", "balanced accuracy, test", "on validation", "epoch by epoch"],
        [_row(name, each) for name, each in (results["runs"] | probes).items()],
    )
    pairs: dict[str, dict[str, str]] = {}
    for row in [*results["comparisons"], *results.get("probes", {}).get("comparisons", [])]:
        pairs.setdefault(f"{row['second']} over {row['first']}", {})[row["partition"]] = _difference(row)
    if not pairs:
        return scored
    rows = [[pair, *(found.get(part, "") for part in PARTS)] for pair, found in pairs.items()]
    return f"{scored}\n\n{table(['balanced accuracy', 'validation', 'test'], rows)}"


def describe_grid(results: Mapping[str, Any]) -> str:
    """Lay out a grid of one network under the paper's protocol: accuracy beside the paper's, and balanced accuracy."""
    tables = results["protocols"]["paper"]["tables"]
    rows = []
    for strategy, (found,) in tables["table4"]["rows"].items():
        (balanced,) = tables["table4_balanced"]["rows"][strategy]
        rows.append(
            [
                strategy,
                f"{found['published']['value']:.3f}",
                _mean(found["ours"]),
                found["noise"],
                _mean(balanced["ours"]),
            ]
        )
    (network,) = tables["table4"]["columns"]
    return table([network, "accuracy in the paper", "here", "here is", "balanced accuracy here"], rows)


def _mean(score: Mapping[str, Any] | None) -> str:
    if score is None:
        return "not run"
    spread = f" ± {score['sd']:.3f}" if score["sd"] is not None else ""
    ends = f" ({score['interval'][0]:.3f}-{score['interval'][1]:.3f})" if score["interval"] else ""
    return f"{score['value']:.3f}{spread}{ends}"


def _row(name: str, found: Mapping[str, Any]) -> list[str]:
    test = found.get("test")
    epochs = ", ".join(f"{epoch['balanced_accuracy']:.2f}" for epoch in found.get("val_by_epoch", ()))
    on_test = [_score(test, score) if test else "" for score in ("accuracy", "balanced_accuracy")]
    return [name, *on_test, _score(found["val"], "balanced_accuracy"), epochs]


def _score(found: Mapping[str, Any], name: str) -> str:
    interval = found["intervals"][name]
    return f"{found[name]:.3f} ({interval['low']:.3f}-{interval['high']:.3f})"


def _difference(row: Mapping[str, Any]) -> str:
    found = row["balanced_accuracy"]
    interval = found["interval"]
    ends = f" ({interval['low']:+.3f} to {interval['high']:+.3f})" if interval else ""
    return f"{found['difference']:+.3f}{ends}"


if __name__ == "__main__":
    main()
