"""For whom it works, and for whom it does not."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from hamjax.report.evidence import Block, Evidence, Section
from hamjax.report.markup import NOTHING, grouped_table, note, score
from hamjax.report.terminal import as_known

TITLES = {"age": "age, years", "sex": "sex", "localization": "site", "dataset": "source", "dx_type": "diagnosis by"}

SCORES = ("accuracy", "balanced_accuracy")


def subgroups_section(evidence: Evidence) -> Section:
    """Show a table that is a forest plot: a bar below each score, a tick for all images."""
    return Section("for-whom", "For whom", [Block("subgroups", "Subgroups", _subgroups(evidence.summary))])


def _subgroups(summary: Mapping[str, Any]) -> Markup:
    subgroups = summary.get("subgroups")
    if not subgroups:
        return NOTHING
    melanoma = summary.get("per_class", {}).get("mel", {})
    overall = {name: summary.get(name) for name in SCORES} | {"melanoma_sensitivity": melanoma.get("recall")}
    groups = {
        title: [_row(row, overall) for row in subgroups[key]] for key, title in TITLES.items() if subgroups.get(key)
    }
    everyone = [score(overall[name], summary.get("intervals", {}).get(name)) for name in SCORES]
    found = score(overall["melanoma_sensitivity"], melanoma.get("intervals", {}).get("recall"))
    # First, without a heading: it is what every group below is compared with.
    groups = {"": [["all images", *everyone, found]]} | groups
    header = ["group", "accuracy", "balanced accuracy", "melanomas found"]
    said = (
        "A tick marks all images; the bar is the interval. Groups differ in which classes they hold, and balanced "
        "accuracy is over the classes that occur in a group: compare it with that in mind. Diagnosis by and source "
        "are no inputs of the network; a difference there can be one of case mix or of how images were taken."
    )
    return grouped_table("Scores by group", header, groups) + note(said)


def _row(row: Mapping[str, Any], overall: Mapping[str, float | None]) -> list[object]:
    return [
        Markup("{}<small>{:,} images, lesions: {}</small>").format(row["group"], row["n"], as_known(row["lesions"])),
        *(score(row[name], row.get(f"{name}_interval"), overall[name]) for name in SCORES),
        score(row["melanoma_sensitivity"], row.get("melanoma_interval"), overall["melanoma_sensitivity"])
        + Markup("<small>of {:,}</small>").format(row["melanomas"]),
    ]
