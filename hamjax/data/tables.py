"""CSV files as rows of text, within bounds; what their columns mean is the caller's."""

import csv
from collections import Counter
from pathlib import Path

from hamjax.runtime.errors import UserError, name_some

MAX_TABLE_BYTES = 64 * 2**20
MAX_CELL = 200  # characters; a column is as wide as its widest cell, in every row

Row = dict[str, str]


def read_table(path: Path) -> list[Row]:
    """Read a CSV, or the tab-separated form Dataverse serves by default.

    Raises:
        UserError: there is no such file, it is empty, no text, has a ragged row or a cell too long for a table.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_TABLE_BYTES + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: expected a table (.csv), got {error.strerror}; name an existing file.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: expected UTF-8 text, got {error}; fetch the file again.") from error
    if len(content) > MAX_TABLE_BYTES:
        raise UserError(f"{path}: expected a table of at most {MAX_TABLE_BYTES:,} bytes, got more; name another file.")
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2:
        raise UserError(f"{path}: expected a header and rows, got {len(lines)} line(s); fetch it again.")
    delimiter = "\t" if "\t" in lines[0] else ","
    try:
        reader = csv.DictReader(lines, delimiter=delimiter, strict=True)
        names = Counter(name.strip() for name in reader.fieldnames or ())
        rows = list(reader)
    except csv.Error as error:
        raise UserError(f"{path}: expected a table, got {error}; fetch the file again.") from error
    if twice := [name for name, count in names.items() if name and count > 1]:
        raise UserError(f"{path}: expected every column once, got {name_some(twice)} more often; fetch the file again.")
    if not rows:
        raise UserError(f"{path}: expected a header and rows, got a header alone; fetch it again.")
    ragged = [str(i + 2) for i, r in enumerate(rows) if None in r or None in r.values()]
    if ragged:
        raise UserError(
            f"{path}: expected the header's number of cells in every row, "
            f"got more or fewer in line(s) {name_some(ragged)}; fetch the file again."
        )
    rows = [{k.strip(): v.strip() for k, v in row.items()} for row in rows]
    long = [f"{i + 2} ({k[:20]!r})" for i, row in enumerate(rows) for k, v in row.items() if len(v) > MAX_CELL]
    if long:
        raise UserError(
            f"{path}: expected cells of at most {MAX_CELL} characters, got longer in line(s) {name_some(long)}; "
            "fetch the file again."
        )
    return rows


def header(path: Path) -> list[str]:
    """Return the column names of a table, or none if the file is no text."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            line = file.readline(10_000)
    except (UnicodeDecodeError, OSError):
        return []
    return [cell.strip().strip('"') for cell in line.strip().split("\t" if "\t" in line else ",")]
