"""Time two revisions of hamjax in turn with one of the benchmarks: did a change make it slower?

    git worktree add ../before 419d696
    python scripts/bench_revisions.py --before ../before --rounds 3 --json FILE bench_step.py --model cnn --peers

Each round runs the benchmark once in each tree, in turn, in processes of their own, with the words after its name.
Quoted are the ratios within a round, this tree over the other: above 1 is faster. Words for `bench_step.py` and
`bench_startup.py` that both revisions know can be given.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.measure import table, write_result

HERE = Path(__file__).parents[2]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="a checkout of the other revision")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("benchmark", choices=SPEEDS, help="file below scripts/")
    parser.add_argument("words", nargs=argparse.REMAINDER, help="its own arguments")
    args = parser.parse_args()
    speeds: dict[str, list[dict[str, float]]] = {"before": [], "now": []}
    trees = {"before": args.before.resolve(), "now": HERE}
    for i in range(args.rounds):
        # Every other round in reverse: what slows the machine down for minutes then meets both.
        for name in list(trees) if i % 2 == 0 else reversed(trees):
            speeds[name].append(SPEEDS[args.benchmark](_run(trees[name], args.benchmark, args.words)))
            print(f"round {i + 1}, {name}: {speeds[name][-1]}", flush=True)
    results = {"speeds": speeds, "ratios": compare(speeds["before"], speeds["now"])}
    rows = [[name, f"{r['median']:.3f} ({r['least']:.3f}-{r['most']:.3f})"] for name, r in results["ratios"].items()]
    print(table(["this tree over the other", "median of rounds"], rows))
    revisions = {name: _revision(tree) for name, tree in trees.items()}
    settings = {"benchmark": args.benchmark, "words": args.words, "rounds": args.rounds, "revisions": revisions}
    write_result(args.json, settings, results)


def compare(before: list[dict[str, float]], now: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return median, least and most of the ratios within a round, for each figure."""
    ratios = {name: [b[name] / a[name] for a, b in zip(before, now, strict=True)] for name in now[0]}
    return {
        name: {"median": statistics.median(each), "least": min(each), "most": max(each)}
        for name, each in ratios.items()
    }


def _run(tree: Path, benchmark: str, words: list[str]) -> Mapping[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, str(tree / "scripts" / benchmark), *words, "--json", str(result)]
        # The tree's own package, whatever is installed.
        environment = {**os.environ, "PYTHONPATH": str(tree)}
        subprocess.run(command, cwd=tree, env=environment, check=True, stdout=subprocess.DEVNULL)
        return json.loads(result.read_text())["results"]


def _revision(tree: Path) -> str:
    command = ["git", "-C", str(tree), "describe", "--always", "--abbrev=12", "--dirty=+"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def _step_speeds(results: Mapping[str, Any]) -> dict[str, float]:
    kinds = {"training": "train", "inference": "inference"}
    return {name: results[f"{kind}_images_per_second"]["ours"] for name, kind in kinds.items()}


def _start_speeds(results: Mapping[str, Any]) -> dict[str, float]:
    return {f"start, {kind}": 1 / results["median_seconds"][f"ours, {kind}"]["total"] for kind in ("cold", "warm")}


# How many a second, of each benchmark: above 1 then always means faster.
SPEEDS: dict[str, Callable[[Mapping[str, Any]], dict[str, float]]] = {
    "bench_step.py": _step_speeds,
    "bench_startup.py": _start_speeds,
}


if __name__ == "__main__":
    main()
