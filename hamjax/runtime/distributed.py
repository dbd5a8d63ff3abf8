"""The processes of a run: how they meet, agree and end.

Every function here that waits for the other processes says so; all of them must then call it.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from hamjax.runtime.errors import PeerLostError, UserError

JOIN_SECONDS = 100
LAG_SECONDS = 10  # that a network file system may take to show what another machine wrote
HEARTBEAT_SECONDS = 60  # silence that counts as death: JAX then ends the others, with the reason


def connect(choice: str, join_seconds: int = JOIN_SECONDS) -> None:
    """Join the other processes of the job; to be called before anything that makes JAX look for devices.

    Args:
        choice: `auto`: where JAX recognises a cluster (Slurm's srun, Cloud TPU, Open MPI), else stay alone;
            `off`; or `HOST:PORT,COUNT,INDEX`: where process 0 listens, how many there are, which one this is.
        join_seconds: to wait for the others.

    Raises:
        UserError: the words are not such; the port is taken.
        PeerLostError: the others were not met; after `join_seconds` the process ends with that message.
    """
    if choice == "off" or jax.distributed.is_initialized():
        return
    given = {} if choice == "auto" else _parse(choice)
    if given and given["process_id"] == 0:
        _require_free(choice, given["coordinator_address"])
    # JAX has a time limit of its own, but when that is over it aborts the process with a trace of its code.
    deadline = threading.Timer(join_seconds, _give_up, (choice, join_seconds))
    deadline.daemon = True
    deadline.start()
    try:
        with warnings.catch_warnings():
            # In any pod JAX offers a package to find the others by; a run that means to says where they meet.
            warnings.filterwarnings("ignore", "\\s*Kubernetes environment detected")
            jax.distributed.initialize(
                **given, initialization_timeout=join_seconds + 60, heartbeat_timeout_seconds=HEARTBEAT_SECONDS
            )
    except ValueError:  # no cluster was recognised
        if given:
            raise
    except RuntimeError as error:
        if "must be called before" not in str(error):
            raise PeerLostError(_not_met(choice, join_seconds, str(error).splitlines()[0][:300])) from error
        if given:
            raise UserError(
                f"runtime.distributed={choice}: expected to be set before JAX is used in this process, got it "
                "after; start a process for each, or use hamjax before anything else of JAX."
            ) from error
    finally:
        deadline.cancel()


def _give_up(choice: str, join_seconds: int) -> None:
    """End the process with a message; left to itself JAX would abort with a trace of its own code."""
    print(f"hamjax: {_not_met(choice, join_seconds, 'no answer from all of them')}", file=sys.stderr, flush=True)
    os._exit(PeerLostError.exit_status)


def _not_met(choice: str, join_seconds: int, reason: str) -> str:
    return (
        f"runtime.distributed={choice}: expected to meet the other processes within {join_seconds} s, got {reason}; "
        "check the address and that every process was started, or wait longer: --config.runtime.join_seconds."
    )


def _parse(choice: str) -> dict[str, Any]:
    match choice.split(","):
        case [address, count, index] if count.isdecimal() and index.isdecimal() and int(index) < int(count):
            host, _, port = address.rpartition(":")
            if host and port.isdecimal() and int(port) < 2**16:
                return {
                    "coordinator_address": address,
                    "num_processes": int(count),
                    "process_id": int(index),
                    "cluster_detection_method": "deactivate",
                }
    raise UserError(
        f"runtime.distributed: expected auto, off, or HOST:PORT,COUNT,INDEX with INDEX from 0 to COUNT - 1, got "
        f"{choice!r}; set --config.runtime.distributed."
    )


def _require_free(choice: str, address: str) -> None:
    """Refuse a port that another program listens at; left to itself JAX's service ends in a segmentation fault."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # no matter what a run just ended left
        try:
            probe.bind(("", int(address.rpartition(":")[2])))
        except OSError as error:
            raise UserError(
                f"runtime.distributed={choice}: expected a port of this machine to listen at, got {error.strerror}; "
                "name another."
            ) from error


def is_first() -> bool:
    """Return whether this is process 0, which alone writes reports and prints."""
    return jax.process_index() == 0


@contextlib.contextmanager
def only_first_speaks() -> Iterator[None]:
    """Let process 0 alone print; messages to stderr are not held back."""
    with contextlib.ExitStack() as stack:
        if not is_first():
            silence = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(silence))
        yield


