"""Keep the result of finished runs as one small JSON, for the README to quote.

    python scripts/record_run.py --workdir runs/quickstart [--workdir ...] --json quickstart.json
    python scripts/record_run.py --grid runs/grid --made-by "hamjax reproduce ..." --json grid_cnn_64px.json

Several directories are repetitions; the JSON holds each of them, with what it ran on. Of a grid it holds the tables,
too, and the text of the tables is kept beside it.
"""

import argparse
import json
import shlex
import statistics
from pathlib import Path
from typing import Any

from bench.measure import portable, write_result
from hamjax.commands import errors_reported
from hamjax.runtime.errors import UserError
from hamjax.training.run_directory.finished import read_summary
from hamjax.training.run_directory.metrics_log import read_records
from hamjax.training.run_directory.record import read_record

KEPT = ("model", "strategy", "seed", "n", "accuracy", "balanced_accuracy", "macro_f1", "majority_baseline_accuracy",
        "checkpoint", "images_note", "data_fingerprint", "confusion_matrix", "classes", "alarms")  # fmt: skip


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kept = parser.add_mutually_exclusive_group(required=True)
    kept.add_argument("--workdir", action="append", type=Path, help="a finished run; may be repeated")
    kept.add_argument("--grid", type=Path, help="folder of `hamjax reproduce`")
    parser.add_argument("--made-by", default="", help="the command that made the grid")
    parser.add_argument("--json", required=True, type=Path)
    args = parser.parse_args()
    with errors_reported("record_run"):
        if args.grid:
            record_grid(args.grid, args.made_by, args.json)
            return
        runs = [read_run(workdir) for workdir in args.workdir]
    scores = [run["balanced_accuracy"] for run in runs]
    write_result(args.json, {}, {"median_balanced_accuracy": statistics.median(scores), "runs": runs})
    print(f"balanced accuracy {', '.join(f'{score:.3f}' for score in scores)}")


def record_grid(grid: Path, made_by: str, path: Path) -> None:
    """Keep a grid's tables as JSON and text, and its finished runs."""
    tables = json.loads((grid / "tables.json").read_text())
    finished = [cell["cell"] for cell in tables["cells"] if read_summary(grid / cell["cell"]) is not None]
    write_result(path, {"made_by": made_by}, {**tables, "runs": {name: read_run(grid / name) for name in finished}})
    path.with_suffix(".txt").write_text((grid / "tables.txt").read_text())


def read_run(workdir: Path) -> dict[str, Any]:
    """Return what is kept of a finished run.

    Raises:
        UserError: it is not finished.
    """
    config = read_record(workdir).config
    try:
        summary = json.loads((workdir / "report" / "test.json").read_text())
    except OSError as error:
        raise UserError(f"{workdir}: expected a finished run, got {error}; let it end first.") from error
    stored = json.loads((workdir / "config.json").read_text())
    records = read_records(workdir / "metrics.jsonl")
    rates = [line["throughput/images_per_second"] for line in records if "throughput/images_per_second" in line]
    return {
        **{name: summary[name] for name in KEPT},
        "split": {"name": summary["split"]["name"], "fingerprint": summary["split"]["fingerprint"]},
        "image_size": config.data.image_size,
        "steps": records[-1]["step"],
        "train_seconds": records[-1]["wall_s"],
        "median_images_per_second": statistics.median(rates),
        "command": shlex.join(map(portable, shlex.split(stored.get("command", "not known")))),
        "environment": stored["environment"],
    }


if __name__ == "__main__":
    main()
