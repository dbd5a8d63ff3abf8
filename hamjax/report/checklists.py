"""Reporting guidelines as data: where on the page each item is answered, if it is.

An item is answered by the blocks named, if all of them hold data; `gap` says what of it
they lack. Titles are short forms in our words; the guidelines have the wording.
"""

import dataclasses
from collections.abc import Mapping, Set

from markupsafe import Markup

from hamjax.report.evidence import Block
from hamjax.report.markup import NOT_RECORDED, NOTHING, note, table


@dataclasses.dataclass(frozen=True)
class Item:
    """An item of a guideline.

    Attributes:
        number: in the guideline's edition or editions; a dash where one does not have it.
        title: what is asked for.
        anchors: of the blocks that answer it.
        gap: what of it they lack.
    """

    number: tuple[str, ...]
    title: str
    anchors: tuple[str, ...] = ()
    gap: str = ""


# Mongan, Moy, Kahn, Radiology: Artificial Intelligence 2(2), e200029 (2020), 42 items; Tejani et al.,
# "CLAIM 2024 Update", Radiology: Artificial Intelligence 6(4), e240300 (2024), 44 items.
CLAIM = (
    Item(("1", "1"), "Says it is about AI, and of which kind", ("model",)),
    Item(("2", "2"), "Structured summary", ("performance",), "conclusions"),
    Item(("3", "3"), "Background, intended use", ("intended-use",), "background"),
    Item(("4", "4"), "Aims and hypotheses"),
    Item(("5", "5"), "Prospective or retrospective", ("collection",)),
    Item(("6", "6"), "Goal of the study"),
    Item(("7", "7"), "Data sources", ("data-source", "collection")),
    Item(("8", "8"), "Who was eligible"),
    Item(("9", "9"), "Preprocessing", ("preprocessing",)),
    Item(("10", "10"), "Selection of subsets", ("missing-data",)),
    Item(("11", "—"), "Definitions of data elements", ("demographics",), "what the codes mean: see the publication"),
    Item(("12", "11"), "De-identification"),
    Item(("13", "12"), "Missing data", ("missing-data", "demographics")),
    Item(("—", "13"), "How images were acquired"),
    Item(("14", "14"), "Reference standard", ("reference-standard", "demographics")),
    Item(("15", "15"), "Why this reference standard"),
    Item(("16", "16"), "Who annotated"),
    Item(("17", "17"), "Annotation tools; annotation of the test set"),
    Item(("18", "18"), "Variability between annotators"),
    Item(("19", "21"), "Intended sample size, and why"),
    Item(("20", "19"), "How partitions were drawn", ("partitions",)),
    Item(("21", "20"), "Level at which partitions are disjoint", ("partitions", "leak-meter")),
    Item(("22", "22"), "The model in detail", ("model", "settings"), "layers: see the code of this revision"),
    Item(("23", "23"), "Software", ("environment",)),
    Item(("24", "24"), "Initial parameters", ("settings",)),
    Item(("25", "25"), "Training in detail", ("settings", "preprocessing", "imbalance"), "number of models trained"),
    Item(("26", "26"), "Selection of the final model", ("selection",)),
    Item(("27", "27"), "Ensembling"),
    Item(("28", "28"), "Metrics", ("performance", "per-class")),
    Item(("29", "29"), "Uncertainty", ("uncertainty",)),
    Item(("30", "30"), "Robustness"),
    Item(("31", "31"), "Explainability", ("saliency",), "validation of the maps"),
    Item(("—", "32"), "Evaluation on internal data", ("performance", "leak-meter")),
    Item(("32", "33"), "Test on external data", ("external",)),
    Item(("33", "35"), "Numbers included and excluded", ("partitions", "missing-data"), "a diagram"),
    Item(("34", "36"), "Demographics of each partition", ("demographics",)),
    Item(("35", "37"), "Performance on all partitions", ("performance", "curves"), "the training part"),
    Item(("36", "38"), "Diagnostic accuracy and its precision", ("per-class", "uncertainty")),
    Item(("37", "39"), "Failures", ("worst-errors", "confusion")),
    Item(("38", "40"), "Limitations", ("limitations",)),
    Item(("39", "41"), "Implications for practice", ("intended-use",), "a clinical role"),
    Item(("40", "34"), "Registration"),
    Item(("41", "42"), "Protocol"),
    Item(
        ("—", "43"),
        "Availability of software, model and data",
        ("licence", "environment"),
        "availability of the weights",
    ),
    Item(("42", "44"), "Funding"),
)
# Collins et al., BMJ 385, e078378 (2024): 27 items, some in parts.
TRIPOD_AI = (
    Item(("1",), "Title: model, population, outcome", ("model", "collection")),
    Item(("2",), "Abstract", ("performance",), "conclusions"),
    Item(("3a",), "Healthcare context"),
    Item(("3b",), "Target population and intended purpose", ("intended-use",), "a place in care"),
    Item(("3c",), "Known health inequalities"),
    Item(("4",), "Objectives"),
    Item(("5a",), "Sources of data", ("data-source", "collection", "partitions")),
    Item(("5b",), "Dates of the data"),
    Item(("6a",), "Setting", ("collection",)),
    Item(("6b",), "Who was eligible"),
    Item(("6c",), "Treatments received"),
    Item(("7",), "Data preparation", ("preprocessing", "missing-data")),
    Item(("8a",), "Outcome, and how it was determined", ("reference-standard",)),
    Item(("8b",), "Who determined it"),
    Item(("8c",), "Blinding of outcome assessment"),
    Item(("9a",), "Choice of predictors", ("model", "missing-data")),
    Item(("9b",), "Definition of predictors", ("model", "preprocessing")),
    Item(("9c",), "Who assessed predictors"),
    Item(("10",), "Sample size"),
    Item(("11",), "Missing data", ("missing-data", "demographics")),
    Item(("12a",), "Partitions of the data", ("partitions",)),
    Item(("12b",), "How predictors were handled", ("preprocessing",)),
    Item(("12c",), "Model, training, internal validation", ("model", "settings", "selection")),
    Item(("12d",), "Heterogeneity across clusters", ("subgroups",)),
    Item(("12e",), "Measures of performance", ("performance", "per-class", "calibration")),
    Item(("12f",), "Model updating", ("calibration",), "anything but a temperature"),
    Item(("12g",), "How predictions were calculated", ("command", "environment")),
    Item(("13",), "Class imbalance, and recalibration after it", ("imbalance", "calibration")),
    Item(("14",), "Fairness", ("subgroups",), "steps taken towards it"),
    Item(("15",), "Output, and thresholds", ("model", "operating-points")),
    Item(("16",), "Development against evaluation data", ("demographics",)),
    Item(("17",), "Ethical approval"),
    Item(("18a",), "Funding"),
    Item(("18b",), "Conflicts of interest"),
    Item(("18c",), "Protocol"),
    Item(("18d",), "Registration"),
    Item(("18e",), "Data sharing", ("licence",)),
    Item(("18f",), "Code sharing", ("licence", "environment")),
    Item(("19",), "Patient and public involvement"),
    Item(("20a",), "Flow of participants", ("partitions", "missing-data"), "a diagram"),
    Item(("20b",), "Characteristics of participants", ("demographics",)),
    Item(("20c",), "Comparison with the development data", ("demographics",)),
    Item(("21",), "Participants and outcomes in each analysis", ("partitions",)),
    Item(("22",), "The full model", ("model", "settings"), "weights: see the run's checkpoints"),
    Item(("23a",), "Performance with intervals", ("performance", "uncertainty", "subgroups")),
    Item(("23b",), "Heterogeneity in performance", ("subgroups",)),
    Item(("24",), "Results of model updating", ("calibration",)),
    Item(("25",), "Interpretation"),
    Item(("26",), "Limitations", ("limitations",)),
    Item(("27a",), "Poor or missing input data"),
    Item(("27b",), "Interaction and expertise of users"),
    Item(("27c",), "Next steps"),
)
CHECKLISTS = {
    "claim": ("CLAIM, 2020 (42 items) and 2024 update (44)", ("2020", "2024"), CLAIM),
    "tripod-ai": ("TRIPOD+AI, 2024 (27 items)", ("item",), TRIPOD_AI),
}


