"""Time `hamjax predict` beside `hamjax evaluate --images` on the same files, and compare what they say.

    python scripts/bench_predict.py --workdir runs/cnn_s2 --json scripts/results/predict_cnn_64px.json

Both are whole commands, timed in turn as processes of their own, from the same compilation cache. The images are drawn,
of mixed sizes; three files are broken. `evaluate` needs labels, so the drawn ones are in folders named by class.
"""

import argparse
import csv
import functools
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.measure import in_turn, ratio, table, write_result
from hamjax.data.classes import CLASSES
from hamjax.data.sources.synthetic import draw

# Larger than HAM10000's own 600 x 450, as large, upright, square, and thumbnails.
SIZES = ((1024, 768), (600, 450), (450, 600), (200, 150), (300, 300), (90, 64))
BROKEN = {"cut.jpg": b"\xff\xd8\xff\xe0 cut", "text.png": b"no image", "empty.jpeg": b""}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True, type=Path, help="a finished run")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = measure(args.workdir, Path(folder), args.images, args.rounds)
    rows = [[name, f"{seconds:.1f}", f"{args.images / seconds:.0f}"] for name, seconds in results["seconds"].items()]
    print(table(["command", "seconds", "images/s"], rows))
    print(f"predict's tables over evaluate: {results['tables over evaluate']['median']:.2f}")
    print(f"largest difference of a probability: {results['largest difference']:.1e}; listed: {results['unreadable']}")
    write_result(args.json, {"images": args.images, "rounds": args.rounds, "sizes": SIZES}, results)


def measure(workdir: Path, folder: Path, count: int, rounds: int) -> dict[str, Any]:
    """Return the seconds of each command, and how far apart their probabilities are."""
    images = folder / "images"
    write_images(images, count)
    # The run's data are where the config says, and nobody may need them: a copy says that they are elsewhere.
    run = Path(shutil.copytree(workdir, folder / "run"))
    text = (run / "config.json").read_text()
    (run / "config.json").write_text(text.replace('"data_dir": "', '"data_dir": "/nowhere'))
    commands = {
        "predict, tables alone": ["predict", images, "--gallery", "0"],
        "predict, page of 200": ["predict", images],
        "evaluate --images": ["evaluate", "--images", images],
    }
    outs = {name: folder / name.replace(" ", "_") for name in commands}

    def start(name: str) -> None:
        begun = time.perf_counter()
        _run([*commands[name], "--workdir", run, "--out", outs[name]])
        print(f"{name}: {time.perf_counter() - begun:.1f} s", flush=True)

    start("predict, tables alone")  # compiles, for the cache
    timed = ("predict, tables alone", "evaluate --images")
    seconds = in_turn({name: functools.partial(start, name) for name in timed}, rounds)
    seconds |= in_turn({"predict, page of 200": lambda: start("predict, page of 200")}, 1)
    predicted = _probabilities(outs["predict, tables alone"] / "predictions.csv")
    evaluated = _probabilities(outs["evaluate --images"] / "predictions_external.csv")
    if predicted.keys() != evaluated.keys():
        raise AssertionError(f"other images: {sorted(predicted.keys() ^ evaluated.keys())[:5]}")
    with (outs["predict, tables alone"] / "unreadable.csv").open(newline="") as file:
        unreadable = sorted(Path(row["path"]).name for row in csv.DictReader(file))
    return {
        "seconds": {name: statistics.median(values) for name, values in seconds.items()},
        "all seconds": seconds,
        "tables over evaluate": ratio(seconds, "predict, tables alone", "evaluate --images"),
        "largest difference": max(float(np.abs(predicted[i] - evaluated[i]).max()) for i in predicted),
        "unreadable": unreadable,
    }


def write_images(folder: Path, count: int) -> None:
    """Draw images of mixed sizes into folders by class, and put broken files among them."""
    for i in range(count):
        dx = CLASSES[i % len(CLASSES)]
        (folder / dx).mkdir(parents=True, exist_ok=True)
        pixels = draw(dx, np.random.default_rng(i), np.random.default_rng(count + i))
        image = Image.fromarray(pixels).resize(SIZES[i % len(SIZES)], Image.Resampling.BICUBIC)
        image.save(folder / dx / f"image_{i:05}.{'png' if i % 10 == 0 else 'jpg'}")
    for name, content in BROKEN.items():
        (folder / CLASSES[0] / name).write_bytes(content)


def _run(words: Sequence[str | Path]) -> None:
    code = "from hamjax.commands import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], env=dict(os.environ), capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(done.stderr)


def _probabilities(path: Path) -> dict[str, np.ndarray]:
    with path.open(newline="") as file:
        return {row["image_id"]: np.array([float(row[dx]) for dx in CLASSES]) for row in csv.DictReader(file)}


if __name__ == "__main__":
    main()
