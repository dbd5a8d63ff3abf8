#!/usr/bin/env bash
# One run on all hosts of a TPU slice, from a machine with gcloud (in tmux: it stays until the run is over):
#
#     export NAME=hamjax ZONE=us-central1-a TYPE=v5litepod-16
#     export SHARED=/mnt/shared MOUNT='sudo mkdir -p /mnt/shared && sudo mount -t nfs HOST:/VOLUME /mnt/shared'
#     scripts/cluster/tpu_vm.sh --config configs/densenet_s5.py --workdir /mnt/shared/runs/a
#
# The words go to hamjax.main; with --dry-run before them the commands are printed and nothing is done. A slice that
# was taken back is asked for again, and the run goes on. The slice stays until you delete it:
#
#     gcloud compute tpus queued-resources delete NAME --zone=ZONE --force
set -uo pipefail

: "${NAME:?expected the name of the slice}" "${ZONE:?expected its zone}"
: "${TYPE:?expected its accelerator type, such as v5litepod-16}"
: "${SHARED:?expected the folder that all hosts see, with data, weights and runs}"
MOUNT=${MOUNT:-true}                         # brings SHARED onto a host that lacks it
RUNTIME=${RUNTIME:-v2-alpha-tpuv5-lite}      # the system image that goes with TYPE
SPOT=${SPOT---spot}                          # empty: a slice that is not taken back
SOURCE=${SOURCE:-https://github.com/hamjax/hamjax}
PYTHON=${PYTHON:-python3.11}                 # 3.11 or newer, with venv
MAX_RESTARTS=${MAX_RESTARTS:-100}
POLL=${POLL:-30}                             # seconds

DRY_RUN=""
if [[ ${1:-} == --dry-run ]]; then
  DRY_RUN=yes
  shift
fi

tpus() {
  printf '+ gcloud compute tpus%s\n' "$(printf ' %q' "$@" "--zone=$ZONE")" >&2
  [[ -n $DRY_RUN ]] || gcloud compute tpus "$@" "--zone=$ZONE"
}

on_all_hosts() {
  tpus tpu-vm ssh "$NAME" --worker=all "--command=$1"
}

# The name is one of nothing, of a slice in the making, of one in use, or of one that was taken back.
wait_for_slice() {
  local state
  while state=$(tpus queued-resources describe "$NAME" '--format=value(state.state)'); [[ $state != ACTIVE ]]; do
    case $state in
      "")
        tpus queued-resources create "$NAME" "--node-id=$NAME" "--accelerator-type=$TYPE" \
          "--runtime-version=$RUNTIME" ${SPOT:+"$SPOT"}
        ;;
      SUSPENDED | FAILED) tpus queued-resources delete "$NAME" --force --quiet ;;
    esac
    [[ -z $DRY_RUN ]] || return 0
    sleep "$POLL"
  done
}

shared=$(printf %q "$SHARED")
# A lost connection leaves processes behind, which hold the TPU and the run directory. They save, then they must go.
set_up="pkill -f 'hamjax[.]main' && sleep 60; pkill -KILL -f 'hamjax[.]main'; \
mountpoint -q $shared || { $MOUNT; } && { [ -d hamjax ] || git clone -q $SOURCE hamjax; } && cd hamjax && \
{ [ -d .venv ] || $PYTHON -m venv .venv; } && .venv/bin/pip install -q -e '.[tpu]'"
# JAX finds the other hosts by itself. The hosts of a spot slice have half a minute when it is taken back.
run="cd hamjax && XDG_CACHE_HOME=$shared/cache .venv/bin/python -m hamjax.main$(printf ' %q' "$@")"

for ((start = 0; start <= MAX_RESTARTS; start++)); do
  wait_for_slice
  on_all_hosts "$set_up" && on_all_hosts "$run"
  status=$? # of the first host that failed; 255 if it cannot be reached
  case $status in
    0) exit 0 ;;
    2 | 3) break ;; # to be mended: the message is above
  esac
  echo "tpu_vm: status $status: trying again in $POLL s" >&2
  sleep "$POLL"
done
exit "$status"
