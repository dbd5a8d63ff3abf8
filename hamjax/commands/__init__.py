"""The program `hamjax`: its commands, and the one place where an error becomes a message and an exit status."""

import contextlib
import importlib
import io
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import NoReturn

import hamjax
from hamjax.runtime.errors import PreemptedError, UserError, expected_one_of
from hamjax.runtime.output import outlives_its_readers

# A command is the module of its name here, which is loaded only when it is asked for.
COMMANDS = {
    "train": "train a network, evaluate it and write the report; resume a run that was stopped",
    "evaluate": "evaluate runs on their own images, or on images from elsewhere",
    "predict": "predict images without labels: files, folders, zip archives",
    "serve": "serve a network as a page for one image at a time, and as an API",
    "card": "write the model card of a finished run anew",
    "export": "write the network of a run as ONNX, StableHLO, Keras or safetensors",
    "compare": "test whether one of two runs is better than the other",
    "prepare": "download or read HAM10000, verify it, and prepare it for training",
    "weights": "download or convert ImageNet weights",
    "check": "check before a job without network access that everything it needs is there",
    "reproduce": "run the paper's experiments and print its tables beside the published ones",
    "launch": "start one run as several processes on this machine",
    "networks": "print the layers, output shapes and parameters of the networks",
}


def main(words: Sequence[str] | None = None, *, name: str = "hamjax") -> None:
    """Run a command; return if it succeeded, otherwise exit with its status.

    Args:
        words: the command and its options; the words of this process by default.
        name: what messages to the user begin with.
    """
    words = list(sys.argv[1:] if words is None else words)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A path may hold bytes that are no text; to say its name must not end an hour's work.
        sys.stdout.reconfigure(errors="backslashreplace")
    with errors_reported(name):
        if not words or words[0] in ("-h", "--help"):
            print(_help())
            sys.exit(0 if words else UserError.exit_status)
        if words[0] == "--version":
            print(f"hamjax {hamjax.__version__}")
            return
        if words[0].startswith("-"):  # `hamjax --config NAME`, as it was before there were commands
            words.insert(0, "train")
        _run(words[0], words[1:])


@contextlib.contextmanager
def errors_reported(name: str) -> Iterator[None]:
    """Turn an error inside into a message and the exit status of the process, which outlives the readers of its output.

    Args:
        name: what the message begins with.
    """
    with outlives_its_readers():
        try:
            yield
        except PreemptedError as error:
            # All processes stop at the same step, so an orderly exit, which waits for the others, ends.
            sys.exit(_say(name, error, error.exit_status))
        except UserError as error:
            _leave(_say(name, error, error.exit_status))
        except KeyboardInterrupt:
            _leave(_say(name, "interrupted; start the same command again to continue from what was saved", 130))
        except Exception:  # a defect: it keeps its traceback, and must not keep other processes waiting
            traceback.print_exc()
            _leave(1)


def _run(command: str, words: list[str]) -> None:
    if command not in COMMANDS:
        raise UserError(f"{expected_one_of('command', COMMANDS, command)} `hamjax --help` describes them.")
    # `hamjax --help` must not wait two seconds for jax, which most commands load.
    importlib.import_module(f"hamjax.commands.{command}").main(words)


def _help() -> str:
    lines = [f"  {command:10} {summary}" for command, summary in COMMANDS.items()]
    return "\n".join(
        [
            "usage: hamjax COMMAND ...",
            "",
            "Train and evaluate skin-lesion classifiers on HAM10000.",
            "",
            *lines,
            "",
            "`hamjax COMMAND --help` describes one. `hamjax --version` prints the version.",
            "Begin with `hamjax train --config quickstart`: drawn images, a few minutes on a laptop.",
        ]
    )


def _say(name: str, error: object, status: int) -> int:
    print(f"{name}: {error}", file=sys.stderr, flush=True)
    return status


def _leave(status: int) -> NoReturn:
    from hamjax.runtime.distributed import leave  # loads jax, which help and most errors do not need

    leave(status)