def checklist_blocks(recorded: Mapping[str, str]) -> list[Block]:
    """Say of each item where it is answered.

    Args:
        recorded: titles by the anchors of all blocks that hold data.
    """
    return [
        Block(anchor, title, _checklist(editions, items, recorded))
        for anchor, (title, editions, items) in CHECKLISTS.items()
    ]


def _checklist(editions: tuple[str, ...], items: tuple[Item, ...], recorded: Mapping[str, str]) -> Markup:
    rows = [[*item.number, item.title, _where(item, recorded)] for item in items]
    answered = sum(_is_answered(item, recorded.keys()) for item in items)
    said = note(f"This page holds something on {answered} of {len(items)} rows; the rest is for the author to say.")
    shown = table("Items, and where this page answers them", [*editions, "asked for", "where"], rows)
    return said + Markup('<div class="text">{}</div>').format(shown)


def _is_answered(item: Item, recorded: Set[str]) -> bool:
    return bool(item.anchors) and recorded >= set(item.anchors)


def _where(item: Item, recorded: Mapping[str, str]) -> Markup:
    if not _is_answered(item, recorded.keys()):
        return Markup(NOT_RECORDED)
    links = Markup(", ").join(Markup('<a href="#{}">{}</a>').format(a, recorded[a]) for a in item.anchors)
    return links + (Markup("; lacking: {}").format(item.gap) if item.gap else NOTHING)
