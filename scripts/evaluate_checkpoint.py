"""Judge a checkpoint of a finished or running run, as training does at its end.

    python scripts/evaluate_checkpoint.py --workdir runs/quickstart --out again

Writes what `report/` holds: <split>.json, predictions_<split>.csv, figures, index.html.
"""

import argparse
import sys
from pathlib import Path

from hamjax.distributed import enable_compilation_cache
from hamjax.errors import UserError
from hamjax.evaluate import evaluate_run
from hamjax.report import format_summary, write_report


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True, help="the run directory")
    parser.add_argument("--checkpoint", help="last, best or a step; by default what training reported")
    parser.add_argument("--split", default="test", choices=("test", "val"), help="partition to judge (test)")
    parser.add_argument("--out", required=True, help="folder for the report")
    parser.add_argument("--source-dir", help="where the images are now, if they have moved")
    parser.add_argument("--data-dir", help="where the prepared data is now, if it has moved")
    args = parser.parse_args()
    try:
        enable_compilation_cache("auto")
        report, experiment = evaluate_run(
            args.workdir,
            checkpoint=args.checkpoint,
            split=args.split,
            source_dir=args.source_dir,
            data_dir=args.data_dir,
        )
        write_report(Path(args.out), report, experiment, Path(args.workdir, "metrics.jsonl"))
    except UserError as error:
        print(f"evaluate_checkpoint: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    print(format_summary(report.summary, Path(args.out)))


if __name__ == "__main__":
    main()
