"""Draw 84 tiny images with a table, in the layout of HAM10000."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
rng = np.random.default_rng(0)
Path("source").mkdir()
with open("source/HAM10000_metadata.csv", "w", newline="") as f:
    w = csv.writer(f)
    w.writerow(("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"))
    for i in range(84):
        k = i % 7
        pixels = np.full((18, 24, 3), 200, np.uint8) - rng.integers(0, 20, (18, 24, 3), dtype=np.uint8)
        pixels[5:13, 7:17] = (30 * k + 20, 255 - 30 * k, 90)
        Image.fromarray(pixels).save(f"source/DRAWN_{i:04}.jpg", quality=70)
        w.writerow(
            (
                f"LESION_{i - (i % 14 == 13) * 7:04}",
                f"DRAWN_{i:04}",
                CLASSES[k],
                "histo",
                30 + i % 50,
                ("male", "female")[i % 2],
                "back",
            )
        )
