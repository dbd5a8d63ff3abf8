"""Measure how many augmented images a second the input pipeline gives, beside other ways to make them.

    python scripts/bench_input.py --source-dir FOLDER --json scripts/results/input.json
    python scripts/bench_input.py --synthetic 2000

Every method reads the same rows of the same memory-mapped images, with rotations of +-90
degrees, zooms of .9 to 1.1 an axis and shifts of +-10%. All are timed in every round, in
turn; ratios are medians over rounds of what was timed in one round. FOLDER holds a copy of
HAM10000; without it --data-dir has to hold the prepared data, unless images are drawn.
"""

import argparse
import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench import input_peers
from bench.input_peers import Read
from bench.measure import Times, in_turn, rate, ratio, table, write_result
from hamjax.commands import errors_reported
from hamjax.config import Config
from hamjax.config.topics import DataConfig
from hamjax.data.augment import Augmentation, warp
from hamjax.data.dataset import Dataset
from hamjax.data.pipeline import TrainSource, batches
from hamjax.runtime.errors import UserError
from hamjax.training.setup.plan import prepare_data

BARE, FLOOR = "bare OpenCV loop", "bare loop of our warp"
SCIPY, DEVICE = "scipy as Keras's ImageDataGenerator", "ours on the device (jax)"
GRAIN = "grain defaults, an image an element"
SCIPY_SHARE = 16  # it reads one step in so many: it takes milliseconds an image


@dataclasses.dataclass(frozen=True)
class Contender:
    """A way to read the stream.

    Attributes:
        read: goes through some steps; none where what it needs is not installed.
        steps: that a timing has it read.
        beside: which of ours has as many cores.
    """

    read: Read | None
    steps: int
    beside: str


