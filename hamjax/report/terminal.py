"""Tables for the terminal."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hamjax.data.metadata import CLASSES
from hamjax.data.sampling import STRATEGIES
from hamjax.data.splits import PARTITIONS, TRAIN, leak_meter, split_counts
from hamjax.training.setup.experiment import Experiment

PAPER_ORDER = ("akiec", "bcc", "bkl", "df", "nv", "mel", "vasc")  # of its Tables 5 to 7
SCORES = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1",
          "macro_auc": "macro AUC"}  # fmt: skip


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lay out cells in columns, the first to the left, the rest to the right."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        first, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join([row[0].ljust(widths[0]), *rest]) if first else "")
    return "\n".join(lines)


def describe_start(experiment: Experiment) -> str:
    """Say who is trained on, after which strategy, at what weights, against which baseline."""
    config, metadata = experiment.config, experiment.dataset.metadata
    counts = split_counts(metadata, experiment.split)
    totals = {part: sum(counts[part].values()) for part in PARTITIONS}
    strategy = STRATEGIES[config.sampling.strategy]
    balancing = strategy.summary.format(threshold=config.sampling.threshold)
    rows: list[list[object]] = [[part, totals[part], *(counts[part][dx] for dx in PAPER_ORDER)] for part in PARTITIONS]
    resampled = dict(zip(CLASSES, experiment.counts.tolist(), strict=True))
    rows.append(["an epoch", sum(resampled.values()), *(resampled[dx] for dx in PAPER_ORDER)])
    weights = dict(zip(CLASSES, experiment.class_weights.tolist(), strict=True))
    rows.append(["class weight", "", *(f"{weights[dx]:.3f}" for dx in PAPER_ORDER)])
    leaks = leak_meter(metadata, experiment.split)
    rows.append(["leaked test images", sum(v["leaked"] for v in leaks.values()),
                 *(leaks[dx]["leaked"] for dx in PAPER_ORDER)])  # fmt: skip
    top = max(counts[TRAIN], key=lambda dx: counts[TRAIN][dx])
    baseline = counts["test"][top] / totals["test"]
    return "\n".join(
        [
            f"data {experiment.dataset.images_note}",
            f"split {config.data.split}: train/val/test {totals['train']}/{totals['val']}/{totals['test']}",
            f"strategy {config.sampling.strategy}: {balancing}: {sum(resampled.values()):,} images an epoch",
            table(["", "all", *PAPER_ORDER], rows),
            f"majority baseline: always {top} scores accuracy {baseline:.3f}, balanced accuracy "
            f"{1 / sum(n > 0 for n in counts['test'].values()):.3f} on test",
            f"{config.model.name}: {experiment.steps_per_epoch:,} steps an epoch of "
            f"{config.train.global_batch_size} images, {experiment.num_steps:,} in all, on "
            f"{experiment.mesh.size} x {experiment.mesh.devices.flat[0].device_kind}",
            _describe_sharing(experiment),
        ]
    )


def format_summary(summary: dict[str, Any], folder: Path) -> str:
    """Show the paper's rows beside what it leaves out."""
    per_class = summary["per_class"]
    overall = summary["accuracy"]
    rows: list[list[object]] = []
    for name in ("precision", "recall", "f1"):
        rows.append([name, *(f"{per_class[dx][name]:.2f}" for dx in PAPER_ORDER), f"{overall:.2f}"])
    rows.append(["images", *(per_class[dx]["support"] for dx in PAPER_ORDER), summary["n"]])
    checkpoint = summary["checkpoint"]
    judged = "images from elsewhere, trained on" if "external" in summary else f"{summary['partition']} of"
    views = "" if summary.get("tta", "none") == "none" else ", mean of the eight flips and quarter turns"
    lines = [
        "",
        f"{summary['model']} {summary['strategy']}, {judged} split {summary['split']['name']}, "
        f"checkpoint {checkpoint['name']} (step {checkpoint['step']}){views}",
        *(
            f"  averaged: {row['run']}: {row['model']} {row['strategy']} seed {row['seed']}, "
            f"{row['checkpoint']['name']} (step {row['checkpoint']['step']})"
            for row in summary.get("averaged", ())
        ),
        table(["", *PAPER_ORDER, "overall"], rows),
        "",
        table(["", "score", "95% interval", "majority baseline"], _scores(summary)),
        f"images: {summary['images_note']}",
        *(f"ALARM {alarm}" for alarm in summary["alarms"]),
        f"report {folder}",
    ]
    return "\n".join(lines)


def _scores(summary: Mapping[str, Any]) -> list[list[str]]:
    """Return rows of a score, its interval and what always the same answer scores; what is missing is blank."""
    rows = []
    for name, title in SCORES.items():
        value, interval = summary.get(name), summary.get("intervals", {}).get(name)
        if value is None:
            continue
        bounds = "" if interval is None else f"{interval['low']:.3f} to {interval['high']:.3f}"
        baseline = summary.get(f"majority_baseline_{name}")
        rows.append([title, f"{value:.3f}", bounds, "" if baseline is None else f"{baseline:.3f}"])
    if isic := summary.get("isic"):
        rows.append(["balanced accuracy, ISIC scorer", f"{isic['balanced_accuracy']:.3f}", "", ""])
    return rows


def _describe_sharing(experiment: Experiment) -> str:
    """State the rules of batch and learning rate."""
    config, mesh = experiment.config, experiment.mesh
    batch, processes = config.train.global_batch_size, len({device.process_index for device in mesh.devices.flat})
    return (
        f"global batch {batch}: {batch // mesh.size} images on each of {mesh.size} device(s) of {processes} "
        f"process(es), BatchNorm statistics {config.model.bn_stats}; learning rate "
        f"{config.optimizer.learning_rate:g} as set. Neither follows the number of devices"
    )


def read_finished(workdir: Path) -> str | None:
    """Return the summary of a finished run as text, or nothing if it is not finished, or damaged: to be made anew."""
    folder = workdir / "report"
    try:
        return format_summary(json.loads((folder / "test.json").read_text(encoding="utf-8")), folder)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
