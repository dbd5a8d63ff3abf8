"""A drawn stand-in for HAM10000: no download, no photograph, the same seven codes.

What tells the classes apart is shape, border and texture. Skin tone, lesion colour, size,
place, light, and whether a pattern is lighter or darker than its ground are drawn alike for
all, so that colour alone does not classify. Class mix, images per lesion and image
format follow the published metadata of HAM10000. It says nothing about skin.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from hamjax.data.classes import CLASSES
from hamjax.data.metadata import Metadata, from_rows

WIDTH, HEIGHT = 120, 90
# From the published metadata: images per class, and lesions that have 1, 2, ... 6 images.
CLASS_IMAGES = {"akiec": 327, "bcc": 514, "bkl": 1099, "df": 115, "mel": 1113, "nv": 6705, "vasc": 142}
LESIONS_BY_IMAGES = (5514, 1423, 490, 34, 5, 4)
SITES = ("back", "lower extremity", "trunk", "upper extremity", "abdomen", "face", "chest", "scalp")
FIRST_ID = 9_000_000

Grid = tuple[np.ndarray, np.ndarray]
Rng = np.random.Generator


class SyntheticSource:
    """A data set of `count` drawn images; any image can be drawn on its own."""

    kind = "drawn images, no photographs,"

    def __init__(self, count: int, seed: int = 0) -> None:
        self.metadata = _invent_metadata(count, seed)
        self.description = f"{count:,} drawn images"
        self.signature = f"synthetic/3 count={count} seed={seed}"
        self.tables: Sequence[dict[str, Any]] = ()
        self.outside: Mapping[str, str] = {}
        self._seed = seed
        self._row = {image_id: i for i, image_id in enumerate(self.metadata.image_id.tolist())}
        self._cached_read = functools.cache(self._draw_and_encode)

    def missing(self) -> list[str]:
        """Return no id: every image can be drawn."""
        return []

    def unclaimed(self) -> list[str]:
        """Return no place: there is no file."""
        return []

    def read(self, image_id: str) -> bytes:
        """Return one image as JPEG."""
        return self._cached_read(image_id)

    def _draw_and_encode(self, image_id: str) -> bytes:
        row = self._row[image_id]
        lesion = int(self.metadata.lesion_id[row].removeprefix("SYN_"))
        image = draw(
            CLASSES[self.metadata.label[row]],
            np.random.default_rng((self._seed, 1, lesion)),
            np.random.default_rng((self._seed, 2, row)),
        )
        _, encoded = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
        return encoded.tobytes()


def draw(dx: str, lesion: Rng, view: Rng) -> np.ndarray:
    """Draw one image.

    Args:
        dx: a code of `CLASSES`.
        lesion: decides what the lesion is; the same for all its images.
        view: decides how this image shows it.

    Returns:
        [90, 120, 3] uint8 RGB.
    """
    tone = lesion.uniform()
    skin = (1 - tone) * np.array([238, 202, 180.0]) + tone * np.array([128, 88, 70.0])
    skin = skin + lesion.normal(0, 7, 3)
    colour = skin * lesion.uniform(0.35, 0.7) + lesion.normal(0, 10, 3)
    u, v = _view_grid(view, radius=lesion.uniform(27, 36))
    alpha, pattern = PAINTERS[dx]((u, v), lesion)
    polarity = lesion.choice([-1.0, 1.0]) * lesion.uniform(38, 62)
    ground = skin + _smooth_noise(view, 4, 8)[:, :, None]
    body = colour + _smooth_noise(lesion, 5, 9)[:, :, None] + polarity * pattern[:, :, None]
    image = ground + alpha[:, :, None] * (body - ground)
    image = image * _light(view)[:, :, None] + view.normal(0, 4, image.shape)
    image = np.clip(image, 0, 255).astype(np.uint8)
    return _clutter(np.ascontiguousarray(image), view)


def _view_grid(view: Rng, radius: float) -> Grid:
    """Return lesion coordinates of every pixel: the lesion's radius is 1."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    x = columns - WIDTH / 2 - view.uniform(-10, 10)
    y = rows - HEIGHT / 2 - view.uniform(-6, 6)
    angle, scale = view.uniform(0, 2 * np.pi), radius * view.uniform(0.9, 1.1)
    return (
        (np.cos(angle) * x - np.sin(angle) * y) / scale,
        (np.sin(angle) * x + np.cos(angle) * y) / scale,
    )


def _blob(grid: Grid, rng: Rng, ripple: float, softness: float) -> np.ndarray:
    """Return the opacity of a round shape whose outline has random ripples."""
    u, v = grid
    stretch = rng.uniform(0.8, 1.2)
    rho, theta = np.hypot(u * stretch, v / stretch), np.arctan2(v, u)
    outline = np.ones_like(rho)
    for k in range(2, 7):
        outline += ripple * rng.normal(0, 1) / np.sqrt(k) * np.cos(k * theta + rng.uniform(0, 2 * np.pi))
    return 1 / (1 + np.exp(np.clip((rho - outline) / softness, -30, 30)))


def _spots(grid: Grid, rng: Rng, count: int, size: float, reach: float) -> np.ndarray:
    u, v = grid
    field = np.zeros_like(u)
    for _ in range(count):
        rho, theta = reach * np.sqrt(rng.uniform()), rng.uniform(0, 2 * np.pi)
        distance = (u - rho * np.cos(theta)) ** 2 + (v - rho * np.sin(theta)) ** 2
        field = np.maximum(field, np.exp(-((distance / size**2) ** 2)))
    return field


