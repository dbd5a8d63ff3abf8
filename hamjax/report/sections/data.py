"""Whose images: where they come from, who is in which part, and what the parts share."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from hamjax.data.classes import PAPER_ORDER
from hamjax.data.external import describe_outside
from hamjax.report.evidence import Block, Evidence, Section
from hamjax.report.markup import NOT_RECORDED, NOTHING, facts, grouped_table, note, paragraph, picture, table
from hamjax.report.terminal import NOT_KNOWN, as_known, with_total

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
    "source": "As the publisher of the images divided them.",
    "honest": "70, 15 and 15% of all images, class by class.",
    "fold": "A fifth of the images, class by class, is tested on, a tenth validates, the rest is trained on; five such "
    "folds cover the data set.",
}
PAPER_RULE_OF_UNKNOWN = (
    "Validation and test are each a fifth of the images of which no other of the same lesion is known, class by class; "
    "all other images are trained on."
)
DISJOINT = (
    "Drawn by lesion, the 18 published near-duplicate pairs kept together: no lesion is in two parts. There are no "
    "patient ids."
)
UNKNOWN = (
    "Lesions are not known for {unknown:,} of {images:,} images{drawn}: whether images of one "
    "lesion are in two parts is not known. There are no patient ids."
)
LEAKY = "Lesions of one part are in another as well: see the leak meter."
GROUPS = {"sex": "sex", "localization": "site", "dx_type": "diagnosis by", "dataset": "source"}
OVERLAPS = {"images": "images of trained lesions, found", "lesions": "lesions that were trained on"}
LEAKS = {"leaked": ("test", "the training or validation part"), "val_leaked": ("val", "the training part")}


def data_section(evidence: Evidence) -> Section:
    """Return the section of the data: its source, its partitions, and what they share."""
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
    """Return whether the images are drawn, not photographs."""
    return evidence.setting("data.name") == "synthetic" or "drawn" in evidence.summary.get("images_note", "")


def _source(evidence: Evidence) -> Markup:
    summary = evidence.summary
    if "images_note" not in summary:
        return NOTHING
    drawn = paragraph("Drawn by hamjax to try it out: they say nothing about skin.") if is_drawn(evidence) else NOTHING
    fingerprint = summary.get("data_fingerprint")
    values = {
        "images": summary["images_note"],
        **{f"table ({table['layout']})": _table(table) for table in summary.get("tables", ())},
        "data fingerprint": None if fingerprint is None else Markup("<code>{}</code>").format(fingerprint),
    }
    return drawn + facts("What the images are", values)


def _table(table: Mapping[str, Any]) -> Markup:
    published = f"; {table['published']}" if "published" in table else ""
    line = Markup("{}, {:,} rows, SHA-256 <code>{}</code>{}")
    return line.format(table["place"], table["rows"], table["sha256"], published)


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
    return (
        paragraph(Markup("Split <strong>{}</strong>. {}").format(name, how_split(evidence.summary)))
        + table("Images by class and partition", ["class", *counts], rows)
        + note(Markup("Split fingerprint <code>{}</code>").format(split["fingerprint"]))
        + drawn
    )


def how_split(summary: Mapping[str, Any]) -> str:
    """Return how the images were divided, and whether parts share lesions."""
    name = summary["split"]["name"]
    rule = RULES.get("fold" if name.startswith("fold") else name, "")
    if name == "paper" and summary.get("lesions", {}).get("unknown"):
        rule = PAPER_RULE_OF_UNKNOWN
    return f"{rule} {_disjointness(summary)}".strip()


def _disjointness(summary: Mapping[str, Any]) -> str:
    """Return the sentence on shared lesions; empty for a summary without the facts."""
    lesions = summary.get("lesions")
    if any(row.get(key) for row in summary.get("leaks", {}).values() for key in LEAKS):
        return LEAKY
    if lesions is None:
        return ""
    drawn = "" if summary["split"]["name"] == "source" else ", which were drawn one by one"
    return UNKNOWN.format(**lesions, drawn=drawn) if lesions["unknown"] else DISJOINT


def _demographics(summary: Mapping[str, Any]) -> Markup:
    parts = summary.get("demographics")
    if not parts:
        return NOTHING
    everything: dict[str, list[list[object]]] = {
        "size": [[key, *(as_known(part[key]) for part in parts.values())] for key in ("images", "lesions")],
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
    kept = {key: which for key, which in LEAKS.items() if all(key in row for row in leaks.values())}
    columns, said = [], []
    for key, (part, where) in kept.items():
        found = with_total(leaks, key)
        total = sum(row[part] for row in leaks.values())
        columns += [[total, *(leaks[dx][part] for dx in PAPER_ORDER)], [as_known(count) for count in found]]
        said.append(_leaks_said(found, f"{total:,} {part} images show a lesion of {where}"))
    header = [title for part, where in kept.values() for title in (f"{part} images", f"of a lesion of {where}")]
    rows = [list(row) for row in zip(("all", *PAPER_ORDER), *columns, strict=True)]
    return paragraph(" ".join(said)) + table("Leaks by class", ["class", *header], rows)


def _leaks_said(found: Sequence[int | None], what: str) -> str:
    if found[0] is None:
        return f"How many of {what} is {NOT_KNOWN}, since lesions are not known."
    return f"{'At least ' if None in found else ''}{found[0]:,} of {what}."


def _missing(summary: Mapping[str, Any]) -> Markup:
    if "images_dropped" not in summary:
        return NOTHING
    dropped = summary["images_dropped"]
    said = "No image was missing or undecodable."
    if dropped:
        said = f"{len(dropped)} images were missing or undecodable and are left out: {', '.join(dropped)}."
    if others := summary.get("other_diagnoses"):
        counts = ", ".join(f"{words}: {count}" for words, count in Counter(others.values()).most_common())
        said += f" {len(others):,} images are of none of the seven classes and are left out ({counts})."
    known = " Age, sex and site are no inputs of the network; where one is not recorded the image stays, as “unknown”."
    return paragraph(said + known)


def _external(external: Mapping[str, Any]) -> Markup:
    overlap = external.get("overlap")
    rows: dict[str, object] = {"layout of the labels": external["layout"]}
    rows |= {f"images {key}": external[key] for key in ("labelled", "scored")}
    if table_ := external.get("table"):
        rows["labels read from"] = Markup("{}: {:,} rows, SHA-256 <code>{}</code>").format(
            table_["place"], table_["rows"], table_["sha256"]
        )
    if outside := external.get("outside"):
        rows["outside the seven classes, left out"] = describe_outside(outside)
    for key in ("unreadable", "without_image", "unlabelled"):
        names = external.get(key, [])
        rows[key.replace("_", " ")] = f"{len(names)}: {', '.join(names)}" if names else "none"
    if overlap:
        rows |= {label: as_known(overlap[key]) for key, label in OVERLAPS.items()}
        if overlap.get("unknown"):
            rows["images for which it is not known"] = f"{overlap['unknown']:,}, as lesions are not known"
        rows["overlap checked by"] = overlap["checked_by"]
        if overlap["ids"]:
            rows["overlapping images"] = ", ".join(overlap["ids"])
    else:
        rows["overlap with training"] = None
    return facts("The set, and what it shares with training", rows)
