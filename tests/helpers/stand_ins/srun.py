#!/usr/bin/env python3
"""Stands in for Slurm's srun, on this machine: starts SLURM_NTASKS tasks with the variables that Slurm sets.

Like srun it passes SIGTERM on to the tasks, ends the others after a failed one if --kill-on-bad-exit says so, and
returns the highest status, that of a task ended by a signal before any other (128 and its number).
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def main() -> int:
    """Run the tasks."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--kill-on-bad-exit", type=int, default=1)
    parser.add_argument("--wait", type=int, default=0)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    count = int(os.environ["SLURM_NTASKS"])
    step = {"SLURM_STEP_ID": "0", "SLURM_STEP_NODELIST": "localhost", "SLURM_STEP_NUM_NODES": "1", "SLURM_NODEID": "0"}
    tasks = []
    for index in range(count):
        own = {"SLURM_PROCID": str(index), "SLURM_LOCALID": str(index)}
        tasks.append(subprocess.Popen(args.command, env=os.environ | step | own, stdin=subprocess.DEVNULL))
    signal.signal(signal.SIGTERM, lambda number, _: [task.send_signal(number) for task in tasks])
    Path(sys.argv[0]).with_name("srun.pid").write_text(str(os.getpid()))
    first_end = 0.0
    while any(task.poll() is None for task in tasks):
        time.sleep(0.05)
        ended = [task.returncode for task in tasks if task.returncode is not None]
        first_end = first_end or (time.monotonic() if ended else 0.0)
        too_long = args.wait and first_end and time.monotonic() - first_end > args.wait
        if (any(ended) and args.kill_on_bad_exit) or too_long:
            for task in tasks:
                task.terminate()
    statuses = [task.returncode for task in tasks]
    return 128 - min(statuses) if min(statuses) < 0 else max(statuses)


if __name__ == "__main__":
    sys.exit(main())
