"""What the numbers cannot say, who may use what, and how to make them again."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from hamjax.data.classes import CLASSES
from hamjax.report.evidence import Block, Evidence, Section
from hamjax.report.markup import NOTHING, facts, join, paragraph
from hamjax.report.sections.data import is_drawn

LIMITATIONS = (
    "HAM10000 has no patient ids: that one patient is on both sides of a split cannot be excluded.",
    "Skin tone is not recorded, and both collections come from mostly fair-skinned populations: nothing here says how "
    "the network does on darker skin.",
    "Lesions were selected by specialists and fall into seven classes; any other lesion is given one of them, too.",
    "How a diagnosis was made and where an image was taken go along with the diagnosis itself; a network can learn "
    "the camera instead of the lesion.",
)
LICENCE = (
    "HAM10000: Tschandl, Rosendahl, Kittler, “The HAM10000 dataset, a large collection of multi-source dermatoscopic "
    "images of common pigmented skin lesions”, Scientific Data 5, 180161 (2018), doi:10.7910/DVN/DBW86T, licensed "
    "CC BY-NC 4.0: with attribution, not for commerce. Its images, and weights trained on them, are under the same "
    "terms. hamjax is Apache-2.0."
)
USE = (
    "Research software and not a medical device. It is for the study of classifiers on dermatoscopic images, by "
    "people who know its limits, and not for the diagnosis of anyone."
)


def about_section(evidence: Evidence) -> Section:
    """Return the section of limits, use and licence."""
    return Section(
        "about",
        "Limits and licence",
        [
            Block("limitations", "Limits", _limitations(evidence)),
            Block("intended-use", "Use", paragraph(USE)),
            Block("licence", "Licence", paragraph(LICENCE)),
        ],
    )


def provenance_section(evidence: Evidence) -> Section:
    """Return the section of the command and the environment."""
    command = evidence.summary.get("command")
    return Section(
        "provenance",
        "How it was made",
        [
            Block("command", "Command", Markup("<pre>{}</pre>").format(command) if command else NOTHING),
            Block("environment", "Environment", _environment(evidence.summary.get("environment"))),
        ],
    )


def limitations(evidence: Evidence) -> list[str]:
    """Return what the numbers cannot say, a sentence or two each."""
    points = [] if is_drawn(evidence) else [*LIMITATIONS]
    supports = {dx: row["support"] for dx, row in evidence.summary.get("per_class", {}).items()}
    tested = {dx: supports[dx] for dx in CLASSES if supports.get(dx)}
    if tested:
        rarest = min(tested, key=lambda dx: tested[dx])
        points.append(
            f"{rarest} has {tested[rarest]} images here: one image is {100 / tested[rarest]:.1f} points of its recall."
        )
    points.append("One network of one seed: how much another seed would change is not in the intervals.")
    return points


def _limitations(evidence: Evidence) -> Markup:
    return Markup("<ul>{}</ul>").format(join("<li>{}</li>", limitations(evidence)))


def _environment(environment: Mapping[str, Any] | None) -> Markup:
    if not environment:
        return NOTHING
    names = {key: value for key, value in environment.items() if key != "packages"}
    packages = environment.get("packages")
    if isinstance(packages, Mapping):
        names["packages"] = ", ".join(f"{name} {version}" for name, version in packages.items())
    return facts("Software and hardware", names)
