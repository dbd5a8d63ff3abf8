"""Evaluate checkpoints of finished or running runs as training does at its end, or on images from elsewhere.

    hamjax evaluate --workdir runs/quickstart --out again
    hamjax evaluate --workdir runs/a --workdir runs/b --checkpoint last,best --tta --out mean
    hamjax evaluate --workdir runs/a --images FOLDER --labels TABLE.csv --out elsewhere

Writes the files of `report/`: <split>.json, predictions_<split>.csv, figures, index.html. For images from elsewhere
<split> is `external`, and submission_external.csv is for the ISIC 2018 task 3 scorer; the labels may have its one-hot
layout, that of ISIC 2019, the ISIC Archive or HAM10000_metadata.csv, or the columns image,label. Without labels, an
image's folder is its class (mel/1.jpg).
"""

import argparse
from collections.abc import Sequence

from hamjax.commands.arguments import make_parser
from hamjax.commands.figure_data import figure_data
from hamjax.config import KEYS
from hamjax.evaluation.evaluate import evaluate_external, evaluate_run
from hamjax.report.terminal import format_summary
from hamjax.report.write import write_report
from hamjax.runtime.accelerators import find_devices, memory_needed
from hamjax.runtime.compiler import enable_compilation_cache
from hamjax.runtime.distributed import connect, is_first, only_first_speaks, peers_needed
from hamjax.runtime.memory import keep_freed_memory
from hamjax.runtime.paths import user_path


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = make_parser("evaluate", __doc__)
    parser.add_argument(
        "--workdir", required=True, type=user_path, action="append", help="the run directory; several: their mean"
    )
    parser.add_argument("--checkpoint", help="last, best or a step; last,best: their mean; default: training's choice")
    parser.add_argument("--split", choices=("test", "val"), help="partition to evaluate (test)")
    parser.add_argument(
        "--tta", nargs="?", const="d4", choices=KEYS["eval.tta"].choices, help="flips and quarter turns"
    )
    parser.add_argument("--out", required=True, type=user_path, help="folder for the report")
    parser.add_argument("--images", type=user_path, help="a folder of images from elsewhere, of any size")
    parser.add_argument("--labels", type=user_path, help="their table; default: each folder is named by its class")
    parser.add_argument("--source-dir", help="where the images of the run are now, if they have moved")
    parser.add_argument("--data-dir", help="where the prepared data is now, if it has moved")
    parser.add_argument("--distributed", default="auto", help="as --config.runtime.distributed, to share the work")
    args = parser.parse_args(words)
    # Without labels there is nothing to score, and labels of the run's own images are in its data.
    if args.labels and not args.images:
        parser.error("--labels: expected --images beside it, got none")
    if args.images and (args.split or args.source_dir or args.data_dir):
        parser.error(
            "--images: expected no --split, --source-dir or --data-dir beside it; they are of the run's own data"
        )
    return args


def main(words: Sequence[str]) -> None:
    """Run the command."""
    args = _parse(words)
    keep_freed_memory()
    connect(args.distributed)
    find_devices()
    enable_compilation_cache("auto")
    with only_first_speaks(), peers_needed(), memory_needed():
        _evaluate(args)


def _evaluate(args: argparse.Namespace) -> None:
    asked = {"checkpoint": args.checkpoint, "tta": args.tta}
    if args.images:
        report, drawn_from = evaluate_external(args.workdir, args.images, args.labels, **asked), None
    else:
        where = {"source_dir": args.source_dir, "data_dir": args.data_dir}
        report, experiment = evaluate_run(args.workdir, split=args.split or "test", **where, **asked)
        drawn_from = figure_data(experiment)
    if is_first():
        write_report(args.out, report, args.workdir[0], drawn_from)
    print(format_summary(report.summary, args.out))
