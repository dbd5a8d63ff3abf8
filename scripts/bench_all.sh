#!/usr/bin/env bash
# Every benchmark whose result is kept, one after another: scripts/bench_all.sh DATA_DIR
# DATA_DIR holds prepared HAM10000 (scripts/prepare_data.py). Leave the machine alone meanwhile.
set -euo pipefail
cd "$(dirname "$0")/.."
results=scripts/results
step() {
  python scripts/bench_step.py --model "$1" --image-size "$2" --batch-size "$3" \
    --json "$results/step_$1_$2px_batch$3.json" "${@:4}"
}

python scripts/bench_input.py --data-dir "$1" --json $results/input.json
step cnn 64 16 --xla
step resnet50 64 16
step inceptionv3 96 16
step densenet201 64 16 --xla
step densenet201 224 8
python scripts/bench_end_to_end.py --data-dir "$1" --json $results/end_to_end.json
python scripts/bench_startup.py --json $results/startup.json
