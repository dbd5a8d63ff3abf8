"""Sources in layouts and dialects that people have, taken apart and put together at random; DermaMNIST's file, too."""

import csv
import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np

from hamjax.data.classes import CLASSES
from hamjax.data.external import read_external
from hamjax.data.preparation.prepare import DataRequest
from hamjax.data.preparation.verify import verify
from hamjax.data.sources.synthetic import SyntheticSource
from tests.fuzzing.hostile import damage, word

IMAGES = 6
FOLDERS = ("", "HAM10000_images_part_1", "ham10000_images_part_1", "a/b/c/d", "[1]", "{a,b}", "*", "~", "%s", "é", " ",
           "l\udce4sion", ".hidden", "@eaDir", "__MACOSX", ".ipynb_checkpoints", "thumbnails", "test", "train", "c.zip",
           *CLASSES[:3])  # fmt: skip
TABLES = ("HAM10000_metadata.csv", "HAM10000_metadata.tab", "HAM10000_metadata", "HAM10000_metadata - Copy.csv",
          "metadata.csv", "train.csv", "test.csv", "lesions.csv", "._HAM10000_metadata.csv", "notes.txt")  # fmt: skip
SUFFIXES = (".jpg", ".JPG", ".jpg.jpg", ".jpeg", ".png", ".txt", " (1).jpg")
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "cp037", "utf-32", "utf-7")
FORMS: tuple[tuple[str, ...], ...] = (
    ("lesion_id", "image_id", "dx", "age"),
    ("image_id", "lesion_id"),
    ("isic_id", "diagnosis", "lesion_id", "age_approx"),
    ("isic_id", "diagnosis_1", "diagnosis_3"),
    ("image", "MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"),
    ("image", "MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK"),
    ("image_id", "dx"),
)
DIAGNOSES = ("nevus", "melanoma", "Melanoma, NOS", "squamous cell carcinoma", "actinic keratosis", "", "other", "nan")
IMAGE_CELLS = (*["{}"] * 8, "{}.jpg", "images\\{}.jpg", "C:\\x\\{}.JPG", "./{}.jpg.jpg")
PUBLISHED = "HAM10000_metadata.csv"


def make_samples(folder: Path) -> None:
    """Write a few images and their table, and a small DermaMNIST."""
    source = SyntheticSource(300)
    rows = list(source.metadata.rows())[:IMAGES]
    (folder / PUBLISHED).write_bytes(_table(rows, FORMS[0]))
    for row in rows:
        (folder / f"{row['image_id']}.jpg").write_bytes(source.read(row["image_id"]))
    arrays = {}
    for part in ("train", "val", "test"):
        arrays[f"{part}_images"] = np.arange(7 * 8 * 8 * 3, dtype=np.uint8).reshape(7, 8, 8, 3)
        arrays[f"{part}_labels"] = np.arange(7, dtype=np.uint8)[:, None]
    np.savez_compressed(folder / "dermamnist.npz", **arrays)


def mutate(rng: Random, samples: Path, folder: Path) -> Path:
    """Arrange images and tables anew, in a folder whose name may be odd; return the source."""
    root = folder / rng.choice(("copy", "copy", "[1]", "{a,b}", "*", "~", "a b", "%d"))
    root.mkdir()
    if rng.random() < 0.15:
        return _npz(rng, samples / "dermamnist.npz", root / "dermamnist.npz")
    rows = list(csv.DictReader((samples / PUBLISHED).read_text().splitlines()))
    for row in rows:
        content = (samples / f"{row['image_id']}.jpg").read_bytes()
        for _ in range(rng.choice((*[1] * 12, 2))):
            _put(rng, root, f"{row['image_id']}{rng.choice((*SUFFIXES[:4] * 12, *SUFFIXES))}", content)
    if rng.random() < 0.7:
        (root / PUBLISHED).write_bytes(_dialect(rng, rows))
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        _put(rng, root, rng.choice(TABLES), _dialect(rng, rows))
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        rng.choice(CHANGES)(rng, root)
    return root


def parses(mutated: Path) -> bool:
    """Return whether there is anything."""
    return mutated.is_file() or any(path.is_file() for path in mutated.rglob("*"))


def use(folder: Path) -> None:
    """Verify it as a source, and read it as a set from elsewhere."""
    source_dir = _source(folder)
    asked = DataRequest(
        name="ham10000", source_dir=str(source_dir), data_dir=str(folder / "data"), image_size=8, resize="squash",
        allow_missing=True, synthetic_images=300,
    )  # fmt: skip
    source = asked.open_source()
    assert source is not None
    verify(source, allow_missing=True)
    if (source_dir / PUBLISHED).exists():
        read_external(source_dir, source_dir / PUBLISHED).dataset(8, "squash")


def command(folder: Path) -> list[str]:
    """Prepare it, every image needed."""
    data = ["--data-dir", str(folder / "data"), "--image-size", "8"]
    return ["scripts/prepare_data.py", "--source", str(_source(folder)), *data]


def _source(folder: Path) -> Path:
    root = next(path for path in folder.iterdir() if path.name != "data")
    return root / "dermamnist.npz" if (root / "dermamnist.npz").exists() else root


