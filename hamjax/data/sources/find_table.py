"""The table of a source among all that lie there: what it is by its columns, and which one is meant."""

import dataclasses
import functools
import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hamjax.data.layouts import Labels, Layout, layout_of, lesions_of, read_labels_of, with_known_names
from hamjax.data.metadata import TEXT_COLUMNS
from hamjax.data.sources.tree import Entry
from hamjax.data.tables import MAX_TABLE_BYTES, Row, columns_of, is_nothing, parse_table
from hamjax.runtime.errors import UserError, name_some

TABLE_SUFFIXES = (".csv", ".tab", ".tsv", ".txt", "")  # Dataverse may leave it out
PUBLISHED = "ham10000_metadata"
COMPARED = (*TEXT_COLUMNS, "dx", "age")
START_BYTES = 10_000  # of a file, to see its header
# Words of a place that say that its labels are of another part than training.
TRAINED_ON = frozenset(("train", "training", "trainset"))
HELD_OUT = frozenset(("test", "tests", "testing", "testset", "val", "valid", "validation"))


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of a source.

    Attributes:
        entry: the file.
        layout: what it is, by its columns.
        root: of the source, for messages.
    """

    entry: Entry
    layout: Layout
    root: Path

    @property
    def where(self) -> str:
        """What it is called in messages."""
        return str(self.root / self.entry.place)

    @functools.cached_property
    def content(self) -> bytes:
        """All its bytes."""
        try:
            return self.entry.read(MAX_TABLE_BYTES)
        except OSError as error:
            raise UserError(f"{self.where}: expected a table, got {error}; make it readable.") from error

    @functools.cached_property
    def rows(self) -> list[Row]:
        """Its rows, as they are."""
        return with_known_names(parse_table(self.content, self.where))

    @functools.cached_property
    def labels(self) -> Labels:
        """Its rows with HAM10000's columns."""
        return read_labels_of(self.layout, self.rows, self.where)

    @functools.cached_property
    def lesions(self) -> dict[str, Row]:
        """Its rows by image, where it names lesions."""
        return lesions_of(self.rows)

    def facts(self) -> dict[str, Any]:
        """Return what a report says of it: `place`, `layout`, `sha256`, `rows`."""
        digest = hashlib.sha256(self.content).hexdigest()
        return {"place": str(self.entry.place), "layout": str(self.layout), "sha256": digest, "rows": len(self.rows)}


def open_tables(root: Path, entries: Sequence[Entry]) -> list[Table]:
    """Return the files of a source whose columns are known, or that have the published name."""
    return [table for entry in entries if (table := _open(root, entry)) is not None]


def choose_diagnoses(tables: Sequence[Table], root: Path, named: Path | None = None) -> Table | None:
    """Return the table of diagnoses that is meant; None if there is none.

    One of a test or validation part is never meant. Among others the published name counts first; of tables that say
    the same, the one that says most is taken.

    Args:
        tables: of the source.
        root: of the source.
        named: the table that the user names, if there is one.

    Raises:
        UserError: several could be meant; all are named.
    """
    diagnoses = [table for table in tables if table.layout != Layout.LESIONS]
    if named is not None:
        return _named(diagnoses, named)
    trained_on = [table for table in diagnoses if not is_held_out(table.entry)]
    if diagnoses and not trained_on:
        raise UserError(
            f"{root}: expected a table of training images, got only of test or validation images, by their names: "
            f"{name_some(str(table.entry.place) for table in diagnoses)}. Add the training table, or name one of "
            "these as the source."
        )
    published = [table for table in trained_on if _is_published(table.entry)]
    chosen = _only(published or trained_on, _same_labels)
    if chosen and published:
        against = [table for table in trained_on if table not in published and not _agrees(table, chosen)]
        _refuse_several([chosen, *against])
    return chosen


def choose_lesions(tables: Sequence[Table]) -> Table | None:
    """Return the table of lesions; None if there is none.

    Raises:
        UserError: several say different things; all are named.
    """
    lesions = [table for table in tables if table.layout == Layout.LESIONS and not is_held_out(table.entry)]
    return _only(lesions, _same_lesions)


