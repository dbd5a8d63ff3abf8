"""JPEGs, and PNGs under their name: valid segments of hostile content, and damaged bytes."""

import io
import struct
import warnings
import zlib
from pathlib import Path
from random import Random

from PIL import Image

from hamjax.data.external import read_external
from hamjax.data.preparation.verify import verify
from hamjax.data.sources.folder import LocalSource
from hamjax.data.sources.synthetic import SyntheticSource
from tests.fuzzing.hostile import damage

Segments = list[tuple[int, bytes]]  # marker and content; of a scan also what follows it
SIDES = (0, 1, 7, 90, 121, 5000, 20_000, 65_500, 65_535)
SOF, SOS, DHT, DQT, DRI = (0xC0, 0xC1, 0xC2), 0xDA, 0xC4, 0xDB, 0xDD


def make_samples(folder: Path) -> None:
    """Write four images, one of them progressive, one grey and one a PNG, and their table."""
    source = SyntheticSource(300)
    rows = list(source.metadata.rows())[:4]
    lines = ["lesion_id,image_id,dx", *(f"L{i},{row['image_id']},{row['dx']}" for i, row in enumerate(rows))]
    (folder / "HAM10000_metadata.csv").write_text("\n".join(lines) + "\n")
    forms: tuple[tuple[str, str, dict[str, bool]], ...] = (
        ("jpeg", "RGB", {}), ("jpeg", "RGB", {"progressive": True}), ("jpeg", "L", {}), ("png", "RGB", {}),
    )  # fmt: skip
    for row, (kind, mode, options) in zip(rows, forms, strict=True):
        picture = Image.open(io.BytesIO(source.read(row["image_id"]))).convert(mode)
        picture.save(folder / f"{row['image_id']}.jpg", kind, **options)


def mutate(rng: Random, samples: Path, folder: Path) -> Path:
    """Damage one image."""
    (folder / "copy").mkdir()
    for path in samples.iterdir():
        (folder / "copy" / path.name).write_bytes(path.read_bytes())
    mutant = rng.choice(sorted((folder / "copy").glob("*.jpg")))
    content = mutant.read_bytes()
    if rng.random() < 0.2:
        content = _recode(rng, content)
    if rng.random() < 0.15:
        content = damage(rng, content)
    elif content.startswith(b"\xff\xd8"):
        segments = _split(content)
        for _ in range(rng.choice((1, 1, 2))):
            rng.choice(CHANGES)(rng, segments)
        content = _join(segments)
    else:
        content = _damage_png(rng, content)
    mutant.write_bytes(content)
    return mutant


