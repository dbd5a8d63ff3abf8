#!/usr/bin/env bash
# Every benchmark whose result is kept, one after another: scripts/bench_all.sh DATA_DIR
# DATA_DIR holds prepared HAM10000 (hamjax prepare). Leave the machine alone meanwhile.
# Results of a CPU go to scripts/results, those of an accelerator to a folder of its name there. A benchmark that fails
# leaves the others alone; the end says which did, and the exit status is then 1.
set -uo pipefail
data=$(cd "${1:?expected a folder with prepared HAM10000: scripts/bench_all.sh DATA_DIR}" && pwd) || exit 2
cd "$(dirname "$0")/.." || exit 2
kind=$(python -c 'import jax; d = jax.devices()[0]; print("" if d.platform == "cpu" else d.device_kind.replace(" ", "_"))') \
  || exit 2
results=scripts/results${kind:+/$kind}
failed=()

bench() {
  local out=$results/$1
  shift
  python "$@" --json "$out" || failed+=("$(basename "$out")")
}
step() {
  bench "step_$1_$2px_batch$3.json" scripts/bench_step.py --model "$1" --image-size "$2" --batch-size "$3" "${@:4}"
}

bench input.json scripts/bench_input.py --data-dir "$data"
step cnn 64 16 --xla
step resnet50 64 16
step inceptionv3 96 16
step densenet201 64 16 --xla
for network in cnn resnet50 inceptionv3 densenet201; do step "$network" 224 8; done
bench end_to_end.json scripts/bench_end_to_end.py --data-dir "$data"
bench startup.json scripts/bench_startup.py
if ((${#failed[@]})); then
  echo "failed, and not written: ${failed[*]}" >&2
  exit 1
fi