def _paint_nv(grid: Grid, rng: Rng) -> Grid:
    """Round, even, no structure."""
    return _blob(grid, rng, 0.04, 0.05), np.full_like(grid[0], rng.uniform(-0.3, 0.3))


def _paint_mel(grid: Grid, rng: Rng) -> Grid:
    """Ragged outline, two tones in large patches."""
    u, v = grid
    wave = sum(np.sin(rng.uniform(2, 4) * (u * np.cos(a) + v * np.sin(a)) + rng.uniform(0, 6))
               for a in rng.uniform(0, np.pi, 3))  # fmt: skip
    return _blob(grid, rng, 0.22, 0.03), np.tanh(3 * wave)


def _paint_bkl(grid: Grid, rng: Rng) -> Grid:
    """Sharp outline, many small dots."""
    return _blob(grid, rng, 0.06, 0.02), 1.6 * _spots(grid, rng, 14, 0.15, 0.85) - 0.4


def _paint_bcc(grid: Grid, rng: Rng) -> Grid:
    """Faint body crossed by one thick winding vessel."""
    u, v = grid
    wave = 0.22 * np.sin(rng.uniform(2.5, 4) * u + rng.uniform(0, 6))
    vessel = np.exp(-(((v + wave + rng.uniform(-0.2, 0.2)) / 0.2) ** 2))
    return 0.85 * _blob(grid, rng, 0.08, 0.1), 1.6 * vessel - 0.4


def _paint_akiec(grid: Grid, rng: Rng) -> Grid:
    """Blurred outline, a regular scaly grid."""
    u, v = grid
    pitch = rng.uniform(6, 8)
    return _blob(grid, rng, 0.1, 0.14), np.sin(pitch * u) * np.sin(pitch * v)


def _paint_df(grid: Grid, rng: Rng) -> Grid:
    """A central patch inside a ring."""
    rho = np.hypot(*grid)
    return _blob(grid, rng, 0.05, 0.07), np.tanh((rng.uniform(0.4, 0.5) - rho) / 0.08)


def _paint_vasc(grid: Grid, rng: Rng) -> Grid:
    """A cluster of separate round lakes."""
    lakes = _spots(grid, rng, int(rng.integers(5, 8)), 0.3, 1.0)
    return np.clip(1.3 * lakes, 0, 1), np.full_like(lakes, rng.uniform(-0.3, 0.3))


PAINTERS: dict[str, Callable[[Grid, Rng], Grid]] = {
    "akiec": _paint_akiec,
    "bcc": _paint_bcc,
    "bkl": _paint_bkl,
    "df": _paint_df,
    "mel": _paint_mel,
    "nv": _paint_nv,
    "vasc": _paint_vasc,
}


def _smooth_noise(rng: Rng, cells: int, strength: float) -> np.ndarray:
    coarse = rng.normal(0, strength, (cells, cells))
    return cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def _light(view: Rng) -> np.ndarray:
    rows, columns = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    slope = view.normal(0, 0.07, 2)
    vignette = view.uniform(0, 0.15) * (rows**2 + columns**2)
    return view.uniform(0.9, 1.1) + slope[0] * rows + slope[1] * columns - vignette


def _clutter(image: np.ndarray, view: Rng) -> np.ndarray:
    """Lay hairs, and now and then a ruler, over the picture."""
    for _ in range(view.poisson(1.5)):
        start = view.uniform(0, 1, 2) * (WIDTH, HEIGHT)
        bend, angle = view.normal(0, 0.012), view.uniform(0, 2 * np.pi)
        along = np.arange(0, view.uniform(30, 90), 3)
        angles = angle + bend * along
        points = start + 3 * np.stack([np.cos(angles), np.sin(angles)], 1).cumsum(0)
        shade = view.uniform(20, 70)
        cv2.polylines(
            image, [points.round().astype(np.int32)], False, (shade, 0.8 * shade, 0.7 * shade), 1, cv2.LINE_AA
        )
    if view.uniform() < 0.12:
        offset = int(view.integers(0, 6))
        for x in range(offset, WIDTH, 6):
            length = 8 if (x - offset) % 30 == 0 else 4
            cv2.line(image, (x, HEIGHT), (x, HEIGHT - length), (30, 30, 40), 1)
    return image


def _invent_metadata(count: int, seed: int) -> Metadata:
    """Deal images to classes and lesions in HAM10000's proportions."""
    rng = np.random.default_rng((seed, 0))
    shares = np.array([CLASS_IMAGES[dx] for dx in CLASSES]) / sum(CLASS_IMAGES.values())
    exact = shares * count
    per_class = np.floor(exact).astype(int)
    per_class[np.argsort(per_class - exact)[: count - per_class.sum()]] += 1
    sizes = np.array(LESIONS_BY_IMAGES) / sum(LESIONS_BY_IMAGES)
    rows: list[dict[str, object]] = []
    lesion = 0
    for dx, images in zip(CLASSES, per_class.tolist(), strict=True):
        while images > 0:
            views = min(images, 1 + int(rng.choice(len(sizes), p=sizes)))
            person: dict[str, object] = {
                "lesion_id": f"SYN_{lesion:07d}",
                "dx": dx,
                "dx_type": "drawn",
                "age": str(5 * rng.integers(4, 18)),
                "sex": str(rng.choice(["female", "male"])),
                "localization": str(rng.choice(SITES)),
                "dataset": "synthetic",
            }
            rows += [dict(person) for _ in range(views)]
            images, lesion = images - views, lesion + 1
    for i, row in zip(rng.permutation(len(rows)).tolist(), rows, strict=True):
        row["image_id"] = f"ISIC_{FIRST_ID + i:07d}"
    return from_rows(rows, where="synthetic")
