"""The paper's figures, drawn from a run, and the ones it should have had."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from hamjax.data.augment import draw_affines, warp
from hamjax.data.metadata import CLASS_NAMES, CLASSES
from hamjax.data.splits import TRAIN
from hamjax.experiment import Experiment, augmentation_of
from hamjax.report.text import PAPER_ORDER

BLUE, ORANGE, GREY = "#2b6cb0", "#dd6b20", "#718096"


def confusion_matrix(summary: dict[str, Any]) -> Figure:
    """Draw counts, shaded by the share of the true class (the paper's Figures 4 and 5)."""
    order = [summary["classes"].index(dx) for dx in PAPER_ORDER]
    counts = np.array(summary["confusion_matrix"])[np.ix_(order, order)]
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure = Figure(figsize=(7.6, 6.6), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (i, j), count in np.ndenumerate(counts):
        axes.text(j, i, f"{count}\n{shares[i, j]:.0%}", ha="center", va="center", fontsize=8,
                  color="white" if shares[i, j] > 0.55 else "black")  # fmt: skip
    supports = counts.sum(1)
    axes.set_xticks(range(len(PAPER_ORDER)), PAPER_ORDER)
    axes.set_yticks(range(len(PAPER_ORDER)), [f"{dx} ({n})" for dx, n in zip(PAPER_ORDER, supports, strict=True)])
    axes.set(xlabel="predicted", ylabel="true (images)")
    axes.set_title(
        f"{summary['model']} {summary['strategy']}, {summary['partition']}, n = {summary['n']}\n"
        f"accuracy {summary['accuracy']:.3f} (majority {summary['majority_baseline_accuracy']:.3f}), "
        f"balanced accuracy {summary['balanced_accuracy']:.3f}"
    )
    bar = figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1))
    return figure


def training_curves(records: list[dict[str, Any]], steps_per_epoch: int) -> Figure:
    """Draw loss, accuracy and learning rate over epochs (the paper's Figure 6)."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    _curve(loss, records, "train/loss", steps_per_epoch, "training (augmented, weighted)", BLUE, "-")
    _curve(loss, records, "eval/loss", steps_per_epoch, "validation", ORANGE, "o-")
    loss.set(xlabel="epoch", ylabel="cross-entropy", title="Loss")
    loss.set_ylim(0, _ceiling(records))
    rate = loss.twinx()
    _curve(rate, records, "train/learning_rate", steps_per_epoch, "learning rate", GREY, ":")
    rate.set_yscale("log")
    rate.set_ylabel("learning rate")
    handles, labels = loss.get_legend_handles_labels()
    more_handles, more_labels = rate.get_legend_handles_labels()
    loss.legend(handles + more_handles, labels + more_labels, fontsize=8)
    _curve(accuracy, records, "train/accuracy", steps_per_epoch, "training (resampled)", BLUE, "-")
    _curve(accuracy, records, "eval/accuracy", steps_per_epoch, "validation", ORANGE, "o-")
    _curve(accuracy, records, "eval/balanced_accuracy", steps_per_epoch, "validation, balanced", GREY, "s-")
    accuracy.set(xlabel="epoch", title="Accuracy", ylim=(0, 1))
    accuracy.legend(fontsize=8)
    for axes in (loss, accuracy):
        axes.grid(alpha=0.3)
    return figure


def class_histogram(experiment: Experiment) -> Figure:
    """Draw images per class before and after the strategy (Table 1 and Figure 2)."""
    order = [CLASSES.index(dx) for dx in PAPER_ORDER]
    train = experiment.dataset.metadata.label[experiment.split == TRAIN]
    before = np.bincount(train, minlength=len(CLASSES))[order]
    after, everything = experiment.counts[order], experiment.dataset.metadata.class_counts()[order]
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    axes = figure.subplots()
    series = (("data set", everything, GREY), ("training part", before, BLUE), ("an epoch", after, ORANGE))
    for k, (label, counts, colour) in enumerate(series):
        bars = axes.bar(np.arange(len(order)) + 0.28 * (k - 1), counts, 0.27, label=label, color=colour)
        axes.bar_label(bars, fontsize=7, rotation=90, padding=2)
    axes.set_xticks(range(len(order)), PAPER_ORDER)
    axes.margins(y=0.15)
    axes.set(ylabel="images", title=f"Images per class, strategy {experiment.config.sampling.strategy}")
    axes.legend()
    return figure


def sample_sheet(experiment: Experiment, columns: int = 8) -> Figure:
    """Show training images of every class as the network sees them, augmented (Figure 1)."""
    augmentation, images = augmentation_of(experiment.config), experiment.dataset.images
    size, labels = images.shape[1], experiment.dataset.metadata.label
    rng = np.random.default_rng(experiment.config.train.seed)
    pitch = size + max(size // 20, 1)
    sheet = np.full((len(PAPER_ORDER) * pitch, columns * pitch, 3), 255, np.uint8)
    for i, dx in enumerate(PAPER_ORDER):
        rows = np.flatnonzero((labels == CLASSES.index(dx)) & (experiment.split == TRAIN))
        for j, row in enumerate(rng.permutation(rows)[:columns]):
            shown = np.array(images[row])
            if augmentation is not None:
                warp(images[row], draw_affines(augmentation, 1, size, rng)[0], shown)
            sheet[i * pitch : i * pitch + size, j * pitch : j * pitch + size] = shown
    figure = Figure(figsize=(columns * 1.2 + 2.6, len(PAPER_ORDER) * 1.2), layout="constrained")
    axes = figure.subplots()
    axes.imshow(sheet)
    centres = np.arange(len(PAPER_ORDER)) * pitch + size / 2
    axes.set_yticks(centres, [f"{dx}\n{CLASS_NAMES[dx]}".replace(" / ", " /\n") for dx in PAPER_ORDER])
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.set_frame_on(False)
    axes.set_title(f"Training images as the network sees them, {size}x{size}")
    return figure


def _curve(
    axes: Axes, records: list[dict[str, Any]], key: str, steps_per_epoch: int, label: str, colour: str, style: str
) -> None:
    points = [(line["step"] / steps_per_epoch, line[key]) for line in records if key in line]
    if points:
        axes.plot(*zip(*points, strict=True), style, label=label, color=colour, markersize=3)


def _ceiling(records: list[dict[str, Any]]) -> float:
    """Keep a few early spikes from flattening the rest."""
    losses = [line[key] for line in records for key in ("train/loss", "eval/loss") if key in line]
    return float(np.quantile(losses, 0.97)) * 1.25 if losses else 1.0
