"""The model card of a run: Markdown behind the metadata block that the Hugging Face Hub reads.

The block is the Hub's (huggingface.co/docs/hub/model-cards), the text follows Mitchell et al., "Model Cards for Model
Reporting" (FAT* 2019). Everything comes from `report/test.json` and `config.json`.
"""

import html
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hamjax.data.classes import CLASS_NAMES, PAPER_ORDER
from hamjax.data.sampling import STRATEGIES
from hamjax.report.evidence import Evidence
from hamjax.report.sections.about import LICENCE, USE, limitations
from hamjax.report.sections.data import COLLECTION, REFERENCE_STANDARD, how_split, is_drawn
from hamjax.report.sections.subgroups import TITLES
from hamjax.report.sections.training import SELECTION
from hamjax.report.terminal import RESAMPLED, SCORES, as_known
from hamjax.runtime.files import write_atomically
from hamjax.training.run_directory.record import read_facts

FILE = "model_card.md"
# The Hub's names of metrics, where it has one (huggingface.co/metrics).
METRICS = {"accuracy": "accuracy", "balanced_accuracy": "balanced_accuracy", "macro_f1": "f1", "macro_auc": "roc_auc"}
DRAWN = "Drawn by hamjax to try it out: the images say nothing about skin, and neither does the network."
PROCEDURE = ("data.image_size", "data.resize", "model.input_scale", "train.epochs", "train.global_batch_size",
             "optimizer.name", "optimizer.learning_rate", "optimizer.schedule", "loss.name", "augment.enabled",
             "train.ema_decay", "train.seed")  # fmt: skip
Rows = Sequence[Sequence[object]]


def write_card(workdir: Path, summary: Mapping[str, Any]) -> None:
    """Write `model_card.md` into a run directory.

    Args:
        workdir: the run directory.
        summary: what its `report/test.json` holds.

    Raises:
        UserError: it cannot be written, or there is no such run.
    """
    write_atomically(workdir / FILE, card(Evidence({**summary, **read_facts(workdir)})))


def card(evidence: Evidence) -> str:
    """Return the card of a run; its evidence needs no pictures."""
    summary = evidence.summary
    # In the order in which a reader decides whether to read on; how it was made is for those who do.
    parts = {
        "Use": _use(),
        "Data": _data(evidence),
        "Training": _training(evidence),
        "Scores": _scores(summary),
        "Each class": _classes(summary),
        "For whom": _subgroups(summary),
        "Calibration and thresholds": _calibration(summary),
        "Limits": "\n".join(f"- {_text(point)}" for point in limitations(evidence)),
        "How it was made": _provenance(summary),
        "Licence": "hamjax is Apache-2.0." if is_drawn(evidence) else _text(LICENCE),
    }
    title = f"# {summary['model']} {summary['strategy']}: a classifier of dermatoscopic images of skin lesions"
    sections = [f"## {name}\n\n{text}" for name, text in parts.items() if text]
    return "\n\n".join([_metadata(evidence), title, "Research software, **not a medical device**.", *sections]) + "\n"


def _metadata(evidence: Evidence) -> str:
    """Return the block between `---`: YAML whose values are JSON, which is YAML, too."""
    summary = evidence.summary
    source = "drawn images" if is_drawn(evidence) else "HAM10000"
    metrics = [
        {"type": METRICS[name], "name": title, "value": round(summary[name], 4)}
        for name, title in SCORES.items()
        if summary.get(name) is not None
    ]
    # `type` and `name` of the data set, and `type` and `value` of a metric, must be there: the Hub refuses others.
    result = {
        "task": {"type": "image-classification", "name": "skin-lesion classification"},
        "dataset": {"type": source.lower().replace(" ", "-"), "name": f"{source}, split {summary['split']['name']}",
                    "split": summary["partition"]},
        "metrics": metrics,
    }  # fmt: skip
    block = {
        "license": "apache-2.0" if is_drawn(evidence) else "cc-by-nc-4.0",
        "library_name": "hamjax",
        "pipeline_tag": "image-classification",
        "tags": ["jax", "flax", "dermatology", "skin-lesions", "ham10000", summary["model"]],
        "metrics": [metric["type"] for metric in metrics],
        "model-index": [{"name": f"{summary['model']} {summary['strategy']}", "results": [result]}],
    }
    return "\n".join(["---", *(f"{key}: {json.dumps(value)}" for key, value in block.items()), "---"])