def is_held_out(entry: Entry) -> bool:
    """Return whether a file's place says that it belongs to a test or validation part."""
    # The name of the file counts before those of its folders: train_test_split/train.csv is of the training part.
    for text in (entry.place.name, str(entry.place.parent)):
        words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", text)}
        if words & TRAINED_ON or words & HELD_OUT:
            return not words & TRAINED_ON
    return False


def _open(root: Path, entry: Entry) -> Table | None:
    """Return a table whose columns are known, or that has the published name; nothing of other files."""
    if entry.place.suffix.lower() not in TABLE_SUFFIXES:
        return None
    layout = layout_of(columns_of(_start(entry)))
    if layout in (None, Layout.LESIONS) and _is_published(entry):
        layout = Layout.HAM10000  # read, so that it is said what it lacks
    return None if layout is None else Table(entry, layout, root)


def _start(entry: Entry) -> bytes:
    try:
        if entry.archive is not None and entry.member is not None:
            return entry.read(MAX_TABLE_BYTES)[:START_BYTES]
        if not entry.path.is_file():
            return b""
        with entry.path.open("rb") as file:
            return file.read(START_BYTES)
    except (OSError, UserError):  # another table may do; if this one is needed, it is missed by name
        return b""


def _is_published(entry: Entry) -> bool:
    return entry.place.name.lower().startswith(PUBLISHED)


def _named(tables: Sequence[Table], named: Path) -> Table:
    for table in tables:
        if table.entry.member is None and table.entry.path == named:
            return table
    raise UserError(
        f"{named}: expected a table of diagnoses, got another file; name one with the columns image_id, dx."
    )


def _only(tables: Sequence[Table], same: Callable[[Table, Table], bool]) -> Table | None:
    """Return the one that is meant; of several that say the same, the one that says most."""
    if not tables:
        return None
    # A copy that lost its sex or age column says the same of what it has, and is not the one to take.
    first = max(tables, key=_cells)
    _refuse_several([first, *(t for t in tables if t.content != first.content and not same(t, first))])
    return first


def _refuse_several(tables: Sequence[Table]) -> None:
    if len(tables) > 1:
        places = name_some(sorted(str(table.entry.place) for table in tables))
        raise UserError(
            f"{tables[0].root}: expected one table, got several that say different things: {places}. Move the others "
            "away, or put the one that is meant beside the images and name it as the source (--source FOLDER/TABLE)."
        )


def _cells(table: Table) -> int:
    """Count the cells that hold something and that are used."""
    try:
        rows = table.labels.rows if table.layout != Layout.LESIONS else table.lesions.values()
        return sum(not is_nothing(row.get(name, "")) for row in rows for name in TEXT_COLUMNS)
    except UserError:
        return 0


def _same_labels(one: Table, other: Table) -> bool:
    try:
        return _by_image(one).keys() == _by_image(other).keys() and _agrees(one, other)
    except UserError:  # one is damaged, so nobody can tell
        return False


def _same_lesions(one: Table, other: Table) -> bool:
    try:
        lesions = [{image: row["lesion_id"] for image, row in table.lesions.items()} for table in (one, other)]
    except UserError:
        return False
    return lesions[0] == lesions[1]


def _agrees(table: Table, chosen: Table) -> bool:
    """Return whether a table says of its images what the chosen one says, in the cells that both have."""
    try:
        ours, theirs = _by_image(chosen), _by_image(table)
    except UserError:
        return False
    return all(
        image in ours and all(_alike(row.get(name, ""), ours[image].get(name, "")) for name in COMPARED)
        for image, row in theirs.items()
    )


def _alike(one: str, other: str) -> bool:
    if one == other or is_nothing(one) or is_nothing(other):
        return True
    try:
        return float(one) == float(other)  # an age as 45 and as 45.0
    except ValueError:
        return False


def _by_image(table: Table) -> dict[str, Row]:
    return {row["image_id"]: row for row in table.labels.rows}
