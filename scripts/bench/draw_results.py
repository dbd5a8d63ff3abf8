"""Draw the studies of `scripts/results` for the page of results: scores of all runs with their intervals.

python scripts/draw_results.py --out hamjax/paper
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from bench.print_results import RESULTS
from bench.studies import STUDIES
from hamjax.data.classes import CLASSES
from hamjax.report.figures import BLUE, GREY, ORANGE

NAMES = {"test": "test", "val": "validation"}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path, help="folder for the pictures")
    out = parser.parse_args().out
    for name in STUDIES:
        if (path := RESULTS / f"{name}.json").exists():
            draw_study(json.loads(path.read_text())["results"]).savefig(out / f"{name}.png", dpi=130)
            print(f"wrote {out / name}.png")


def draw_study(results: Mapping[str, Any]) -> Figure:
    """Draw the balanced accuracy of runs and probes, with 95% intervals, and that of chance.

    On the test part, or on validation where the study looks at no other for some of its runs.
    """
    probes = {f"probe, {name}": each for name, each in results.get("probes", {}).items() if name != "comparisons"}
    rows = [*((name, each, BLUE) for name, each in results["runs"].items()),
            *((name, each, ORANGE) for name, each in probes.items())]  # fmt: skip
    part = "test" if all("test" in each for _, each, _ in rows) else "val"
    figure = Figure(figsize=(6.4, 0.9 + 0.32 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for height, (_, each, colour) in enumerate(rows):
        score, interval = each[part]["balanced_accuracy"], each[part]["intervals"]["balanced_accuracy"]
        axes.plot([interval["low"], interval["high"]], [height, height], color=colour, linewidth=2)
        axes.plot(score, height, "o", color=colour)
    axes.axvline(1 / len(CLASSES), color=GREY, linestyle=":", label="always one class")
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set(xlabel=f"balanced accuracy on {NAMES[part]}, with its 95% interval", xlim=(0, 1))
    axes.legend(fontsize=8, loc="lower right")
    return figure


if __name__ == "__main__":
    main()
