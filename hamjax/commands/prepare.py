"""Verify HAM10000, write it as TFDS records, and build the decode-once cache.

    hamjax prepare --source FOLDER --data-dir data
    hamjax prepare --download --data-dir data

FOLDER holds images and their table, as published, as Kaggle and the ISIC Archive have them, or in other layouts, also
in zip archives. A zip archive, the table itself, or MedMNIST's dermamnist_64.npz may be named in its place.
"""

from collections.abc import Sequence
from pathlib import Path

from hamjax.commands.arguments import make_parser
from hamjax.config import Config
from hamjax.config.topics import DataConfig
from hamjax.config.validation import with_user_paths
from hamjax.data.classes import CLASSES
from hamjax.data.dataset import describe_tables
from hamjax.data.lesions import lesion_facts
from hamjax.data.sources.dataverse import download
from hamjax.training.setup.plan import prepare_data


def main(words: Sequence[str]) -> None:
    """Run the command."""
    parser = make_parser("prepare", __doc__)
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--source",
        metavar="DIR",
        default="",
        help="a local copy: a folder, a zip archive, a table, or DermaMNIST's file",
    )
    where.add_argument("--download", action="store_true", help="fetch the 2.8 GB from Harvard Dataverse")
    parser.add_argument("--mirror", metavar="URL", default="", help="fetch from here instead; hashes are checked")
    parser.add_argument("--data-dir", default="data", help="where records and caches go (data)")
    parser.add_argument("--image-size", type=int, default=224, help="pixels a side of the cache (224)")
    parser.add_argument("--resize", choices=("squash", "crop"), default="squash")
    parser.add_argument("--allow-missing", action="store_true", help="go on without missing or undecodable images")
    args = parser.parse_args(words)
    if args.image_size < 4:
        parser.error(f"--image-size: expected at least 4, got {args.image_size}")
    config = DataConfig(
        source_dir=args.source,
        data_dir=args.data_dir,
        image_size=args.image_size,
        resize=args.resize,
        allow_missing=args.allow_missing,
    )
    located = with_user_paths(Config(data=config))
    if args.download:
        located.data.source_dir = str(download(Path(located.data.data_dir, "download"), mirror=args.mirror))
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        print(line, flush=True)

    dataset = prepare_data(located, say)
    counts = dict(zip(CLASSES, dataset.metadata.class_counts().tolist(), strict=True))
    unknown = lesion_facts(dataset.metadata)["unknown"]
    lesions = (
        f"of {len(set(dataset.metadata.lesion_id.tolist())):,} lesions"
        if not unknown
        else (f"(lesions not known for {unknown:,}: a split of them can leak)")
    )
    if not any(line.startswith("table ") for line in said):  # said where records are built, before hours of work
        print("\n".join(describe_tables(dataset.tables, dataset.outside)))
    print(f"ready: {len(dataset.metadata):,} images {lesions}, {dataset.images_note}")
    print("per class: " + ", ".join(f"{dx} {n:,}" for dx, n in counts.items()))
    print(f"fingerprint {dataset.fingerprint}")
    if dataset.dropped:
        print(f"left out: {', '.join(dataset.dropped)}")
