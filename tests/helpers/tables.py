"""Tables as spreadsheets write them, and the images beside them."""

import csv
import io
from pathlib import Path

TABLE = "HAM10000_metadata.csv"


Rows = list[dict[str, str]]


def images_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jpg"))


def as_excel(rows: Rows, encoding: str = "utf-8-sig", delimiter: str = ";") -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode(encoding)
