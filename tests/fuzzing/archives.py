"""Zip archives of images: valid ones with hostile members, and damaged ones."""

import stat
import struct
import zipfile
from pathlib import Path
from random import Random

from hamjax.data.external import read_external
from hamjax.data.preparation.verify import verify
from hamjax.data.sources.folder import LocalSource
from hamjax.data.sources.synthetic import SyntheticSource
from tests.fuzzing.hostile import damage, word

NAME = "HAM10000_images_part_1.zip"
LOCAL, CENTRAL, END = b"PK\3\4", b"PK\1\2", b"PK\5\6"
# Where the fields of a central header are, and their width.
FIELDS = (
    (4, 2),
    (6, 2),
    (8, 2),
    (10, 2),
    (16, 4),
    (20, 4),
    (24, 4),
    (28, 2),
    (30, 2),
    (32, 2),
    (34, 2),
    (38, 4),
    (42, 4),
)


def make_samples(folder: Path) -> None:
    """Write four images, their table and their archive."""
    source = SyntheticSource(300)
    rows = list(source.metadata.rows())[:4]
    lines = ["lesion_id,image_id,dx", *(f"L{i},{row['image_id']},{row['dx']}" for i, row in enumerate(rows))]
    (folder / "HAM10000_metadata.csv").write_text("\n".join(lines) + "\n")
    with zipfile.ZipFile(folder / NAME, "w", zipfile.ZIP_DEFLATED) as archive:
        for row in rows:
            archive.writestr(f"part/{row['image_id']}.jpg", source.read(row["image_id"]))


def mutate(rng: Random, samples: Path, folder: Path) -> Path:
    """Pack hostile members, or damage headers or bytes."""
    (folder / "copy").mkdir()
    table = (samples / "HAM10000_metadata.csv").read_text()
    (folder / "copy" / "HAM10000_metadata.csv").write_text(table)
    mutant = folder / "copy" / NAME
    healthy = (samples / NAME).read_bytes()
    draw = rng.random()
    if draw < 0.2:
        mutant.write_bytes(damage(rng, healthy))
        return mutant
    mutant.write_bytes(healthy)
    if draw < 0.6:
        with zipfile.ZipFile(mutant, "a") as archive:
            ids = [line.split(",")[1] for line in table.splitlines()[1:]]
            for _ in range(rng.choice((1, 1, 3))):
                rng.choice(MEMBERS)(rng, archive, f"{rng.choice([*ids, 'other'])}.jpg")
    else:
        _headers(rng, mutant)
    return mutant


def parses(mutated: Path) -> bool:
    """Say whether zipfile reads its directory."""
    try:
        with zipfile.ZipFile(mutated) as archive:
            return bool(archive.infolist())
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return False


def use(folder: Path) -> None:
    """Verify it as a source, and read it as a set from elsewhere."""
    copy = folder / "copy"
    verify(LocalSource(copy), allow_missing=True)
    read_external(copy, copy / "HAM10000_metadata.csv").dataset(8, "squash")


def command(folder: Path) -> list[str]:
    """Prepare it, every image needed."""
    data = ["--data-dir", str(folder / "data"), "--image-size", "8"]
    return ["scripts/prepare_data.py", "--source", str(folder / "copy"), *data]


def _headers(rng: Random, mutant: Path) -> None:
    """Let the central header of a member, and at times its local one, claim something else."""
    raw = bytearray(mutant.read_bytes())
    starts = [at for at in range(len(raw)) if raw.startswith(CENTRAL, at)]
    for _ in range(rng.choice((1, 1, 3))):
        at, (offset, width) = rng.choice(starts), rng.choice(FIELDS)
        number = rng.choice((0, 1, 8, 12, 14, 99, 2**15, 2**16 - 1, 2**31, 2**32 - 1, rng.getrandbits(32)))
        raw[at + offset : at + offset + width] = (number % 2 ** (8 * width)).to_bytes(width, "little")
        local = struct.unpack_from("<I", raw, at + 42)[0]
        if rng.random() < 0.5 and offset in (8, 10, 16, 20, 24) and raw.startswith(LOCAL, local):
            raw[local + offset - 2 : local + offset - 2 + width] = raw[at + offset : at + offset + width]
    mutant.write_bytes(raw)


def _name(rng: Random, archive: zipfile.ZipFile, name: str) -> None:
    hostile = rng.choice(
        (f"../../{name}", f"/tmp/{name}", f"..\\{name}", f"{word(rng)[:200]}.jpg", f"{name}/", "x/" * 500 + name)
    )
    archive.writestr(hostile.replace("\0", "0"), b"no image")


def _link(rng: Random, archive: zipfile.ZipFile, name: str) -> None:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    kind = rng.choice((stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFDIR))
    info.external_attr = (kind | 0o777) << 16
    archive.writestr(info, b"../../sentinel")


def _bomb(rng: Random, archive: zipfile.ZipFile, name: str) -> None:
    archive.writestr(name, bytes(rng.choice((10**6, 2 * 10**7, 7 * 10**7))), rng.choice((8, 8, 12)), 1)


def _content(rng: Random, archive: zipfile.ZipFile, name: str) -> None:
    archive.writestr(name, rng.choice((b"", b"GIF89a", rng.randbytes(500), b"\xff\xd8\xff\xe0" + rng.randbytes(50))))


def _many(rng: Random, archive: zipfile.ZipFile, name: str) -> None:
    for i in range(rng.choice((100, 1000))):
        archive.writestr(f"{i}/{name}", b"")


def _method(rng: Random, archive: zipfile.ZipFile, name: str) -> None:
    archive.writestr(name, rng.randbytes(300), rng.choice((zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)))


def _nested(rng: Random, archive: zipfile.ZipFile, name: str) -> None:
    archive.writestr(name.replace(".jpg", rng.choice((".zip", ".csv", ".jpg"))), b"PK\5\6" + bytes(18))


def _comment(rng: Random, archive: zipfile.ZipFile, name: str) -> None:
    archive.comment = rng.choice((END, rng.randbytes(200), END + rng.randbytes(18)))
    info = zipfile.ZipInfo(name)
    info.extra = rng.choice((b"\1\0\x10\0" + rng.randbytes(16), rng.randbytes(9), struct.pack("<HH", 1, 65000)))
    archive.writestr(info, b"")


MEMBERS = (_name, _name, _link, _bomb, _content, _content, _many, _method, _nested, _comment)
