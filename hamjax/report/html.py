"""One self-contained page: opens from disk, needs no network."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from hamjax.data.metadata import CLASS_NAMES
from hamjax.report.text import PAPER_ORDER

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem;color:#1a202c}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem;border-bottom:1px solid #cbd5e0}
.scroll{overflow-x:auto}table{border-collapse:collapse}th,td{padding:.25rem .7rem;text-align:right}
th:first-child,td:first-child{text-align:left}thead th{border-bottom:2px solid #4a5568}
tbody tr:nth-child(even){background:#f7fafc}img{max-width:100%;height:auto}
.alarm{background:#fff5f5;border-left:4px solid #c53030;padding:.5rem 1rem}
.note{color:#4a5568;font-size:.9rem}@media print{h2{break-after:avoid}figure{break-inside:avoid}}
"""


ALTERNATIVES = {
    "confusion_matrix": "Confusion matrix: counts by true and predicted class; the table per class holds its margins",
    "training_curves": "Loss, accuracy and learning rate over epochs; metrics.jsonl holds the numbers",
    "class_histogram": "Images per class in the data set, the training part and an epoch",
    "sample_sheet": "Training images of every class as the network sees them, augmented",
}


def page(summary: dict[str, Any], figures: Mapping[str, bytes]) -> str:
    """Return the page.

    Args:
        summary: what `test.json` holds.
        figures: PNG bytes by the names of `ALTERNATIVES`.
    """
    title = f"{summary['model']} {summary['strategy']}: {summary['partition']} of split {summary['split']['name']}"
    alarms = "".join(f'<p class="alarm"><strong>Alarm:</strong> {escape(a)}</p>' for a in summary["alarms"])
    sections = [
        f"<h1>{escape(title)}</h1>{alarms}<p>{escape(_headline(summary))}</p>",
        "<h2>Per class</h2>" + _per_class(summary),
        "<h2>Who was trained and tested on</h2>" + _counts(summary),
        "<h2>Figures</h2>" + "".join(_figure(png, ALTERNATIVES[name]) for name, png in figures.items()),
        "<h2>What was run</h2>" + _facts(summary),
        '<p class="note">HAM10000: Tschandl, Rosendahl, Kittler, Scientific Data 5, 180161 (2018), '
        "CC BY-NC 4.0. This is research software and not a medical device. HAM10000 has no patient "
        "ids: that one patient is on both sides of a split cannot be excluded.</p>",
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>{''.join(sections)}</body></html>\n"
    )


def _headline(summary: dict[str, Any]) -> str:
    return (
        f"Accuracy {summary['accuracy']:.3f}; always answering the most frequent class scores "
        f"{summary['majority_baseline_accuracy']:.3f}. Balanced accuracy {summary['balanced_accuracy']:.3f}; "
        f"that baseline scores {summary['majority_baseline_balanced_accuracy']:.3f}. "
        f"Macro F1 {summary['macro_f1']:.3f}. {summary['n']:,} images: {summary['images_note']}."
    )


def _per_class(summary: dict[str, Any]) -> str:
    rows = []
    for dx in PAPER_ORDER:
        row = summary["per_class"][dx]
        scores = [f"{row[name]:.3f}" for name in ("precision", "recall", "f1")]
        rows.append([f"{dx}: {CLASS_NAMES[dx]}", *scores, row["support"], row["predicted"]])
    return _table(["class", "precision", "recall", "F1", "images", "predicted"], rows)


def _counts(summary: dict[str, Any]) -> str:
    rows = [
        [part, sum(counts.values()), *(counts[dx] for dx in PAPER_ORDER)]
        for part, counts in summary["split"]["counts"].items()
    ]
    leaks = summary["leaks"]
    if leaks:
        leaked = [leaks[dx]["leaked"] for dx in PAPER_ORDER]
        rows.append(["test images of a trained lesion", sum(leaked), *leaked])
    return _table(["partition", "all", *PAPER_ORDER], rows)


def _facts(summary: dict[str, Any]) -> str:
    checkpoint, split = summary["checkpoint"], summary["split"]
    dropped = ", ".join(summary["images_dropped"]) or "none"
    facts = {
        "parameters": f"{summary['params_total']:,}, of them {summary['params_trainable']:,} trained",
        "seed": summary["seed"],
        "checkpoint": f"{checkpoint['name']}, step {checkpoint['step']}",
        "data fingerprint": summary["data_fingerprint"],
        "split fingerprint": split["fingerprint"],
        "images missing or undecodable": dropped,
    }
    return _table(["what", "value"], [[key, value] for key, value in facts.items()])


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "".join(
        f'<tr><th scope="row">{escape(str(first))}</th>'
        + "".join(f"<td>{escape(str(cell))}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _figure(png: bytes, text: str) -> str:
    data = base64.b64encode(png).decode()
    return f'<figure><img alt="{escape(text)}" src="data:image/png;base64,{data}"></figure>'
