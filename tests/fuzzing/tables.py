"""Metadata: HAM10000's table, ISIC's one-hot ground truth with its groupings, labels from elsewhere, `split.csv`."""

import csv
import hashlib
import io
import json
import shutil
from pathlib import Path
from random import Random

from hamjax.config import Config, make_config
from hamjax.data import lesions, splits
from hamjax.data.classes import CLASSES
from hamjax.data.demographics import demographics
from hamjax.data.external_labels import read_labels
from hamjax.data.metadata import Metadata
from hamjax.data.sources.folder import LocalSource
from hamjax.data.sources.synthetic import SyntheticSource
from hamjax.training.run_directory.record import read_split
from hamjax.training.setup.plan import make_plan
from tests.fuzzing.hostile import damage, word

Rows = list[list[str]]
IMAGES = 300
COLUMNS = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization", "dataset")
CODES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
TRUTH, GROUPINGS = "ISIC2018_Task3_Training_GroundTruth.csv", "ISIC2018_Task3_Training_LesionGroupings.csv"


def make_samples(folder: Path) -> None:
    """Write a table of every layout."""
    source = SyntheticSource(IMAGES)
    table = source.metadata
    rows = list(table.rows())
    first = rows[0]["image_id"]
    for name in ("copy", "one_hot", "labels", "run"):
        (folder / name).mkdir()
    for name in ("copy", "one_hot"):
        (folder / name / f"{first}.jpg").write_bytes(source.read(first))
    write(folder / "copy" / "HAM10000_metadata.csv", [list(COLUMNS), *([str(r[c]) for c in COLUMNS] for r in rows)])
    hot = [[r["image_id"], *(f"{float(r['dx'].upper() == code)}" for code in CODES)] for r in rows]
    write(folder / "one_hot" / TRUTH, [["image", *CODES], *hot])
    write(folder / "one_hot" / GROUPINGS, [["image", "lesion_id"], *([r["image_id"], r["lesion_id"]] for r in rows)])
    write(folder / "labels" / "labels.csv", [["image", "label"], *([r["image_id"], r["dx"]] for r in rows)])
    text = splits.split_csv(table, splits.make_split(table, "honest"))
    (folder / "run" / "split.csv").write_text(text)


def mutate(rng: Random, samples: Path, folder: Path) -> Path:
    """Damage one table."""
    table = rng.choice(sorted(samples.rglob("*.csv")))
    shutil.copytree(table.parent, folder / table.parent.name)
    mutant = folder / table.parent.name / table.name
    if rng.random() < 0.2:
        mutant.write_bytes(damage(rng, table.read_bytes()))
    else:
        rows = list(csv.reader(table.read_text().splitlines()))
        for _ in range(rng.choice((1, 1, 3))):
            rng.choice(CHANGES)(rng, rows)
        write(mutant, rows, delimiter=rng.choice((",", ",", ",", "\t", ";")), quoting=rng.choice((0, 0, 1)))
    if table.parent.name == "run":  # a hostile run directory vouches for its own split
        facts = {"data_fingerprint": "0" * 64, "split_fingerprint": hashlib.sha256(mutant.read_bytes()).hexdigest()}
        (mutant.parent / "config.json").write_text(json.dumps({"config": Config().to_dict(), **facts}))
    return mutant


def parses(mutated: Path) -> bool:
    """Say whether it is CSV of at least two lines."""
    try:
        return len(list(csv.reader(mutated.read_text(encoding="utf-8-sig").splitlines(), strict=True))) >= 2
    except (ValueError, csv.Error):
        return False


def use(folder: Path) -> None:
    """Read the table and plan a run with it, as preparation, training and judging do."""
    (case,) = folder.iterdir()
    if case.name == "labels":
        read_labels(case / "labels.csv")
    elif case.name == "run":
        metadata, split = read_split(case)
        lesions.overlap(metadata, metadata, split)
        splits.split_counts(metadata, split)
    else:
        metadata = LocalSource(case, allow_missing=True).metadata
        _plan(metadata)


def command(folder: Path) -> list[str] | None:
    """Prepare it."""
    (case,) = folder.iterdir()
    if case.name in ("labels", "run"):
        return None
    return ["scripts/prepare_data.py", "--source", str(case), "--data-dir", str(folder / "data"), "--image-size", "8"]


def write(path: Path, rows: Rows, *, delimiter: str = ",", quoting: int = csv.QUOTE_MINIMAL) -> None:
    """Write rows as CSV."""
    text = io.StringIO()
    kind = csv.QUOTE_ALL if quoting else csv.QUOTE_MINIMAL
    csv.writer(text, delimiter=delimiter, quoting=kind, lineterminator="\n").writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8", errors="surrogatepass")


def _plan(metadata: Metadata) -> None:
    metadata.fingerprint()
    for split in ("paper", "honest", "fold3"):
        make_plan(make_config(model="cnn", strategy="s5", data__split=split), metadata)
    known = lesions.known_lesions(metadata.image_id, metadata.lesion_id)
    demographics(lesions.lesion_groups(metadata), known, metadata.columns())


def _cell(rng: Random, rows: Rows) -> None:
    row = rng.choice(rows[1:] or rows)
    if row:
        row[rng.randrange(len(row))] = word(rng)


def _column(rng: Random, rows: Rows) -> None:
    column, fill = rng.randrange(len(rows[0]) or 1), word(rng)
    for row in rows[1:]:
        if column < len(row):
            row[column] = fill


def _header(rng: Random, rows: Rows) -> None:
    rows[0][rng.randrange(len(rows[0]))] = rng.choice((word(rng), *rows[0], "lesion_id", "dx", "age"))


def _drop_column(rng: Random, rows: Rows) -> None:
    column = rng.randrange(len(rows[0]))
    for row in rows:
        del row[column : column + 1]
    rows[0] = rows[0] or ["x"]


def _drop_rows(rng: Random, rows: Rows) -> None:
    del rows[rng.choice((1, 2, 20, 250)) :]


def _repeat_row(rng: Random, rows: Rows) -> None:
    rows.append(list(rng.choice(rows)))


def _ragged(rng: Random, rows: Rows) -> None:
    row = rng.choice(rows)
    row[:] = rng.choice(([*row, word(rng)], row[:-1] or ["x"], row * 50))


def _classes(rng: Random, rows: Rows) -> None:
    column, dx = rng.randrange(len(rows[0]) or 1), rng.choice(CLASSES)
    for row in rows[1 : rng.randrange(2, len(rows) + 2)]:
        if column < len(row):
            row[column] = rng.choice((dx, dx.upper(), "0", "1", "1.0"))


def _age(rng: Random, rows: Rows) -> None:
    column = rows[0].index("age") if "age" in rows[0] else -1
    for row in rows[1:]:
        if len(row) == len(rows[0]):
            row[column] = rng.choice(("", "0", "85.0", "na", "-3", "1e5", "nan", "inf", "five"))


CHANGES = (_cell, _cell, _cell, _column, _header, _drop_column, _drop_rows, _repeat_row, _ragged, _classes, _age)