def _put(rng: Random, root: Path, name: str, content: bytes) -> None:
    """Write a file somewhere, plain or into an archive."""
    place = Path(rng.choice((*[""] * 10, *FOLDERS)), name)
    if rng.random() < 0.2:
        inside = str(place) if rng.random() < 0.5 else str(place).replace("/", "\\")
        with zipfile.ZipFile(root / rng.choice(("a.zip", "b.ZIP")), "a", rng.choice((0, 8))) as archive:
            archive.writestr(inside.encode("utf-8", "replace").decode(), content)
    else:
        target = root / place
        if not any(parent.is_file() for parent in target.parents):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def _dialect(rng: Random, rows: list[dict[str, str]]) -> bytes:
    """Write rows in some layout, encoding and separator, with some cells changed."""
    rows, columns = [dict(row) for row in rows], rng.choice((*[FORMS[0]] * 12, *FORMS))
    for row in rows:
        image = rng.choice(IMAGE_CELLS).format(row["image_id"])
        hot = {code: "01"[code == row["dx"].upper()] for code in columns if code.isupper()}
        age = rng.choice((row["age"], row["age"].replace(".", ","), *["N/A", "-", "?", "NaT"] * 5, "45 years"))
        row |= hot | {"image_id": image, "image": image, "isic_id": image, "age": age, "age_approx": age}
        row |= {name: rng.choice(DIAGNOSES) for name in columns if name.startswith("diagnosis")}
        if rng.random() < 0.02:
            row[rng.choice(columns)] = word(rng)
        if rng.random() < 0.3:
            row["dx"] = row["dx"].upper()
    separator = rng.choice((*[",", ";", "\t", "|"] * 5, ":"))
    content = _table(rows, columns, separator, rng.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL)))
    text = content.decode("utf-8", "replace")
    text = rng.choice((text, text, text.upper(), "sep=;\r\n" + text, text + ",,,\r\n\r\n", "\r\n" + text))
    text = text.replace("\r\n", rng.choice((*["\r\n", "\n", "\r"] * 5, "\u2028")))
    content = text.encode(rng.choice((*ENCODINGS[:5] * 4, *ENCODINGS)), "replace")
    return damage(rng, content) if rng.random() < 0.1 else content


def _table(rows: list[dict[str, str]], columns: tuple[str, ...], separator: str = ",", quoting: int = 0) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(
        text, columns, restval="", extrasaction="ignore", delimiter=separator,
        quoting=csv.QUOTE_ALL if quoting else csv.QUOTE_MINIMAL,
    )  # fmt: skip
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8", "replace")


def _npz(rng: Random, healthy: Path, mutant: Path) -> Path:
    """Change arrays of a DermaMNIST, or bytes of its file."""
    if rng.random() < 0.3:
        mutant.write_bytes(damage(rng, healthy.read_bytes()))
        return mutant
    with np.load(healthy) as stored:
        arrays = dict(stored)
    for _ in range(rng.choice((1, 1, 2))):
        name = rng.choice(sorted(arrays))
        arrays[name] = rng.choice(ARRAYS)(arrays[name])
    with zipfile.ZipFile(mutant, "w", rng.choice((0, 8, 12))) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, version=rng.choice(((1, 0), (2, 0), (3, 0))))
            raw = content.getvalue()
            archive.writestr(f"{name}.npy", damage(rng, raw) if rng.random() < 0.1 else raw)
    return mutant


ARRAYS: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
    lambda a: a.reshape(-1)[:-1], lambda a: a.reshape(-1)[:0], lambda a: a.reshape(-1), lambda a: a[None],
    lambda a: a.astype(np.int64), lambda a: a.astype(np.float32), lambda a: a + 200, lambda a: np.asfortranarray(a),
    lambda a: a.astype(object), lambda a: a.astype("S3"), lambda a: a.astype(">i2"), lambda a: np.zeros((), a.dtype),
    lambda a: np.broadcast_to(a, (50, *a.shape)).copy(),
)  # fmt: skip


def _nest(rng: Random, root: Path) -> None:
    """Put everything, or an archive again and again, into an archive."""
    files = [path for path in root.rglob("*") if path.is_file()]
    for _ in range(rng.choice((1, 1, 2, 3))):
        inner = io.BytesIO()
        with zipfile.ZipFile(inner, "w", rng.choice((0, 8))) as archive:
            for path in files:
                name = str(path.relative_to(root)).encode("utf-8", "replace").decode()
                archive.writestr(name, path.read_bytes())
        for path in files:
            path.unlink()
        files = [root / "dataverse_files.zip"]
        files[0].write_bytes(inner.getvalue())


def _damage_file(rng: Random, root: Path) -> None:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    if files:
        chosen = rng.choice(files)
        chosen.write_bytes(damage(rng, chosen.read_bytes()))


def _bomb(rng: Random, root: Path) -> None:
    """Put an archive that opens to very much beside the rest."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", 8) as archive:
        archive.writestr(rng.choice(("ISIC_9000000.jpg", PUBLISHED, "x.jpg")), bytes(rng.choice((10**5, 7 * 10**7))))
    with zipfile.ZipFile(root / "bomb.zip", "w", 8) as archive:
        archive.writestr("inner.zip", rng.choice((inner.getvalue(), bytes(10**7))))


def _links(rng: Random, root: Path) -> None:
    """Link to the source itself, to nothing, or to what lies elsewhere."""
    (root / f"link{rng.random()}").symlink_to(
        rng.choice((root, root.parent, root / "link", Path("/nowhere"), root / "test", root / PUBLISHED))
    )


def _copy(rng: Random, root: Path) -> None:
    """Copy a file to another name."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    if files:
        chosen = rng.choice(files)
        name = rng.choice((f"{chosen.stem} - Copy{chosen.suffix}", "x.jpg", f"2{PUBLISHED}"))
        shutil.copy(chosen, chosen.with_name(name))


CHANGES = (_nest, _nest, _damage_file, _damage_file, _bomb, _links, _links, _copy)