def _use() -> str:
    classes = ", ".join(f"{dx} ({CLASS_NAMES[dx]})" for dx in PAPER_ORDER)
    return (
        f"{_text(USE)}\n\nIt takes a dermatoscopic image of one lesion and gives a probability for each of seven "
        f"classes: {classes}. It is not for photographs without a dermatoscope, nor for other lesions: any image is "
        "given one of the seven.\n\n```sh\nhamjax predict --workdir RUN IMAGES --out FOLDER\n```"
    )


def _data(evidence: Evidence) -> str:
    summary = evidence.summary
    # By class: most of a test part is one class, which its size alone would hide.
    counts = summary["split"]["counts"]
    rows = [[dx, *(part[dx] for part in counts.values())] for dx in PAPER_ORDER]
    rows.append(["all", *(sum(part.values()) for part in counts.values())])
    told = [DRAWN] if is_drawn(evidence) else [COLLECTION, REFERENCE_STANDARD]
    told += [f"Images: {summary['images_note']}.", f"Split {summary['split']['name']}. {how_split(summary)}"]
    if dropped := summary.get("images_dropped"):
        told.append(f"{len(dropped):,} images were missing or undecodable and are left out.")
    return "\n\n".join([*map(_text, told), _table(["class", *counts], rows)])


def _training(evidence: Evidence) -> str:
    summary = evidence.summary
    checkpoint, strategy = summary["checkpoint"], STRATEGIES[summary["strategy"]]
    origin = summary.get("resolved", {}).get("weights", {}).get("origin", "not recorded")
    balancing = strategy.summary.format(threshold=evidence.setting("sampling.threshold"))
    rows: list[Sequence[object]] = [
        ["network", f"{summary['model']}, {summary['params_total']:,} parameters"],
        ["starts from weights", origin],
        ["against imbalance", f"{summary['strategy']}: {balancing}"],
        *([key, evidence.setting(key)] for key in PROCEDURE if evidence.setting(key) is not None),
        ["evaluated", f"checkpoint {checkpoint['name']}, step {checkpoint['step']:,}: "
                      f"{SELECTION.get(checkpoint['name'], 'as asked')}"],
    ]  # fmt: skip
    return _table(["what", "value"], rows)


def _scores(summary: Mapping[str, Any]) -> str:
    rows = [
        [title, _number(summary[name]), _interval(summary.get("intervals", {}).get(name)),
         _number(summary.get(f"majority_baseline_{name}"))]
        for name, title in SCORES.items()
        if summary.get(name) is not None
    ]  # fmt: skip
    bootstrap = summary.get("bootstrap")
    said = [f"On {summary['n']:,} images of the {summary['partition']} part."]
    if bootstrap:
        unit = bootstrap.get("resampled", "lesions")
        drawn = RESAMPLED[unit].format(clusters=bootstrap["clusters"]) if unit in RESAMPLED else unit
        said.append(f"Intervals of {bootstrap['level']:.0%} resample {drawn}; they do not cover another training seed.")
    alarms = "\n".join(f"- **Alarm:** {_text(alarm)}" for alarm in summary.get("alarms", ()))
    shown = _table(["score", "value", "interval", "always the most frequent class"], rows)
    return "\n\n".join(filter(None, [" ".join(said), alarms, shown]))


