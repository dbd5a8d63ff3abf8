#!/usr/bin/env bash
# What both sbatch scripts do on the job's first node: start the processes, and requeue the job if it is to go on.
#
#     slurm_step.sh WORDS of the Python interpreter
#
# Weights are found and compiled programs kept in XDG_CACHE_HOME, ~/.cache if it is not set: a folder that all nodes
# see, and the one that check_staged.py and convert_weights.py had.
set -uo pipefail

PYTHON=${PYTHON:-.venv/bin/python}
MAX_RESTARTS=${MAX_RESTARTS:-20} # after processes that went away; preemptions do not end a run

# srun takes the number of cores a task from here alone; libraries would take all of the node's.
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}
export OMP_NUM_THREADS=$SRUN_CPUS_PER_TASK
# Proxies of a login node lead nowhere from here; the coordinator is a node of this job.
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY

# Whoever signals the job signals its processes too, and they save. This shell must outlive them to requeue.
trap : TERM

# --kill-on-bad-exit=0: hamjax's processes notice and end by themselves, with the status that says why. srun would
# end the others by a signal, and its own status would be that signal's: a mistake (2) would look like a
# preemption (143). --wait is for one that hangs.
srun --kill-on-bad-exit=0 --wait=300 "$PYTHON" "$@"
status=$?

# One job of an array has the array's own SLURM_JOB_ID, which means all of them to scontrol.
job=${SLURM_JOB_ID:-}
[[ -z ${SLURM_ARRAY_JOB_ID:-} ]] || job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID

requeue() {
  # A job that was cancelled or is out of time is not running any more, and stays where it is.
  if scontrol show job "$job" | grep -q JobState=RUNNING; then
    echo "slurm_step: status $status: $1; requeued, start ${SLURM_RESTART_COUNT:-0} is over" >&2
    scontrol requeue "$job"
  fi
}

case $status in
  0) ;;
  143) requeue "preempted, the state is saved" ;;
  75 | 134 | 137) # noticed by the others, ended by JAX's runtime, killed
    if ((${SLURM_RESTART_COUNT:-0} < MAX_RESTARTS)); then
      requeue "a process went away"
    else
      echo "slurm_step: status $status after $MAX_RESTARTS restarts; look at what the processes say above" >&2
    fi
    ;;
  *) echo "slurm_step: status $status: not requeued; 2 and 3 are for you to mend, the message is above" >&2 ;;
esac
exit "$status"
