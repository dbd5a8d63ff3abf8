"""The paper's figures, drawn from a run, and the ones it should have had."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from hamjax.data.classes import CLASSES, PAPER_ORDER

# Told apart by everyone, and in grey by their lightness (Okabe and Ito 2002).
BLUE, ORANGE, GREY = "#0072b2", "#e69f00", "#555555"
WIDTH = 5.0  # inches: at a phone's width its text is as large as it is set


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
    figure = Figure(figsize=(WIDTH, 6.2), layout="constrained")
    loss, accuracy = figure.subplots(2, sharex=True)
    _curve(loss, records, "train/loss", steps_per_epoch, "training (augmented, weighted)", BLUE, "-")
    _curve(loss, records, "eval/loss", steps_per_epoch, "validation", ORANGE, "o-")
    loss.set(ylabel="cross-entropy", title="Loss")
    loss.set_ylim(0, _ceiling(records))
    rate = loss.twinx()
    _curve(rate, records, "train/learning_rate", steps_per_epoch, "learning rate", GREY, ":")
    rate.set_yscale("log")
    rate.set_ylabel("learning rate")
    handles, labels = loss.get_legend_handles_labels()
    more_handles, more_labels = rate.get_legend_handles_labels()
    loss.legend(handles + more_handles, labels + more_labels, fontsize=8, loc="upper right")
    _curve(accuracy, records, "train/accuracy", steps_per_epoch, "training (resampled)", BLUE, "-")
    _curve(accuracy, records, "eval/accuracy", steps_per_epoch, "validation", ORANGE, "o-")
    _curve(accuracy, records, "eval/balanced_accuracy", steps_per_epoch, "validation, balanced", GREY, "s-")
    accuracy.set(xlabel="epoch", title="Accuracy", ylim=(0, 1))
    accuracy.legend(fontsize=8)
    for axes in (loss, accuracy):
        axes.grid(alpha=0.3)
    return figure


def reliability(calibration: Mapping[str, Any]) -> Figure:
    """Draw accuracy over the probability of the predicted class, before and after the temperature.

    Args:
        calibration: of the summary: `before` and perhaps `after`, each with its `ece` and
            `bins` of `confidence`, `accuracy` and `n`.
    """
    figure = Figure(figsize=(WIDTH, 5.6), layout="constrained")
    axes, below = figure.subplots(2, sharex=True, height_ratios=(4, 1))
    axes.plot([0, 1], [0, 1], ":", color=GREY, label="as sure as right")
    for name, colour, style in (("before", ORANGE, "s--"), ("after", BLUE, "o-")):
        if not calibration.get(name):
            continue
        bins = [row for row in calibration[name]["bins"] if row["n"]]
        confidence = [row["confidence"] for row in bins]
        label = f"{name} temperature, ECE {calibration[name]['ece']:.3f}"
        if name == "after" and calibration.get("fitted_on_scored_images"):
            label += " (fitted on these images)"
        axes.plot(confidence, [row["accuracy"] for row in bins], style, color=colour, label=label)
        below.plot(confidence, [row["n"] for row in bins], style, color=colour)
    axes.set(ylabel="accuracy", title="Reliability", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.legend(fontsize=8)
    below.set(xlabel="probability of the answer", ylabel="images", yscale="log")
    for each in (axes, below):
        each.grid(alpha=0.3)
    return figure


def risk_coverage(selective: Mapping[str, Any]) -> Figure:
    """Draw the share of wrong answers over the share of images that are answered, the surest first.

    Args:
        selective: of the summary; see `hamjax.evaluation.metrics.selective.risk_coverage`.
    """
    curve = selective["curve"]
    coverage, risk = (np.array([row[name] for row in curve]) for name in ("coverage", "risk"))
    low, high = ([row["interval"][end] for row in curve] for end in ("low", "high"))
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(coverage, low, high, color=BLUE, alpha=0.2, linewidth=0, label="95% interval")
    axes.plot(coverage, risk, "o-", color=BLUE, markersize=3, label=f"found, AURC {selective['aurc']:.3f}")
    # Wrong answers are a share of all images; none is answered before every right one is.
    best = np.maximum(coverage - (1 - risk[-1]), 0) / coverage
    axes.plot(coverage, best, "--", color=GREY, label=f"best order, AURC {selective['aurc_best']:.3f}")
    axes.axhline(risk[-1], linestyle=":", color=GREY, label=f"random order, AURC {risk[-1]:.3f}")
    chosen = selective["at_80"]
    axes.plot(chosen["coverage"], 1 - chosen["accuracy"], "s", color=ORANGE, label="at least 80% answered")
    axes.set(xlabel="coverage: share of images answered, the surest first", ylabel="risk: share of wrong answers")
    # Room for the legend above everything that is drawn.
    axes.set(title="Risk and coverage", xlim=(0, 1.02), ylim=(0, 1.45 * max(high)))
    axes.legend(fontsize=8, loc="upper left")
    axes.grid(alpha=0.3)
    return figure


def class_histogram(counts: Mapping[str, np.ndarray], strategy: str) -> Figure:
    """Draw images per class before and after the strategy (the paper's Table 1 and Figure 2).

    Args:
        counts: see `FigureData`; three at most.
        strategy: its name.
    """
    order = [CLASSES.index(dx) for dx in PAPER_ORDER]
    figure = Figure(figsize=(WIDTH, 6.4), layout="constrained")
    axes = figure.subplots()
    for k, ((label, counted), colour) in enumerate(zip(counts.items(), (GREY, BLUE, ORANGE), strict=False)):
        bars = axes.barh(np.arange(len(order)) + 0.28 * (k - 1), counted[order], 0.27, label=label, color=colour)
        axes.bar_label(bars, fmt="{:,.0f}", fontsize=8, padding=2)
    axes.set_yticks(range(len(order)), PAPER_ORDER)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set(xlabel="images", title=f"Images per class, strategy {strategy}")
    axes.legend()
    return figure


def sample_sheet(samples: Sequence[np.ndarray], columns: int = 8) -> Figure:
    """Show training images of every class as the network sees them, augmented (the paper's Figure 1).

    Args:
        samples: see `FigureData`.
        columns: images of a class, at most.
    """
    size = samples[0].shape[1]
    pitch = size + max(size // 20, 1)
    sheet = np.full((len(PAPER_ORDER) * pitch, columns * pitch, 3), 255, np.uint8)
    for i, dx in enumerate(PAPER_ORDER):
        for j, image in enumerate(samples[CLASSES.index(dx)][:columns]):
            sheet[i * pitch : i * pitch + size, j * pitch : j * pitch + size] = image
    figure = Figure(figsize=(1.4 * WIDTH, 1.4 * WIDTH * len(PAPER_ORDER) / columns), layout="constrained")
    axes = figure.subplots()
    axes.imshow(sheet)
    centres = np.arange(len(PAPER_ORDER)) * pitch + size / 2
    axes.set_yticks(centres, PAPER_ORDER, fontsize=12)
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
