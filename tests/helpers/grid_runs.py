"""Run directories as `hamjax train` leaves them, made up."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hamjax.data.classes import CLASSES
from hamjax.paper.cells import Cell, list_cells

SYNTHETIC = ("--config.data.name=synthetic", "--config.data.synthetic_images=300", "--config.data.image_size=16",
             "--config.sampling.threshold=40")  # fmt: skip


def cells_of(root: Path, *more: str, **asked: Sequence[str] | Sequence[int]) -> list[Cell]:
    """List cells on drawn data; by default one."""
    defaults = {"protocols": ["paper"], "models": ["cnn"], "strategies": ["s1"], "seeds": [0]}
    overrides = [*SYNTHETIC, f"--config.data.data_dir={root / 'data'}", *more]
    return list_cells(root, **(defaults | asked), overrides=overrides)  # pyright: ignore[reportArgumentType]


def write_records(cell: Cell, *lines: dict[str, float]) -> None:
    """Write a `metrics.jsonl`."""
    cell.workdir.mkdir(parents=True, exist_ok=True)
    (cell.workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def finish(
    cell: Cell,
    labels: Sequence[int] | np.ndarray,
    predicted: Sequence[int] | np.ndarray,
    *,
    validation: float = 0.5,
    lesion: Sequence[str] | None = None,
    data: str = "data",
    alarms: Sequence[str] = (),
    images_note: str = "300 drawn images, no photographs, of 120x90 pixels, squash to 16x16",
) -> None:
    """Write what a finished run leaves of predictions [N] for labels [N]."""
    report = cell.workdir / "report"
    report.mkdir(parents=True)
    lesions = lesion or [f"L{cell.split}{i}" for i in range(len(labels))]
    images = [f"I{cell.split}{i}" for i in range(len(labels))]
    rows = [["image_id", "dx", "predicted", *CLASSES]]
    for image, a, b in zip(images, labels, predicted, strict=True):
        rows.append([image, CLASSES[a], CLASSES[b], *map(str, np.eye(len(CLASSES))[b])])
    (report / "predictions_test.csv").write_text("".join(",".join(row) + "\n" for row in rows))
    pairs = [f"{image},{name}" for image, name in zip(images, lesions, strict=True)]
    (cell.workdir / "split.csv").write_text("\n".join(["image_id,lesion_id", *pairs]) + "\n")
    write_records(
        cell,
        {"step": 10, "wall_s": 1.0, "eval/balanced_accuracy": validation},
        {"step": 20, "wall_s": 2.0, "eval/balanced_accuracy": validation / 2},
    )
    summary = {"data_fingerprint": data, "split": {"fingerprint": cell.split}, "alarms": list(alarms),
               "model": cell.model, "strategy": cell.strategy, "seed": cell.seed, "checkpoint": {},
               "per_class": {}, "images_note": images_note}  # fmt: skip
    (report / "test.json").write_text(json.dumps(summary))
