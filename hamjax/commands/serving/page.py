"""The page of a served network: its files, with what it says of the network written into it."""

from pathlib import Path

from markupsafe import Markup

from hamjax.commands.serving.answers import Interval, ModelFacts, Subgroup
from hamjax.report.evidence import Evidence
from hamjax.report.markup import NOTHING, join, note, paragraph, score, table
from hamjax.report.page import STYLE
from hamjax.report.sections.subgroups import subgroups_section

FOLDER = Path(__file__).parent
SHOWN = 5  # groups for which it is worse; all are in a table below


def page_files(facts: ModelFacts, evidence: Evidence) -> dict[str, tuple[str, str]]:
    """Return the content and the media type of each file, by its path on the server."""
    first, _, rest = facts.use.partition(". ")
    html = Markup(_read("page.html")).format(
        title=facts.title,
        use=Markup("<strong>{}.</strong> {}").format(first, rest),
        about=_about(facts, evidence),
        max_bytes=facts.limit_of_request["bytes"],
        size=f"{facts.limit_of_request['bytes'] >> 20} MB",
        resize=facts.resize,
        set_level="" if facts.set_level is None else f"{facts.set_level:.0%}",
        bars="calibrated probabilities" if facts.calibrated else "probabilities, not calibrated",
        classes=NOTHING.join(Markup('<li data-class="{}">{}</li>').format(*each) for each in facts.classes.items()),
        limits=join("<li>{}</li>", facts.limits),
    )
    return {
        "/": (str(html), "text/html"),
        # The report's own style, so that its tables look the same here.
        "/report.css": (STYLE.read_text(encoding="utf-8"), "text/css"),
        "/page.css": (_read("page.css"), "text/css"),
        "/page.js": (_read("page.js"), "text/javascript"),
    }


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _about(facts: ModelFacts, evidence: Evidence) -> Markup:
    alarms = Markup('<div class="alarms"><ul>{}</ul></div>').format(join("<li>{}</li>", facts.alarms))
    scores = [[each.title, score(each.value, _ends(each.interval)), each.majority_baseline] for each in facts.scores]
    images = ", ".join(f"{dx} {count:,}" for dx, count in facts.training_images.items())
    return NOTHING.join([
        alarms if facts.alarms else NOTHING,
        Markup("<h3>What it was trained on</h3>"),
        *map(paragraph, facts.trained_on),
        paragraph(f"{sum(facts.training_images.values()):,} training images: {images}."),
        Markup("<h3>How good it is</h3>"),
        table(f"On {facts.tested_on}", ["score", "value and 95% interval", "always the most frequent class"], scores),
        Markup("<h3>For whom it is worse</h3>"),
        _worse(facts),
        Markup("<details><summary>All groups</summary>{}</details>").format(
            subgroups_section(evidence).blocks[0].body or paragraph("Not recorded.")
        ),
        note(f"Run {facts.run}, checkpoint {facts.checkpoint}, images of {facts.image_size} pixels a side."),
    ])  # fmt: skip


def _worse(facts: ModelFacts) -> Markup:
    """Name the groups of the lowest scores: first those that chance hardly explains."""
    worse = sorted((each for each in facts.subgroups if each.worse != "no"), key=_rank)
    if not worse:
        return paragraph("No group is recorded for which it is worse. Not every group is.")
    rows = [
        [
            Markup("{}: {}<small>{:,} images</small>").format(each.by, each.group, each.images),
            score(each.balanced_accuracy, _ends(each.balanced_accuracy_interval)),
            "clearly" if each.worse == "clearly" else "may be chance",
        ]
        for each in worse[:SHOWN]
    ]
    return table("Lower balanced accuracy than of all images", ["group", "value and 95% interval", "worse"], rows)


def _rank(each: Subgroup) -> tuple[bool, float]:
    return each.worse != "clearly", each.balanced_accuracy or 0


def _ends(interval: Interval | None) -> dict[str, object] | None:
    return None if interval is None else {**interval.model_dump(), "method": ""}