def main() -> None:
    """Run the command line."""
    args = _parse()
    with errors_reported("bench_input"):
        dataset = _prepare(args)
        source = _stream(dataset, args)
    _require_equal_pixels(source)
    contenders = _contenders(source, args.images // args.batch_size)
    seconds = _measure(contenders, args)
    results = _results(contenders, seconds)
    print(f"\n{len(dataset.images):,} images: {dataset.images_note}; in the page cache\n")
    print(table(["method", "images/s", "us per image", "ours, as many cores"], _rows(contenders, seconds, results)))
    print()
    for claim in results["claims"]:
        print(f"{claim['ours']} : {claim['theirs']} = {_range(claim)}; expected at least {claim['target']}")
    write_result(args.json, _settings(dataset, contenders, args), results)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--source-dir", metavar="DIR", default="", help="a local copy of HAM10000")
    where.add_argument("--synthetic", metavar="COUNT", type=int, default=0, help="draw so many images instead")
    parser.add_argument("--data-dir", default="data", help="where records and caches are kept (data)")
    parser.add_argument("--image-size", type=int, default=224, help="pixels a side (224)")
    parser.add_argument("--batch-size", type=int, default=16, help="images a batch (16)")
    parser.add_argument("--images", type=int, default=512, help="that a timing reads (512)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is timed (5)")
    parser.add_argument("--json", type=Path, help="keep the result here")
    args = parser.parse_args()
    for option, least in (("synthetic", 0), ("image_size", 4), ("batch_size", 1), ("rounds", 1)):
        if getattr(args, option) < least:
            parser.error(f"--{option.replace('_', '-')}: expected at least {least}, got {getattr(args, option)}")
    if args.images < args.batch_size:
        parser.error(f"--images: expected at least a batch of {args.batch_size}, got {args.images}")
    return args


def _prepare(args: argparse.Namespace) -> Dataset:
    data = DataConfig(
        name="synthetic" if args.synthetic else "ham10000",
        source_dir=args.source_dir,
        data_dir=args.data_dir,
        image_size=args.image_size,
        synthetic_images=args.synthetic,
    )
    return prepare_data(Config(data=data))


def _stream(dataset: Dataset, args: argparse.Namespace) -> TrainSource:
    """Return a stream of all images, long enough for a warm-up and every round."""
    count = len(dataset.images)
    if args.batch_size > count:
        raise UserError(f"--batch-size: expected at most the {count} images, got {args.batch_size}.")
    # Read once, in this process: pages that are not mapped yet would be the first reader's cost.
    np.max(dataset.images)
    return TrainSource(
        images=dataset.images,
        labels=dataset.metadata.label,
        epoch_rows=np.arange(count),
        batch_size=args.batch_size,
        steps_per_epoch=count // args.batch_size,
        num_steps=(args.rounds + 1) * (args.images // args.batch_size),
        seed=0,
        augmentation=Augmentation(),
    )


def _require_equal_pixels(source: TrainSource) -> None:
    """Make sure that the floor does ours' work."""
    ours = source[0]["image"]
    bare = np.empty_like(ours)
    input_peers.bare_batch(source, 0, input_peers.opencv_warp, bare)
    np.testing.assert_array_equal(ours, bare)


def _contenders(source: TrainSource, steps: int) -> dict[str, Contender]:
    """Set up every method, torch's first: its workers are forked before there are other threads."""
    make = functools.partial(input_peers.torch_loader, source) if input_peers.torch_installed() else lambda _: None
    loaders = {_torch(n): Contender(make(n), steps, _ours(n if n > 1 else 0)) for n in (0, 1, 2)}
    threads = [0, 1, 2, *(n for n in (4, 8, 16) if n <= (os.cpu_count() or 1))]
    ours = {_ours(n): Contender(functools.partial(_read_ours, source, n), steps, _ours(n)) for n in threads}
    one_core, all_cores = _ours(0), _ours(threads[-1])
    scipy_steps = max(1, steps // SCIPY_SHARE)
    return {
        **ours,
        BARE: Contender(input_peers.bare_loop(source, input_peers.opencv_warp), steps, one_core),
        FLOOR: Contender(input_peers.bare_loop(source, warp), steps, one_core),
        SCIPY: Contender(input_peers.keras_generator(source), scipy_steps, one_core),
        **loaders,
        GRAIN: Contender(input_peers.grain_defaults(source), steps, all_cores),
        DEVICE: Contender(input_peers.device_reader(source), steps, all_cores),
    }


def _ours(threads: int) -> str:
    return f"ours, {threads} thread{'s' if threads != 1 else ''}"


def _torch(workers: int) -> str:
    return f"torch DataLoader, PIL transforms, {workers} worker{'s' if workers != 1 else ''}"


def _read_ours(source: TrainSource, threads: int, steps: range) -> None:
    # A fresh iterator over a stream that ends where the timing does: nothing is read ahead
    # while another method is timed, and all that is read is counted. So is the start, of
    # threads above all: some milliseconds, to hundreds that a timing takes.
    stretch = dataclasses.replace(source, num_steps=steps.stop)
    for _ in batches(stretch, start=steps.start, num_threads=threads):
        pass


def _measure(contenders: Mapping[str, Contender], args: argparse.Namespace) -> Times:
    """Return seconds per image by name, one a round, after a warm-up; each round reads further on."""
    steps = args.images // args.batch_size
    present = {name: c for name, c in contenders.items() if c.read}
    timed = {name: _next_stretch(c, steps) for name, c in present.items()}
    for warm_up in timed.values():
        warm_up()
    return _per_image(in_turn(timed, args.rounds), {name: c.steps * args.batch_size for name, c in present.items()})


def _next_stretch(contender: Contender, steps: int) -> Callable[[], None]:
    """Return what reads from step 0 on the first time, from `steps` on the second, and so on."""
    starts = itertools.count(0, steps)

    def run() -> None:
        start = next(starts)
        assert contender.read is not None
        contender.read(range(start, start + contender.steps))

    return run


def _per_image(seconds: Times, images: Mapping[str, int]) -> Times:
    return {name: [value / images[name] for value in values] for name, values in seconds.items()}


def _results(contenders: Mapping[str, Contender], seconds: Times) -> dict[str, Any]:
    claims = (
        (_ours(0), SCIPY, 8.0),
        (_ours(0), BARE, 0.9),
        (_ours(0), FLOOR, 0.9),
        (_ours(2), _ours(1), 1.4),
        (_ours(2), _torch(2), 3.0),
    )
    return {
        "seconds_per_image": seconds,
        "images_per_second": {name: rate(values, 1) for name, values in seconds.items()},
        "ours_as_many_cores": {
            name: {"ours": c.beside, **ratio(seconds, c.beside, name)}
            for name, c in contenders.items()
            if name in seconds and c.beside != name
        },
        "claims": [
            {"ours": ours, "theirs": theirs, "target": target, **ratio(seconds, ours, theirs)}
            for ours, theirs, target in claims
            if theirs in seconds
        ],
        "not_installed": [name for name in contenders if name not in seconds],
    }


def _rows(contenders: Mapping[str, Contender], seconds: Times, results: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for name in contenders:
        if name not in seconds:
            rows.append([name, "not installed", "", ""])
            continue
        images = results["images_per_second"][name]
        paired = results["ours_as_many_cores"].get(name)
        rows.append([name, f"{images:,.0f}", f"{1e6 / images:,.0f}", _range(paired) if paired else ""])
    return rows


def _range(numbers: Mapping[str, Any]) -> str:
    return f"{numbers['median']:.2f}x ({numbers['least']:.2f}-{numbers['most']:.2f})"


def _settings(dataset: Dataset, contenders: Mapping[str, Contender], args: argparse.Namespace) -> dict[str, Any]:
    return {
        "dataset": {"images_note": dataset.images_note, "count": len(dataset.images), "sha256": dataset.fingerprint},
        "image_size": args.image_size,
        "batch_size": args.batch_size,
        "rounds": args.rounds,
        "images_per_timing": {name: c.steps * args.batch_size for name, c in contenders.items()},
        "augmentation": dataclasses.asdict(Augmentation()),
        "page_cache": "warm",
    }


if __name__ == "__main__":
    main()
