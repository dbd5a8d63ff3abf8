"""Start one run as several processes on this machine, as a cluster would on several.

    hamjax launch --processes 2 --cpu-devices 2 -- --config quickstart --workdir W

What follows -- are the options of `hamjax train`. Signals are passed on to every process. The status is that of the
first process that failed, or 0.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import IO, Any

from hamjax.commands.arguments import make_parser


def start(
    words: Sequence[str],
    *,
    processes: int,
    cpu_devices: int = 0,
    outputs: Sequence[IO[Any] | int | None] = (),
    module: Sequence[str] = ("-m", "hamjax.main"),
    **environment: str,
) -> list[subprocess.Popen[bytes]]:
    """Start the processes of a run, process 0 first.

    Args:
        words: of the command line.
        processes: how many.
        cpu_devices: for each; 0 for whatever JAX finds.
        outputs: where the stdout and stderr of each go; by default to ours.
        module: what to run, as the interpreter takes it.
        environment: variables to set besides.
    """
    # Another process may take it before process 0 listens; a run then ends with a message, and can be started again.
    port = free_port()
    device = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(cpu_devices)} if cpu_devices else {}
    started = []
    for index in range(processes):
        meeting = f"--config.runtime.distributed=localhost:{port},{processes},{index}"
        # A single process must not wait for a coordinator; nor may it guess one from a cluster's variables.
        if processes == 1:
            meeting = "--config.runtime.distributed=off"
        output = outputs[index] if outputs else None
        started.append(
            subprocess.Popen(
                [sys.executable, *module, *words, meeting],
                env=os.environ | device | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output and subprocess.STDOUT,
                # A group of its own: what a terminal sends to ours, as at Ctrl-C, is passed on once.
                process_group=0,
            )
        )
    return started


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def main(words: Sequence[str]) -> None:
    """Run the command."""
    parser = make_parser("launch", __doc__)
    parser.add_argument("--processes", type=int, default=2, help="how many (2)")
    parser.add_argument("--cpu-devices", type=int, default=0, help="CPU devices for each; default: what JAX finds")
    parser.add_argument("words", nargs="+", help="of hamjax train, after --")
    args = parser.parse_args(words)
    if args.processes < 1:
        parser.error(f"--processes: expected at least 1, got {args.processes}")
    running = start(args.words, processes=args.processes, cpu_devices=args.cpu_devices)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves SIGHUP
            signal.signal(number, lambda number, _: [process.send_signal(number) for process in running])
    statuses = [process.wait() for process in running]
    sys.exit(next((128 - status if status < 0 else status for status in statuses if status), 0))
