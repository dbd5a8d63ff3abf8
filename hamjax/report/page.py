"""One self-contained page: opens from disk, on a phone and on paper, and needs no network."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from hamjax.report.checklists import checklist_blocks
from hamjax.report.evidence import Block, Evidence, Section
from hamjax.report.markup import NOT_RECORDED, NOTHING, join
from hamjax.report.sections import SECTIONS

STYLE = Path(__file__).with_name("page.css")
# Where the page shows what an alarm is about.
ALARM_ANCHORS = {
    "collapse": "confusion",
    "leak": "leak-meter",
    "lesions": "leak-meter",
    "incomplete data": "missing-data",
    "overlap": "external",
}


def page(evidence: Evidence) -> str:
    """Return the page: alarms first, then contents and sections.

    A block without data says that it is not recorded; so does every item of a reporting
    guideline that asks for it.
    """
    sections = [make(evidence) for make in SECTIONS]
    # The guidelines come last: their items link to blocks, and only to those that have data.
    recorded = {block.anchor: block.title for section in sections for block in section.blocks if block.body}
    sections.append(Section("guidelines", "Reporting guidelines", checklist_blocks(recorded)))
    summary = evidence.summary
    title = _title(summary)
    body = Markup(
        "{alarms}<main><h1>{title}</h1><p>{headline}</p>"
        '<nav aria-label="Contents"><ul>{contents}</ul></nav>{sections}</main>'
    ).format(
        title=title,
        alarms=_alarms(summary.get("alarms", ()), recorded),
        headline=_headline(summary),
        contents=NOTHING.join(Markup('<li><a href="#{}">{}</a></li>').format(s.anchor, s.title) for s in sections),
        sections=NOTHING.join(map(_section, sections)),
    )
    return document(title, body)


def document(title: str, body: Markup) -> str:
    """Return a whole file, its style inside."""
    html = Markup(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        "<title>{}</title><style>{}</style></head><body>{}</body></html>\n"
    )
    return str(html.format(title, Markup(STYLE.read_text(encoding="utf-8")), body))


def _title(summary: Mapping[str, Any]) -> str:
    name = f"{summary.get('model', 'network')} {summary.get('strategy', '')}".strip()
    if "external" in summary:
        return f"{name}: external test set"
    where = f" of split {summary['split']['name']}" if "split" in summary else ""
    return f"{name}: {summary.get('partition', 'test')}{where}"


def _headline(summary: Mapping[str, Any]) -> Markup:
    """Put the scores beside what no learning gives, and say what this is."""
    said = Markup("Research software, <strong>not a medical device</strong>.")
    if "balanced_accuracy" not in summary:
        return said
    scores = (
        f"Balanced accuracy {summary['balanced_accuracy']:.3f} "
        f"(always the most frequent class: {summary['majority_baseline_balanced_accuracy']:.3f}); "
        f"accuracy {summary['accuracy']:.3f} ({summary['majority_baseline_accuracy']:.3f}). "
        f"Tested on {summary['n']:,} images. Data: {summary['images_note']}."
    )
    return Markup("{} {}").format(scores, said)


def _alarms(alarms: Sequence[str], recorded: Mapping[str, str]) -> Markup:
    if not alarms:
        return NOTHING
    return Markup('<section class="alarms" id="alarms" role="alert"><h2>Alarm</h2><ul>{}</ul></section>').format(
        join("<li>{}</li>", (_alarm(alarm, recorded) for alarm in alarms))
    )


def _alarm(alarm: str, recorded: Mapping[str, str]) -> Markup:
    kind, colon, rest = alarm.partition(":")
    # An alarm that has no place of its own on this page is shown without a link.
    anchor = ALARM_ANCHORS.get(kind)
    if anchor not in recorded:
        return Markup("<strong>{}</strong>{}{}").format(kind, colon, rest)
    return Markup('<strong><a href="#{}">{}</a></strong>{}{}').format(anchor, kind, colon, rest)


def _section(section: Section) -> Markup:
    blocks = NOTHING.join(map(_block, section.blocks))
    return Markup('<section id="{}"><h2>{}</h2>{}</section>').format(section.anchor, section.title, blocks)


def _block(block: Block) -> Markup:
    body = block.body or Markup('<p class="none">{}</p>').format(NOT_RECORDED.capitalize() + ".")
    return Markup('<div id="{}"><h3>{}</h3>{}</div>').format(block.anchor, block.title, body)