def parses(mutated: Path) -> bool:
    """Say whether Pillow takes its header, whatever the size it claims."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(mutated):
            return True
    except (OSError, ValueError, SyntaxError):
        return False
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def use(folder: Path) -> None:
    """Verify it in a source that must be whole, and read it as a set from elsewhere."""
    copy = folder / "copy"
    read_external(copy, copy / "HAM10000_metadata.csv").dataset(8, "crop")
    verify(LocalSource(copy), allow_missing=False)


def command(folder: Path) -> list[str]:
    """Prepare it, every image needed."""
    data = ["--data-dir", str(folder / "data"), "--image-size", "8"]
    return ["scripts/prepare_data.py", "--source", str(folder / "copy"), *data]


def _split(content: bytes) -> Segments:
    segments, at = [], 2
    while at < len(content) - 2:
        marker, length = content[at + 1], struct.unpack_from(">H", content, at + 2)[0]
        end = at + 2 + length
        if marker == SOS:
            while not (content[end] == 0xFF and content[end + 1] not in (0, *range(0xD0, 0xD8))):
                end += 1
        segments.append((marker, content[at + 4 : end]))
        at = end
    return segments


def _join(segments: Segments) -> bytes:
    parts = [b"\xff\xd8"]
    for marker, content in segments:
        header = content[: 1 + 2 * content[0] + 3] if marker == SOS and content else content
        parts += [bytes((0xFF, marker)), struct.pack(">H", min(len(header) + 2, 65_535)), content]
    return b"".join([*parts, b"\xff\xd9"])


def _frame(rng: Random, segments: Segments) -> None:
    """Claim another size, precision, number of components or subsampling."""
    for i, (marker, content) in enumerate(segments):
        if marker in SOF and len(content) > 6:
            frame = bytearray(content)
            if rng.random() < 0.7:
                struct.pack_into(">HH", frame, 1, rng.choice(SIDES), rng.choice(SIDES))
            else:
                frame[rng.choice((0, *range(5, len(frame))))] = rng.choice((0, 1, 3, 4, 12, 0x44, 0xFF))
            segments[i] = (rng.choice((marker, marker, 0xC2, 0xC3, 0xC9)), bytes(frame))


def _tables(rng: Random, segments: Segments) -> None:
    for i, (marker, content) in enumerate(segments):
        if marker in (DHT, DQT) and content and rng.random() < 0.5:
            segments[i] = (marker, damage(rng, content)[:60_000])


def _scan(rng: Random, segments: Segments) -> None:
    for i, (marker, content) in enumerate(segments):
        if marker == SOS and rng.random() < 0.6:
            segments[i] = (marker, content[:10] + damage(rng, content[10:]).replace(b"\xff", b"\xfe"))


def _scans(rng: Random, segments: Segments) -> None:
    scan = rng.choice([segment for segment in segments if segment[0] == SOS] or [(0xFE, b"")])
    segments += [scan] * rng.choice((1, 20, 150, 1000))


def _order(rng: Random, segments: Segments) -> None:
    if rng.random() < 0.5:
        rng.shuffle(segments)
    elif segments:
        del segments[rng.randrange(len(segments))]


def _extra(rng: Random, segments: Segments) -> None:
    """Put in a segment that other programs read: Exif, ICC, MPF, Photoshop, Adobe, a comment."""
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<H", rng.choice((1, 5, 60_000))) + rng.randbytes(60)
    content = rng.choice(
        (
            (0xE1, b"Exif\0\0" + tiff),
            (0xE2, b"MPF\0" + tiff),
            (0xE2, b"ICC_PROFILE\0" + rng.randbytes(20)),
            (0xED, b"Photoshop 3.0\x008BIM" + rng.randbytes(30)),
            (0xEE, b"Adobe" + rng.randbytes(7)),
            (0xE0, b"JFIF\0" + rng.randbytes(9)),
            (0xFE, rng.randbytes(40_000).replace(b"\xff", b"\xfe")),
            (DRI, struct.pack(">H", rng.choice((0, 1, 65_535)))),
        )
    )
    segments.insert(rng.randrange(len(segments) + 1), content)


CHANGES = (_frame, _frame, _tables, _scan, _scan, _scans, _order, _extra, _extra)


def _recode(rng: Random, content: bytes) -> bytes:
    """Save it in another mode and depth, at times with a turn, a transparent colour or something behind its end."""
    mode, options = rng.choice(MODES), {}
    with Image.open(io.BytesIO(content)) as image:
        picture = image.convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        picture = Image.new(mode, picture.size)
        picture.putdata([rng.randrange(2**16) for _ in range(picture.width * picture.height)])
    if rng.random() < 0.3:
        exif = Image.Exif()
        exif[0x0112] = rng.choice((1, 6, 8, 99))
        options["exif"] = rng.choice((exif.tobytes(), b"Exif\0\0" + rng.randbytes(20)))
    if rng.random() < 0.3 and mode in ("1", "L", "P", "I;16"):
        options["transparency"] = 0
    file = io.BytesIO()
    picture.save(file, "jpeg" if mode == "CMYK" else "png", **options)
    return file.getvalue() + (rng.randbytes(2000) + b"\xff\xda" * 300) * (rng.random() < 0.3)


MODES = ("1", "L", "P", "LA", "RGB", "RGBA", "I;16", "CMYK")


def _damage_png(rng: Random, content: bytes) -> bytes:
    """Change chunks; their checksums stay right."""
    chunks, at = [], 8
    while at < len(content):
        length = struct.unpack_from(">I", content, at)[0]
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    kind = rng.choice(("size", "form", "pixels", "bomb", "text", "order"))
    header = bytearray(chunks[0][1])
    if kind == "size":
        struct.pack_into(">II", header, 0, rng.choice(SIDES), rng.choice((*SIDES, 2**31 - 1)))
    elif kind == "form":
        header[rng.randrange(8, 13)] = rng.choice((0, 1, 2, 3, 4, 6, 16, 255))
    chunks[0] = (b"IHDR", bytes(header))
    if kind == "pixels":
        chunks = [(name, damage(rng, data) if name == b"IDAT" else data) for name, data in chunks]
    elif kind in ("bomb", "text"):
        data = zlib.compress(bytes(10**7)) if kind == "bomb" else rng.randbytes(30)
        name = rng.choice((b"zTXt", b"iCCP", b"iTXt", b"eXIf", b"tRNS", b"PLTE", b"acTL", b"fcTL", b"cHRM", b"IDAT"))
        chunks.insert(rng.randrange(1, len(chunks)), (name, b"x\0\0" + data))
    elif kind == "order":
        rng.shuffle(chunks)
    parts = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks]
    return content[:8] + b"".join(parts)
