"""Images that are no photographs of skin lesions, made by code: noise, pages of text, crops of two photographs."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_sample_images

Draw = Callable[[np.random.Generator], Image.Image]
WIDTH, HEIGHT = 600, 450  # HAM10000's
WORDS = ("the", "of", "lesion", "and", "patient", "to", "was", "examined", "with", "a", "dermatoscope", "on", "Tuesday")


def noise(rng: np.random.Generator) -> Image.Image:
    """Draw random cells of 1 to 64 pixels a side: gray or coloured, about the middle or of any mean and contrast."""
    cell = int(2 ** rng.integers(0, 7))
    shape = (-(-HEIGHT // cell), -(-WIDTH // cell), 1 if rng.random() < 0.3 else 3)
    if rng.random() < 0.5:
        cells = rng.uniform(0, 255, shape)
    else:
        cells = rng.normal(rng.uniform(0, 255, shape[2]), rng.uniform(10, 90), shape)
    pixels = np.broadcast_to(cells, (*shape[:2], 3)).clip(0, 255).astype(np.uint8)
    how = Image.Resampling.NEAREST if rng.random() < 0.5 else Image.Resampling.BICUBIC
    return Image.fromarray(pixels).resize((WIDTH, HEIGHT), how)


def page(rng: np.random.Generator) -> Image.Image:
    """Render lines of words, dark on light; one page in five is light on dark."""
    paper, ink = rng.integers(225, 256), rng.integers(0, 60)
    if rng.random() < 0.2:
        paper, ink = ink, paper
    size = int(rng.integers(10, 33))
    image = Image.new("RGB", (WIDTH, HEIGHT), (int(paper),) * 3)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size)
    margin, y = int(rng.integers(5, 60)), int(rng.integers(5, 60))
    while y < HEIGHT - size:
        line = " ".join(rng.choice(WORDS, int(rng.integers(3, 4 + WIDTH // size))))
        draw.text((margin, y), line, (int(ink),) * 3, font)
        y += int(size * rng.uniform(1.1, 1.6))
    return image


def crop(rng: np.random.Generator) -> Image.Image:
    """Cut a rectangle of 4 to 3 out of one of scikit-learn's sample photographs, a temple or a flower."""
    photograph = Image.fromarray(load_sample_images().images[int(rng.integers(2))])
    height = int(rng.integers(120, photograph.height + 1))
    width = min(height * 4 // 3, photograph.width)
    left, top = (int(rng.integers(0, most + 1)) for most in (photograph.width - width, photograph.height - height))
    return photograph.crop((left, top, left + width, top + height))


KINDS: dict[str, Draw] = {"noise": noise, "pages": page, "crops": crop}


def encode(image: Image.Image) -> bytes:
    """Return an image as a JPEG, as cameras and scanners write them."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()
