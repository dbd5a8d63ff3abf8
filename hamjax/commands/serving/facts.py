"""What a served network says of itself, from the report of its run."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Literal

from hamjax.commands.serving.answers import Interval, ModelFacts, OperatingPoint, Subgroup, TestScore
from hamjax.data.classes import CLASS_NAMES, PAPER_ORDER
from hamjax.data.unlabelled import Shape
from hamjax.report.card import DRAWN
from hamjax.report.evidence import Evidence
from hamjax.report.sections.about import USE, limitations
from hamjax.report.sections.data import COLLECTION, how_split, is_drawn
from hamjax.report.sections.subgroups import TITLES
from hamjax.report.terminal import SCORES


def model_facts(
    served: Mapping[str, Any], shape: Shape, evidence: Evidence, limit_of_request: Mapping[str, int]
) -> ModelFacts:
    """Collect them.

    Args:
        served: see `served_facts`.
        shape: of the images that the network takes.
        evidence: of its report.
        limit_of_request: of the server.
    """
    summary, checkpoint, (size, resize) = evidence.summary, served["checkpoint"], shape
    counts = summary["split"]["counts"]
    return ModelFacts(
        use=USE,
        title=f"{summary['model']} {summary['strategy']}",
        run=served["runs"][0]["run"],
        checkpoint=f"{checkpoint['name']}, step {checkpoint['step']:,}",
        image_size=size,
        resize=resize,
        classes={dx: CLASS_NAMES[dx] for dx in PAPER_ORDER},
        calibrated=served["temperature"] is not None,
        set_level=served["conformal"]["calibration"]["level"] if served["conformal"] else None,
        trained_on=[DRAWN if is_drawn(evidence) else COLLECTION, f"Images: {summary['images_note']}.",
                    f"Split {summary['split']['name']}. {how_split(summary)}"],
        training_images={dx: counts["train"][dx] for dx in PAPER_ORDER},
        tested_on=f"{summary['n']:,} images of the {summary['partition']} part",
        alarms=list(summary["alarms"]),
        scores=[
            TestScore(title=title, value=summary[name], interval=_interval(summary.get("intervals", {}).get(name)),
                      majority_baseline=summary.get(f"majority_baseline_{name}"))
            for name, title in SCORES.items()
            if summary.get(name) is not None
        ],
        subgroups=[
            _subgroup(TITLES[key], row, summary["balanced_accuracy"])
            for key in TITLES
            for row in summary.get("subgroups", {}).get(key, ())
        ],
        operating_points=[
            OperatingPoint(**{name: point[name] for name in ("target", "specificity", "threshold", "sensitivity")},
                           interval=_interval(point.get("interval")))
            for point in served["operating_points"]
        ],
        limits=limitations(evidence),
        limit_of_request=dict(limit_of_request),
    )  # fmt: skip


def served_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return `ImageScorer.facts` with the run's name alone: where it lies on this machine is nobody's business."""
    return {**facts, "runs": [{**run, "run": PurePath(run["run"]).name} for run in facts["runs"]]}


def _subgroup(by: str, row: Mapping[str, Any], of_all: float) -> Subgroup:
    interval = _interval(row.get("balanced_accuracy_interval"))
    worse: Literal["no", "lower", "clearly"] = "no"
    if row["balanced_accuracy"] is not None and row["balanced_accuracy"] < of_all:
        worse = "clearly" if interval is not None and interval.high < of_all else "lower"
    return Subgroup(
        by=by,
        group=row["group"],
        images=row["n"],
        balanced_accuracy=row["balanced_accuracy"],
        balanced_accuracy_interval=interval,
        melanomas=row["melanomas"],
        melanoma_sensitivity=row["melanoma_sensitivity"],
        melanoma_interval=_interval(row.get("melanoma_interval")),
        worse=worse,
    )


def _interval(found: Mapping[str, Any] | None) -> Interval | None:
    return None if found is None or found["low"] is None else Interval(low=found["low"], high=found["high"])
