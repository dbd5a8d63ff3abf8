"""HTML in which every cell is escaped: a value that is not `Markup` is text, wherever it came from."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

NOTHING = Markup("")
NOT_RECORDED = "not recorded"
UNDEFINED = "—"
Rows = Iterable[Sequence[object]]


def join(template: str, items: Iterable[object]) -> Markup:
    """Return each item, escaped, in a template with one `{}`."""
    return NOTHING.join(Markup(template).format(item) for item in items)


def paragraph(text: object) -> Markup:
    """Return a paragraph."""
    return Markup("<p>{}</p>").format(text)


def note(text: object) -> Markup:
    """Return a paragraph in small print."""
    return Markup('<p class="note">{}</p>').format(text)


def table(caption: str, header: Sequence[object], rows: Rows) -> Markup:
    """Lay out rows below a header; the first cell of a row is its heading."""
    return grouped_table(caption, header, {"": rows})


def grouped_table(caption: str, header: Sequence[object], groups: Mapping[str, Rows]) -> Markup:
    """Lay out groups of rows, each below its name."""
    head = join('<th scope="col">{}</th>', header)
    bodies = NOTHING.join(_body(name, rows, len(header)) for name, rows in groups.items())
    # Wide tables scroll by themselves, by keyboard too, and not the page with them.
    return Markup(
        '<div class="scroll" tabindex="0" role="region" aria-label="{0}"><table><caption>{0}</caption>'
        "<thead><tr>{1}</tr></thead>{2}</table></div>"
    ).format(caption, head, bodies)


def facts(caption: str, values: Mapping[str, object]) -> Markup:
    """Lay out names and values; a value that is missing is not recorded."""
    rows = [[name, NOT_RECORDED if value is None else value] for name, value in values.items()]
    table_ = table(caption, ["what", "value"], rows)
    return Markup('<div class="text">{}</div>').format(table_)


def picture(png: bytes, alternative: str, caption: object) -> Markup:
    """Embed a PNG with its text alternative."""
    # Inside the page: it must stay whole when it is mailed or moved.
    data = base64.b64encode(png).decode()
    return Markup('<figure><img alt="{}" src="data:image/png;base64,{}"><figcaption>{}</figcaption></figure>').format(
        alternative, data, caption
    )


def score(
    value: float | None,
    interval: Mapping[str, Any] | None = None,
    reference: float | None = None,
    *,
    named: str = "all images",
) -> Markup:
    """Show a score from 0 to 1 with its interval, as numbers and as a bar.

    Args:
        value: None where it is undefined.
        interval: `low`, `high` and `method`; Wilson intervals are marked.
        reference: another score, a tick on the bar.
        named: what the reference is.
    """
    if value is None:
        return Markup(UNDEFINED)
    if interval is None or interval["low"] is None:
        return Markup(f"{value:.3f}")
    low, high = interval["low"], interval["high"]
    mark = "†" if interval["method"] == "wilson" else ""
    return Markup(f"{value:.3f}<small>{low:.2f} to {high:.2f}{mark}</small>") + _bar(value, low, high, reference, named)


def share_bar(value: float, width: int = 68) -> Markup:
    """Show a share from 0 to 1 as a filled bar and a percentage."""
    return Markup(
        f'<svg class="share" role="img" aria-label="{value:.1%}" viewBox="0 0 {width} 10" width="{width}" height="10">'
        f'<path class="axis" d="M0 5H{width}"/><path class="fill" d="M0 5H{value * width:.1f}"/></svg>'
        f"<small>{value:.1%}</small>"
    )


def _bar(value: float, low: float, high: float, reference: float | None, named: str, width: int = 68) -> Markup:
    """Draw a row of a forest plot on a scale from 0 to 1."""
    label = f"{value:.2f}, interval {low:.2f} to {high:.2f}, on a scale from 0 to 1"
    tick = ""
    if reference is not None:
        label += f"; {named} {reference:.2f}"
        tick = f'<path class="all" d="M{reference * width:.1f} 0V10"/>'
    return Markup(
        f'<svg class="bar" role="img" aria-label="{label}" viewBox="0 0 {width} 10" width="{width}" height="10">'
        f'<path class="axis" d="M0 5H{width}"/><path class="span" d="M{low * width:.1f} 5H{high * width:.1f}"/>{tick}'
        f'<circle cx="{value * width:.1f}" cy="5" r="3"/></svg>'
    )


def _body(name: str, rows: Rows, columns: int) -> Markup:
    title = Markup('<tr class="group"><th scope="rowgroup" colspan="{}">{}</th></tr>').format(columns, name)
    lines = (
        Markup('<th scope="row">{}</th>{}').format(_cell(first), join("<td>{}</td>", map(_cell, rest)))
        for first, *rest in rows
    )
    return Markup("<tbody>{}{}</tbody>").format(title if name else NOTHING, join("<tr>{}</tr>", lines))


def _cell(value: object) -> object:
    if value is None:
        return UNDEFINED
    # Before int, as True is an int.
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if isinstance(value, float) else value
