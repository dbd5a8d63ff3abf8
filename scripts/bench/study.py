"""Train the runs of a study one after another, and compare them lesion by lesion.

    python scripts/run_study.py transfer --source-dir IMAGES --weights FILE --workdir runs/transfer --json transfer.json
    python scripts/run_study.py ingredients --source-dir IMAGES --workdir runs/ingredients --json ingredients.json

The studies are listed in scripts/bench/studies.py. The JSON is written anew after each run; the same command resumes.
"""

import argparse
import functools
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.measure import write_result
from bench.print_results import describe_study
from bench.probe import fit_probe
from bench.record_run import read_run
from bench.studies import STUDIES, Study
from hamjax.commands import errors_reported
from hamjax.config.command_line import parse
from hamjax.data.classes import CLASSES
from hamjax.data.lesions import lesion_groups
from hamjax.data.splits import TEST, VAL
from hamjax.evaluation.evaluate import evaluate_run
from hamjax.evaluation.metrics.bootstrap import bootstrap_intervals
from hamjax.evaluation.metrics.classification import classification_report
from hamjax.evaluation.metrics.comparison import compare
from hamjax.training.run_directory.finished import read_summary
from hamjax.training.run_directory.metrics_log import read_records
from hamjax.training.setup.experiment import Experiment

# Labels [N], probabilities [N, 7] and lesions [N] of a partition.
Predictions = tuple[np.ndarray, np.ndarray, np.ndarray]
Predict = Callable[[str, str], Predictions]
TEST_SCORES = ("n", "accuracy", "balanced_accuracy", "macro_f1", "majority_baseline_accuracy", "confusion_matrix",
               "classes", "alarms")  # fmt: skip


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--workdir", required=True, type=Path, help="folder of the study's runs")
    parser.add_argument("--source-dir", default="", help="the images; default: what the data folder holds")
    parser.add_argument("--data-dir", default="data", help="folder of the prepared images")
    parser.add_argument("--weights", help="file of the backbone's weights, where the study starts from some")
    parser.add_argument("--weights-note", default="", help="what they are, to be kept beside the results")
    parser.add_argument("--only", default="", help="names of runs, such as unit,native (all)")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    study = STUDIES[args.study]
    names = args.only.split(",") if args.only else list(study.runs)
    if unknown := [name for name in names if name not in study.runs]:
        parser.error(f"--only: expected names among {', '.join(study.runs)}, got {', '.join(unknown)}")
    if args.weights is None and any("{weights}" in word for words in study.runs.values() for word in words):
        parser.error("--weights: expected the file of the backbone's weights, got none")
    with errors_reported("run_study"):
        _run(args, study, names)


def _run(args: argparse.Namespace, study: Study, names: Sequence[str]) -> None:
    place = [f"--config.data.source_dir={args.source_dir}", f"--config.data.data_dir={args.data_dir}"]
    words = {
        name: [f"--config={config}", "--workdir", str(args.workdir / name), *place,
               *(word.format(weights=args.weights) for word in (*study.common, *own))]
        for name, (config, *own) in study.runs.items()
    }  # fmt: skip

    @functools.cache
    def predict(name: str, partition: str) -> Predictions:
        report, experiment = evaluate_run(args.workdir / name, split=partition)
        return report.labels, report.probabilities, _lesions(experiment, partition)

    settings = {"question": study.question, "weights": args.weights_note,
                "common": study.common, "runs": study.runs}  # fmt: skip
    for name in names:
        status = subprocess.run([sys.executable, "-m", "hamjax.main", *words[name]], check=False).returncode
        if status:
            sys.exit(status)  # it has said why; after a signal the same command resumes
        write_result(args.json, settings, collect(study, args.workdir, predict))
    results = collect(study, args.workdir, predict)
    if study.probes:
        results["probes"] = _probe(study, {scale: words[scale] for scale in study.probes}, args.workdir, predict)
        write_result(args.json, settings, results)
    print(describe_study(results))


def _lesions(experiment: Experiment, partition: str) -> np.ndarray:
    return lesion_groups(experiment.dataset.metadata)[experiment.rows(partition)]


def collect(study: Study, workdir: Path, predict: Predict) -> dict[str, Any]:
    """Return what the finished runs of a study scored, and how the pairs among them differ."""
    finished = [name for name in study.runs if read_summary(workdir / name) is not None]
    tested = {name for pair, parts in study.pairs.items() if TEST in parts for name in pair}
    return {
        "runs": {name: _scores(workdir / name, predict(name, VAL), tested=name in tested) for name in finished},
        "comparisons": [
            {"first": first, "second": second, "partition": part,
             **_differences(predict(first, part), predict(second, part))}
            for (first, second), parts in study.pairs.items()
            if {first, second} <= set(finished)
            for part in parts
        ],
    }  # fmt: skip


def _scores(workdir: Path, validation: Predictions, *, tested: bool) -> dict[str, Any]:
    """Return what a run scored; on the test part only where a pair is compared on it: each look at it costs."""
    summary = read_summary(workdir)
    assert summary is not None
    epochs = [record for record in read_records(workdir / "metrics.jsonl") if "eval/accuracy" in record]
    run = read_run(workdir)
    del run["command"]  # the study's own makes all of them
    test = {name: run.pop(name) for name in TEST_SCORES} | {name: summary[name] for name in ("intervals", "macro_auc")}
    return {
        "run": run,
        **({"test": test} if tested else {}),
        "val": _scored(validation),
        "val_by_epoch": [
            {name: record[f"eval/{name}"] for name in ("accuracy", "balanced_accuracy", "loss")} for record in epochs
        ],
    }


def _scored(predictions: Predictions) -> dict[str, Any]:
    """Return accuracies with their intervals, and the recall of each class."""
    labels, probabilities, lesions = predictions
    report = classification_report(labels, probabilities, CLASSES)
    intervals = bootstrap_intervals(labels, probabilities, lesions, CLASSES)["intervals"]
    return {
        **{name: report[name] for name in ("n", "accuracy", "balanced_accuracy")},
        "intervals": {name: intervals[name] for name in ("accuracy", "balanced_accuracy")},
        "recall": {dx: report["per_class"][dx]["recall"] for dx in CLASSES},
    }


def _differences(first: Predictions, second: Predictions) -> dict[str, Any]:
    result = compare(first[0], first[1], second[1], first[2])
    return {name: result[name] for name in ("n", "accuracy", "balanced_accuracy", "macro_auc")}


def _probe(study: Study, words: dict[str, list[str]], workdir: Path, predict: Predict) -> dict[str, Any]:
    """Fit the probes; compare runs with the one that is better on validation."""
    results: dict[str, Any] = {}
    predicted: dict[str, dict[str, Predictions]] = {}
    for scale, own in words.items():
        experiment, probe = fit_probe(parse(own)[0], ("val", "test"))
        labels = experiment.dataset.metadata.label
        predicted[scale] = {
            part: (labels[experiment.rows(part)], probabilities, _lesions(experiment, part))
            for part, probabilities in probe.probabilities.items()
        }
        results[scale] = {"strength": probe.strength} | {part: _scored(each) for part, each in predicted[scale].items()}
    best = max(results, key=lambda scale: results[scale]["val"]["balanced_accuracy"])
    finished = [name for name in study.runs if read_summary(workdir / name) is not None]
    results["comparisons"] = [
        {"first": f"probe, {best}", "second": name, "partition": part,
         **_differences(predicted[best][part], predict(name, part))}
        for name in finished for part in ("val", "test")
    ]  # fmt: skip
    return results
