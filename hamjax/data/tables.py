"""CSV files as rows of text, within bounds; what their columns mean is the caller's."""

import codecs
import csv
import io
import re
from collections import Counter
from pathlib import Path

from hamjax.runtime.errors import UserError, name_some

MAX_TABLE_BYTES = 64 * 2**20
# Of a published file, of Excel where a comma separates decimals, of Dataverse's own form.
DELIMITERS = (",", ";", "\t", "|")

# What pandas reads as nothing, and what people write for it.
NO_VALUE = frozenset(
    ("", "#n/a", "#n/a n/a", "#na", "-1.#ind", "-1.#qnan", "1.#ind", "1.#qnan", "<na>", "n/a", "n.a.", "na", "nan",
     "-nan", "null", "none", "nat", "nil", "unknown", "-", "--", "?", "missing")
)  # fmt: skip

Row = dict[str, str]

csv.field_size_limit(MAX_TABLE_BYTES)  # long texts in columns that nobody reads are no fault


def read_table(path: Path) -> list[Row]:
    """Read a table from a file; see `parse_table`.

    Raises:
        UserError: there is no such file; otherwise see `parse_table`.
    """
    return parse_table(read_content(path), str(path))


def read_content(path: Path) -> bytes:
    """Read a file that is to be a table, up to what `parse_table` refuses.

    Raises:
        UserError: there is no such file.
    """
    try:
        with path.open("rb") as file:
            return file.read(MAX_TABLE_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path}: expected a table (.csv), got {error.strerror}; name an existing file.") from error


def parse_table(content: bytes, where: str) -> list[Row]:
    """Read a table as programs write it: UTF-8 or UTF-16, separated by comma, semicolon, tab or bar.

    Empty rows, as spreadsheets leave at the end, are no rows; empty cells beyond the header are no cells.

    Args:
        content: of the file.
        where: what it is called in messages.

    Raises:
        UserError: it is larger than `MAX_TABLE_BYTES`, empty, no text, names a column twice, or has a ragged row.
    """
    if len(content) > MAX_TABLE_BYTES:
        raise UserError(f"{where}: expected a table of at most {MAX_TABLE_BYTES:,} bytes, got more; name another file.")
    text = _without_hint(_decode(content, where))
    lines = [line for line in text.split("\n") if line.strip()]
    # Old Macs end lines with a carriage return alone; csv reads those, so they are counted apart.
    if len(lines) < 2 and "\r" not in text.strip():
        raise UserError(f"{where}: expected a header and rows, got {len(lines)} line(s); fetch it again.")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    try:
        numbered = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        raise UserError(f"{where}: expected a table, got {error}; fetch the file again.") from error
    (_, header), *rows = [(line, row) for line, row in numbered if any(row)] or [(1, [])]
    if len(header) == 1 and any(mark in header[0] for mark in DELIMITERS):
        # Every row stands in quotes as a whole: a spreadsheet has taken it for a single cell.
        return parse_table("\n".join(row[0] for _, row in numbered if any(row)).encode(), where)
    while header and not header[-1]:
        header.pop()
    twice = [name for name, count in Counter(header).items() if name and count > 1]
    if twice:
        raise UserError(
            f"{where}: expected every column once, got {name_some(twice)} more often; fetch the file again."
        )
    if not rows:
        raise UserError(f"{where}: expected a header and rows, got a header alone; fetch it again.")
    ragged = [str(line) for line, row in rows if len(row) < len(header) or any(row[len(header) :])]
    if ragged:
        raise UserError(
            f"{where}: expected the header's {len(header)} cells in every row, got more or fewer in line(s) "
            f"{name_some(ragged)}; fetch the file again. Cells that hold the separator stand in quotes."
        )
    return [dict(zip(header, row, strict=False)) for _, row in rows]


def is_nothing(value: str) -> bool:
    """Return whether a cell says that there is no value."""
    return value.strip().lower() in NO_VALUE


def columns_of(start: bytes) -> list[str]:
    """Return the column names of a table from its first bytes; what is no table has none that anybody looks for."""
    try:
        text = _without_hint(_decode(start[: len(start) // 2 * 2], "", errors="ignore"))
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
        header = next((row for row in rows if any(row)), [])
        if len(header) == 1:  # perhaps a row in quotes; see parse_table
            header = next(csv.reader(header, delimiter=_delimiter(header[0])), [])
    except (csv.Error, UserError):
        return []
    return [cell.strip() for cell in header]


def _decode(content: bytes, where: str, *, errors: str = "strict") -> str:
    """Decode by the mark at the start; Excel's "Unicode text" is UTF-16."""
    marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    # Without a mark: of a table's text in UTF-16, every other byte is zero.
    order = "utf-16" if marked else "utf-16-le" if content[1:8:2] == bytes(4) else "utf-16-be"
    encoding = order if marked or content[1:8:2] == bytes(4) or content[0:8:2] == bytes(4) else "utf-8-sig"
    try:
        return content.decode(encoding, errors)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{where}: expected text in UTF-8 or UTF-16, got {error.reason} at byte {error.start:,} of {encoding}; "
            'save it as "CSV UTF-8".'
        ) from error


def _without_hint(text: str) -> str:
    """Leave out the line by which Excel may name the separator."""
    first, *rest = re.split(r"\r\n|\r|\n", text, maxsplit=1)
    return "".join(rest) if first.strip().lower() in {f"sep={mark}".strip() for mark in DELIMITERS} else text


def _delimiter(text: str) -> str:
    """Return what separates the cells of the header: what makes the most of them."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    return max(DELIMITERS, key=lambda mark: len(next(csv.reader([header], delimiter=mark), [])))