def gather(value: Any) -> list[Any]:
    """Return the values of all processes, plain as in JSON, in their order; waits for them."""
    if jax.process_count() == 1:
        return [value]
    # As bytes in an array: JAX gathers arrays, and all of one size.
    encoded = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = np.ravel(multihost_utils.process_allgather(np.int32(len(encoded))))
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: len(encoded)] = encoded
    rows = multihost_utils.process_allgather(padded)
    return [json.loads(bytes(row[:size])) for row, size in zip(rows, sizes, strict=True)]


def from_first(value: Any) -> Any:
    """Return process 0's value on all: what it sees decides where a file system may lag; waits for all."""
    return gather(value)[0]


@contextlib.contextmanager
def all_or_none() -> Iterator[None]:
    """Make a user error of one process an error of all; waits for all at the end.

    Nothing inside may wait for the others: the one that failed would not come.
    """
    mine: UserError | None = None
    try:
        yield
    except UserError as error:
        mine = error
    told = gather(None if mine is None else str(mine))
    if mine is not None:
        raise mine
    for index, message in enumerate(told):
        if message is not None:
            raise UserError(f"process {index}: {message}")


def require_alike(facts: Mapping[str, Any]) -> None:
    """Refuse processes that are not of one run; waits for all.

    Raises:
        UserError: names what differs from process 0, on every process.
    """
    first, *others = gather(dict(facts))
    for index, other in enumerate(others, 1):
        if differing := [name for name, value in first.items() if other.get(name) != value]:
            raise UserError(
                f"process {index}: expected the same {', '.join(differing)} as process 0, got another; start every "
                "process with the same command and give it the same data."
            )


def require_shared(folder: Path) -> None:
    """Refuse a folder that not all processes see as one; waits for all.

    Raises:
        UserError: on every process; it is on a disk of one machine alone, or named differently.
    """
    if jax.process_count() == 1:
        return
    token, mark = from_first(f"{os.getpid()} {time.time_ns()}"), folder / ".shared"
    with all_or_none():
        if is_first():
            try:
                mark.write_text(token)
            except OSError as error:
                raise UserError(f"{folder}: expected a folder that can be written to, got {error}.") from error
    # A network file system may show a new file late, so its absence is believed only after a while.
    deadline = time.monotonic() + LAG_SECONDS
    with all_or_none():
        while not (mark.is_file() and mark.read_text() == token):
            if time.monotonic() > deadline:
                raise UserError(
                    f"{folder}: expected the run directory of process 0, got one that lacks what process 0 wrote; name "
                    "a folder that all processes share, the same for each, with --workdir."
                )
            time.sleep(0.1)


def is_peer_loss(error: BaseException | None) -> bool:
    """Return whether an error comes from waiting for another process, so that to wait longer is in vain."""
    if jax.process_count() == 1:
        return False
    if isinstance(error, ValueError):  # what Gloo, which the CPU's collectives go by, may fail with
        return "Gloo" in str(error)
    return isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" not in str(error)


@contextlib.contextmanager
def peers_needed() -> Iterator[None]:
    """Turn the failure of a computation that is shared with other processes into its most likely cause.

    Raises:
        PeerLostError: most likely one of them is gone.
    """
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        if not is_peer_loss(error):
            raise
        raise PeerLostError(
            f"expected all {jax.process_count()} processes to continue, got {str(error).splitlines()[0][:300]}: most "
            "likely one has ended, and says why. Start the same command again; it resumes from the last checkpoint."
        ) from error


def leave(status: int) -> NoReturn:
    """End a process that failed. Among others, at once: an orderly end would wait for them, and they for us."""
    if not jax.distributed.is_initialized():
        sys.exit(status)
    # os._exit skips what Python does at an end: flush by hand.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
