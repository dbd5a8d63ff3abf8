"""Predict images that carry no label, with a run directory alone: the run's data are not needed.

    hamjax predict --workdir runs/cnn_s2 photographs/ more.zip one.jpg --out predicted
    hamjax predict --workdir runs/a --workdir runs/b photographs/ --tta --gallery 50 --order doubt --out predicted

Reads .jpg, .jpeg and .png files of any size, folders of them nested in any way, and zip archives. Writes
predictions.csv and predictions.json (a row an image), index.html (the first images with heat maps), and unreadable.csv
(what gives no image, and why). Ends with status 0 if any image could be read, otherwise with 2.
"""

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from hamjax.commands.arguments import make_parser
from hamjax.data.classes import PAPER_ORDER
from hamjax.data.unlabelled import find_images
from hamjax.evaluation.image_scorer import ImageScorer
from hamjax.evaluation.predict import explain, predict_files
from hamjax.evaluation.prediction import ORDERS, Predictions
from hamjax.report.predictions import predictions_csv, predictions_json, unreadable_csv
from hamjax.report.terminal import table
from hamjax.runtime.accelerators import find_devices, memory_needed
from hamjax.runtime.compiler import enable_compilation_cache
from hamjax.runtime.files import write_atomically
from hamjax.runtime.memory import keep_freed_memory
from hamjax.runtime.paths import user_path

GALLERY = 200  # of so many images a page has some 10 MB, which browsers open at once
VIEWS = {True: "d4", False: "none", None: None}


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = make_parser("predict", __doc__)
    parser.add_argument("images", nargs="+", type=user_path, help="files, folders or zip archives")
    parser.add_argument(
        "--workdir", required=True, type=user_path, action="append", help="the run directory; several: their mean"
    )
    parser.add_argument("--out", required=True, type=user_path, help="folder for the predictions")
    parser.add_argument(
        "--tta", action=argparse.BooleanOptionalAction, help="flips and quarter turns (as the run's own report)"
    )
    parser.add_argument("--gallery", type=_count, default=GALLERY, help=f"images on the page; 0: no page ({GALLERY})")
    parser.add_argument(
        "--order", choices=ORDERS, default="malignant", help="of the page: highest score, or smallest margin, first"
    )
    # Options may stand between images.
    return parser.parse_intermixed_args(words)


def _count(word: str) -> int:
    count = int(word)
    if count < 0:
        raise ValueError(word)
    return count


def main(words: Sequence[str]) -> None:
    """Run the command."""
    args = _parse(words)
    # Before the network, as in `hamjax.predict`.
    files, broken = find_images(args.images)
    keep_freed_memory()
    find_devices()
    enable_compilation_cache("auto")
    with memory_needed():
        scorer = ImageScorer(args.workdir, VIEWS[args.tta])
        start = time.perf_counter()
        predictions = predict_files(scorer, files, broken)
        # Before the page, which takes longer than they do.
        write_atomically(args.out / "predictions.csv", predictions_csv(predictions))
        write_atomically(args.out / "predictions.json", predictions_json(predictions))
        write_atomically(args.out / "unreadable.csv", unreadable_csv(predictions))
        print(_describe(predictions, time.perf_counter() - start, args.out))
        if args.gallery:
            _write_page(scorer, predictions, args.gallery, args.order, args.out)


def _write_page(scorer: ImageScorer, predictions: Predictions, count: int, order: str, out: Path) -> None:
    from hamjax.report.predictions_page import predictions_page  # matplotlib takes a second to import

    start = time.perf_counter()
    chosen = predictions.first(count, order)
    write_atomically(out / "index.html", predictions_page(predictions, explain(scorer, chosen), order))
    print(f"page {out / 'index.html'}: {len(chosen):,} images in {time.perf_counter() - start:.1f} s")


def _describe(predictions: Predictions, seconds: float, out: Path) -> str:
    images = predictions.images
    predicted = Counter(each.score.predicted for each in images)
    lines = [
        table(["", *PAPER_ORDER, "all"], [["predicted", *(predicted[dx] for dx in PAPER_ORDER), len(images)]]),
        f"unlike the training images: {_unlike(predictions)}",
        f"tables {out}: {len(images):,} images in {seconds:.1f} s, {len(images) / seconds:.0f} a second",
    ]
    if reason := predictions.facts["without_report"]:
        lines.append(f"no calibrated probabilities, operating points or prediction sets: {reason}")
    if predictions.unreadable:
        lines.append(f"unreadable: {len(predictions.unreadable):,}, see {out / 'unreadable.csv'}")
    return "\n".join(lines)


def _unlike(predictions: Predictions) -> str:
    several = len(predictions.facts["runs"]) > 1
    answers = []
    for i, run in enumerate(predictions.facts["runs"]):
        found = [each.score.unlike[i] for each in predictions.images]
        said = "not measured by this run" if None in found else f"{sum(map(bool, found)):,}"
        answers.append(f"{run['run']}: {said}" if several else said)
    return "; ".join(answers)