def _classes(summary: Mapping[str, Any]) -> str:
    rows = []
    for dx in PAPER_ORDER:
        row = summary["per_class"][dx]
        recall = f"{_number(row['recall'])} ({_interval(row.get('intervals', {}).get('recall')) or 'no interval'})"
        scores = [_number(row.get(name)) for name in ("precision", "f1", "auc")]
        rows.append([f"{dx}, {CLASS_NAMES[dx]}", row["support"], recall, *scores])
    return _table(["class", "images", "recall (interval)", "precision", "F1", "AUC"], rows)


def _subgroups(summary: Mapping[str, Any]) -> str:
    rows = [
        [title, row["group"], row["n"], as_known(row["lesions"]),
         f"{_number(row['balanced_accuracy'])} ({_interval(row.get('balanced_accuracy_interval')) or 'no interval'})",
         f"{_number(row['melanoma_sensitivity'])} of {row['melanomas']}" if row["melanomas"] else "—"]
        for key, title in TITLES.items()
        for row in summary.get("subgroups", {}).get(key, ())
    ]  # fmt: skip
    header = ["by", "group", "images", "lesions", "balanced accuracy (interval)", "melanomas found"]
    return _table(header, rows) if rows else ""


def _calibration(summary: Mapping[str, Any]) -> str:
    parts = []
    if calibration := summary.get("calibration"):
        parts.append(
            f"Expected calibration error {_number(calibration['before']['ece'])}, after a temperature of "
            f"{_number(calibration['temperature'])} fitted on the validation part "
            f"{_number(calibration['after']['ece'])}."
        )
    if conformal := summary.get("conformal"):
        level, found = conformal["calibration"]["level"], conformal["marginal"]
        parts.append(
            f"Prediction sets of {level:.0%} (split conformal, calibrated on the validation part) hold the true class "
            f"in {_number(found['coverage'])} ({_interval(found['coverage_interval']) or 'no interval'}) of the cases, "
            f"with {found['mean_size']:.2f} classes each."
        )
    if points := summary.get("operating_points"):
        rows = [
            [point["target"], f"{point['specificity']:g}", _number(point["threshold"]),
             f"{_number(point['sensitivity'])} ({_interval(point.get('interval')) or 'no interval'})"]
            for point in points
        ]  # fmt: skip
        parts.append("Thresholds on the summed probability, chosen on these very images:")
        parts.append(_table(["target", "specificity", "threshold", "sensitivity (interval)"], rows))
    return "\n\n".join(parts)


def _provenance(summary: Mapping[str, Any]) -> str:
    environment = summary.get("environment", {})
    packages = ", ".join(f"{name} {version}" for name, version in environment.get("packages", {}).items())
    rows = [
        ["command", _without_folders(summary.get("command", ""))],
        ["revision", environment.get("revision")],
        ["packages", packages],
        ["data fingerprint", summary.get("data_fingerprint")],
        ["split fingerprint", summary["split"]["fingerprint"]],
    ]
    return _table(["what", "value"], [row for row in rows if row[1]])


def _without_folders(command: str) -> str:
    """Return a command with the last part alone of paths: a card is published, and folders tell of people."""
    words = []
    for word in shlex.split(command):
        before, equals, value = word.rpartition("=")
        words.append(f"{before}{equals}{Path(value).name if Path(value).is_absolute() else value}")
    return shlex.join(words)


def _table(header: Sequence[str], rows: Rows) -> str:
    lines = [[*header], ["---"] * len(header), *([_text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(value: object) -> str:
    """Return a value that Markdown shows as it is: no tag, no end of a cell, no other line."""
    # Paths, site names and commands come from elsewhere.
    shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return html.escape(" ".join(shown.split()), quote=False).replace("|", "\\|")


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:.3f}"


def _interval(interval: Mapping[str, Any] | None) -> str:
    return "" if interval is None or interval["low"] is None else f"{interval['low']:.3f} to {interval['high']:.3f}"
