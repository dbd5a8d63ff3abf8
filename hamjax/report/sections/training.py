"""What was trained, and how."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from hamjax.data.classes import PAPER_ORDER
from hamjax.data.sampling import STRATEGIES
from hamjax.report.evidence import Block, Evidence, Section
from hamjax.report.markup import NOT_RECORDED, NOTHING, facts, note, paragraph, picture, table

SELECTION = {
    "last": "the end of training, as in the paper",
    "best": "the epoch with the highest balanced accuracy on the validation part",
}
SCALES = {"unit": "pixels divided by 255", "native": "as the network's ImageNet weights expect"}
PREPROCESSING = ("data", "augment")  # topics of the config
TRAINING = ("sampling", "model", "loss", "optimizer", "train", "eval")


def training_section(evidence: Evidence) -> Section:
    """Return the section of the network, its settings and its training."""
    blocks = [
        Block("model", "Network", _network(evidence)),
        Block("preprocessing", "Preprocessing and augmentation", _preprocessing(evidence)),
        Block("imbalance", "Class imbalance", _imbalance(evidence.summary)),
        Block("settings", "Settings", _settings(evidence, TRAINING)),
        Block("curves", "Training curves", _curves(evidence)),
        Block("selection", "Which state was evaluated", _selection(evidence)),
    ]
    if "sample_sheet" in evidence.pictures:
        alternative = "Eight training images of each class, augmented as in training."
        shown = picture(evidence.pictures["sample_sheet"], alternative, "As the network sees them, augmented")
        blocks.insert(2, Block("samples", "Training images", shown))
    return Section("training", "Training", blocks)


def _network(evidence: Evidence) -> Markup:
    summary, size = evidence.summary, evidence.setting("data.image_size")
    total, trained = summary.get("params_total"), summary.get("params_trainable")
    if summary.get("model") is None:
        return NOTHING
    return facts(
        "The network",
        {
            "network": summary["model"],
            "input": None if size is None else f"{size}x{size} pixels, RGB",
            "output": f"a probability for each of {len(PAPER_ORDER)} classes; the highest is predicted",
            "parameters": None if total is None else f"{total:,}, of them {trained:,} trained",
            "starts from weights": _weights(evidence),
            "head": evidence.setting("model.head"),
            "seed": summary.get("seed"),
        },
    )


def _weights(evidence: Evidence) -> Any:
    """Return where the starting weights came from; of a run of an earlier version, what was asked for."""
    resolved = evidence.summary.get("resolved", {})
    return resolved.get("weights", {}).get("origin") or evidence.setting("model.weights")


def _preprocessing(evidence: Evidence) -> Markup:
    settings = _settings(evidence, PREPROCESSING)
    scale = evidence.setting("model.input_scale")
    said = paragraph(f"Input: {SCALES.get(scale, scale)}.") if scale else NOTHING
    return said + settings


def _imbalance(summary: Mapping[str, Any]) -> Markup:
    strategy = STRATEGIES.get(summary.get("strategy", ""))
    if strategy is None:
        return NOTHING
    # Reports of early versions have no config: the sentence then names no number.
    threshold = ((summary.get("config") or {}).get("sampling") or {}).get("threshold", "a threshold")
    said = paragraph(f"Strategy {summary['strategy']}: {strategy.summary.format(threshold=threshold)}.")
    sampling = summary.get("sampling")
    if sampling is None:
        return said
    counts, weights = sampling["epoch_counts"], sampling["class_weights"]
    rows = [["all", sum(counts.values()), ""], *([dx, counts[dx], weights[dx]] for dx in PAPER_ORDER)]
    return said + table("A training epoch", ["class", "images", "weight in the loss"], rows)


def _settings(evidence: Evidence, topics: tuple[str, ...]) -> Markup:
    config = evidence.summary.get("config")
    if not config:
        return NOTHING
    rows = [
        [topic, Markup("; ").join(Markup("{}&nbsp;<b>{}</b>").format(k, _plain(v)) for k, v in config[topic].items())]
        for topic in topics
        if topic in config
    ]
    return Markup('<div class="text">{}</div>').format(table("Keys of the config", ["topic", "keys"], rows))


def _plain(value: object) -> object:
    return "none" if value in ("", [], None) else value


def _curves(evidence: Evidence) -> Markup:
    epochs = [line for line in evidence.records if "eval/accuracy" in line]
    if not epochs:
        return NOTHING
    shown = NOTHING
    if "training_curves" in evidence.pictures:
        shown = picture(evidence.pictures["training_curves"], _curves_alternative(evidence), "Training curves")
    names = ("loss", "accuracy", "balanced_accuracy", "macro_f1")
    rows = [[line["epoch"], line["step"], *(line.get(f"eval/{name}") for name in names)] for line in epochs]
    header = ["epoch", "step", "loss", "accuracy", "balanced accuracy", "macro F1"]
    alarms = [f"step {line['step']}: {line['alarm']}" for line in evidence.records if "alarm" in line]
    return (
        shown
        + table("On the validation part, after each epoch", header, rows)
        + (note(f"Alarms on the validation part: {'. '.join(alarms)}.") if alarms else NOTHING)
    )


def _curves_alternative(evidence: Evidence) -> str:
    trained = [line["train/loss"] for line in evidence.records if "train/loss" in line]
    validated = [line for line in evidence.records if "eval/accuracy" in line]
    best = max(validated, key=lambda line: line["eval/balanced_accuracy"])
    training = f"training loss goes from {trained[0]:.3f} to {trained[-1]:.3f}; " if trained else ""
    return (
        f"Loss, accuracy and learning rate over epochs: {training}validation accuracy ends at "
        f"{validated[-1]['eval/accuracy']:.3f}; balanced accuracy is highest, {best['eval/balanced_accuracy']:.3f}, "
        f"after epoch {best['epoch']}."
    )


def _selection(evidence: Evidence) -> Markup:
    checkpoint = evidence.summary.get("checkpoint")
    if checkpoint is None:
        return NOTHING
    # `last` is the end of training, unless training went on after it: then its step was asked for.
    name, step = checkpoint["name"], checkpoint["step"]
    why = SELECTION.get(name, NOT_RECORDED)
    if name == "last" and any(line["step"] > step for line in evidence.records):
        why = "asked for by its step"
    return paragraph(f"Checkpoint “{name}”, step {step:,}: {why}.")
