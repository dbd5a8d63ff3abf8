"""Whose images: where they come from, who is in which part, and what the parts share."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from hamjax.data.classes import PAPER_ORDER
from hamjax.report.evidence import Block, Evidence, Section
from hamjax.report.markup import NOT_RECORDED, NOTHING, facts, grouped_table, note, paragraph, picture, table

# Tschandl et al. 2018, doi:10.1038/sdata.2018.161: abstract, and "Methods".
COLLECTION = (
    "HAM10000: dermatoscopic images of pigmented lesions, collected in retrospect over 20 years at the Department of "
    "Dermatology of the Medical University of Vienna, Austria, and the skin cancer practice of Cliff Rosendahl in "
    "Queensland, Australia (Tschandl, Rosendahl, Kittler, Scientific Data 5, 180161, 2018; doi:10.7910/DVN/DBW86T)."
)
REFERENCE_STANDARD = (
    "A diagnosis rests on histopathology (histo), on follow-up without change (follow_up), on the consensus of "
    "experts on the image (consensus), or on in-vivo confocal microscopy (confocal). More than half of the lesions "
    "have histopathology, and so have all of akiec, bcc and mel."
)
RULES = {
    "paper": "Validation and test are each a fifth of the lesions that have a single image, class by class; all "
    "other images are trained on. Both therefore hold more nevi than the data set does.",
    "honest": "70, 15 and 15% of all images, class by class.",
    "fold": "A fifth of the images, class by class, is tested on, a tenth validates, the rest is trained on; five such "
    "folds cover the data set.",
}
DISJOINT = (
    "Drawn by lesion, the 18 published near-duplicate pairs kept together: no lesion is in two parts. There are no "
    "patient ids."
)
LEAKY = "Lesions of the test part are in the training part as well: see the leak meter."
GROUPS = {"sex": "sex", "localization": "site", "dx_type": "diagnosis by", "dataset": "source"}
OVERLAPS = {"images": "images that were trained on", "lesions": "lesions that were trained on"}


def data_section(evidence: Evidence) -> Section:
    """Say what was trained and tested on."""
    summary = evidence.summary
    blocks = [
        Block("data-source", "Images", _source(evidence)),
        Block("collection", "Collection", NOTHING if is_drawn(evidence) else paragraph(COLLECTION)),
        Block("reference-standard", "Reference standard", _reference_standard(evidence)),
        Block("partitions", "Partitions", _partitions(evidence)),
        Block("demographics", "Demographics by partition", _demographics(summary)),
        Block("leak-meter", "Leak meter", _leaks(summary)),
        Block("missing-data", "Missing data", _missing(summary)),
    ]
    if "external" in summary:
        blocks.insert(0, Block("external", "External test set", _external(summary["external"])))
    return Section("data", "Data", blocks)


def is_drawn(evidence: Evidence) -> bool:
    """Say whether the images are drawn ones, no photographs."""
    return evidence.setting("data.name") == "synthetic" or "drawn" in evidence.summary.get("images_note", "")


def _source(evidence: Evidence) -> Markup:
    summary = evidence.summary
    if "images_note" not in summary:
        return NOTHING
    drawn = paragraph("Drawn by hamjax to try it out: they say nothing about skin.") if is_drawn(evidence) else NOTHING
    fingerprint = summary.get("data_fingerprint")
    values = {
        "images": summary["images_note"],
        "data fingerprint": None if fingerprint is None else Markup("<code>{}</code>").format(fingerprint),
    }
    return drawn + facts("What the images are", values)


def _reference_standard(evidence: Evidence) -> Markup:
    if "external" in evidence.summary:
        return NOTHING
    return paragraph("The class an image was drawn as." if is_drawn(evidence) else REFERENCE_STANDARD)


def _partitions(evidence: Evidence) -> Markup:
    split = evidence.summary.get("split")
    if split is None:
        return NOTHING
    counts = split["counts"]
    rows = [
        ["all", *(sum(part.values()) for part in counts.values())],
        *([dx, *(part[dx] for part in counts.values())] for dx in PAPER_ORDER),
    ]
    name, drawn = split["name"], NOTHING
    if "class_histogram" in evidence.pictures:
        alternative = "Bar chart of the images per class in the data set, the training part and a training epoch."
        caption = "Images per class, before and after balancing"
        drawn = picture(evidence.pictures["class_histogram"], alternative, caption)
    rule = RULES.get("fold" if name.startswith("fold") else name, "")
    is_leaky = any(row["leaked"] for row in evidence.summary.get("leaks", {}).values())
    return (
        paragraph(Markup("Split <strong>{}</strong>. {} {}").format(name, rule, LEAKY if is_leaky else DISJOINT))
        + table("Images by class and partition", ["class", *counts], rows)
        + note(Markup("Split fingerprint <code>{}</code>").format(split["fingerprint"]))
        + drawn
    )


def _demographics(summary: Mapping[str, Any]) -> Markup:
    parts = summary.get("demographics")
    if not parts:
        return NOTHING
    everything: dict[str, list[list[object]]] = {
        "size": [[key, *(part[key] for part in parts.values())] for key in ("images", "lesions")],
        "age, years": [
            ["mean (SD)", *(_age(part["age"]) for part in parts.values())],
            ["unknown", *(_share(part["age"]["unknown"], part["images"]) for part in parts.values())],
        ],
    }
    for key, title in GROUPS.items():
        names = dict.fromkeys(name for part in parts.values() for name in part.get(key, {}))
        rows = [
            [name, *(_share(part.get(key, {}).get(name, 0), part["images"]) for part in parts.values())]
            for name in names
        ]
        if rows:
            everything[title] = rows
    return grouped_table("Images and their share of the partition", ["", *parts], everything)


def _age(age: Mapping[str, Any]) -> str:
    if age["mean"] is None:
        return NOT_RECORDED
    return f"{age['mean']:.1f}" + ("" if age["sd"] is None else f" ({age['sd']:.1f})")


def _share(count: int, total: int) -> str:
    return f"{count:,} ({count / total:.1%})" if total else f"{count:,}"


def _leaks(summary: Mapping[str, Any]) -> Markup:
    leaks = summary.get("leaks")
    if not leaks:
        return NOTHING
    tested, leaked = (sum(row[key] for row in leaks.values()) for key in ("test", "leaked"))
    rows = [["all", tested, leaked], *([dx, leaks[dx]["test"], leaks[dx]["leaked"]] for dx in PAPER_ORDER)]
    said = f"{leaked:,} of {tested:,} test images show a lesion that was also trained on."
    return paragraph(said) + table("Leaks by class", ["class", "test images", "of a trained lesion"], rows)


def _missing(summary: Mapping[str, Any]) -> Markup:
    if "images_dropped" not in summary:
        return NOTHING
    dropped = summary["images_dropped"]
    said = "No image was missing or undecodable."
    if dropped:
        said = f"{len(dropped)} images were missing or undecodable and are left out: {', '.join(dropped)}."
    known = " Age, sex and site are no inputs of the network; where one is not recorded the image stays, as “unknown”."
    return paragraph(said + known)


def _external(external: Mapping[str, Any]) -> Markup:
    overlap = external.get("overlap")
    rows: dict[str, object] = {"layout of the labels": external["layout"]}
    rows |= {f"images {key}": external[key] for key in ("labelled", "scored")}
    for key in ("unreadable", "without_image", "unlabelled"):
        names = external.get(key, [])
        rows[key.replace("_", " ")] = f"{len(names)}: {', '.join(names)}" if names else "none"
    if overlap:
        rows |= {label: overlap[key] for key, label in OVERLAPS.items()}
        rows["overlap checked by"] = overlap["checked_by"]
        if overlap["ids"]:
            rows["overlapping images"] = ", ".join(overlap["ids"])
    else:
        rows["overlap with training"] = None
    return facts("The set, and what it shares with training", rows)
